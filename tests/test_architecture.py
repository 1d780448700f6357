"""The house rules that import-linter cannot see: names, sizes, purity, what lies in the tree."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "stillhouse"

LONGEST_FILE = 400
LONGEST_FUNCTION = 50

# Longer than the rule allows, and why it is better that way.
LONG_FILES = {
    "records.py": "every on-wire type with its validator is one vocabulary, read side by side",
}
LONG_FUNCTIONS: dict[str, str] = {}

# A name that says nothing about what is inside collects everything.
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}

PURE = (
    "drift",
    "errors",
    "exports",
    "fields",
    "interfaces",
    "rawchat",
    "rawjson",
    "records",
    "redaction",
    "rows",
    "scoring",
    "sources",
    "times",
)
IMPURE_CALLS = {
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "input",
    "open",
    "os.getenv",
    "print",
}

# May stand outside `config`, and why.
READS_ENVIRONMENT: dict[str, str] = {
    "engines/ray_engine.py": "RAY_ADDRESS is Ray's own way to name a cluster",
    "storage/service.py": "the endpoint's variables are the services' own, read beside obstore",
}

# May catch whatever comes, and why.
CATCHES_ALL = {
    "vectors/worker.py": "a thread of its own: what nobody foresaw is logged with its traceback "
    "and tried again, since whoever waits for the thread would wait for ever",
    "vectors/writer.py": "a thread of its own: what nobody foresaw ends the writing with its "
    "reason, since whoever waits for an answer would wait for ever",
    "web/app.py": "the edge of the service: what nobody foresaw is answered 500 and logged with "
    "its traceback, and the next request is served",
}

# What `import stillhouse` must not pull in: each costs a user of one function its start-up time.
HEAVY = ("cryptography", "datasets", "numpy", "obstore", "pyarrow", "ray", "rich", "scipy", "typer")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def tracked_files() -> list[Path]:
    """What is committed, or would be; skips the test where git cannot say."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed, so nobody can say what is tracked")
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode != 0:
        pytest.skip(f"git does not know this tree: {listing.stderr.strip()}")
    found = [ROOT / name for name in listing.stdout.split("\0") if name]
    return [path for path in found if path.is_file() and not path.is_symlink()]


def test_no_module_has_a_name_that_says_nothing() -> None:
    """No module or package is called utils, helpers or common."""
    named = {
        name_of(path): set(path.relative_to(PACKAGE).with_suffix("").parts) for path in modules()
    }
    assert not [name for name, parts in named.items() if parts & EMPTY_NAMES]


def test_packages_are_one_level_deep() -> None:
    """A package holds modules, never another package."""
    assert not [name_of(path) for path in modules() if len(path.relative_to(PACKAGE).parts) > 2]


def test_files_are_short_or_explained() -> None:
    """A file of more than 400 lines stands on the explained list, and the list holds no other."""
    lines = {
        name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in modules()
    }
    long = {name for name, count in lines.items() if count > LONGEST_FILE}
    assert long == set(LONG_FILES), {name: lines.get(name) for name in long ^ set(LONG_FILES)}


def test_functions_are_short_or_explained() -> None:
    """A function of more than 50 lines stands on the explained list, which holds no other."""
    lines = {
        f"{name_of(path)}:{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in modules()
        for node in functions(path)
    }
    long = {name for name, count in lines.items() if count > LONGEST_FUNCTION}
    assert long == set(LONG_FUNCTIONS), {name: lines.get(name) for name in long}


def test_every_module_says_what_it_is_for() -> None:
    """Every module opens with a docstring."""
    assert not [name_of(path) for path in modules() if not ast.get_docstring(tree_of(path))]


def test_every_test_says_what_it_shows() -> None:
    """Every test function has a docstring of the behaviour it shows."""
    silent = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in functions(path)
        if node.name.startswith("test") and not ast.get_docstring(node)
    ]
    assert not silent


def test_pure_modules_call_nothing_impure() -> None:
    """The core reads no clock, opens no file and prints nothing; it is handed a store."""
    found = [
        f"{name_of(path)}:{node.lineno} {ast.unparse(node.func)}"
        for path in modules()
        if path.relative_to(PACKAGE).with_suffix("").parts[0] in PURE
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in IMPURE_CALLS
    ]
    assert not found


