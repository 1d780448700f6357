"""Which gate answers for a fault, and what is said of the others."""

from __future__ import annotations

import msgspec

from stillhouse.acceptance.verdicts import MOST, Docket, Fault, Gate, GateResult, judge

GATES = [Gate(number, f"gate {number}", "it holds", f"mend {number}") for number in (1, 2, 3)]
ORDER = [("second", 2), ("first", 1), ("third", 3)]
ROW = (7, 4, 99)
"""A raw line by numbers."""


def _judged(**faults: list[Fault]) -> list[GateResult]:
    docket = Docket()
    for check, found in faults.items():
        docket.add(check, found)
    return judge(GATES, ORDER, docket)


def _verdicts(**faults: list[Fault]) -> list[str]:
    return [result.verdict for result in _judged(**faults)]


def test_without_faults_all_hold() -> None:
    """And nothing is said."""
    assert _judged() == [
        GateResult(
            number=gate.number,
            name=gate.name,
            claim=gate.claim,
            verdict="ok",
            checked=0,
            failures=0,
            offences=[],
            detail="",
        )
        for gate in GATES
    ]


def test_the_gate_heard_first_answers() -> None:
    """For the same row; what others found on other rows is their own."""
    assert _verdicts(second=[Fault("a", 1, "x")], third=[Fault("a", 1, "y")]) == [
        "ok",
        "red",
        "blocked",
    ]
    assert _verdicts(second=[Fault("a", 1, "x")], third=[Fault("a", 2, "y")])[2] == "red"
    assert _verdicts(second=[Fault("a", 1, "x")], first=[Fault("b", 1, "y")])[0] == "red"


def test_rows_of_one_raw_line_share_a_fault() -> None:
    """By its place, or by its hash; an unknown hash is no hash."""
    first = Fault("a", 1, "x", (ROW,))
    for other, verdict in (
        ((7, 4, 1), "blocked"),
        ((8, 8, 99), "blocked"),
        ((7, 5, 1), "red"),
        ((8, 4, 1), "red"),
    ):
        assert _verdicts(second=[first], third=[Fault("b", 9, "y", (other,))])[2] == verdict
    unknown = [Fault(name, 1, "x", ((place, place, 0),)) for place, name in enumerate("ab")]
    assert _verdicts(second=unknown[:1], third=unknown[1:])[2] == "red"


def test_a_file_rests_on_its_rows_and_on_what_lies_beside() -> None:
    """A row does not rest on another row of its file; it does on the file as a whole."""
    row = Fault("a", 1, "x", beside=("b",))
    for path, verdict in (("a", "blocked"), ("b", "blocked"), ("c", "red")):
        assert _verdicts(second=[row], third=[Fault(path, None, "y")])[2] == verdict
    assert _verdicts(second=[Fault("a", None, "x")], third=[Fault("a", 5, "y")])[2] == "blocked"


def test_a_gate_with_a_fault_of_its_own_is_red() -> None:
    """It shows its own ones, counts all, and says what to do; a blocked one says what is in the
    way, and shows what it found."""
    rows = [Fault("a", line, "x") for line in range(1, 20)]
    _, second, third = _judged(second=rows[:12], third=rows[:2])
    assert (second.failures, len(second.offences), second.detail) == (12, 10, "mend 2")
    assert "it rests on what gate 2 found" in third.detail
    assert [one.line for one in third.offences] == [1, 2]
    _, _, third = _judged(second=rows[:12], third=[*rows[:2], rows[15]])
    assert (third.verdict, third.failures, [one.line for one in third.offences]) == ("red", 3, [16])


def test_faults_of_one_check_do_not_excuse_one_another() -> None:
    """Two faults of one raw line are two rows to look at."""
    second = _judged(second=[Fault("a", 1, "x", (ROW,)), Fault("b", 1, "x", (ROW,))])[1]
    assert (second.verdict, len(second.offences)) == ("red", 2)


def test_no_more_faults_are_held_than_can_be_told() -> None:
    """All are counted."""
    docket = Docket()
    for part in range(3):
        docket.add("first", [Fault("a", part * MOST + line, "x") for line in range(MOST)])
    docket.add("first", [], 5)
    assert len(docket.faults["first"]) == MOST
    assert judge(GATES, ORDER, docket)[0].failures == 3 * MOST + 5


def test_a_fault_crosses_process_borders() -> None:
    """Workers send what they found."""
    fault = Fault("a", None, "x", (ROW,), ("b",))
    assert msgspec.json.decode(msgspec.json.encode(fault), type=Fault) == fault
