"""The OpenAPI document as one HTML page: no script, no request, nothing to load from anywhere.

Everything is escaped here; the document's own text is the only input.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from html import escape
from typing import Any, Final

import msgspec

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: .2rem } h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line) }
code, pre { font: 14px/1.45 ui-monospace, monospace }
pre { background: var(--soft); padding: .6rem .8rem; overflow-x: auto; border-radius: 4px }
section { border: 1px solid var(--line); border-radius: 6px; margin: 1rem 0; padding: 0 1rem .6rem }
section h3 { margin: .7rem 0 .3rem } .method { display: inline-block; min-width: 4.2rem }
table { border-collapse: collapse; width: 100% }
td, th { border-bottom: 1px solid var(--line); padding: .25rem .5rem .25rem 0; text-align: left;
  vertical-align: top } nav a { display: block; text-decoration: none }
"""


def render(document: dict[str, Any]) -> str:
    """The page."""
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    schemas = document["components"]["schemas"]
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{escape(document['info']['title'])}</title><style>{_STYLE}</style>",
        f"<h1>{escape(document['info']['title'])}</h1>",
        f"<p>Version {escape(document['info']['version'])} · ",
        '<a href="/openapi.json">openapi.json</a></p>',
        *(f"<p>{_words(text)}</p>" for text in document["info"]["description"].split("\n\n")),
        "<nav>",
        *(
            f'<a href="#{operation["operationId"]}"><code><span class="method">{method}</span> '
            f"{escape(path)}</code></a>"
            for method, path, operation in operations
        ),
        "</nav><h2>Routes</h2>",
        *(_section(method, path, operation) for method, path, operation in operations),
        "<h2>Schemas</h2>",
        *(_schema(name, schema) for name, schema in schemas.items()),
        "</html>",
    ]
    return "\n".join(parts)


def _section(method: str, path: str, operation: dict[str, Any]) -> str:
    return "\n".join(
        [
            f'<section id="{operation["operationId"]}">',
            f'<h3><code><span class="method">{method}</span> {escape(path)}</code></h3>',
            f"<p>{_words(operation['summary'])}.</p>",
            *_parameters(operation["parameters"]),
            *_body(operation.get("requestBody")),
            f"<pre>{escape(_curl(method, path, operation))}</pre>",
            "<details><summary>Answers</summary><table>",
            *(
                f"<tr><td><code>{status}</code></td><td>{_words(answer['description'])}</td>"
                f"<td>{_answer_kind(answer)}</td></tr>"
                for status, answer in operation["responses"].items()
            ),
            "</table></details></section>",
        ]
    )


def _parameters(parameters: list[dict[str, Any]]) -> Iterator[str]:
    if not parameters:
        return
    yield "<table><tr><th>parameter</th><th>in</th><th>type</th><th></th></tr>"
    for one in parameters:
        yield (
            f"<tr><td><code>{escape(one['name'])}</code></td><td>{one['in']}</td>"
            f"<td>{_kind(one['schema'])}</td><td>{_words(one['description'])}</td></tr>"
        )
    yield "</table>"


def _body(body: dict[str, Any] | None) -> Iterator[str]:
    if body is not None:
        for media, content in body["content"].items():
            yield f"<p>Body: <code>{escape(media)}</code>, {_kind(content['schema'])}</p>"


def _answer_kind(answer: dict[str, Any]) -> str:
    return ", ".join(
        f"<code>{escape(media)}</code>: {_kind(content['schema'])}"
        for media, content in answer.get("content", {}).items()
    )


def _curl(method: str, path: str, operation: dict[str, Any]) -> str:
    words = ["curl", "-X", method, f"http://localhost:7700{path}"]
    body = operation.get("requestBody")
    if body is not None:
        example = msgspec.json.encode(body["content"]["application/json"]["example"]).decode()
        words += ["--json", example]
        words[1:3] = [] if method == "POST" else words[1:3]
    return shlex.join(words[:1] + words[3:] if method == "GET" else words)


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code></td><td>{_kind(kind)}</td>"
        f"<td>{'required' if field in required else _default(kind)}</td></tr>"
        for field, kind in schema.get("properties", {}).items()
    )
    return (
        f'<section id="{escape(name)}"><h3>{escape(name)}</h3>'
        f"<p>{_words(schema.get('description', ''))}</p><table>{rows}</table></section>"
    )


def _default(kind: dict[str, Any]) -> str:
    if "default" not in kind:
        return ""
    return f"default <code>{escape(msgspec.json.encode(kind['default']).decode())}</code>"


def _kind(schema: dict[str, Any]) -> str:
    """A schema in words, with links to what has a name."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"<code>{escape(str(one))}</code>" for one in schema["enum"])
    kind = str(schema.get("type", "any value"))
    if kind == "array" and isinstance(schema.get("items"), dict):
        return f"list of {_kind(schema['items'])}" if schema["items"] else "list"
    bounds = [f"at most {schema['maximum']}"] if "maximum" in schema else []
    return ", ".join([escape(kind), *bounds])


def _words(text: str) -> str:
    """Text with its `code` marked."""
    pieces = escape(text).split("`")
    return "".join(f"<code>{piece}</code>" if at % 2 else piece for at, piece in enumerate(pieces))
