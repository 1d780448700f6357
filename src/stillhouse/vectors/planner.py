"""How to search one part of an index: through its graph, or by looking at each row that counts.

The costs are those measured with 384 dimensions on one core; only their ratio matters:

    graph    1.5 µs a candidate of the beam; 3 µs where all of the beam is to be told
    scan     0.05 µs a row, of codes laid end to end and kept for when they are asked again

Codes that are whole numbers take less of both.

A graph knows nothing of filters or of the dead: the beam is made so wide that it holds enough rows
that count, if they lie in it as they lie everywhere, and those that do not count are left out of
what it gives. What is found is then right even where a filter goes with the vectors: when the
matches lie away from the query, too few are in the beam, the caller sees it and scans. (A selector
within the graph instead gives whatever matches lie at the edge of the beam.)
"""

from __future__ import annotations

from typing import Final, NamedTuple

_GRAPH_STEP: Final = 1.5
_LISTED_STEP: Final = 3.0
_SCAN_ROW: Final = 0.05
_LEAST: Final = 256
"""So few rows are not worth a graph's detours."""
_SPARE: Final = 8
"""Candidates beyond k that are ranked by their vectors: codes blur the order."""
_MARGIN: Final = 1.4
"""How many more rows that count the beam should hold than are needed, by the odds."""


class Plan(NamedTuple):
    """``beam`` 0 is a scan. ``take`` is how many candidates are ranked by their vectors."""

    beam: int
    take: int


def spare(k: int) -> int:
    """How many candidates of a graph or of codes to rank by their vectors, for the k nearest."""
    return k + max(_SPARE, k // 2)


def plan(rows: int, matching: int, k: int, ef: int) -> Plan:
    """How to find the k nearest of ``matching`` among the ``rows`` of a part with a graph."""
    take = spare(k)
    if matching <= _LEAST:
        return Plan(0, take)
    beam, step = max(ef, take), _GRAPH_STEP
    if matching < rows:
        beam, step = max(beam, int(_MARGIN * take * rows / matching) + 1), _LISTED_STEP
    if matching * _SCAN_ROW <= beam * step:
        return Plan(0, take)
    return Plan(beam, take)
