"""SFT samples (SPEC section 5): one accepted run becomes one instruction and its response."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from stillhouse.errors import SftContaminationError
from stillhouse.exports.firewall import Cleared, Joined
from stillhouse.index import iter_lines
from stillhouse.interfaces import Store
from stillhouse.lake import evidence_path_for
from stillhouse.records import (
    CATEGORIES,
    SCHEMA_VERSION,
    SFT_NEVER,
    EvidenceRecord,
    ScoredRun,
    SftSample,
    decode,
)
from stillhouse.words import is_empty, words_of

TRAINABLE: Final = frozenset(CATEGORIES) - SFT_NEVER


def content_id(prefix: str, *parts: str) -> str:
    """An id that is a hash of content (SPEC R5): the same content, the same id, anywhere."""
    hashed = sha256("\x00".join((prefix, *parts)).encode())
    return f"{prefix}-{hashed.hexdigest()[:32]}"


def synthesize_sft(
    scored: ScoredRun, evidence: EvidenceRecord, recorded_at: str, sft_id: str
) -> SftSample | None:
    """The sample of one run, or ``None`` when there is nothing to train on (SPEC S1, F4).

    ``None`` for a category in `SFT_NEVER` or an unknown one, for the extraction class and
    extractor roles, and for an empty answer. Whether a partially accepted run was asked for is the
    firewall's question. Secrets are still in it: redaction comes after assembly (S10).
    """
    words = words_of(evidence, scored.reasons, secret=False)
    return _sample(Joined(scored, evidence, words), recorded_at, sft_id)


def _sample(run: Joined, recorded_at: str, sft_id: str) -> SftSample | None:
    scored, evidence, words = run.scored, run.evidence, run.words
    # Only what is exactly one of the two: a spelling of a forbidden category is no other.
    if scored.category not in TRAINABLE or is_empty(evidence) or not run.instructable:
        return None
    return SftSample(
        schema_version=SCHEMA_VERSION,
        id=sft_id,
        instruction=words.instruction,
        context=build_context(evidence),
        response=words.text,
        source_run_id=evidence.run_id,
        category=scored.category,
        created_at=recorded_at,
        provenance=evidence.provenance,
        messages=[*words.prompt, *words.answer] if evidence.messages else None,
        tools=words.tools,
    )


def sample_of(cleared: Cleared) -> SftSample | None:
    """The sample of a cleared record, dated and named by its own evidence."""
    if cleared.purpose != "sft":
        raise SftContaminationError("a sample was cleared for something else")
    provenance = cleared.evidence.provenance
    name = content_id("sft", cleared.stem, provenance.sig_hash)
    return _sample(cleared.joined, provenance.recorded_at, name)


def build_context(evidence: EvidenceRecord) -> str:
    """What is known of the run's surroundings, joined with `` · `` (SPEC S7): matrix
    corpora, pathway fingerprints, the model. Empty when nothing is known."""
    parts = []
    retrieved = evidence.retrieved_context
    if retrieved is not None and retrieved.matrix_corpora:
        parts.append(f"matrix corpora: {', '.join(retrieved.matrix_corpora)}")
    if retrieved is not None and retrieved.pathway_fingerprints_seen:
        parts.append(f"pathways: {', '.join(retrieved.pathway_fingerprints_seen)}")
    if evidence.model_name:
        maker = f" ({evidence.model_provider})" if evidence.model_provider else ""
        parts.append(f"model: {evidence.model_name}{maker}")
    return " · ".join(parts)


class EvidenceCache:
    """Evidence of one lake by file, for one call: no file is read twice through it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.files: dict[str, dict[str, list[EvidenceRecord]]] = {}


def load_evidence_by_run_id(
    scored_path: str, cache: EvidenceCache
) -> dict[str, list[EvidenceRecord]]:
    """The evidence that a scored-runs file of the cache's lake pairs with, by run id (SPEC S2).

    A run id may repeat, so each names a list; joins go by hash, this is for people. A missing
    evidence file gives an empty mapping. Raises `RecordError` for a line that is no evidence.
    """
    path = evidence_path_for(scored_path)
    if path not in cache.files:
        runs: dict[str, list[EvidenceRecord]] = {}
        if cache.store.stat(path) is not None:
            for _, line in iter_lines(cache.store, path):
                record = decode(line, EvidenceRecord, where=path)
                runs.setdefault(record.run_id, []).append(record)
        cache.files[path] = runs
    return cache.files[path]
