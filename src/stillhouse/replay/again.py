"""Running once more over a lake that is done: nothing may change (SPEC P5, gate 15).

The run is the real one, over a view of the lake that keeps what it writes to itself.
"""

from __future__ import annotations

from typing import NamedTuple

from stillhouse.exports import ExportOptions
from stillhouse.interfaces import Engine, Store
from stillhouse.lake import PRIVATE, SCORED
from stillhouse.pipeline import export_lake, make_evidence, score_evidence
from stillhouse.replay.told import Told, export_steps, read_told
from stillhouse.storage.overlay import OverlayStore
from stillhouse.work import Progress, silent


class Rerun(NamedTuple):
    """What a further run would change: paths of the lake; and what it had to say."""

    changed: list[str]
    notes: list[str]


def run_again(
    store: Store, engine: Engine, upper: Store, recorded_at: str, progress: Progress = silent
) -> Rerun:
    """Every stage that the lake's receipts tell of, once more, with the options they name.

    ``recorded_at`` should be another time than those of the lake's runs. ``upper`` takes what
    is written; the lake is only read. State and index are derived, and no part of the answer.
    Raises `ReceiptError` when there is no receipt, or one does not hold.
    """
    told = read_told(store, None)
    view = OverlayStore(store, upper)
    reports = [make_evidence(view, engine, recorded_at, progress)]
    if any(path.startswith(f"{SCORED}/") for path in told.claims):
        reports.append(score_evidence(view, engine, recorded_at, progress))
    for kinds, options in _exports(told):
        reports.append(export_lake(view, engine, kinds, options, recorded_at, progress))
    changed = [path for path in view.changes() if not path.startswith(f"{PRIVATE}/")]
    notes = [note for report in reports for note in report.notes]
    return Rerun(changed, list(dict.fromkeys(notes)))


def _exports(told: Told) -> list[tuple[list[str], ExportOptions]]:
    """The exports as they were asked for. The dataset is made of the others: where one of them
    was made since with other options, asking for it again would be another wish."""
    steps = [(step.kinds, step.options) for step in export_steps(told, stale=True)]
    options = {kind: chosen for kinds, chosen in steps for kind in kinds}
    alike = all(chosen == options.get("dataset") for chosen in options.values())
    return [([kind for kind in kinds if alike or kind != "dataset"], how) for kinds, how in steps]
