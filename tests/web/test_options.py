"""Options in the query string: each that a route does not know is refused, so that none is
silently ignored."""

from __future__ import annotations

from typing import Any

import pytest

from tests.web.live import BASE, Live, content, floats

ONE = [1, 0, 0]
ITEM = {"items": [{"id": "new", "vector": ONE}]}


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("GET", "?limit=3", None, "limit"),
        ("PUT", "/new?dimension=4", {"dimension": 3}, "dimension"),
        ("GET", "/docs?verbose=1", None, "verbose"),
        ("DELETE", "/docs?dry_run=true", None, "dry_run"),
        ("POST", "/docs/add?wait=true", ITEM, "wait"),
        ("POST", "/docs/search?k=3", {"vector": ONE}, "k"),
        ("POST", "/docs/search?limit=3", {"vectors": [ONE]}, "limit"),
        ("GET", "/docs/items/a?include=vector", None, "include"),
        ("DELETE", "/docs/items/a?dry_run=true", None, "dry_run"),
        ("POST", "/docs/delete?dry_run=true", {"ids": ["a"]}, "dry_run"),
        ("POST", "/docs/count?filter=%7B%7D", {}, "filter"),
        ("GET", "/docs/ids?limit=1&limit=2", None, "limit"),
        ("POST", "/docs/merge?clear_source=true", {"dest": "main"}, "clear_source"),
        ("POST", "/docs/snapshot?name=x", {}, "name"),
        ("GET", "/docs/snapshot?latest=1", None, "latest"),
        ("DELETE", "/docs/snapshot/latest?dry_run=1", None, "dry_run"),
        ("POST", "/docs/restore?replace=true", {"snapshot": "latest"}, "replace"),
    ],
)
def test_an_option_that_is_not_known_is_refused(
    shared: Live, method: str, path: str, body: Any, field: str
) -> None:
    """422 with its name, and nothing is done."""
    before = content(shared.store)
    answer = shared.ask(method, BASE + path, body)
    assert (answer.status, answer.code, answer.fields) == (422, "invalid_request", [field])
    assert content(shared.store) == before


def test_probes_may_say_what_they_like(shared: Live) -> None:
    """A load balancer that adds something of its own takes no service for dead."""
    assert shared.ask("GET", "/livez?at=7").status == 200
    raw = {"content-type": "application/octet-stream"}
    path = f"{BASE}/docs/search?k=1&include=&ef=5&filter=%7B%7D"
    assert shared.ask("POST", path, floats(*ONE), raw).status == 200
