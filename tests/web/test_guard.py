"""Who may ask: keys, their file, and what keeps web pages out where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from stillhouse.errors import UsageError
from stillhouse.web import guard, server
from stillhouse.web.calls import Call
from stillhouse.web.logs import make_log
from stillhouse.web.problems import Denial
from tests.web.live import BASE, Live, running

KEY = "key-one-4f1c"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A file with two keys."""
    path = tmp_path / "keys"
    path.write_text(f"# ours\n\n{KEY}\n  key-two  \n")
    path.chmod(0o600)
    return path


def call(**headers: str) -> Call:
    """A request with these headers."""
    return Call(
        {
            "method": "GET",
            "raw_path": b"/",
            "query_string": b"",
            "headers": [
                (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
            ],
        }
    )


def refused(who: guard.Guard, **headers: str) -> str:
    """The code of the refusal; empty when the request gets in."""
    try:
        who.admit(call(**headers))
    except Denial as error:
        return error.code
    return ""


def no_words(event: str, words: str) -> None:
    raise AssertionError(f"{event}: {words}")


# ---------------------------------------------------------------------------------- keys


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"authorization": f"Bearer {KEY}"}, ""),
        ({"authorization": f"bearer   {KEY} "}, ""),
        ({"api_key": KEY}, ""),
        ({"api_key": "key-two"}, ""),
        ({}, "unauthorized"),
        ({"api_key": ""}, "unauthorized"),
        ({"api_key": KEY[:-1]}, "unauthorized"),
        ({"api_key": f"{KEY}x"}, "unauthorized"),
        ({"api_key": KEY.upper()}, "unauthorized"),
        ({"api_key": "# ours"}, "unauthorized"),
        ({"authorization": f"Basic {KEY}"}, "unauthorized"),
        ({"authorization": KEY}, "unauthorized"),
        ({"authorization": "Bearer "}, "unauthorized"),
        ({"authorization": "Bearer wrong", "api_key": KEY}, "unauthorized"),
    ],
)
def test_a_key_is_one_of_the_file(keys: Path, headers: dict[str, str], code: str) -> None:
    """Either header, any line; nothing near it, and no comment."""
    assert refused(guard.Keys(keys, no_words), **headers) == code


def test_the_last_key_counts_as_the_first(tmp_path: Path) -> None:
    """Every key of many is compared."""
    path = tmp_path / "keys"
    path.write_text("".join(f"key-{at}\n" for at in range(50)))
    path.chmod(0o600)
    who = guard.Keys(path, no_words)
    assert not [at for at in range(50) if refused(who, api_key=f"key-{at}")]


def test_keys_are_needed_everywhere_but_for_the_operator_s_probes(keys: Path) -> None:
    """Also on loopback; unknown routes say no more than known ones; the document is open."""
    with running(keys=keys) as live:
        for path in (BASE, f"{BASE}/docs", "/metrics", "/nothing", f"{BASE}/docs/nothing"):
            for method in ("GET", "OPTIONS", "PATCH"):
                answer = live.ask(method, path)
                assert (answer.status, answer.code) == (401, "unauthorized")
                assert answer.headers["www-authenticate"] == 'Bearer realm="stillhouse"'
        for path in ("/livez", "/readyz", "/docs", "/openapi.json"):
            assert live.ask("GET", path).status == 200
        with_key = {"authorization": f"Bearer {KEY}", "host": "vectors.example"}
        assert live.ask("GET", BASE, headers=with_key).status == 200
        assert live.ask("GET", "/metrics", headers=with_key).status == 200
        assert live.ask("GET", "/nothing", headers=with_key).code == "not_found"
        assert KEY not in live.log.getvalue()


def test_a_refused_request_changes_nothing(keys: Path) -> None:
    """Without the key no body is even read."""
    with running(keys=keys) as live:
        assert live.ask("PUT", f"{BASE}/x", {"dimension": 3}).status == 401
        assert live.ask("PUT", f"{BASE}/x", b"{" * 9_000_000).status == 401
        assert live.store.indexes() == []


def aged(who: guard.Keys) -> guard.Keys:
    """The same, its file due to be looked at."""
    who._next = 0.0
    return who


def test_keys_are_read_again_when_the_file_changes(keys: Path) -> None:
    """A key that is taken out stops, a new one works; while nothing changes nothing is read."""
    told: list[str] = []
    who = guard.Keys(keys, lambda event, words: told.append(event))
    assert refused(aged(who), api_key=KEY) == ""
    assert told == []
    new = keys.with_name("new")
    new.write_text("fresh\n")
    new.chmod(0o600)
    new.replace(keys)
    assert refused(who, api_key=KEY) == ""  # not looked at yet
    assert refused(aged(who), api_key=KEY) == "unauthorized"
    assert refused(who, api_key="fresh") == ""
    assert told == ["keys_read"]


