"""The table of sources, stems, templates, and what a plugin may and may not do."""

from __future__ import annotations

import json
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from stillhouse.errors import SourceError
from stillhouse.records import EvidenceRecord, Provenance
from stillhouse.rows import RawRow, read_line
from stillhouse.sources import (
    PLUGIN_GROUP,
    SOURCES,
    all_sources,
    build_instruction,
    score_record,
    source_for,
    stem_from_source_file,
)

TIME = "2026-03-01T08:00:00Z"


def record(source_file: str, **fields: Any) -> EvidenceRecord:
    """A small evidence record of a file."""
    provenance = Provenance(
        source_file=source_file, line_offset=0, sig_hash="0" * 64, recorded_at=TIME
    )
    known = {"run_id": "r", "task_id": "t", "timestamp": TIME, "provenance": provenance}
    return EvidenceRecord(**{**known, **fields})


def test_the_table_has_the_sources_of_the_specification() -> None:
    """Eight scorers in three classes, each source under its own stem (C2)."""
    classes = {stem: source.source_class for stem, source in SOURCES.items()}
    verdict = ("scrum_reviews", "observer_reviews", "audits", "contract_analyses")
    telemetry = ("auto_apply", "outcomes", "mode_experiments")
    extraction = (
        "distilled_facts",
        "distilled_procedures",
        "distilled_config_hints",
        "audit_facts",
        "observer_escalations",
    )
    assert classes == {
        **dict.fromkeys(verdict, "verdict"),
        **dict.fromkeys(telemetry, "telemetry"),
        **dict.fromkeys(extraction, "extraction"),
    }
    assert len({source.score for source in SOURCES.values()}) == 8
    for stem, source in SOURCES.items():
        assert source.stem == stem
        assert issubclass(source.raw, RawRow)
        assert source.summary
        assert "\n" not in source.summary


@pytest.mark.parametrize(
    ("source_file", "stem"),
    [
        ("_kb/audits.jsonl", "audits"),
        ("data/_kb/audits.jsonl", "audits"),
        ("audits.jsonl", "audits"),
        ("_kb/odd.name.jsonl", "odd.name"),
        ("_kb/data/_kb/x.jsonl", "data/_kb/x"),
    ],
)
def test_the_stem_of_a_source_file(source_file: str, stem: str) -> None:
    """The folder and the ending are stripped, once each (S3)."""
    assert stem_from_source_file(source_file) == stem


def test_an_unknown_stem_is_read_as_an_extraction_and_says_so() -> None:
    """Its rows are kept for a person, who is told how to define the source (C2)."""
    source = source_for("weather")
    assert source.source_class == "extraction"
    line = json.dumps({"ts": TIME, "fact": "It rained.", "file": 7}).encode()
    read = read_line(line, source, "_kb/weather.jsonl", 0, TIME, "0" * 64)
    assert isinstance(read, EvidenceRecord)
    assert (read.text, read.task_id) == ("It rained.", "extract:weather")
    verdict = score_record(read)
    assert verdict.category == "needs_human_review"
    assert "'weather'" in verdict.reasons[0]
    assert PLUGIN_GROUP in verdict.reasons[0]


@pytest.mark.parametrize(
    "stem", [stem for stem in SOURCES if stem in sys.modules["stillhouse.sources"].__dict__]
)
def test_the_example_row_a_source_opens_with_is_read(stem: str) -> None:
    """The row in a source's docstring is one that the source reads, text and all."""
    module = sys.modules[f"stillhouse.sources.{stem}"]
    assert module.__doc__
    (shown,) = re.findall(r"^ {4}\{.*?\}$(?=\n\n|\n\Z)", module.__doc__, re.M | re.S)
    line = " ".join(shown.split("\n")).strip().encode()
    source = source_for(stem)
    read = read_line(line, source, f"_kb/{stem}.jsonl", 0, TIME, "0" * 64)
    assert isinstance(read, EvidenceRecord), read
    assert read.text
    assert score_record(read).category


