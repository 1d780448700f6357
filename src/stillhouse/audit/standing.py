"""What the user chose when the lake's exports were last made: an audit must not choose anew.

Every export's newest receipt has its options. An audit brings the lake up to date with these,
and makes no export that was never made. This module never writes.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from stillhouse.errors import ReceiptError
from stillhouse.exports import KINDS, ExportOptions
from stillhouse.interfaces import Engine, Store
from stillhouse.pipeline import RunReport, export_lake, make_evidence, run_lake, score_evidence
from stillhouse.receipts import decode_receipt, list_receipts
from stillhouse.work import Progress


def standing_options(store: Store) -> dict[str, ExportOptions]:
    """The options of every export that has a receipt, by kind; empty when none was made.

    Raises `ReceiptError` for a receipt that cannot be read: its options might be the newest.
    """
    found = {}
    for kind in KINDS:
        receipts = [
            (decode_receipt(store.read(path), path), path) for path in list_receipts(store, kind)
        ]
        if receipts:
            newest, path = max(receipts, key=lambda each: each[0].sequence)
            found[kind] = _options(newest.parameters.options, path)
    return found


def _options(chosen: Mapping[str, object], path: str) -> ExportOptions:
    try:
        return msgspec.convert(chosen, ExportOptions)
    except msgspec.ValidationError as error:
        raise ReceiptError(
            f"has options that no export takes: {error}",
            where=path,
            way_out="`stillhouse run`, with the options you want, writes a new one.",
        ) from None


def bring_up_to_date(
    store: Store,
    engine: Engine,
    options: Mapping[str, ExportOptions],
    recorded_at: str,
    progress: Progress,
) -> list[RunReport]:
    """Distil what is new, and make every export anew that is not current, as it was made last."""
    chosen = list(dict.fromkeys(options.values()))
    if not options or (len(chosen) == 1 and set(options) == set(KINDS)):
        one = chosen[0] if chosen else ExportOptions()
        return [run_lake(store, engine, one, recorded_at, progress)]
    done = [
        make_evidence(store, engine, recorded_at, progress),
        score_evidence(store, engine, recorded_at, progress),
    ]
    # The dataset is made of the other exports and makes them too, by its own options: first,
    # so that those which differ come after it; and not at all while it is current.
    order = sorted(chosen, key=lambda each: options.get("dataset") != each)
    for each in order:
        kinds = [kind for kind in KINDS if options.get(kind) == each]
        if "dataset" in kinds and len(chosen) > 1:
            trial = export_lake(store, engine, kinds, each, recorded_at, progress, dry_run=True)
            if set(kinds) <= set(trial.unchanged):
                continue
        done.append(export_lake(store, engine, kinds, each, recorded_at, progress))
    return done
