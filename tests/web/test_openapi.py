"""The OpenAPI document says what the service does: table, types, and a fuzzer against it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stillhouse.vectors import Limits
from stillhouse.web import openapi
from stillhouse.web.problems import CODES
from stillhouse.web.routes import ROUTES, Route
from tests.web.conftest import fill
from tests.web.live import Live, running

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: E402

EXAMPLES = 10
"""Made-up requests for each route, good ones and bad ones."""


@pytest.fixture(scope="module")
def document(shared: Live) -> Any:
    return shared.ask("GET", "/openapi.json").json


def test_every_route_stands_in_the_document(document: Any) -> None:
    """With its answers, and problems of its own codes."""
    told = {
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    }
    assert told == {(route.method, route.path) for route in ROUTES} | {
        ("GET", "/openapi.json"),
        ("GET", "/docs"),
    }
    for route in ROUTES:
        operation = document["paths"][route.path][route.method.lower()]
        statuses = {str(CODES[code][0]) for code in route.codes} | set(map(str, route.answers))
        assert statuses <= set(operation["responses"])
        assert ("requestBody" in operation) == (route.body is not None)


def test_every_reference_leads_somewhere(document: Any) -> None:
    """And every schema is used."""
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert named == set(document["components"]["schemas"])


def test_examples_are_what_the_routes_take() -> None:
    """Each example of a body decodes into the body's own type."""
    for route in ROUTES:
        if route.body is not None:
            msgspec.json.decode(route.example, type=route.body)


def test_only_open_routes_need_no_key(document: Any) -> None:
    """As the guard has it."""
    openly = {
        path
        for path, methods in document["paths"].items()
        for operation in methods.values()
        if not operation["security"]
    }
    assert openly == {"/livez", "/readyz", "/docs", "/openapi.json"}


def test_limits_stand_in_the_document() -> None:
    """Those in force, not the defaults."""
    made = openapi.document(ROUTES, Limits(k=7, dimension=9, batch_items=3, page=5))
    schemas = made["components"]["schemas"]
    assert schemas["SearchBody"]["properties"]["k"]["maximum"] == 7
    assert schemas["CreateBody"]["properties"]["dimension"]["maximum"] == 9
    assert schemas["AddBody"]["properties"]["items"]["maxItems"] == 3
    (limit,) = (
        one
        for one in made["paths"]["/v1/vectors/index/{name}/ids"]["get"]["parameters"]
        if one["name"] == "limit"
    )
    assert limit["schema"]["maximum"] == 5


class _Page(HTMLParser):
    """What a page would load, where it links to, and what it has."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loads: list[str] = []
        self.links: set[str] = set()
        self.ids: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "data", "action") or (name, tag) == ("href", "link"):
                self.loads.append(str(value))
            if name == "href":
                self.links.add(str(value))
            if name == "id":
                self.ids.add(str(value))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_but_itself(shared: Live, document: Any) -> None:
    """No script, nothing loaded, every link within; every route and schema is on it."""
    answer = shared.ask("GET", "/docs")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    page = _Page()
    page.feed(answer.body.decode())
    assert not page.tags & {"script", "iframe", "img", "link", "object", "form"}
    assert not page.loads
    assert {link for link in page.links if not link.startswith("#")} == {"/openapi.json"}
    assert {link[1:] for link in page.links if link.startswith("#")} <= page.ids
    assert set(document["components"]["schemas"]) <= page.ids
    for path in document["paths"]:
        assert path in page.text


# ------------------------------------------------------------------------------- fuzzing


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A service that a fuzzer may do with as it likes."""
    place = tmp_path_factory.mktemp("snapshots")
    with running(limits=Limits(request_seconds=5), snapshots=place) as live:
        fill(live)
        yield live


@pytest.fixture(scope="module")
def api(fuzzed: Live) -> Any:
    return schemathesis.openapi.from_url(f"{fuzzed.url}/openapi.json")


def _fuzzable() -> Iterator[Any]:
    """Every route with good requests, and with bad ones where anything can be bad."""
    for route in ROUTES:
        for mode in schemathesis.GenerationMode:
            if mode.value == "positive" or route.body or "{" in route.path:
                yield pytest.param(route, mode, id=f"{route.method} {route.path} {mode.value}")


@pytest.mark.parametrize(("route", "mode"), list(_fuzzable()))
def test_a_fuzzer_finds_nothing(route: Route, mode: Any, api: Any, fuzzed: Live) -> None:
    """Made-up requests, good and bad, are answered as the document says, and never with 500."""

    @given(api[route.path][route.method].as_strategy(generation_mode=mode), st.booleans())
    @settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
    def check(case: Any, there: bool) -> None:
        if there and mode.value == "positive":
            case.path_parameters |= {
                name: "docs" for name in ("name", "src") if name in case.path_parameters
            }
        # No schema can say that a vector has its index's dimension or a name so many bytes.
        case.call_and_validate(timeout=20, excluded_checks=[positive_data_acceptance])

    check()
    if fuzzed.ask("GET", "/v1/vectors/index/docs").status == 404:
        fill(fuzzed)
    assert fuzzed.ask("GET", "/readyz").status == 200