def test_environment_is_read_only_in_config() -> None:
    """Only `config` reads the environment, so that one file lists what can change a run."""
    readers = {
        name_of(path)
        for path in modules()
        for node in ast.walk(tree_of(path))
        if ast.unparse(node) in {"os.environ", "os.environb", "os.getenv"}
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and _imports_environment(node))
    }
    assert readers - {"config.py"} == set(READS_ENVIRONMENT)


def _imports_environment(node: ast.ImportFrom) -> bool:
    return any(alias.name in {"environ", "environb", "getenv"} for alias in node.names)


def test_no_broad_except() -> None:
    """No handler swallows every error: each names what it expects, but for those explained."""
    broad = [
        f"{name_of(path)}:{node.lineno}"
        for path in modules()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
        and not any(isinstance(inner, ast.Raise) and inner.exc is None for inner in ast.walk(node))
    ]
    assert {place.partition(":")[0] for place in broad} == set(CATCHES_ALL)


def test_import_is_light_and_silent() -> None:
    """`import stillhouse` loads nothing heavy, prints nothing and leaves no file behind."""
    program = "import sys, stillhouse; print(*sorted(m.partition('.')[0] for m in sys.modules))"
    source = PACKAGE.parent
    before = sorted(source.iterdir())
    done = subprocess.run(
        [sys.executable, "-B", "-c", program],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    loaded, *more = done.stdout.splitlines()
    assert not set(HEAVY) & set(loaded.split())
    assert (more, sorted(source.iterdir())) == ([], before)


# Put together from parts, so that this file does not hold what it looks for.
FORBIDDEN_TEXT = {
    "package registry": "|".join(
        [
            r"pypi\." + "org",
            "python" + "hosted",
            "registry\\." + "npmjs",
            "--extra-" + "index-url",
            "index-" + "url =",
        ]
    ),
    "home folder": r"(?<![\w.])/" + r"(?:root|home/[a-z][\w-]*|Users/[A-Za-z][\w-]*)/",
    "private key": "-----BEGIN [A-Z ]*PRIVATE " + "KEY",
    "cloud key": r"\b(?:AK" + r"IA|AS" + r"IA)[0-9A-Z]{16}\b",
    "token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|hf_[A-Za-z]{34}|sk-[A-Za-z0-9_-]{40,})\b",
    "login in a URL": r"[a-z][a-z0-9+.-]*://[^\s/:@\"'{}<>\[\]()]+:[^\s/@\"'{}<>\[\]()]+@[\w.-]+",
    "e-mail address": r"\b[\w.+-]+@(?!example\.|[\w.-]+\.(?:example|invalid|test)\b)"
    r"[\w-]+\.[a-z]{2,}",
}


@pytest.mark.parametrize("kind", FORBIDDEN_TEXT)
def test_tree_holds_no(kind: str) -> None:
    """No committed file names a package registry or somebody's home, or holds a credential."""
    pattern = re.compile(FORBIDDEN_TEXT[kind].encode())
    found = [
        f"{path.relative_to(ROOT)}:{number} {match.group().decode(errors='replace')}"
        for path in tracked_files()
        if b"\0" not in (data := path.read_bytes())[:1024]
        for number, line in enumerate(data.splitlines(), start=1)
        for match in pattern.finditer(line)
    ]
    assert not found


def test_lock_files_are_hashed() -> None:
    """Every package of every lock file is pinned to one version and carries a hash."""
    locks = sorted((ROOT / "locks").glob("*.txt"))
    assert locks
    for lock in locks:
        text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
        entries = [line for line in text.splitlines() if line and not line.startswith("#")]
        loose = [line for line in entries if not re.match(r"[\w.-]+==\S+ .*--hash=sha256:", line)]
        assert entries, f"{lock.name} is empty"
        assert not loose, f"{lock.name}: {loose}"


def test_lock_files_agree() -> None:
    """A package that stands in several lock files has the same versions in each."""
    pins: dict[str, dict[str, frozenset[str]]] = {}
    for lock in sorted((ROOT / "locks").glob("*.txt")):
        if lock.name == "lowest.txt":  # differs on purpose: the oldest that pyproject.toml allows
            continue
        for name, version in re.findall(r"(?m)^([\w.-]+)==(\S+)", lock.read_text(encoding="utf-8")):
            here = pins.setdefault(name, {})
            here[lock.name] = here.get(lock.name, frozenset()) | {version}
    assert not {name: where for name, where in pins.items() if len(set(where.values())) > 1}
