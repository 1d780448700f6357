"""A lake through all gates: the walk, what is asked of the lake as a whole, the verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from stillhouse.acceptance import gates, table
from stillhouse.acceptance.asked import Asked, Judged, View
from stillhouse.acceptance.facts import NOT_PREFERENCE, NOT_RAG, NOT_SFT
from stillhouse.acceptance.naming import name_runs
from stillhouse.acceptance.verdicts import AcceptReport, Docket, judge
from stillhouse.acceptance.walk import Walk
from stillhouse.engines import InlineEngine
from stillhouse.errors import LakeError, ReceiptError
from stillhouse.exports import FILES
from stillhouse.interfaces import Engine, Store
from stillhouse.lake import EVIDENCE, check_lake
from stillhouse.receipts import Receipt, decode_receipt, list_receipts
from stillhouse.state import load_state
from stillhouse.work import Progress, silent

REPORT_PATH: Final = "reports/acceptance.json"
"""Where a lake keeps its last report."""

LakeGates = Sequence[tuple[Callable[[View], Judged], int]]

_BY_RECEIPT: Final[LakeGates] = ((gates.receipted, 13), (gates.receipts_valid, 2))
"""What gate 16 asks of its lakes as a whole: the rest would run the program, and itself."""

_REFUSALS: Final = {"sft": NOT_SFT, "preference": NOT_PREFERENCE, "rag": NOT_RAG}


def accept(
    store: Store,
    engine: Engine,
    *,
    recorded_at: str,
    version: str,
    commit: str | None = None,
    scratch: Path,
    progress: Progress = silent,
) -> AcceptReport:
    """Put a lake through the gates.

    ``recorded_at``, ``version`` and ``commit`` say when and by what; ``scratch`` is a folder for
    what does not fit in memory and for a second run, which takes as much room as the lake's
    derived files. Nothing in the lake is changed. Raises `LakeError` for a lake that was never
    run or whose last run was interrupted, and `LakeLockedError` while one is under way.
    """
    check_lake(store)
    if not list_receipts(store) and not any(store.list(EVIDENCE)):
        raise LakeError(
            "nothing here has been distilled yet, so there is nothing to accept",
            where=store.url,
            way_out="Start with `stillhouse run LAKE`",
        )
    with store.lock(f"stillhouse {version}, accept"):
        state = load_state(store)
        if state is not None and state.owes():
            raise LakeError(
                "its last run was interrupted while it put its files into place",
                where=store.url,
                way_out="`stillhouse run` finishes that",
            )
        again = partial(by_files, recorded_at=recorded_at, version=version, scratch=scratch)
        view = View(store, engine, recorded_at, version, commit, scratch, progress, again)
        return _through(view, table.OF_LAKE)


def save(store: Store, report: AcceptReport) -> None:
    """Keep the report in the lake, for `stillhouse report` and for whoever asks later."""
    with store.writer(REPORT_PATH) as sink:
        sink.write(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def by_files(store: Store, *, recorded_at: str, version: str, scratch: Path) -> AcceptReport:
    """Gates 1 to 13 alone, which run nothing, over a lake that nobody else writes to."""

    def never(store: Store) -> AcceptReport:
        raise LakeError("a trial is not tried again", where=store.url)

    engine = InlineEngine()
    view = View(store, engine, recorded_at, version, None, scratch, silent, never)
    return _through(view, _BY_RECEIPT)


def _through(view: View, of_lake: LakeGates) -> AcceptReport:
    store = view.store
    docket = Docket()
    asked, sequence = _asked(store)
    Walk(store, asked, docket, view.scratch).run(view.engine, view.progress)
    for check, number in of_lake:
        view.progress(check.__name__, 0, None)
        found = check(view)
        docket.checked[number] += found.checked
        docket.add(check.__name__, found.faults)
    heard = {number for _, number in of_lake} | {n for _, n, *_ in table.OF_MEETINGS} | _WALKED
    promised = [gate for gate in table.GATES if gate.number in heard]
    order = [(check, number) for check, number in table.ORDER if number in heard]
    results = name_runs(store, judge(promised, order, docket))
    passed = sum(result.verdict == "ok" for result in results)
    return AcceptReport(
        lake=store.url,
        recorded_at=view.recorded_at,
        version=view.version,
        sequence=sequence,
        gates=results,
        passed=passed,
        ok=passed == len(results),
    )


_WALKED: Final = {number for _, number in table.OF_LINES} | {7, 11}


def _asked(store: Store) -> tuple[Asked, int]:
    """What the lake's receipts say was asked for, and the sequence of the newest of them."""
    newest: dict[str, Receipt] = {}
    for path in list_receipts(store):
        try:
            receipt = decode_receipt(store.read(path), path)
        except ReceiptError:
            continue  # gates 2 and 13 name it
        old = newest.get(receipt.parameters.stage)
        if old is None or old.sequence < receipt.sequence:
            newest[receipt.parameters.stage] = receipt
    exported = frozenset(
        _REFUSALS[kind]
        for kind, sections in FILES.items()
        if any(store.stat(path) is not None for path in sections.values())
    )
    options = {stage: receipt.parameters.options for stage, receipt in newest.items()}
    asked = Asked(
        exported,
        options.get("sft", {}).get("include_partial") is True,
        options.get("dataset", {}).get("include_partial") is True,
    )
    return asked, max((receipt.sequence for receipt in newest.values()), default=0)