@pytest.mark.parametrize(
    ("stem", "fields", "start"),
    [
        ("scrum_reviews", {"source_files": ["a.py"]}, "Review the file 'a.py' against the PRD: "),
        ("scrum_reviews", {"task_id": "scrum:a.py"}, "Review the file 'a.py' against the PRD: "),
        ("scrum_reviews", {"task_id": "T-1"}, "Review the file against the PRD: "),
        ("scrum_reviews", {"task_id": "scrum:r"}, "Review the file against the PRD: "),
        (
            "observer_reviews",
            {"source_files": ["a.py"]},
            "Observer-review the latest attempt at 'a.py': ",
        ),
        ("observer_reviews", {}, "Observer-review the latest attempt: "),
        ("audits", {"task_id": "phase:P2"}, "Audit phase 'P2': "),
        ("audits", {"task_id": "P2"}, "Audit phase 'P2': "),
        ("audits", {"task_id": "mine", "metadata": {"phase": "P2"}}, "Audit phase 'P2': "),
        ("audits", {"task_id": "phase:r"}, "Audit the phase: "),
        ("contract_analyses", {"task_id": "permit:9"}, "Analyze permit '9': "),
        (
            "contract_analyses",
            {"task_id": "permit:9", "metadata": {"contractor": "Acme"}},
            "Analyze contractor 'Acme' for permit '9': ",
        ),
        ("contract_analyses", {"task_id": "9"}, "Analyze permit '9': "),
        ("contract_analyses", {"task_id": "permit:r"}, "Analyze the permit at hand: "),
        (
            "contract_analyses",
            {"task_id": "mine", "metadata": {"permit_id": "9"}},
            "Analyze permit '9': ",
        ),
        (
            "auto_apply",
            {"source_files": ["a.py"]},
            "Auto-apply: emit a 6-line surgical patch for the file 'a.py' as ",
        ),
        ("auto_apply", {}, "Auto-apply: emit a 6-line surgical patch as a unified diff "),
        (
            "outcomes",
            {"metadata": {"scenario": "checkout"}},
            "Run scenario; report per-event outcome for 'checkout': ",
        ),
        (
            "outcomes",
            {"task_id": "scenario:checkout"},
            "Run scenario; report per-event outcome for 'checkout': ",
        ),
        ("outcomes", {}, "Run scenario; report per-event outcome: "),
        (
            "mode_experiments",
            {"metadata": {"task_class": "sums"}, "source_files": ["a"]},
            "Run task_class='sums' for file 'a': ",
        ),
        ("mode_experiments", {}, "Run task_class='unnamed' for file at hand: "),
        (
            "distilled_facts",
            {},
            "Source 'distilled_facts' run; produce the appropriate output: ",
        ),
        ("weather", {}, "Source 'weather' run; produce the appropriate output: "),
    ],
)
def test_the_instruction_names_its_subject_where_it_is_known(
    stem: str, fields: dict[str, Any], start: str
) -> None:
    """Each template starts as specified, with and without what it names (S5, S6)."""
    instruction = build_instruction(record(f"_kb/{stem}.jsonl", **fields))
    assert instruction.startswith(start)
    assert instruction.endswith(".")
    assert "  " not in instruction
    assert "None" not in instruction


def test_modes_of_one_task_share_an_instruction() -> None:
    """What tells runs of one task apart is not in the prompt, or they could never be paired."""
    file = "_kb/mode_experiments.jsonl"
    one = record(file, run_id="a", metadata={"mode": "x"}, model_name="m")
    two = record(file, run_id="b", metadata={"mode": "y"}, model_name="n")
    assert build_instruction(one) == build_instruction(two)


@pytest.fixture
def plugin(tmp_path: Path) -> Any:
    """Installs a package made on the spot on `sys.path`; takes it away afterwards."""
    made: list[types.ModuleType] = []

    def install(name: str, body: str, target: str = "SOURCE") -> None:
        (tmp_path / f"{name}.py").write_text(body)
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{PLUGIN_GROUP}]\n{name} = {name}:{target}\n")
        made.append(types.ModuleType(name))
        all_sources.cache_clear()

    sys.path.insert(0, str(tmp_path))
    yield install
    sys.path.remove(str(tmp_path))
    for module in made:
        sys.modules.pop(module.__name__, None)
    all_sources.cache_clear()


DEFINE = """
import msgspec
from stillhouse.sources import SOURCES
SOURCE = msgspec.structs.replace(SOURCES["outcomes"], stem={stem!r})
LIST = [SOURCE, msgspec.structs.replace(SOURCE, stem="second")]
"""


FOREIGN_ROW = """
import msgspec
from stillhouse.sources import SOURCES
SOURCE = msgspec.structs.replace(SOURCES["outcomes"], stem="first", raw=msgspec.Struct)
"""


def test_a_plugin_adds_its_sources(plugin: Any) -> None:
    """An entry point may name one source or a list; ours stay as they are."""
    plugin("plug_one", DEFINE.format(stem="first"), "LIST")
    assert {"first", "second"} <= set(all_sources())
    assert source_for("first").stem == "first"
    assert source_for("outcomes") is SOURCES["outcomes"]
    assert "first" not in SOURCES


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (DEFINE.format(stem="outcomes"), "'outcomes' is one of ours"),
        ("import nowhere_to_be_found", "does not import: ModuleNotFoundError"),
        ("raise SystemExit(3)", "does not import: SystemExit"),
        ("1 / 0", "does not import: ZeroDivisionError"),
        ("SOURCES = []", "does not import: AttributeError"),
        ("SOURCE = 'outcomes'", "does not name a Source"),
        ("SOURCE = 3", "does not name a Source"),
        (FOREIGN_ROW, "whose rows are a RawRow"),
    ],
)
def test_a_plugin_that_cannot_be_used_is_named(plugin: Any, body: str, words: str) -> None:
    """One clear line says which package, what is wrong with it, and the way out."""
    plugin("plug_bad", body)
    with pytest.raises(SourceError) as caught:
        source_for("outcomes")
    line = str(caught.value)
    assert "plug_bad" in line
    assert words in line
    assert "uninstall" in line
    assert "\n" not in line


def test_two_plugins_cannot_share_a_stem(plugin: Any) -> None:
    """The second is refused, whichever it is, rather than one of them quietly winning."""
    plugin("plug_one", DEFINE.format(stem="first"))
    plugin("plug_two", DEFINE.format(stem="first"))
    with pytest.raises(SourceError, match="another package's"):
        all_sources()
