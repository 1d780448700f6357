"""Writes what the documentation takes from the program: `make docs`.

`docs/cli.md` is written whole, from the commands. In other pages a table that stands behind
`<!-- generated: NAME -->` gets its rows from the code; words that people wrote in a table's
last column are kept by the row's first cell. With `--check` nothing is written, and the exit
code is 1 when a page is not as it would be. This script never touches what stands outside
such tables.
"""

from __future__ import annotations

import enum
import re
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from stillhouse import drift, receipts, records
from stillhouse.cli.app import commands
from stillhouse.drift import data, scorer
from stillhouse.drift.fields import FIELDS
from stillhouse.receipts import statement
from stillhouse.receipts.findings import WAYS_OUT
from stillhouse.redaction import KINDS
from stillhouse.rows import RawRow
from stillhouse.sources import SOURCES
from stillhouse.web import problems

ROOT = Path(__file__).resolve().parent.parent
ON_THE_WIRE = tuple(
    kind
    for module in (records, statement, drift, data, scorer)
    for kind in vars(module).values()
    if isinstance(kind, type)
)
STRUCTS: dict[str, type[msgspec.Struct]] = {
    kind.__name__: kind
    for kind in ON_THE_WIRE
    if issubclass(kind, records.Record) and kind is not records.Record
}
"""Every on-wire record by name."""

VOCABULARIES = {
    get_args(named): name
    for name, named in (
        ("category", records.Category),
        ("role", records.ModelRole),
        ("chat role", records.ChatRole),
        ("observer verdict", records.ObserverVerdict),
        ("decision", records.OverrideDecision),
    )
}
assert receipts.Receipt is STRUCTS["Receipt"]

# ------------------------------------------------------------------------------- tables


def kind_words(kind: Any) -> str:
    """A Python type as JSON people say it."""
    origin, inside = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        return " or ".join(_alternatives(inside))
    if origin is Literal:
        return VOCABULARIES.get(inside) or " or ".join(f'`"{word}"`' for word in inside)
    if origin is list:
        return f"list of {kind_words(inside[0])}"
    if origin is dict:
        return f"object of {kind_words(inside[1])}"
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return f"[{kind.__name__}](#{kind.__name__.lower()})"
    names = {str: "string", bool: "boolean", int: "integer", float: "number", Any: "any value"}
    return names[kind]


def _alternatives(kinds: tuple[Any, ...]) -> Iterator[str]:
    """The alternatives of a union, null last."""
    yield from (kind_words(kind) for kind in kinds if kind is not types.NoneType)
    if types.NoneType in kinds:
        yield "null"


def field_rows(kind: type[msgspec.Struct]) -> list[list[str]]:
    """One row a field: name, type, and what stands for it when it is missing."""
    rows = []
    for field in msgspec.structs.fields(kind):
        default = field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        if isinstance(default, msgspec.Struct):
            default = {}
        missing = "required" if field.required else f"`{msgspec.json.encode(default).decode()}`"
        rows.append([f"`{field.encode_name}`", kind_words(field.type), missing])
    return rows


def vocabulary_rows() -> list[list[str]]:
    """One row a vocabulary."""
    return [
        [name, ", ".join(f"`{word}`" for word in words)] for words, name in VOCABULARIES.items()
    ]


def secret_rows() -> list[list[str]]:
    """One row a kind of secret."""
    return [[f"`{name}`", kind.about, kind.source] for name, kind in KINDS.items()]


def source_rows() -> list[list[str]]:
    """One row a source: stem, class, own fields."""
    common = {field.encode_name for field in msgspec.structs.fields(RawRow)}
    rows = []
    for stem, source in SOURCES.items():
        own = [field.encode_name for field in msgspec.structs.fields(source.raw)]
        words = ", ".join(f"`{name}`" for name in own if name not in common)
        rows.append([f"`{stem}`", source.source_class, words])
    return rows


def finding_rows() -> list[list[str]]:
    """One row a kind of finding: what helps."""
    return [[f"`{kind}`", way_out] for kind, way_out in WAYS_OUT.items()]


def drift_field_rows() -> list[list[str]]:
    """One row a field whose drift can be asked."""
    return [[f"`{name}`", str(field.kind), field.origin] for name, field in FIELDS.items()]


def problem_rows() -> list[list[str]]:
    """One row a code of problem details."""
    return [[f"`{code}`", str(status), title] for code, (status, title) in problems.CODES.items()]


