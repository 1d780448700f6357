"""The only gate out of a lake: rulings over all rows, then rendering, then files.

    index → rulings → chunks → firewall → redaction → lines → files, card, receipt

Nothing else may import the exporters (`sft`, `preference`, `rag`, `dataset`); they take a
`Cleared` record and the firewall alone makes one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec
import numpy as np

from stillhouse.exports import folder
from stillhouse.exports.chunks import Chunks, Layout
from stillhouse.exports.firewall import REASONS, ExportOptions
from stillhouse.exports.partitions import Partition, blocks, digest, find_partitions
from stillhouse.exports.rulings import rule
from stillhouse.exports.units import OWN_CODE, units
from stillhouse.index import ROW, Rows
from stillhouse.lake import DISTILLED, QUARANTINE, Span
from stillhouse.receipts import FileDigest
from stillhouse.records import QuarantineRow
from stillhouse.sources import code_of, text_of
from stillhouse.spill import U8, Spill
from stillhouse.state import ExportState
from stillhouse.work import Work, is_intact

__all__ = ["FILES", "KINDS", "ExportOptions", "Exported", "export"]

KINDS: Final = ("sft", "preference", "rag", "dataset")
"""What can be exported; ``all`` is all of them, in this order."""

FILES: Final[dict[str, dict[str, str]]] = {
    "sft": {
        "sft": f"{DISTILLED}/sft/sft_export.jsonl",
        "refused": f"{QUARANTINE}/sft/sft.jsonl",
    },
    "preference": {
        "preference": f"{DISTILLED}/preference/preference_export.jsonl",
        "unpaired": f"{DISTILLED}/preference/unpaired_export.jsonl",
        "refused": f"{QUARANTINE}/preference/preference.jsonl",
    },
    "rag": {
        "rag": f"{DISTILLED}/rag/rag_export.jsonl",
        "refused": f"{QUARANTINE}/rag/rag.jsonl",
    },
}
"""Section → file of the kinds that always write the same files."""


class Exported(NamedTuple):
    """What an export did: counts by kind (see `render`), and which kinds were unchanged."""

    counts: dict[str, dict[str, int]]
    unchanged: list[str]


def export(work: Work, kinds: Iterable[str], options: ExportOptions) -> Exported:
    """Write the exports asked for; what has not changed is not written again.

    Stages files and receipts; the caller commits (or, for a dry run, does not).
    """
    asked = set(kinds)
    # The dataset is made of the other exports: their refused rows are its own too.
    wanted: list[str] = [kind for kind in KINDS if kind in asked or "dataset" in asked]
    partitions = find_partitions(work)
    code = [text_of(OWN_CODE)]
    code += [code_of(stem) for stem in sorted({part.stem for part in partitions})]
    inputs = digest([part.identity for part in partitions] + [work.version, *code])
    chosen = msgspec.json.encode(options).decode()
    stale = [kind for kind in wanted if not _is_current(work, kind, inputs, chosen)]
    counts = {kind: dict(work.state.exports[kind].counts) for kind in wanted if kind not in stale}
    if stale:
        counts |= _export(work, stale, options, partitions, inputs, chosen)
    return Exported(counts, [kind for kind in wanted if kind not in stale])


def _is_current(work: Work, kind: str, inputs: str, options: str) -> bool:
    old = work.state.exports.get(kind)
    return (
        old is not None
        and (old.inputs, old.options) == (inputs, options)
        and all(is_intact(work.store, file) for file in old.files.values())
    )


# ------------------------------------------------------------------------------ exporting


def _export(
    work: Work,
    kinds: list[str],
    options: ExportOptions,
    partitions: list[Partition],
    inputs: str,
    chosen: str,
) -> dict[str, dict[str, int]]:
    total = sum(part.rows.size // ROW.itemsize for part in partitions)

    def every() -> Iterator[Rows]:
        for part in partitions:
            yield from blocks(work, part)

    rulings = rule(every, Spill(work.scratch, total), options)
    chunks = Chunks(work, kinds)
    chunks.render(units(work, partitions, rulings, kinds, options))
    problems = [line for part in partitions for line in part.problems]
    # Witnesses are no rows of their own, and come last.
    own = sum(part.rows.size // ROW.itemsize for part in partitions if not part.witness)
    refused = _refused(rulings.sft[:own])
    dependencies = [file for part in partitions for file in part.files]
    layouts = {kind: _layouts(work, kind, chunks, problems) for kind in kinds}
    joined = iter(
        work.join(
            (layout.path, layout.spans)
            for sections in layouts.values()
            for layout in sections.values()
        )
    )
    results: dict[str, dict[str, int]] = {}
    for kind, sections in layouts.items():
        counts = chunks.counts(kind)
        files = [next(joined) for _ in sections]
        if kind == "dataset":
            files += folder.write(work, sections, chunks.stats(), refused, options, counts)
        else:
            _count_problems(counts, problems)
        _settle(work, kind, files, dependencies, counts, options)
        places = {section: layout.places for section, layout in sections.items()}
        work.state.exports[kind] = ExportState(
            options=chosen,
            inputs=inputs,
            files={file.path: work.file_state(file) for file in files},
            chunks=chunks.states(kind, places),
            counts=counts,
        )
        results[kind] = counts
    return results


def _refused(rulings: U8) -> dict[str, int]:
    """Rows kept out by reason, over the whole lake."""
    counts = np.bincount(rulings, minlength=len(REASONS)).tolist()
    return {
        reason: count
        for reason, count in zip(REASONS, counts, strict=True)
        if count and reason != "export"
    }


def _count_problems(counts: dict[str, int], refused: list[bytes]) -> None:
    for line in refused:
        name = f"refused/{msgspec.json.decode(line, type=QuarantineRow).reason}"
        counts[name] = counts.get(name, 0) + 1


def _layouts(work: Work, kind: str, chunks: Chunks, problems: list[bytes]) -> dict[str, Layout]:
    """The files of a kind by section. Refused lines that belong to no row come last."""
    if kind == "dataset":
        # Sections without lines have no file: `datasets` fails on an empty one.
        paths = folder.section_paths()
        paths = {section: paths[section] for section in chunks.sections(kind)}
    else:
        paths = FILES[kind]
    layouts = {section: chunks.layout(kind, section, path) for section, path in paths.items()}
    if "refused" in layouts and problems:
        blob = work.blob()
        data = b"\n".join(problems) + b"\n"
        with work.store.writer(blob, durable=False) as sink:
            sink.write(data)
        layouts["refused"].spans.append(Span(blob, 0, len(data), len(problems)))
    return layouts


def _settle(
    work: Work,
    kind: str,
    files: list[FileDigest],
    inputs: list[FileDigest],
    counts: dict[str, int],
    options: ExportOptions,
) -> None:
    old = work.state.exports.get(kind)
    for path in old.files if old else ():
        work.remove(path)
    if kind == "dataset":
        for path in folder.standing(work.store):
            work.remove(path)
    if files:
        work.receipt(
            kind,
            outputs=files,
            inputs=inputs,
            parameters=msgspec.to_builtins(options),
            counts=counts,
        )
