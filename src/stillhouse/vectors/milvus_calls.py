"""Calls to Milvus: how it is reached, how items lie in a collection, what a failure is called.

An item is a row: ``pk`` (SHA-256 of its id, hexadecimal), ``id``, ``vector``, ``metadata``
(canonical JSON; "" where there is none). Milvus selects rows by expressions, and pymilvus writes
ids into them as they are; here only hexadecimal digits ever get into one. Nothing here decides.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

import grpc
import msgspec
import numpy as np
from pymilvus import DataType, MilvusClient, MilvusException

from stillhouse.errors import (
    UsageError,
    VectorBusyError,
    VectorError,
    VectorFailedError,
    VectorLimitError,
)
from stillhouse.vectors.values import Batch, Floats, Metric

Answer = TypeVar("Answer")
Row = dict[str, Any]

TEXT: Final = 65_535
"""Bytes that a VARCHAR holds at most."""
MOST_DIMENSIONS: Final = 32_768
IDS: Final = 10_000
"""Ids, or keys, that are read at once: 5 MB of the longest by default, of 100 that Milvus gives."""
_SENT: Final = 16 * 1024 * 1024
"""Bytes of vectors in one request; a Milvus takes 64 MB."""
_ROWS: Final = 1_000
_METRICS: Final[dict[Metric, str]] = {"cosine": "COSINE", "ip": "IP", "l2": "L2"}
_RATE_LIMIT: Final = 8
_SCHEMES: Final = {"milvus": "http", "milvuss": "https"}


class MilvusOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How Milvus is used. ``scanned_items``: up to so many, every item is compared; beyond, the
    HNSW index is used. ``ef`` is its width where the caller names none."""

    timeout_seconds: float = 30.0
    scanned_items: int = 2_000
    ef: int = 128


class Place(NamedTuple):
    """Where a Milvus is. ``file`` is that of a milvus-lite, else None. ``name`` is for messages:
    it has no password."""

    name: str
    uri: str
    token: str
    database: str
    file: Path | None


def place_of(url: str) -> Place:
    """What a URL means (see `stillhouse.vectors.places`). Raises `UsageError`, which does not
    repeat the URL: there may be a password in it."""
    way_out = (
        "It is milvus://<user>:<password>@host:port/database, or milvus:FILE.db for milvus-lite."
    )
    scheme, _, rest = url.partition(":")
    if not rest.startswith("//"):
        if scheme != "milvus" or not rest.endswith(".db"):
            raise UsageError("a milvus-lite lies in a file whose name ends in .db", way_out=way_out)
        path = Path(rest).resolve()
        return Place(f"milvus-lite in {path}", str(path), "", "", path)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 19_530
    except ValueError:
        host, port = None, 0
    if not host:
        raise UsageError("the URL of Milvus cannot be read", way_out=way_out)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    token = f"{user}:{password}" if user and password else user or password
    database = unquote(parts.path.strip("/"))
    shown = f"[{host}]" if ":" in host else host
    uri = f"{_SCHEMES[scheme]}://{shown}:{port}"
    return Place(f"Milvus at {shown}:{port}", uri, token, database, None)


