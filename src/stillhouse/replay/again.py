"""Running once more over a lake that is done: nothing may change (SPEC P5, gate 15).

The run is the real one, over a view of the lake that keeps what it writes to itself.
"""

from __future__ import annotations

from typing import NamedTuple

from stillhouse.distil import read_raw, score_pending
from stillhouse.exports import ExportOptions, export
from stillhouse.interfaces import Engine, Store
from stillhouse.lake import PRIVATE, SCORED
from stillhouse.pipeline import open_work
from stillhouse.recall import reissue
from stillhouse.replay.told import Told, export_steps, read_told
from stillhouse.storage.overlay import OverlayStore
from stillhouse.work import Progress, silent


class Rerun(NamedTuple):
    """What a further run would change: paths of the lake, of the ``files`` that receipts name;
    and what it had to say."""

    changed: list[str]
    files: int
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
    scores = any(path.startswith(f"{SCORED}/") for path in told.claims)
    view = OverlayStore(store, upper)
    with open_work(view, engine, recorded_at, progress) as work:
        if scores:
            score_pending(work, raw_follows=True)
            work.commit()
        read_raw(work, with_scores=scores)
        work.commit()
        reissue(work)
        for kinds, options in _exports(told):
            export(work, kinds, options)
            work.commit()
    changed = [path for path in view.changes() if not path.startswith(f"{PRIVATE}/")]
    return Rerun(changed, len(told.claims), work.notes)


def _exports(told: Told) -> list[tuple[list[str], ExportOptions]]:
    """The exports as they were asked for. The dataset is made of the others: where one of them
    was made since with other options, asking for it again would be another wish."""
    steps = [(step.kinds, step.options) for step in export_steps(told, stale=True)]
    options = {kind: chosen for kinds, chosen in steps for kind in kinds}
    alike = all(chosen == options.get("dataset") for chosen in options.values())
    return [([kind for kind in kinds if alike or kind != "dataset"], how) for kinds, how in steps]
