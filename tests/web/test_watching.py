"""What an operator sees: figures, log lines, and neither of them holding what is secret."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest

from stillhouse.web.logs import Forward, make_log
from stillhouse.web.options import ServeOptions
from tests.web.conftest import fill
from tests.web.live import BASE, Live, running


def figures(live: Live) -> dict[str, float]:
    """The scrape, by series."""
    text = live.ask("GET", "/metrics").body.decode()
    return {
        name: float(value)
        for name, value in re.findall(r"^([a-z_]+(?:\{.*\})?) (\S+)$", text, re.MULTILINE)
    }


def test_requests_are_counted_by_route_and_not_by_path(live: Live) -> None:
    """Ids, names and unknown paths make no series of their own."""
    for at in range(20):
        live.ask("GET", f"{BASE}/docs/items/secret-{at}")
        live.ask("GET", f"/scan/{at}")
        live.ask("PATCH", f"{BASE}/secret-{at}")
    live.ask("BREW".replace("BREW", "LINK"), "/livez")
    seen = figures(live)
    series = [name for name in seen if name.startswith("stillhouse_requests_total")]
    assert not [name for name in seen if "secret" in name or "scan" in name]
    assert len(series) <= 8
    route = f"{BASE}/{{name}}/items/{{id}}"
    assert seen[f'stillhouse_requests_total{{method="GET",route="{route}",status="404"}}'] == 20
    assert seen['stillhouse_requests_total{method="other",route="none",status="405"}'] == 21
    assert seen[f'stillhouse_request_seconds_count{{route="{route}"}}'] == 20


def test_what_is_done_is_counted(live: Live) -> None:
    """Items by what became of them, vectors searched, deletes, merges, and what there is."""
    live.ask("PUT", f"{BASE}/main", {"dimension": 3})
    live.post("docs/add", {"items": [{"id": "a", "vector": [1, 2, 3]}]})
    live.post("docs/search", {"vector": [1, 0, 0]})
    live.post("docs/search", {"vectors": [[1, 0, 0]] * 4})
    live.post("docs/search", {"vector": [1]})
    live.post("docs/delete", {"ids": ["a", "none"]})
    live.post("docs/merge", {"dest": "main"})
    seen = figures(live)
    assert seen['stillhouse_added_items_total{status="inserted"}'] == 3
    assert seen['stillhouse_added_items_total{status="replaced"}'] == 1
    assert seen["stillhouse_searched_vectors_total"] == 5
    assert seen["stillhouse_deleted_items_total"] == 1
    assert seen["stillhouse_merged_items_total"] == 2
    assert seen['stillhouse_index_items{index="main"}'] == 2
    assert seen["stillhouse_indexes"] == 2
    assert seen["stillhouse_store_writable"] == 1
    assert seen["stillhouse_requests_in_flight"] == 1  # the scrape itself


def test_every_request_is_one_line_of_the_log(live: Live) -> None:
    """Route, status, time and sizes under the request's id; no vector, id, key or body."""
    live.log.truncate(0)
    live.log.seek(0)
    headers = {"x-request-id": "mine-1", "api-key": "KEY-secret"}
    body = {"items": [{"id": "ID-secret", "vector": [0.125, 7, 9], "metadata": {"m": "META"}}]}
    live.ask("POST", f"{BASE}/docs/add", body, headers)
    live.ask("GET", f"{BASE}/docs/items/ID-secret?x=QUERY")
    live.ask("GET", "/livez?x=QUERY")
    lines = live.lines()
    assert [(line["route"], line["status"]) for line in lines] == [
        (f"{BASE}/{{name}}/add", 200),
        (f"{BASE}/{{name}}/items/{{id}}", 422),
        ("/livez", 200),
    ]
    assert lines[0]["request_id"] == "mine-1"
    assert lines[0]["bytes_in"] == len(json.dumps(body))
    assert lines[0]["bytes_out"] > 0
    assert lines[0]["ms"] > 0
    assert not re.search("secret|0.125|META|QUERY", live.log.getvalue())


def test_the_access_log_can_be_turned_off() -> None:
    """What fails is logged all the same."""
    with running(options=ServeOptions(access_log=False)) as live:
        fill(live)
        live.post("docs/add", {"items": 1})
        assert live.log.getvalue() == ""


def test_refused_requests_say_their_code_in_the_log(live: Live) -> None:
    """So that one can count what clients get wrong."""
    live.post("docs/search", {"vector": []})
    assert live.lines()[-1]["code"] == "invalid_request"


@pytest.mark.parametrize("words", [True, False])
def test_the_log_is_words_or_json(words: bool) -> None:
    """Exceptions come with their traceback in both."""
    stream = io.StringIO()
    log = make_log(stream, console=words)
    try:
        raise ValueError("why")
    except ValueError as error:
        log.error("failed", exc_info=error, request_id="r1")
    text = stream.getvalue()
    for word in ("failed", "r1", "ValueError", "why", "Traceback"):
        assert word in text
    if not words:
        line: dict[str, Any] = json.loads(text)
        assert line["level"] == "error"
        assert line["timestamp"].endswith("Z")


def test_uvicorn_speaks_through_our_log() -> None:
    """What it says of itself at the start and end is left out."""
    import logging

    stream = io.StringIO()
    forward = Forward(make_log(stream, console=False))
    for words in ("Started server process [1]", "Invalid HTTP request received."):
        forward.handle(logging.LogRecord("uvicorn.error", 30, "", 0, words, None, None))
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["message"] == "Invalid HTTP request received."
    assert json.loads(line)["level"] == "warning"
