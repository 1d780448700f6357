"""The command that writes the report."""

from __future__ import annotations

import os
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import quote

import typer

from stillhouse import config
from stillhouse.cli import output
from stillhouse.cli.options import Json, Lake
from stillhouse.cli.tables import no_logs
from stillhouse.errors import UsageError
from stillhouse.interfaces import Store
from stillhouse.report import gather_facts
from stillhouse.storage import open_store

REPORT: Final = "reports/report.html"

_NEEDED: Final = ("altair", "jinja2", "vl_convert")
_REPORTS: Final = "reports"


Out = Annotated[
    str | None,
    typer.Option(
        "--out",
        "-o",
        metavar="FILE",
        help=f"Where to write the page; - is stdout (default: {REPORT} in the lake).",
    ),
]
PageTime = Annotated[
    str | None,
    typer.Option(
        "--recorded-at",
        metavar="TIME",
        help="Time that stands on the page (ISO 8601; default: now). The same time and lake "
        "give the same bytes.",
    ),
]


def report(lake: Lake, out: Out = None, recorded_at: PageTime = None, json: Json = False) -> int:
    """One HTML page: is the lake fit to train on, what changed, what needs a human.

    It loads nothing and holds no script. With --json the facts are printed and no page is written.
    Exit code 1 when nothing has been read into the lake yet.
    """
    if json and out is not None:
        raise UsageError("--json prints the facts and writes no page", way_out="Leave -o out.")
    if not json:
        _check_extra()
    store = open_store(lake)
    folder, name = _place(store, out)
    facts = gather_facts(store, config.check_recorded_at(recorded_at), config.version())
    if facts is None:
        start = f"nothing has been read yet; start with `stillhouse run {shlex.quote(lake)}`"
        output.say(no_logs(store) or start)
        return 1
    if json:
        output.emit(facts)
        return 0
    # Slow to import, and an extra: who wants the facts alone needs none of it.
    from stillhouse.report.page import render_page

    page = render_page(facts, _link_base(store, folder)).encode()
    if folder is None:
        output.emit_bytes(page)
        return 0
    with folder.writer(name) as sink:
        sink.write(page)
    output.say(f"{facts.verdict.words} Read {folder.url.rstrip('/')}/{name}")
    return 0


def _check_extra() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the report needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} "
            "not installed",
            way_out="Install it with: python -m pip install 'stillhouse[report]'. The facts alone, "
            "with --json, need nothing more.",
        )


def _place(store: Store, out: str | None) -> tuple[Store | None, str]:
    """The store to write to, and the page's path in it; no store for stdout."""
    if out is None:
        return store, REPORT
    if out == "-":
        return None, ""
    parent, slash, name = out.rpartition("/")
    if not name:
        raise UsageError(f"-o {out!r} names no file", way_out="Give it a name like report.html.")
    if "://" not in out:
        folder = Path(parent or slash or ".")
        if not folder.is_dir():
            raise UsageError(f"-o: there is no folder {str(folder)!r}", way_out="Make it first.")
        _check_outside(store, folder)
    return open_store(parent or slash or "."), name


def _check_outside(store: Store, folder: Path) -> None:
    """A page must not take the place of what the lake is made of."""
    root = store.local_path(_REPORTS)
    if root is None or not folder.resolve().is_relative_to(root.parent.resolve()):
        return
    inside = folder.resolve().relative_to(root.parent.resolve()).parts
    if inside and inside[0] != _REPORTS:
        raise UsageError(
            f"-o would write among the lake's own files ({inside[0]}/)",
            way_out="Leave -o out, or name a file elsewhere.",
        )


def _link_base(store: Store, folder: Store | None) -> str | None:
    """The relative URL from the page's folder to the lake's root, where there is one."""
    if folder is store:
        return "../"
    if folder is None:
        return None
    here, root = folder.local_path("x"), store.local_path("x")
    if here is None or root is None:
        return None
    way = os.path.relpath(root.parent.resolve(), here.parent.resolve())
    return f"{quote(way)}/"