TABLES: dict[str, tuple[tuple[str, ...], Callable[[], list[list[str]]]]] = {
    "vocabularies": (("name", "words"), vocabulary_rows),
    "findings": (("problem", "what helps", "means"), finding_rows),
    "kinds of secrets": (("kind", "what it is", "whose format"), secret_rows),
    "problem codes": (("code", "status", "title", "what to do"), problem_rows),
    "fields of drift": (("field", "kind", "where it stands in the evidence"), drift_field_rows),
    "sources": (("stem", "class", "own fields", "what decides"), source_rows),
}


def table(name: str, old: str) -> str:
    """A generated table; ``old`` is the one that stands there, for the words that are kept."""
    if name in STRUCTS:
        head: tuple[str, ...] = ("field", "type", "when missing", "meaning")
        rows = field_rows(STRUCTS[name])
    elif name in TABLES:
        head, rows = TABLES[name][0], TABLES[name][1]()
    else:
        raise SystemExit(f"nothing is called {name!r}")
    kept: dict[str, str] = {}
    for line in old.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        kept[cells[0]] = cells[-1]
    lines = [f"| {' | '.join(head)} |", f"| {' | '.join('---' for _ in head)} |"]
    for row in rows:
        if len(row) < len(head):
            row = [*row, kept.get(row[0], "")]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


_MARKED = re.compile(r"(?P<mark><!-- generated: (?P<name>.+?) -->\n\n)(?P<table>(?:\|.*\n)*)")


def refreshed(text: str) -> str:
    """A page with its generated tables written anew."""
    return _MARKED.sub(lambda found: found["mark"] + table(found["name"], found["table"]), text)


# ----------------------------------------------------------------------------- commands


def cli_page() -> str:
    """The page of the commands."""
    lines = [
        "# The commands",
        "",
        "Written by `make docs` from the program; `stillhouse COMMAND --help` says the same.",
        "Exit codes: 0 done, 1 the data falls short, 2 the command or an option is off, 3 an error",
        "(one line that says what, where, and the way out). Tables go to stderr; `--json` prints",
        "one JSON document on stdout and nothing else there.",
        "",
        "| command | does |",
        "| --- | --- |",
    ]
    every = commands()
    for name, command in every.items():
        first = command.help.partition("\n")[0]
        anchor = f"#stillhouse-{name.replace(' ', '-')}"
        lines.append(f"| [`stillhouse {name}`]({anchor}) | {_plain(first)} |")
    for name, command in every.items():
        lines += ["", *_command_lines(name, command)]
    return "\n".join(lines) + "\n"


def _command_lines(name: str, command: Any) -> Iterator[str]:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option"]
    pieces = [_argument(param) for param in arguments]
    yield f"## stillhouse {name}"
    yield ""
    yield f"    stillhouse {name} {' '.join([*pieces, '[OPTIONS]'])}"
    yield ""
    yield _plain(command.help)
    yield ""
    if example := (command.epilog or "").removeprefix("Example: "):
        yield "Example:"
        yield ""
        yield f"    {example}"
        yield ""
    yield "| argument or option | values | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for param in [*arguments, *options]:
        label = param.metavar or param.name if param in arguments else ", ".join(param.opts)
        cells = (f"`{label}`", _values(param), _default(param), _plain(param.help))
        yield f"| {' | '.join(cells)} |"


def _argument(param: Any) -> str:
    label = str(param.metavar or param.name)
    return label if param.required else f"[{label}]"


def _values(param: Any) -> str:
    kind = param.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return ", ".join(f"`{member.value}`" for member in kind)
    if getattr(param, "is_flag", False):
        return "flag"
    if get_origin(kind) is list:
        (kind,) = get_args(kind)
    names = {"str": "text", "int": "number", "float": "number", "Path": "path"}
    words = names[kind.__name__]
    return f"{words} of {param.min} or more" if param.min is not None else words


def _default(param: Any) -> str:
    if param.required:
        return "required"
    if param.default is None or param.default is False:
        return ""
    return f"`{getattr(param.default, 'value', param.default)}`"


def _plain(words: str | None) -> str:
    """Help without its markup."""
    return (words or "").replace("\\[", "[")


# --------------------------------------------------------------------------------- main


def pages() -> dict[Path, str]:
    """Every page with generated parts, as it should be."""
    out = {ROOT / "docs" / "cli.md": cli_page()}
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        if path not in out and "<!-- generated: " in (text := path.read_text(encoding="utf-8")):
            out[path] = refreshed(text)
    return out


def main(arguments: list[str]) -> int:
    """Write the pages, or with ``--check`` name those that are stale."""
    stale = [
        path
        for path, text in pages().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        print(f"{path.relative_to(ROOT)}: {'is stale' if '--check' in arguments else 'written'}")
        if "--check" not in arguments:
            path.write_text(pages()[path], encoding="utf-8")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
