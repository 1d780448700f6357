"""The lines that stand behind an exported row: raw line, evidence line, scored run.

They are found by hash, in files alone. This module judges nothing; `trace` does.
"""

from __future__ import annotations

from stillhouse.errors import LakeError
from stillhouse.index import iter_lines
from stillhouse.interfaces import Store
from stillhouse.lake import (
    EVIDENCE,
    SCORED,
    evidence_path_for,
    partition_of,
    raw_path,
    stem_of,
)
from stillhouse.records import EvidenceRecord, Provenance, ScoredRun, decode


def raw_line(store: Store, provenance: Provenance) -> bytes | None:
    """The line that a provenance names, without its line end."""
    path = raw_path(stem_of(provenance.source_file))
    if store.stat(path) is None:
        return None
    with store.open(path) as handle:
        for number, line in enumerate(handle):
            if number == provenance.line_offset:
                return line.removesuffix(b"\n").removesuffix(b"\r")
    return None


def evidence_line(store: Store, provenance: Provenance) -> tuple[str, int, bytes] | None:
    """The evidence made of a raw line, in whichever partition of its stem it lies."""
    stem = stem_of(provenance.source_file)
    needle = provenance.sig_hash.encode()
    for entry in store.list(EVIDENCE):
        place = partition_of(entry.path)
        if place is None or place[1] != stem:
            continue
        for number, (_, line) in enumerate(iter_lines(store, entry.path)):
            if needle in line:
                record = decode(line, EvidenceRecord, where=f"{entry.path}:{number + 1}")
                if record.provenance.sig_hash == provenance.sig_hash:
                    return entry.path, number, line.rstrip(b"\n")
    return None


def scored_line(store: Store, path: str, sig: str) -> tuple[str, int, bytes] | None:
    """The scored run of the evidence line with this hash, in the file that pairs with ``path``."""
    scored = SCORED + path[len(EVIDENCE) :]
    if evidence_path_for(scored) != path:
        raise LakeError("is not an evidence file", where=path)
    if store.stat(scored) is None:
        return None
    needle = sig.encode()
    for number, (_, line) in enumerate(iter_lines(store, scored)):
        if needle in line and decode(line, ScoredRun, where=scored).sig_hash == sig:
            return scored, number, line.rstrip(b"\n")
    return None
