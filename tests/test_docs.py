"""README and docs: every example is run, every table is current, every link leads somewhere."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import get_args

import pytest
from sybil import Document, Example, Region, Sybil

from stillhouse.cli.app import commands
from stillhouse.exports.firewall import REASONS
from stillhouse.receipts import Finding, VerifyReport
from stillhouse.receipts.findings import Kind
from stillhouse.sources import SOURCES

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
PAGES += sorted(path for top in ("examples", "benchmarks") for path in (ROOT / top).rglob("*.md"))

_FENCE = re.compile(
    r"^```(?P<kind>\w+)\n(?P<body>.*?)^```$"
    r"(?:\n+<!-- output -->\n+```text\n(?P<output>.*?)^```$)?",
    re.MULTILINE | re.DOTALL,
)
_COMMAND = re.compile(r"^\$ (?P<command>.*(?:\n> .*)*)\n(?P<output>(?:(?!\$ ).*\n)*)", re.MULTILINE)
_PORTS = ("7700", "7701")
"""Ports that pages serve on; others may have them, so a run takes free ones."""
_PRINTED = re.compile(r"^\s*print\(.*\)  # (.+)$", re.MULTILINE)
_HEAVY = ("datasets", "trl", "pyarrow", "ray", "in_toto_attestation")
"""Extras, and what a test environment may lack: a block that needs one is compiled, and run only
where it is installed."""


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


# ----------------------------------------------------------------------------- examples


def _alike(shown: str, got: str) -> bool:
    """Whether output is as shown; ``…`` stands for anything, blanks at line ends for nothing."""
    lines = [line.rstrip() for line in shown.strip().splitlines()]
    pattern = re.escape("\n".join(lines)).replace("…", ".*?")
    return bool(
        re.fullmatch(
            pattern, "\n".join(line.rstrip() for line in got.strip().splitlines()), re.DOTALL
        )
    )


def _run(command: list[str], folder: Path) -> str:
    """Output and errors of a command, together and in order."""
    return _process(command, folder, subprocess.STDOUT).stdout


def _process(command: list[str], folder: Path, errors: int) -> subprocess.CompletedProcess[str]:
    """A command with this very program on its path, and no network to look things up in."""
    tools = folder / ".tools"
    if not tools.exists():
        tools.mkdir()
        for name, call in (("stillhouse", f'"{sys.executable}" -m stillhouse'),
                           ("python", f'"{sys.executable}"')):  # fmt: skip
            (tools / name).write_text(f'#!/bin/sh\nexec {call} "$@"\n')
            (tools / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]),
        "HF_HOME": str(folder / ".cache"),
    }
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        check=False,
        timeout=200,
    )


def _blocks(folder: Path) -> Callable[[Document], Iterator[Region]]:
    """A sybil parser: shell, console and Python blocks, run in a folder."""

    def parse(document: Document) -> Iterator[Region]:
        for found in _FENCE.finditer(document.text):
            evaluate = _EVALUATORS.get(found["kind"])
            if evaluate is not None:
                yield Region(
                    found.start(),
                    found.end(),
                    (evaluate, found["body"], found["output"], folder),
                    _evaluate,
                )

    return parse


def _evaluate(example: Example) -> str | None:
    evaluate, body, output, folder = example.parsed
    return str(said) if (said := evaluate(body, output, folder)) else None


def _shell(body: str, output: str | None, folder: Path) -> str | None:
    said = _run(["sh", "-e", "-c", body], folder)
    return f"said:\n{said}" if said else None


def _console(body: str, output: str | None, folder: Path) -> str | None:
    for found in _COMMAND.finditer(body):
        got = _run(["sh", "-c", found["command"].replace("\n> ", "\n")], folder)
        if not _alike(found["output"], got):
            return f"$ {found['command']}\nsaid:\n{got}\ninstead of:\n{found['output']}"
    return None


def _python(body: str, output: str | None, folder: Path) -> str | None:
    compile(body, "<documentation>", "exec")
    needed = [name for name in _HEAVY if re.search(rf"^(?:from|import) {name}\b", body, re.M)]
    if not all(importlib.util.find_spec(name) for name in needed) or "trl" in needed:
        return None  # trainers want a model: tests/e2e/test_trainers.py runs them on a tiny one
    done = _process([sys.executable, "-c", body], folder, subprocess.PIPE)
    if done.returncode != 0:
        return f"ended with {done.returncode}:\n{done.stderr}"
    got = done.stdout
    shown = output if output is not None else "\n".join(_PRINTED.findall(body))
    return None if _alike(shown, got) else f"said:\n{got}\ninstead of:\n{shown}"


_EVALUATORS = {"sh": _shell, "console": _console, "python": _python}


def _lake_of_readme(folder: Path) -> None:
    """The lake that the README writes: other pages go on from there."""
    first = next(
        found["body"]
        for found in _FENCE.finditer((ROOT / "README.md").read_text(encoding="utf-8"))
        if found["kind"] == "sh" and "_kb/" in found["body"]
    )
    assert _run(["sh", "-e", "-c", first], folder) == ""
    _run([sys.executable, "-m", "stillhouse", "run", "lake"], folder)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.parent in (ROOT, ROOT / "docs")], ids=_name
)
def test_examples_do_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    """Every shell, console and Python block runs, and prints what stands beneath it."""
    text = page.read_text(encoding="utf-8")
    if "$ stillhouse serve" in text:
        for name in ("uvicorn", "structlog", "prometheus_client", "faiss"):
            pytest.importorskip(name, reason="the extra serve is not installed")
        if shutil.which("curl") is None:
            pytest.skip("curl is not installed")
        page = _on_free_ports(text, tmp_path / page.name)
    document = Sybil(parsers=[_blocks(tmp_path)], patterns=["*.md"]).parse(page)
    examples = list(document.examples())
    if page.parent != ROOT and examples:
        _lake_of_readme(tmp_path)
    try:
        for example in examples:
            example.evaluate()
    finally:
        _stop_servers(tmp_path)


def _on_free_ports(text: str, copy: Path) -> Path:
    """A page's copy that serves where nobody else does."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("", 0)) as two:
        ports = [str(bound.getsockname()[1]) for bound in (one, two)]
    for shown, free in zip(_PORTS, ports, strict=True):
        text = text.replace(f":{shown}", f":{free}").replace(f"--port {shown}", f"--port {free}")
    command = "$ stillhouse serve --data vectors"
    copy.write_text(text.replace(command, f"{command} --port {ports[0]}"), encoding="utf-8")
    return copy


