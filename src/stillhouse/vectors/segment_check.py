"""Whether the segments of an index are what its truth says. Looks, and changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stillhouse.errors import VectorDamagedError
from stillhouse.vectors.live import Checks, Seqs, TruthReader
from stillhouse.vectors.manifest import NAME, read_manifest
from stillhouse.vectors.segment import Segment
from stillhouse.vectors.values import IndexSpec


class SegmentProblem(NamedTuple):
    """A file (or folder), and what is wrong with it."""

    where: str
    what: str


def known_rows(segment: Segment, seqs: Seqs, checks: Checks) -> npt.NDArray[np.bool_] | None:
    """Which rows of a segment are live versions, given all of those by ascending number; None
    when one of them is not as the truth has it."""
    if not len(seqs):
        return np.zeros(segment.count, np.bool_)
    at = np.searchsorted(seqs, segment.seqs)
    at[at == len(seqs)] = 0
    known: npt.NDArray[np.bool_] = seqs[at] == segment.seqs
    if (checks[at[known]] != segment.checks[known]).any():
        return None
    return known


def check_segments(folder: Path, truth: TruthReader, spec: IndexSpec) -> list[SegmentProblem]:
    """What is damaged, missing, stale or left over in an index's folder of segments. All of it
    mends itself when the index is opened. Raises `OSError` when the system refuses."""
    if not folder.is_dir():
        return []
    names = read_manifest(folder)
    problems = []
    if names is None and (folder / NAME).exists():
        problems.append(SegmentProblem(str(folder / NAME), "it is not as it was written"))
    seqs, checks = truth.versions()
    for name in names or []:
        problem = _problem(folder / name, spec, seqs, checks)
        if problem:
            problems.append(SegmentProblem(str(folder / name), problem))
    kept = {NAME, *(names or [])}
    return problems + [
        SegmentProblem(str(path), "no manifest names it: it is left over")
        for path in sorted(folder.iterdir())
        if path.name not in kept
    ]


def _problem(path: Path, spec: IndexSpec, seqs: Seqs, checks: Checks) -> str:
    try:
        segment = Segment.open(path, spec)
    except VectorDamagedError as error:
        return error.what
    except FileNotFoundError:
        return "it is gone"
    if known_rows(segment, seqs, checks) is None:
        return "it does not agree with the truth"
    return ""
