"""Gathers the facts of a lake. Reads, and never writes.

Counts come from the state; scored runs and quarantine are passed through line by line; rows to
read are few. Memory does not grow with the rows of the lake.
"""

from __future__ import annotations

from typing import Final

from stillhouse.exports import KINDS
from stillhouse.funnel import SourceFunnel, not_accepted, refusal_groups, source_funnels
from stillhouse.interfaces import Store
from stillhouse.lake import check_lake, raw_files
from stillhouse.records import CATEGORIES, SCORER_VERSION
from stillhouse.report import checks, excerpts, history, judgement
from stillhouse.report.facts import Facts, ReceiptRow, Totals, Versions
from stillhouse.report.timeline import over_time
from stillhouse.state import State, load_state

_EXAMPLES: Final = 3
_EXPORTED: Final = (("sft", "sft"), ("preference", "preference"), ("preference", "unpaired"),
                    ("rag", "rag"))  # fmt: skip


def gather_facts(store: Store, now: str, version: str) -> Facts | None:
    """All facts of the lake at the time ``now``; None when nothing has been read into it yet.

    Raises `LakeError` for what is no lake, and for derived files that are not as they were written.
    """
    check_lake(store)
    state = load_state(store)
    if state is None or not state.raw:
        return None
    sources = source_funnels(state)
    receipts, in_all = history.receipt_rows(store)
    exports: dict[str, dict[str, int]] = {
        kind: state.exports[kind].counts for kind in KINDS if kind in state.exports
    }
    totals = _totals(sources, exports)
    found = checks.read_checks(store, receipts)
    refused = excerpts.refused_rows(store, refusal_groups(store, _EXAMPLES))
    seen = judgement.Seen(
        totals=totals,
        sources=sources,
        refused=refused,
        unread=_unread(store, state),
        owes=state.owes(),
        acceptance=found.acceptance,
        audit=found.audit,
        receipts=receipts,
        notes=found.notes,
    )
    attention = judgement.attention(seen)
    return Facts(
        lake=store.url,
        made_at=now,
        verdict=judgement.verdict(totals, found.acceptance, attention),
        changes=judgement.changes(found.audit, history.changes_by_receipts(receipts)),
        attention=attention,
        totals=totals,
        sources=sources,
        not_accepted=list(not_accepted(store)),
        exports=exports,
        over_time=over_time(state.partitions.values()),
        refused=refused,
        samples=excerpts.samples(store),
        acceptance=found.acceptance,
        audit=found.audit,
        history=found.history,
        receipts=receipts,
        receipts_in_all=in_all,
        versions=_versions(version, state, receipts),
        notes=found.notes,
    )


def _totals(sources: list[SourceFunnel], exports: dict[str, dict[str, int]]) -> Totals:
    return Totals(
        lines=sum(source.lines for source in sources),
        blank=sum(source.blank for source in sources),
        refused=sum(source.quarantined for source in sources),
        evidence=sum(source.evidence for source in sources),
        categories={
            name: sum(source.categories[name] for source in sources) for name in CATEGORIES
        },
        exports={name: exports[kind].get(name, 0) for kind, name in _EXPORTED if kind in exports},
    )


def _unread(store: Store, state: State) -> list[str]:
    """Raw logs that hold bytes which no run has read, or that changed or went since."""
    standing = {raw.path: raw for raw in raw_files(store)[0]}
    known = {raw.path: raw for raw in state.raw.values()}
    return sorted(
        path
        for path in standing.keys() | known.keys()
        if path not in standing
        or path not in known
        or standing[path].size != known[path].end + known[path].torn
    )


def _versions(version: str, state: State, receipts: list[ReceiptRow]) -> Versions:
    builders = {
        f"stillhouse {one.version}" + (f" ({one.commit[:12]})" if one.commit else "")
        for one in receipts
        if one.version
    }
    return Versions(
        report=version,
        scorer=SCORER_VERSION,
        builders=sorted(builders),
        rules={stem: raw.made_by for stem, raw in sorted(state.raw.items())},
    )