def _stop_servers(folder: Path) -> None:
    """End what a page began in the background: it has left its process id in a file."""
    for path in folder.glob("*.pid"):
        with suppress(ProcessLookupError):
            number = int(path.read_text())
            os.kill(number, signal.SIGTERM)
            for _ in range(200):  # not our child, so it cannot be waited for
                os.kill(number, 0)
                time.sleep(0.05)
            os.kill(number, signal.SIGKILL)


def test_the_runner_sees_a_wrong_example(tmp_path: Path) -> None:
    """A page whose output is not what the program says does not pass."""
    page = tmp_path / "page.md"
    for text in (
        "```console\n$ echo one\ntwo\n```\n",
        "```sh\necho loud\n```\n",
        "```python\nprint(1 + 1)  # 3\n```\n",
        "```python\nraise SystemExit(1)\n```\n",
        "```python\nprint(1)\n```\n\n<!-- output -->\n\n```text\n2\n```\n",
    ):
        page.write_text(text)
        (example,) = Sybil(parsers=[_blocks(tmp_path)], patterns=["*.md"]).parse(page).examples()
        with pytest.raises(AssertionError):
            example.evaluate()


# ------------------------------------------------------------------------------- tables


def test_generated_pages_are_current() -> None:
    """`docs/cli.md` and all generated tables are what `make docs` would write."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "docs.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_generated_row_has_words() -> None:
    """No field, kind or source stands in a table without a word about it."""
    silent = [
        f"{_name(page)}: {line}"
        for page in PAGES
        for found in re.finditer(
            r"<!-- generated: .*? -->\n\n((?:\|.*\n)*)", page.read_text(encoding="utf-8")
        )
        for line in found[1].splitlines()[2:]
        if not line.strip("| ").rpartition(" | ")[2].strip("- ") or line.endswith("|  |")
    ]
    assert not silent


def _first_cells(page: str) -> set[str]:
    """The codes in the first column of a page's tables."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))


def _refusal_codes() -> Iterator[str]:
    """Every reason that the source can put into a `Refusal` or a quarantine row by name."""
    for path in (ROOT / "src" / "stillhouse").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            parts: list[ast.AST] = []
            if isinstance(node, ast.Call):
                parts = [word.value for word in node.keywords if word.arg == "reason"]
                if isinstance(node.func, ast.Name) and node.func.id == "Refusal":
                    parts += node.args[:1]
                if isinstance(node.func, ast.Attribute) and node.func.attr == "_drop_pair":
                    parts += node.args
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "reason":
                parts = [node.value]
            for part in parts:
                for leaf in ast.walk(part):
                    if isinstance(leaf, ast.Constant) and isinstance(leaf.value, str):
                        yield leaf.value
        yield from re.findall(r'counts\["(too_large)"\]', path.read_text(encoding="utf-8"))


