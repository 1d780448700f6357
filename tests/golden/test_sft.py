"""The SFT format of every source, byte for byte: what golden evidence becomes when it may train.

``STILLHOUSE_REGOLD=1 pytest tests/golden`` writes the files anew, as for the other formats.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stillhouse.exports.firewall import EXPORT, Cleared, ExportOptions, Joined, clear, join
from stillhouse.exports.sft import content_id, sample_of, synthesize_sft
from stillhouse.records import EvidenceRecord, ScoredRun, SftSample, check_sft, decode, encode
from tests.exports import lakes

HERE = Path(__file__).resolve().parent
STEMS = sorted(path.parent.name for path in HERE.glob("*/in.jsonl"))
OPTIONS = ExportOptions(include_partial=True)


def stored(stem: str) -> list[tuple[bytes, bytes]]:
    """The golden scored and evidence lines of a stem, side by side."""
    scored = (HERE / stem / "scored.jsonl").read_bytes().splitlines()
    evidence = (HERE / stem / "evidence.jsonl").read_bytes().splitlines()
    return list(zip(scored, evidence, strict=True))


def exported(stem: str) -> list[bytes]:
    """What the exporter makes of each golden run that the firewall clears."""
    lines = []
    for scored, evidence in stored(stem):
        joined = join(scored, evidence)
        assert isinstance(joined, Joined), joined
        cleared = clear(joined, "sft", EXPORT, OPTIONS)
        if isinstance(cleared, Cleared):
            sample = sample_of(cleared)
            assert sample is not None
            lines.append(encode(check_sft(sample)))
    return lines


def golden(stem: str) -> list[bytes]:
    """The golden samples of a stem."""
    return (HERE / stem / "sft.jsonl").read_bytes().splitlines()


@pytest.mark.parametrize("stem", STEMS)
def test_the_sft_format_has_not_changed(stem: str) -> None:
    """A source's samples agree with its golden file, to the byte."""
    path = HERE / stem / "sft.jsonl"
    data = lakes.join_lines(exported(stem))
    if os.environ.get("STILLHOUSE_REGOLD"):
        path.write_bytes(data)
    assert path.read_bytes() == data, f"{stem}/sft.jsonl has changed"


@pytest.mark.parametrize("stem", STEMS)
def test_synthesis_gives_the_golden_samples(stem: str) -> None:
    """`synthesize_sft` on the stored records gives the same, and None for all others (S1)."""
    made = []
    for scored_line, line in stored(stem):
        scored, evidence = decode(scored_line, ScoredRun), decode(line, EvidenceRecord)
        name = content_id("sft", stem, evidence.provenance.sig_hash)
        sample = synthesize_sft(scored, evidence, evidence.provenance.recorded_at, name)
        if sample is not None:
            made.append(encode(sample))
    assert made == golden(stem)


@pytest.mark.parametrize("stem", STEMS)
def test_a_lake_of_the_golden_rows_exports_the_golden_samples(stem: str) -> None:
    """The whole program gives these very lines; the rows that it keeps out say why."""
    raw = (HERE / stem / "in.jsonl").read_bytes().splitlines()
    store = lakes.distilled({stem: raw}, include_partial=True)
    lines = lakes.lines(store, lakes.SFT)
    assert set(lines) <= set(golden(stem))
    reasons = lakes.reasons(store).values()
    disputed = [reason for reason in reasons if reason in ("duplicate", "conflicting_verdict")]
    assert len(lines) + len(disputed) == len(golden(stem))
    assert len(lines) + len(reasons) == len(stored(stem))


@pytest.mark.parametrize("stem", STEMS)
def test_instructions_are_the_templates_to_the_byte(stem: str) -> None:
    """The wording of a template is part of the format (S4)."""
    prompts = (HERE / stem / "prompts.txt").read_text().splitlines()
    samples = [decode(line, SftSample) for line in golden(stem)]
    assert {sample.instruction for sample in samples} <= set(prompts)


def test_golden_samples_cover_both_categories_and_conversations() -> None:
    """They show what a sample may hold."""
    samples = [decode(line, SftSample) for stem in STEMS for line in golden(stem)]
    assert {sample.category for sample in samples} == {"accepted", "partially_accepted"}
    assert any(sample.messages for sample in samples)
    assert any(sample.context for sample in samples)