def test_a_file_that_has_become_unusable_leaves_the_old_keys(keys: Path) -> None:
    """Empty, broken or gone: the old keys stay in force, it is told once, and the next good
    file counts."""
    told: list[str] = []
    who = guard.Keys(keys, lambda event, words: told.append(event))
    keys.write_text("# nothing\n")
    for _ in range(3):
        assert refused(aged(who), api_key=KEY) == ""
    assert told == ["keys_unusable"]
    keys.unlink()
    for _ in range(3):
        assert refused(aged(who), api_key=KEY) == ""
    assert told == ["keys_unusable"] * 2
    keys.write_text("back\n")
    keys.chmod(0o600)
    assert refused(aged(who), api_key="back") == ""
    assert refused(who, api_key=KEY) == "unauthorized"
    assert told[0] == "keys_unusable"
    assert told[-1] == "keys_read"


@pytest.mark.parametrize(
    "text", ["", "\n\n", "# only\n", "two words\n", "käy\n", "tab\tkey\n", "nul\0\n"]
)
def test_a_file_without_a_usable_key_is_refused(tmp_path: Path, text: str) -> None:
    """Empty, or with a key that no header can carry."""
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(UsageError, match="--api-key-file"):
        guard.Keys(path, lambda event, words: None)


def test_a_missing_file_of_keys_is_refused(tmp_path: Path) -> None:
    """One clear line."""
    with pytest.raises(UsageError, match="No such file"):
        guard.Keys(tmp_path / "none", no_words)


@pytest.mark.parametrize(("mode", "told"), [(0o600, 0), (0o640, 0), (0o604, 1), (0o602, 1)])
def test_a_file_that_all_may_read_is_told_of(keys: Path, mode: int, told: int) -> None:
    """A secret that every user of the machine can read or write is none."""
    keys.chmod(mode)
    events: list[str] = []
    guard.Keys(keys, lambda event, words: events.append(event))
    assert events == ["keys_exposed"] * told


# ------------------------------------------------------------------------------ loopback


@pytest.mark.parametrize(
    ("host", "code"),
    [
        ("localhost", ""), ("LOCALHOST:7700", ""), ("127.0.0.1:7700", ""), ("127.9.9.9", ""),
        ("[::1]:7700", ""), ("[::1]", ""),
        ("", "misdirected"), ("evil.example", "misdirected"), ("evil.example:7700", "misdirected"),
        ("localhost.evil.example", "misdirected"), ("127.0.0.1.evil.example", "misdirected"),
        ("10.0.0.1", "misdirected"), ("[::2]", "misdirected"), ("localhost:x", "misdirected"),
        ("evil.example:80@localhost", "misdirected"), ("0.0.0.0", "misdirected"),
    ],
)  # fmt: skip
def test_without_keys_only_this_machine_s_names_are_answered(host: str, code: str) -> None:
    """A page that reaches loopback under its own name (DNS rebinding) is refused."""
    assert refused(guard.Loopback(), host=host) == code


@pytest.mark.parametrize(
    ("origin", "code"),
    [
        ("http://localhost:7700", ""), ("http://evil.example", "foreign_origin"),
        ("null", "foreign_origin"), ("http://localhost:3000", "foreign_origin"),
        ("", "foreign_origin"),
    ],
)  # fmt: skip
def test_without_keys_pages_of_other_origins_may_not_ask(origin: str, code: str) -> None:
    """Another origin is also another port of this machine."""
    assert refused(guard.Loopback(), host="localhost:7700", origin=origin) == code


def test_without_keys_the_probes_look_at_the_name_too(shared: Live) -> None:
    """No route is open to a rebound name, and the answer is a problem."""
    for path in ("/livez", "/docs", "/nothing", BASE):
        answer = shared.ask("GET", path, headers={"host": "evil.example"})
        assert (answer.status, answer.code) == (421, "misdirected")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "vectors.example"])
def test_listening_elsewhere_wants_keys(host: str, keys: Path) -> None:
    """Refused in one line; with keys it is allowed."""
    with pytest.raises(UsageError, match="there are no keys"):
        server.make_guard(host, None, make_log())
    assert isinstance(server.make_guard(host, keys, make_log()), guard.Keys)
