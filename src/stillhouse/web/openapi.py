"""The OpenAPI document and its page, made of the table of routes and the very types that bodies
are decoded into, so that it cannot say anything else than the service does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from stillhouse import __version__
from stillhouse.vectors import Limits
from stillhouse.web import page
from stillhouse.web.calls import Call, Reply
from stillhouse.web.problems import CODES, Problem
from stillhouse.web.routes import Query, Route
from stillhouse.web.service import Service

Schema = dict[str, Any]

_ALWAYS: Final = ("method_not_allowed", "internal", "busy", "timeout", "storage_failed")
_GUARDED: Final = ("unauthorized", "foreign_origin", "misdirected")
_BODIED: Final = (
    "malformed_json", "request_timeout", "body_too_large", "unsupported_media_type",
)  # fmt: skip
_ABOUT: Final = """Named vector indexes: durable adds, fast search, exact merges.

Vectors are lists of JSON numbers, or `{"base64": "…"}` of little-endian float32. Every error is a
problem document (RFC 9457) with a stable `code`. Where the service was started with keys, send
one as `Authorization: Bearer KEY` or `api-key: KEY`."""
_PAGE_HEADERS: Final = (
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


def routes(known: tuple[Route, ...], limits: Limits) -> tuple[Route, ...]:
    """The routes that show the document: they hold nothing of the data and need no key."""
    made: list[bytes] = []

    async def show(service: Service, call: Call) -> Reply:
        """GET /openapi.json"""
        return Reply(200, made[0])

    async def show_page(service: Service, call: Call) -> Reply:
        """GET /docs"""
        return Reply(200, made[1], b"text/html; charset=utf-8", _PAGE_HEADERS)

    own = (
        Route(
            "GET",
            "/openapi.json",
            show,
            "This document",
            {200: (dict[str, Any], "OpenAPI 3.1.")},
            open=True,
        ),
        Route(
            "GET",
            "/docs",
            show_page,
            "This document as a page",
            {200: (str, "HTML without scripts: it loads nothing.")},
            open=True,
        ),
    )
    whole = document((*known, *own), limits)
    made += [msgspec.json.encode(whole), page.render(whole).encode()]
    return own


def document(known: Iterable[Route], limits: Limits) -> Schema:
    """The whole document, with the limits that are in force."""
    listed = tuple(known)
    kinds = [kind for route in listed for kind in _kinds(route)]
    schemas, components = msgspec.json.schema_components(
        [*kinds, Problem], ref_template="#/components/schemas/{name}"
    )
    found = dict(zip(map(_key, [*kinds, Problem]), schemas, strict=True))
    paths: dict[str, Schema] = {}
    for route in listed:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, found, limits)
    _bounded(components, limits)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Stillhouse vectors", "version": __version__, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "api-key"},
            },
        },
    }


def _kinds(route: Route) -> list[Any]:
    answers = [one for kind, _ in route.answers.values() for one in _each(kind)]
    return answers if route.body is None else [route.body, *answers]


def _each(kind: Any) -> tuple[Any, ...]:
    if kind is None:
        return ()
    return kind if isinstance(kind, tuple) else (kind,)


def _key(kind: Any) -> str:
    return repr(kind)


def _operation(route: Route, found: dict[str, Schema], limits: Limits) -> Schema:
    operation: Schema = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        "summary": route.about,
        "tags": ["vectors" if route.path.startswith("/v1/") else "operator"],
        "parameters": [
            *_path_parameters(route, limits),
            *map(_query_parameter(limits), route.query),
        ],
        "responses": {**_answers(route, found), **_problems(route)},
        "security": [] if route.open else [{"bearer": []}, {"apiKey": []}, {}],
    }
    if route.body is not None:
        content: Schema = {
            "application/json": {
                "schema": found[_key(route.body)],
                "example": msgspec.json.decode(route.example),
            }
        }
        if route.raw:
            content["application/octet-stream"] = {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "description": "Vectors of little-endian float32, end to end.",
                }
            }
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _answers(route: Route, found: dict[str, Schema]) -> Schema:
    out: Schema = {}
    for status, (kind, about) in route.answers.items():
        answer: Schema = {"description": about, "headers": _REQUEST_ID}
        if kind is not None:
            media = {"/metrics": "text/plain", "/docs": "text/html"}.get(
                route.path, "application/json"
            )
            schemas = [found[_key(one)] for one in _each(kind)]
            whole = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
            answer["content"] = {media: {"schema": whole}}
        out[str(status)] = answer
    return out


_REQUEST_ID: Final = {
    "X-Request-Id": {
        "description": "Yours where it is a sane token, else made; the log has it.",
        "schema": {"type": "string"},
    }
}


def _problems(route: Route) -> Schema:
    codes = [*route.codes, *_ALWAYS, *_GUARDED]
    if route.path.startswith("/v1/"):
        codes += ["invalid_request", "damaged", "disk_full"]
    if route.body is not None:
        codes += _BODIED
    by_status: dict[int, list[str]] = {}
    for code in sorted(set(codes)):
        by_status.setdefault(CODES[code][0], []).append(code)
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        str(status): {
            "description": "; ".join(f"`{code}`: {CODES[code][1]}" for code in of),
            "content": content,
        }
        for status, of in sorted(by_status.items())
    }


def _path_parameters(route: Route, limits: Limits) -> list[Schema]:
    named = {
        "id": ("An item's id", limits.id_bytes),
        "snapshot": ("A snapshot's id, as the list has it", limits.id_bytes),
    }
    out = []
    for name in re.findall(r"\{(\w+)\}", route.path):
        about, most = named.get(name, ("An index's name", limits.name_bytes))
        out.append(
            {
                "name": name,
                "in": "path",
                "required": True,
                "description": f"{about}: no slash, no control character, not `.` or `..`; "
                f"at most {most} bytes of UTF-8.",
                "schema": {"type": "string", "minLength": 1, "maxLength": most},
            }
        )
    return out


def _query_parameter(limits: Limits) -> Any:
    most = {"k": limits.k, "ef": limits.ef, "limit": limits.page}

    def parameter(query: Query) -> Schema:
        schema: Schema = {"type": query.kind}
        if query.name in most:
            schema |= {"minimum": 1, "maximum": most[query.name]}
        return {"name": query.name, "in": "query", "description": query.about, "schema": schema}

    return parameter


def _bounded(components: Schema, limits: Limits) -> None:
    """Put the limits into the schemas of requests: the checks hold them, the types do not."""
    counts = {
        ("CreateBody", "dimension"): limits.dimension,
        ("SearchBody", "k"): limits.k,
        ("SearchBody", "ef"): limits.ef,
    }
    for (kind, field), most in counts.items():
        schema = components[kind]["properties"][field]
        for one in schema.get("anyOf", [schema]):
            if one.get("type") == "integer":
                one |= {"minimum": 1, "maximum": most}
    components["CreateBody"]["properties"]["metric"]["enum"] = ["cosine", "ip", "l2"]
    components["AddBody"]["properties"]["items"]["maxItems"] = limits.batch_items
    components["DeleteBody"]["properties"]["ids"]["maxItems"] = limits.batch_items
    components["SearchBody"]["properties"]["include"]["items"]["enum"] = ["metadata", "vector"]
    components["ItemBody"]["properties"]["id"] |= {"minLength": 1, "maxLength": limits.id_bytes}
    components["SearchBody"]["oneOf"] = [{"required": ["vector"]}, {"required": ["vectors"]}]
    components["DeleteBody"]["oneOf"] = [{"required": ["ids"]}, {"required": ["filter"]}]
