"""What the gates say: on the wire, and which gate answers for a fault.

A fault that one gate finds shows in others as well: a forged row is also a row that no second
run gives. So each fault is charged once. Checks are heard in an order in which the more specific
ones come first; what a later one finds on rows that are charged already makes its gate
``blocked``: it does not hold, and cannot be judged before the other is mended.

This module never reads a lake.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from stillhouse.records import Record

GateVerdict = Literal["ok", "red", "blocked"]

SHOWN: Final = 10
"""Offences that a result names."""

MOST: Final = 2000
"""Faults of one check that are held. All are counted; more need not be told apart."""


class Offence(Record, frozen=True, kw_only=True):
    """One row or file that breaks a gate: its file in the lake, its line (from 1; None for a
    whole file), and what is wrong with it."""

    path: str
    line: int | None = None
    detail: str


class GateResult(Record, frozen=True, kw_only=True, omit_defaults=False):
    """What one gate says of a lake.

    ``claim`` is what holds when the verdict is ``ok``; ``checked`` how many rows or files were
    looked at, ``failures`` how many faults there are in them, ``offences`` the first of these,
    and ``detail`` what to do, or why the gate is blocked. Empty when it is ``ok``.
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


# ------------------------------------------------------------------------------- faults


RawLine = tuple[int, int, int]
"""A raw line by numbers: its log (`facts.log_key`), its number in it, the head of its hash."""


class Fault(msgspec.Struct, frozen=True, array_like=True):
    """What a check found: an offence, and what it rests on.

    ``lines`` are the raw lines that the row was made of, where they are known: rows of one raw
    line share their faults. ``beside`` are files that are as the fault makes them. ``rests_on``
    are files that this fault may only follow from: what answers for one of them answers for it.
    """

    path: str
    line: int | None
    detail: str
    lines: tuple[RawLine, ...] = ()
    beside: tuple[str, ...] = ()
    rests_on: tuple[str, ...] = ()


class Gate(NamedTuple):
    """A row of SPEC's table: what holds, and what to do where it does not."""

    number: int
    name: str
    claim: str
    way_out: str


class Docket:
    """The faults and counts of all checks, by the name of the check."""

    def __init__(self) -> None:
        self.faults: dict[str, list[Fault]] = {}
        self.failures: Counter[str] = Counter()
        self.checked: Counter[int] = Counter()

    def add(self, check: str, faults: Sequence[Fault], failures: int | None = None) -> None:
        """Take faults of a check; ``failures`` is how many there are when not all are given."""
        held = self.faults.setdefault(check, [])
        held += faults[: max(0, MOST - len(held))]
        self.failures[check] += len(faults) if failures is None else failures


class _Charges:
    """What has been charged so far, and to which gate."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, int | None], int] = {}
        self._files: dict[str, int] = {}
        self._raw: dict[tuple[int, int], int] = {}
        self._sigs: dict[int, int] = {}
        self._heard: dict[str, int] = {}

    def gate_of(self, fault: Fault) -> int:
        """The gate that answers for a fault already; 0 for none. It found one in the same row, in
        the same file as a whole, in a row of the same raw line, or in a file it rests on."""
        gate = self._rows.get((fault.path, fault.line)) or self._rows.get((fault.path, None))
        if gate is None and fault.line is None:
            gate = self._files.get(fault.path)
        for log, line, sig in () if gate else fault.lines:
            gate = gate or self._raw.get((log, line)) or self._sigs.get(sig)
        for path in () if gate else fault.rests_on:
            gate = gate or self._heard.get(path)
        return gate or 0

    def hear(self, gate: int, fault: Fault) -> None:
        """Note which gate answers for a fault, be it one of its own or of another."""
        for path in (fault.path, *fault.beside):
            self._heard.setdefault(path, gate)

    def charge(self, gate: int, faults: Iterable[Fault]) -> None:
        """Note what these faults are about."""
        for fault in faults:
            self.hear(gate, fault)
            self._rows.setdefault((fault.path, fault.line), gate)
            for path in (fault.path, *fault.beside):
                self._files.setdefault(path, gate)
            for log, line, sig in fault.lines:
                self._raw.setdefault((log, line), gate)
                if sig:
                    self._sigs.setdefault(sig, gate)


class _Heard:
    """What was heard of one gate: faults of its own, and those that others answer for."""

    def __init__(self) -> None:
        self.own: list[Fault] = []
        self.others: list[Fault] = []
        self.answering: set[int] = set()
        self.failures = 0


def judge(
    gates: Sequence[Gate], order: Sequence[tuple[str, int]], docket: Docket
) -> list[GateResult]:
    """A verdict a gate. ``order`` has the checks, with the number of their gate, as they are
    heard: a gate may have several."""
    charges = _Charges()
    heard = {gate.number: _Heard() for gate in gates}
    for check, number in order:
        of_gate = heard[number]
        of_gate.failures += docket.failures[check]
        own = []
        for fault in docket.faults.get(check, ()):
            if answering := charges.gate_of(fault):
                of_gate.others.append(fault)
                of_gate.answering.add(answering)
                charges.hear(answering, fault)
            else:
                own.append(fault)
        # Together, and after all were heard: faults of one check do not excuse one another.
        charges.charge(number, own)
        of_gate.own += own
    return [_result(gate, heard[gate.number], docket.checked[gate.number]) for gate in gates]


def _result(gate: Gate, heard: _Heard, checked: int) -> GateResult:
    verdict: GateVerdict = "red" if heard.own else "blocked" if heard.others else "ok"
    detail = gate.way_out if heard.own else ""
    if verdict == "blocked":
        others = ", ".join(str(number) for number in sorted(heard.answering))
        detail = f"not judged: it rests on what gate {others} found; mend that and accept again"
    found = sorted(heard.own or heard.others, key=lambda fault: (fault.path, fault.line or 0))
    shown = found[:SHOWN]
    return GateResult(
        number=gate.number,
        name=gate.name,
        claim=gate.claim,
        verdict=verdict,
        checked=checked,
        failures=heard.failures,
        offences=[Offence(path=one.path, line=one.line, detail=one.detail) for one in shown],
        detail=detail,
    )
