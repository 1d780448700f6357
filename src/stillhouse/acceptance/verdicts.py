"""What the acceptance gates say: on the wire, and which gate answers for a fault.

A fault that one gate finds shows in others as well: a forged row is also a row that no second
run gives. So each fault is charged once. Gates are heard in an order in which the more specific
ones come first; what a later gate finds on rows that are charged already makes it ``blocked``:
it is not judged, and it does not hold.

This module never reads a lake.
"""

from __future__ import annotations

from typing import Final, Literal

from stillhouse.records import Record

GateVerdict = Literal["ok", "red", "blocked"]

SHOWN: Final = 10
"""Offences that a result names."""


class Offence(Record, frozen=True, kw_only=True):
    """One row or file that breaks a gate: its file in the lake, its line (from 1; None for a
    whole file), and what is wrong with it."""

    path: str
    line: int | None = None
    detail: str


class GateResult(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What one gate says of a lake.

    ``claim`` is what holds when the verdict is ``ok``; ``checked`` how many rows or files were
    looked at, ``failures`` how many of them broke it, ``offences`` the first of these, and
    ``detail`` what to do, or why the gate is blocked. Empty when it is ``ok``.
    """

    number: int
    name: str
    claim: str
    verdict: GateVerdict
    checked: int
    failures: int
    offences: list[Offence]
    detail: str


class AcceptReport(Record, frozen=True, kw_only=True, omit_defaults=False):
    """All gates over one lake. ``sequence`` is that of its newest receipt, 0 without one;
    ``passed`` counts the gates that hold, and ``ok`` says that all do."""

    schema_version: int = 1
    lake: str
    recorded_at: str
    version: str
    sequence: int
    gates: list[GateResult]
    passed: int
    ok: bool