def key(text: str) -> str:
    """The primary key of an id or a name: safe in any expression, whatever the text is."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Calls:
    """A connection to Milvus. Every method raises errors of `VectorError`'s tree."""

    def __init__(self, place: Place, options: MilvusOptions) -> None:
        self.place = place
        self.options = options
        self._closed = False
        # pymilvus logs each failure with a traceback, though it is raised; it is told here once.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
        if place.file is not None:
            place.file.parent.mkdir(parents=True, exist_ok=True)
        self._client: MilvusClient = self._told(
            lambda: MilvusClient(
                uri=place.uri,
                token=place.token,
                db_name=place.database,
                timeout=options.timeout_seconds,
                dedicated=True,
            )
        )

    def close(self) -> None:
        """Give the connection back, and end a milvus-lite that it started."""
        if self._closed:
            return
        self._closed = True
        self._client.close()
        if self.place.file is not None:
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(str(self.place.file))

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """A method of `MilvusClient`, within the time that calls may take."""
        if self._closed:
            raise VectorFailedError("the vector store is closed", where=self.place.name)
        timeout = self.options.timeout_seconds
        return self._told(
            lambda: getattr(self._client, method)(*arguments, timeout=timeout, **options)
        )

    def _told(self, work: Callable[[], Answer]) -> Answer:
        try:
            return work()
        except (MilvusException, grpc.RpcError) as error:
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> VectorError:
        message = getattr(error, "message", "") or str(error)
        what = next(iter(str(message).strip().splitlines()), type(error).__name__)
        if getattr(error, "code", 0) == _RATE_LIMIT:
            return VectorBusyError(what, where=self.place.name)
        return VectorFailedError(f"Milvus failed: {what}", where=self.place.name)

    # -------------------------------------------------------------------- collections

    def make(self, collection: str, dimension: int, metric: Metric, texts: Sequence[str]) -> None:
        """A collection with a primary key, texts and a vector; it is to be loaded then. Milvus has
        no vectors of one dimension: they get a second one, which is 0."""
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("pk", DataType.VARCHAR, is_primary=True, max_length=64)
        for name in texts:
            schema.add_field(name, DataType.VARCHAR, max_length=TEXT)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=max(2, dimension))
        self.call(
            "create_collection",
            collection,
            schema=schema,
            consistency_level="Strong",
            num_shards=1,
        )
        self.make_index(collection, metric)

    def make_index(self, collection: str, metric: Metric) -> None:
        """What a collection cannot be loaded without. Nothing where it is there."""
        if self.call("list_indexes", collection):
            return
        index = MilvusClient.prepare_index_params()
        index.add_index(
            "vector",
            index_type="HNSW",
            metric_type=_METRICS[metric],
            params={"M": 16, "efConstruction": 200},
        )
        # pymilvus would wait half a second for the index of a collection that is empty.
        self.call("create_index", collection, index, sync=False)

    def rows(self, collection: str, keys: Sequence[str], fields: Sequence[str]) -> dict[str, Row]:
        """Those rows that are there, by primary key."""
        found: dict[str, Row] = {}
        for at in range(0, len(keys), _ROWS):
            part = keys[at : at + _ROWS]
            for row in self.call(
                "query",
                collection,
                filter="pk in [" + ",".join(f'"{one}"' for one in part) + "]",
                output_fields=["pk", *fields],
                consistency_level="Strong",
            ):
                found[row["pk"]] = row
        return found

    def scan(self, collection: str, fields: Sequence[str], size: int) -> Iterator[list[Row]]:
        """Every row, in lists of up to ``size``."""
        iterator = self.call(
            "query_iterator",
            collection,
            batch_size=size,
            output_fields=["pk", *fields],
            consistency_level="Strong",
        )
        try:
            while rows := self._told(iterator.next):
                yield list(rows)
        finally:
            iterator.close()

    def put(self, collection: str, rows: Sequence[Row]) -> None:
        """Insert or replace rows, one request."""
        self.call("upsert", collection, list(rows))

    def remove(self, collection: str, keys: Sequence[str]) -> None:
        """Delete rows by primary key."""
        for at in range(0, len(keys), _ROWS):
            self.call("delete", collection, ids=list(keys[at : at + _ROWS]))

    def count(self, collection: str) -> int:
        """How many rows there are."""
        found = self.call(
            "query", collection, filter="", output_fields=["count(*)"], consistency_level="Strong"
        )
        return int(found[0]["count(*)"])

    def near(self, collection: str, query: Floats, k: int, ef: int, fields: list[str]) -> list[Row]:
        """The rows that the HNSW index finds near, nearest first."""
        found = self.call(
            "search",
            collection,
            [padded(query.reshape(1, -1))[0].tolist()],
            limit=k,
            output_fields=["pk", *fields],
            search_params={"params": {"ef": max(ef, k)}},
            consistency_level="Strong",
        )
        return [dict(hit["entity"]) for hit in found[0]]


# ---------------------------------------------------------------------------- rows


def padded(vectors: Floats) -> Floats:
    """Vectors as Milvus keeps them: of two dimensions at least."""
    if vectors.shape[1] > 1:
        return vectors
    return np.hstack([vectors, np.zeros_like(vectors)])


def chunk_rows(dimension: int) -> int:
    """How many rows with their vectors go in one request."""
    return max(1, min(_ROWS, _SENT // (4 * dimension)))


def rows_of(batch: Batch) -> list[Row]:
    """A batch as rows. Raises `VectorLimitError` for what a text of Milvus cannot hold."""
    rows: list[Row] = []
    problems = []
    for at, (id_, vector, metadata) in enumerate(
        zip(batch.ids, padded(batch.vectors), batch.metadata, strict=True)
    ):
        if len(metadata or b"") > TEXT:
            problems.append((f"items[{at}].metadata", f"is more than the {TEXT:,} bytes of Milvus"))
        if len(id_) > TEXT // 4 and len(id_.encode()) > TEXT:
            problems.append((f"items[{at}].id", f"is more than the {TEXT:,} bytes of Milvus"))
        text = "" if metadata is None else metadata.decode()
        rows.append({"pk": key(id_), "id": id_, "vector": vector, "metadata": text})
    if problems:
        raise VectorLimitError(problems)
    return rows


def batch_of(rows: Sequence[Row], dimension: int) -> Batch:
    """Rows as a batch, in their order."""
    vectors = np.array([row["vector"] for row in rows], np.float32).reshape(
        len(rows), max(2, dimension)
    )
    return Batch(
        [row["id"] for row in rows],
        np.ascontiguousarray(vectors[:, :dimension]),
        [metadata_of(row) for row in rows],
    )


def metadata_of(row: Row) -> bytes | None:
    """The metadata of a row."""
    text: str = row["metadata"]
    return text.encode() if text else None


def same_row(one: Row, other: Row) -> bool:
    """Whether two rows hold the same vector, bit for bit, and the same metadata."""
    if one["metadata"] != other["metadata"]:
        return False
    left, right = (np.asarray(row["vector"], np.float32).tobytes() for row in (one, other))
    return left == right
