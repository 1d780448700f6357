"""Preference pairs and single labelled answers (SPEC P1). Text is never made up: both
sides of a pair are answers that runs gave to the same prompt of the same task."""

from __future__ import annotations

from stillhouse.errors import SftContaminationError
from stillhouse.exports.firewall import Cleared
from stillhouse.exports.sft import content_id
from stillhouse.records import SCHEMA_VERSION, PreferenceSample, UnpairedSample


def pair_of(chosen: Cleared, rejected: Cleared) -> PreferenceSample:
    """Two cleared runs as a pair; ``pair_reason`` says in words why one is better."""
    if (chosen.purpose, rejected.purpose) != ("chosen", "rejected"):
        raise SftContaminationError("a side of a pair was cleared for something else")
    good, bad, words = chosen.evidence, rejected.evidence, chosen.words
    signatures = (good.provenance.sig_hash, bad.provenance.sig_hash)
    return PreferenceSample(
        schema_version=SCHEMA_VERSION,
        id=content_id("pair", chosen.stem, rejected.stem, *signatures),
        task_id=words.task_id,
        prompt=words.prompt,
        chosen=words.answer,
        rejected=rejected.words.answer,
        pair_reason=(
            f"{chosen.scored.category} over {rejected.scored.category}: "
            f"{chosen.scored.reasons[0]}; against: {rejected.scored.reasons[0]}"
        ),
        chosen_run_id=good.run_id,
        rejected_run_id=bad.run_id,
        chosen_category=chosen.scored.category,
        rejected_category=rejected.scored.category,
        created_at=max(good.provenance.recorded_at, bad.provenance.recorded_at),
        provenance=good.provenance,
        rejected_provenance=bad.provenance,
        tools=words.tools,
    )


def unpaired_of(cleared: Cleared) -> UnpairedSample:
    """A cleared run without a partner as a single answer, true when it was accepted."""
    if cleared.purpose != "unpaired":
        raise SftContaminationError("a single answer was cleared for something else")
    evidence, words = cleared.evidence, cleared.words
    return UnpairedSample(
        schema_version=SCHEMA_VERSION,
        id=content_id("answer", cleared.stem, evidence.provenance.sig_hash),
        task_id=words.task_id,
        prompt=words.prompt,
        completion=words.answer,
        label=cleared.scored.category == "accepted",
        source_run_id=evidence.run_id,
        category=cleared.scored.category,
        created_at=evidence.provenance.recorded_at,
        provenance=evidence.provenance,
        tools=words.tools,
    )
