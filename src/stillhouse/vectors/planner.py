"""How to search one part of an index: exactly, or through its graph, and how widely.

The costs are those measured on two cores with 384 dimensions; only their ratio matters:

    exact    0.13 µs a row, gathered and multiplied
    graph    2 µs a candidate of the beam

Under a filter the beam is widened by one over the share of rows that match, so that it holds as
many matches as it would hold rows without a filter. When fewer come out than were asked for, the
matches lie away from the query, and the caller searches exactly: never fewer than there are.
"""

from __future__ import annotations

from typing import Final, NamedTuple

BEAM: Final = 64
"""Candidates that a search of a graph keeps (efSearch), when the caller does not say."""
_EXACT_ROW: Final = 0.13
_GRAPH_STEP: Final = 2.0
_LEAST: Final = 256
"""So few rows are not worth a graph's detours."""
_SPARE: Final = 8


class Plan(NamedTuple):
    """``beam`` 0 is an exact search. ``take`` is how many candidates are re-ranked."""

    beam: int
    take: int


EXACT: Final = Plan(0, 0)


def plan(rows: int, matching: int, k: int, ef: int | None) -> Plan:
    """How to find the k nearest of ``matching`` among the ``rows`` of a part with a graph."""
    if matching <= max(_LEAST, k):
        return EXACT
    take = k + max(_SPARE, k // 2)
    share = matching / rows
    beam = max(ef or BEAM, take)
    if share < 1.0:
        beam = int(beam / share) + 1
    if matching * _EXACT_ROW <= beam * _GRAPH_STEP or beam >= matching:
        return EXACT
    return Plan(beam, take)