def test_every_refusal_is_explained() -> None:
    """Each reason that the program can give stands in the firewall's page, and no other does."""
    codes = {code for code in _refusal_codes() if re.fullmatch(r"[a-z]+(_[a-z]+)*", code)}
    known = codes | set(REASONS) - {"export", "unpaired"}
    assert {"bad_json", "too_large", "missing_time", "no_partner"} <= known
    assert _first_cells("firewall.md") == known


def test_every_finding_of_verify_is_explained() -> None:
    """Each kind of finding and each field of the report stands in the receipts' page."""
    cells = set(re.findall(r"`(\w+)`", " ".join(_table_cells("receipts.md"))))
    assert set(get_args(Kind)) <= cells
    for shape in (VerifyReport, Finding):
        assert set(shape.__struct_fields__) <= cells


def _table_cells(page: str) -> list[str]:
    """The first cell of every row of a page's tables."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)


_BEFORE = {
    "vectors add": """for id in a b c; do
        echo '{"id": "'$id'", "vector": [1, 2, 3], "metadata": {"lang": "en"}}'
    done >items.jsonl""",
    "vectors merge": "stillhouse vectors create fresh --dimension 3 2>/dev/null",
}
"""What the example of a command needs to be there."""


def test_every_command_has_a_page_entry_and_an_example_that_works(tmp_path: Path) -> None:
    """Each command is documented, and the examples of their help run one after the other."""
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    for name, command in commands().items():
        example = (command.epilog or "").removeprefix("Example: ")
        assert f"## stillhouse {name}\n" in text
        assert example.startswith(f"stillhouse {name}"), f"{name} has no example"
        if name == "trace":
            line = (tmp_path / "lake/distilled/sft/sft_export.jsonl").read_text().splitlines()[0]
            identity = re.search(r"sft-[0-9a-f]+", line)
            assert identity
            example = re.sub(r"sft-\w+", identity[0], example)
        assert _run(["sh", "-c", _BEFORE.get(name, ":")], tmp_path) == ""
        if name == "serve":  # until it is told to stop: here, once it has said that it listens
            example = (
                f"{example.replace('7700', '0')} 2>served & served=$!; "
                "until grep -qs listening served || ! kill -0 $served; do sleep 0.1; done; "
                "kill $served && wait $served"
            )
        said = _run(["sh", "-c", f"{example} >/dev/null 2>errors || cat errors"], tmp_path)
        assert said == "", f"{example}: {said}"


def test_the_readme_knows_every_source() -> None:
    """Each stem of ours stands in the README."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [stem for stem in SOURCES if f"`{stem}`" not in text]


# -------------------------------------------------------------------------------- links

_LINK = re.compile(r"\[[^\]]*\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]*)?\)")
_TREE_LINE = re.compile(r"^(?P<indent>(?:  )*)(?P<name>[\w.<>-]+/?)(?:\s{2,}.*)?$")


def _anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found = set()
    for heading in re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add("#" + plain.strip().replace(" ", "-"))
    return found


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file that is there, and a heading that it has."""
    broken = []
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target, anchor in _LINK.findall(text):
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and anchor not in _anchors(path)):
            broken.append(target + anchor)
    assert not broken


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_named_files_exist(page: Path) -> None:
    """A path of this repository that a page names in code is there."""
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"`((?:src|docs|tests|scripts|locks|examples|benchmarks)/[\w./-]+)`", text)
    assert not [name for name in named if not (ROOT / name).exists()]


def test_the_tree_in_the_readme_is_the_tree() -> None:
    """Every line of the annotated tree is there, and every module stands in it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- tree -->\n\n```text\n(.*?)```", text, re.DOTALL)
    assert block
    shown: set[Path] = set()
    parents: list[str] = []
    for line in block[1].splitlines():
        found = _TREE_LINE.match(line)
        assert found, line
        depth = len(found["indent"]) // 2
        parents[depth:] = [found["name"]]
        shown.add(ROOT.joinpath(*parents))
    assert not [str(path) for path in shown if not path.exists()]
    package = ROOT / "src" / "stillhouse"
    tops = {path for path in package.iterdir() if path.suffix == ".py" or path.is_dir()}
    hidden = {path.name for path in tops - shown if not path.name.startswith("__")}
    assert not hidden, "modules that the tree does not show"
