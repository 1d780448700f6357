"""Connections to PostgreSQL: a small pool, transactions, and what a failure is called.

A connection that died while nobody used it (the server was restarted) is noticed before it is
given out, so the pool mends itself. Nothing here ever tells a password.
"""

from __future__ import annotations

import re
import select
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from stillhouse.errors import UsageError, VectorBusyError, VectorError, VectorFailedError
from stillhouse.vectors import pg_wire

Connection = psycopg.Connection[TupleRow]

_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_NOT_NOW: Final = (
    errors.CannotConnectNow,
    errors.DeadlockDetected,
    errors.QueryCanceled,
    errors.SerializationFailure,
    errors.TooManyConnections,
)


class PgOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the database is used. ``schema`` holds all tables. A search scores every match itself
    up to ``fetched_matches`` of a small table, lets the database compare every match up to
    ``exact_matches`` for ten hits asked for, and uses the HNSW index beyond; ``ef`` is that
    search's width where the caller names none."""

    schema: str = "stillhouse"
    connections: int = 10
    writers: int = 6
    """How many of the connections writers may hold; one is left to readers in any case."""
    wait_seconds: float = 30.0
    """How long a caller waits for one of the connections, and then for each lock."""
    fetched_matches: int = 500
    exact_matches: int = 1_000
    ef: int = 100


class Moved(VectorBusyError):
    """An index was dropped or replaced under a reader: to be looked up again."""


def options_of(
    url: str, options: PgOptions | None = None
) -> tuple[dict[str, str | int], PgOptions]:
    """Connection parameters of a URL, and the options with the schema that it may name
    (``postgresql://…/db?schema=name``). Raises `UsageError`, which does not repeat the URL."""
    options = options or PgOptions()
    before, mark, after = url.partition("?")
    query = parse_qsl(after, keep_blank_values=True)
    for key, value in query:
        if key == "schema":
            options = msgspec.structs.replace(options, schema=value)
    rest = urlencode([one for one in query if one[0] != "schema"], quote_via=quote)
    if not _SCHEMA.fullmatch(options.schema):
        raise UsageError(
            f"{options.schema!r} cannot be a schema's name",
            way_out="Take lower-case letters, digits and underscores.",
        )
    try:
        parameters = conninfo_to_dict(before + mark + rest)
    except psycopg.Error:
        # libpq repeats what it cannot read, a password among it.
        raise UsageError(
            "the URL of the database cannot be read",
            way_out="It is postgresql://<user>:<password>@host:port/database, percent-encoded.",
        ) from None
    given = {key: value for key, value in parameters.items() if value is not None}
    return {"application_name": "stillhouse", "connect_timeout": 10, **given}, options


class Pool:
    """At most so many connections, each made when it is needed. Safe from any thread."""

    def __init__(self, parameters: dict[str, str | int], options: PgOptions) -> None:
        self.options = options
        host = parameters.get("host") or parameters.get("hostaddr") or "the local socket"
        self.where = f"database {parameters.get('dbname', '')!s} on {host!s}".replace("  ", " ")
        self._parameters = parameters
        self._free = BoundedSemaphore(options.connections)
        self._share = max(1, min(options.writers, options.connections - 1))
        self._writers = BoundedSemaphore(self._share)
        self._lock = Lock()
        self._idle: list[Connection] = []
        self._closed = False

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction in which each statement sees what is committed. Writers wait for one
        another, and those who wait must not hold every connection: readers wait for nobody."""
        # Before a connection is taken, or those who wait here would hold one after all.
        with (
            self._turn(self._writers, self._share, " for writing"),
            self._transaction(psycopg.IsolationLevel.READ_COMMITTED, False) as connection,
        ):
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state, whatever others write."""
        with self._transaction(psycopg.IsolationLevel.REPEATABLE_READ, True) as connection:
            yield connection

    @contextmanager
    def _transaction(self, level: psycopg.IsolationLevel, read_only: bool) -> Iterator[Connection]:
        with self.connection() as connection:
            connection.isolation_level = level
            connection.read_only = read_only
            with connection.transaction():
                yield connection

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection outside of any transaction; errors of the database are translated."""
        connection = None
        with self._turn(self._free, self.options.connections, ""):
            try:
                connection = self._take()
                yield connection
            except psycopg.Error as error:
                raise self._told(error) from error
            finally:
                if connection is not None:
                    self._give_back(connection)

    @contextmanager
    def _turn(self, places: BoundedSemaphore, count: int, kind: str) -> Iterator[None]:
        if not places.acquire(timeout=self.options.wait_seconds):
            raise VectorBusyError(f"all {count} connections{kind} are in use", where=self.where)
        try:
            yield
        finally:
            places.release()

    def _take(self) -> Connection:
        while True:
            with self._lock:
                if self._closed:
                    raise VectorFailedError("the vector store is closed", where=self.where)
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._connected()
            if _alive(connection):
                return connection
            connection.close()

    def _connected(self) -> Connection:
        connection = psycopg.connect(
            **self._parameters,  # type: ignore[arg-type]
            autocommit=True,
            client_encoding="utf8",
        )
        try:
            pg_wire.register(connection)
            found = connection.execute(
                "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
                " WHERE e.extname = 'vector'"
            ).fetchone()
            path = [self.options.schema, *(found or ())]
            connection.execute(
                sql.SQL("SET search_path = {}").format(
                    sql.SQL(", ").join(map(sql.Identifier, path))
                )
            )
            # Without it who waits for a lock would hold his connection for ever. It is left alone
            # where the URL, the user or the database has one.
            connection.execute(
                "SELECT set_config('lock_timeout', %s, false)"
                " WHERE current_setting('lock_timeout') = '0'",
                [str(max(1, round(1_000 * self.options.wait_seconds)))],
            )
        except BaseException:
            connection.close()
            raise
        return connection

    def _give_back(self, connection: Connection) -> None:
        whole = connection.info.transaction_status == TransactionStatus.IDLE
        with self._lock:
            if whole and not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def forget(self) -> None:
        """Close what is idle: the next connection is a new one."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def close(self) -> None:
        """Close what is idle now, and what is in use when it comes back."""
        self._closed = True
        self.forget()

    def _told(self, error: psycopg.Error) -> VectorError:
        lines = (error.diag.message_primary or str(error)).strip().splitlines()
        what = lines[0] if lines else type(error).__name__
        if isinstance(error, errors.UndefinedTable) and "items_" in what:
            return Moved("the index was dropped or replaced meanwhile", where=self.where)
        if isinstance(error, errors.LockNotAvailable):
            return VectorBusyError("waited too long for another writer", where=self.where)
        if isinstance(error, _NOT_NOW):
            return VectorBusyError(what, where=self.where)
        code = "disk_full" if isinstance(error, errors.DiskFull) else ""
        return VectorFailedError(f"the database failed: {what}", code=code, where=self.where)


def _alive(connection: Connection) -> bool:
    """Whether an idle connection still leads somewhere. A server that ends one says so: there is
    something to read, where a healthy idle connection is silent."""
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if not poll.poll(0):
        return True
    try:
        connection.execute("SELECT 1")
    except psycopg.Error:
        return False
    return True
