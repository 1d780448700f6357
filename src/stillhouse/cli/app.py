"""The program: its commands in the order of use, and how errors end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from stillhouse import __version__
from stillhouse.cli import (
    accept,
    audit,
    baselines,
    demo,
    distil,
    drift,
    look,
    output,
    replay,
    report,
    serve,
    signing,
    vectors,
    vectors_add,
    vectors_keep,
)
from stillhouse.errors import StillhouseError
from stillhouse.storage.paths import disk_error


def _bare_flags(params: list[Any]) -> list[Any]:
    """Parameters of which flags take no value, so that help names none."""
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


class _Program(TyperGroup):
    """The commands together."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _bare_flags(super().get_params(ctx))


app = typer.Typer(
    cls=_Program,
    name="stillhouse",
    help="Turn the logs that LLM agents leave behind into training data that can be trusted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


STOPPED: Final = 130
"""The exit code of what Ctrl-C ended, as shells have it."""


def _version(wanted: bool) -> None:
    if wanted:
        print(f"stillhouse {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Turn the logs that LLM agents leave behind into training data that can be trusted.

    Start with `stillhouse demo lake`, then `stillhouse run lake`, then look at
    lake/distilled. A lake is a folder with run logs in `_kb/<stem>.jsonl`, or an
    `s3://bucket/prefix` URL.
    """


class _Command(TyperCommand):
    """A command whose usage line names its arguments as its help and its errors do."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def get_params(self, ctx: Any) -> list[Any]:
        return _bare_flags(super().get_params(ctx))


_GROUPS: Final[dict[str, str]] = {
    "baselines": "The figures of earlier audits: list them, show one, cut off a torn last line.",
    "drift": "What moved: verdicts under today's rules, and data between two windows of time.",
    "vectors": "Indexes of vectors: fill, search, merge and keep them, in a folder or on a server.",
}
"""What the commands of two words are about together, by their first word."""


def _add(name: str, panel: str, command: Callable[..., int], example: str, alias: str = "") -> None:
    """A command under its heading, with an example at the end of its help. Of two words the
    first is that of a group. An ``alias`` is another name that no help shows."""
    first, _, own = name.rpartition(" ")
    where = _group(first, panel) if first else app
    under = None if first else panel
    where.command(own, cls=_Command, rich_help_panel=under, epilog=f"Example: {example}")(command)
    if alias:
        where.command(alias, cls=_Command, hidden=True)(command)


@cache
def _group(name: str, panel: str) -> typer.Typer:
    """The commands that begin with this word, as one entry of the help."""
    group = typer.Typer(cls=_Program, help=_GROUPS[name], no_args_is_help=True)
    app.add_typer(group, name=name, rich_help_panel=panel)
    return group


_add("demo", "Start", demo.demo, "stillhouse demo lake --rows 2000")
_add("run", "Distil", distil.run, "stillhouse run lake --include-partial")
_add("evidence", "Distil", distil.evidence, "stillhouse evidence lake")
_add("score", "Distil", distil.score, "stillhouse score lake")
_add("export", "Distil", distil.export, "stillhouse export lake preference --max-pairs 2 --dry-run")
_add("inspect", "Look", look.inspect, "stillhouse inspect lake")
_add("trace", "Look", look.trace, "stillhouse trace lake sft-1b2c3d4e")
_add("report", "Look", report.report, "stillhouse report lake")
_add("sources", "Look", look.sources, "stillhouse sources")
_add("drift scores", "Look", drift.scores, "stillhouse drift scores lake")
_add(
    "drift data",
    "Look",
    drift.data,
    "stillhouse drift data lake --field text_chars --reference ..2026-03-04 --current 2026-03-05..",
)
_add("keygen", "Trust", signing.keygen, "stillhouse keygen my.key")
_add("sign", "Trust", signing.sign, "stillhouse sign lake --key my.key")
_add("verify", "Trust", look.verify, "stillhouse verify lake --key my.key.pub")
_add("replay", "Trust", replay.replay, "stillhouse replay lake")
_add("accept", "Trust", accept.accept, "stillhouse accept lake")
_add("audit", "Trust", audit.audit, "stillhouse audit lake --fail-on-warn", alias="audit-full")
_add("baselines list", "Trust", baselines.list_, "stillhouse baselines list lake")
_add("baselines show", "Trust", baselines.show, "stillhouse baselines show lake")
_add("baselines repair", "Trust", baselines.repair, "stillhouse baselines repair lake")
_add("vectors create", "Vectors", vectors.create, "stillhouse vectors create docs --dimension 3")
_add("vectors list", "Vectors", vectors.list_, "stillhouse vectors list")
_add("vectors show", "Vectors", vectors.show, "stillhouse vectors show docs --json")
_add("vectors add", "Vectors", vectors_add.add, "stillhouse vectors add docs items.jsonl")
_add("vectors get", "Vectors", vectors.get, "stillhouse vectors get docs a")
_add(
    "vectors search",
    "Vectors",
    vectors.search,
    "stillhouse vectors search docs --vector '[0, 1, 0]' -k 2 --filter '{\"lang\": \"en\"}'",
)
_add("vectors ids", "Vectors", vectors.ids, "stillhouse vectors ids docs")
_add("vectors count", "Vectors", vectors.count, "stillhouse vectors count docs")
_add("vectors delete", "Vectors", vectors.delete, "stillhouse vectors delete docs b")
_add("vectors merge", "Vectors", vectors.merge, "stillhouse vectors merge fresh docs")
_add("vectors drop", "Vectors", vectors.drop, "stillhouse vectors drop fresh --yes")
_add("vectors snapshot", "Vectors", vectors_keep.snapshot, "stillhouse vectors snapshot docs")
_add(
    "vectors snapshots",
    "Vectors",
    vectors_keep.list_snapshots,
    "stillhouse vectors snapshots docs",
)
_add(
    "vectors restore",
    "Vectors",
    vectors_keep.restore,
    "stillhouse vectors restore docs latest --into docs2",
)
_add(
    "vectors delete-snapshot",
    "Vectors",
    vectors_keep.delete_snapshot,
    "stillhouse vectors delete-snapshot docs latest",
)
_add("vectors export", "Vectors", vectors_keep.export, "stillhouse vectors export docs docs.shv")
_add(
    "vectors import",
    "Vectors",
    vectors_keep.import_,
    "stillhouse vectors import docs.shv --into docs3",
)
_add("vectors check", "Vectors", vectors_keep.check, "stillhouse vectors check")
_add("vectors rebuild", "Vectors", vectors_keep.rebuild, "stillhouse vectors rebuild docs")
_add("serve", "Vectors", serve.serve, "stillhouse serve --data vectors --port 7700")


def commands() -> dict[str, Any]:
    """Every command by the words it is called by, in the order of use; groups come last.
    An alias is none."""
    program: Any = typer.main.get_command(app)
    found: dict[str, Any] = {}
    for name, command in program.commands.items():
        within = getattr(command, "commands", None)
        if within is None:
            found |= {} if command.hidden else {name: command}
        else:
            found |= {f"{name} {own}": one for own, one in within.items()}
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and end the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit code. A user's error is one line, never a traceback."""
    try:
        given = list(arguments) if arguments is not None else None
        code = app(args=given, prog_name="stillhouse", standalone_mode=False)
        if code == STOPPED:  # Ctrl-C, as typer tells of it
            said = given if given is not None else sys.argv[1:]
            lake = not said or said[0] not in ("vectors", "serve")
            rest = "; the lake is as it was before the step that was under way" if lake else ""
            output.say(f"stopped{rest}")
    except TyperException as error:
        if words := error.format_message().replace("Value error, ", ""):
            stop = "" if words.endswith((".", "?")) else "."
            output.fail(f"{words}{stop} Say `{_command(error)} --help`.")
        return 2
    except (typer.Abort, KeyboardInterrupt):
        return STOPPED
    except StillhouseError as error:
        output.fail(str(error))
        return error.exit_code
    except BrokenPipeError:
        # The reader (head, less) has seen enough; closing its pipe again must not complain.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in filter(None, (sys.stdout, sys.stderr)):
            os.dup2(nowhere, stream.fileno())
        return 0
    except OSError as error:
        # The lake's own files are the store's to speak for; what is left is this machine's:
        # the folder for temporary files, a terminal that went away.
        output.fail(str(disk_error(error, "go on", str(error.filename or "this machine"))))
        return 3
    return code if isinstance(code, int) else 0


def _command(error: TyperException) -> str:
    """The command that the error is about, as the user would call it."""
    context: Any = getattr(error, "ctx", None)
    return context.command_path if context else "stillhouse"
