"""Every receipt against the files (SPEC P3).

Of the receipts that name a file as written, the one of the highest sequence is the word
on it; older ones are superseded. Raw inputs may have grown since: of those the first
``bytes`` bytes must be the same. Inputs that are a lake's own files must be an earlier
receipt's subjects, so that a chain leads from every output to raw bytes.

This module never writes, and never trusts a receipt's order on disk or its clock.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from stillhouse.errors import NewerReceiptError, ReceiptError, StorageError
from stillhouse.interfaces import Engine, Store
from stillhouse.lake import DISTILLED, EVIDENCE, QUARANTINE, SCORED
from stillhouse.receipts.codec import (
    compute_run_hash,
    decode_receipt,
    list_receipts,
    receipt_path,
    seal_holds,
)
from stillhouse.receipts.findings import WAYS_OUT, Finding, Kind, VerifyReport
from stillhouse.receipts.hashing import FileDigest, Parting, hash_prefix, parting
from stillhouse.receipts.signatures import check_signatures, keyring
from stillhouse.receipts.statement import Receipt

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

RECEIPTED: Final = (EVIDENCE, SCORED, DISTILLED, QUARANTINE)
"""Folders in which every file must be a receipt's subject."""

_PIECE: Final = 1 << 20

_WORTH_WORKERS: Final = 128 << 20
"""Bytes that one core hashes in about the time in which worker processes start."""

_LOG: Final = (
    "Put the log back as it was, or `stillhouse run`, which reads it anew or says what to delete"
)


class Claim(NamedTuple):
    """What a receipt says of a file that must be there.

    ``whole`` is false for inputs, which may have grown.
    """

    sequence: int
    receipt: str
    file: FileDigest
    whole: bool


class _Word(NamedTuple):
    """What a receipt says of an output: ``file`` is None when it is gone."""

    sequence: int
    receipt: str
    file: FileDigest | None


class _Read(NamedTuple):
    path: str
    receipt: Receipt


class _Receipts(NamedTuple):
    """Receipts that can be read, oldest word first; the SHA-256 of every one's bytes, None
    where the store refused them; and what is wrong with each."""

    reads: list[_Read]
    digests: dict[str, str | None]
    problems: list[Finding]


def verify_lake(
    store: Store, engine: Engine | None = None, keys: Sequence[Ed25519PublicKey] = ()
) -> VerifyReport:
    """Check every receipt of a lake against its files, and its signatures against the keys.

    With keys every receipt must be signed by one of them. Hashing goes through the engine
    when there is much of it. Raises `LakeError` when there is no lake; all else that is wrong
    is in the report: receipts first, then signatures, then files, each by path.
    """
    return verify_bytes(store, engine, keys)[0]


def verify_bytes(
    store: Store, engine: Engine | None = None, keys: Sequence[Ed25519PublicKey] = ()
) -> tuple[VerifyReport, dict[str, str | None]]:
    """The same, and which bytes it was said of: the SHA-256 of each receipt by its path."""
    store.check_readable()
    reads, digests, problems = _read_receipts(store)
    ring = keyring(keys)
    unsound, signed = check_signatures(store, digests, ring)
    problems += unsound
    distrusted = {one.receipt for one in problems if one.kind != "misplaced_receipt"}
    history, clashes = _history(reads)
    live = _live(history)
    raw, chain, notes = _chain(reads, history, live)
    claims = [*live.values(), *raw.values()]
    size = sum(claim.file.bytes for claim in claims)
    found = _compare(store, claims, engine if size > _WORTH_WORKERS else None)
    found += chain + clashes + list(_unreceipted(store, live))
    problems += [_doubt(one, distrusted) for one in sorted(found, key=lambda one: one.path)]
    problems, notes = _helped(problems, raw), _helped(notes, raw)
    written = sum(word.file is not None for words in history.values() for word in words)
    report = VerifyReport(
        ok=not problems,
        receipts=len(reads),
        files=len(claims),
        bytes=size,
        superseded=written - len(live),
        signed=signed,
        keys=list(ring),
        problems=problems,
        notes=notes,
    )
    return report, digests


def _compare(store: Store, claims: list[Claim], engine: Engine | None) -> list[Finding]:
    """Every claim against its file. The largest first, so that no worker is left with it at
    the end; findings are put in order by whoever asked."""
    claims = sorted(claims, key=lambda claim: (-claim.file.bytes, claim.file.path))
    check = functools.partial(check_claim, store)
    results = engine.map(check, claims) if engine else map(check, claims)
    return [finding for finding in results if finding]


def _helped(findings: Iterable[Finding], raw: dict[str, Claim]) -> list[Finding]:
    return [
        msgspec.structs.replace(one, way_out=_LOG if one.path in raw else WAYS_OUT[one.kind])
        for one in findings
    ]


def _read_receipts(store: Store) -> _Receipts:
    reads: list[_Read] = []
    digests: dict[str, str | None] = {}
    problems: list[Finding] = []
    for path in list_receipts(store):
        digests[path] = None
        try:
            data = store.read(path)
            digests[path] = hashlib.sha256(data).hexdigest()
            receipt = decode_receipt(data, path)
        except (ReceiptError, StorageError) as error:
            detail = error.what if isinstance(error, ReceiptError) else str(error)
            newer = isinstance(error, NewerReceiptError)
            kind: Kind = "newer_receipt" if newer else "unreadable_receipt"
            problems.append(_of_receipt(kind, path, detail))
            continue
        reads.append(_Read(path, receipt))
        if (wanted := compute_run_hash(receipt)) != receipt.run_hash:
            detail = f"its run_hash is {receipt.run_hash}, that of its content {wanted}"
            problems.append(_of_receipt("wrong_run_hash", path, detail))
        elif not seal_holds(data, receipt):
            problems.append(
                _of_receipt("altered_receipt", path, "its bytes are not those it was sealed with")
            )
        stage, recorded_at = receipt.parameters.stage, receipt.parameters.recorded_at
        home = receipt_path(stage, recorded_at, receipt.sequence, receipt.run_hash)
        if path != home:
            detail = f"is a copy or was renamed: its place is {home}"
            problems.append(_of_receipt("misplaced_receipt", path, detail))
    reads.sort(key=lambda read: (read.receipt.sequence, read.path))
    problems += _rivals(reads, digests)
    return _Receipts(reads, digests, problems)


def _rivals(reads: Iterable[_Read], digests: dict[str, str | None]) -> Iterator[Finding]:
    """Receipts of one stage and commit that are not copies: a stage leaves one a commit."""
    first: dict[tuple[str, int], str] = {}
    for path, receipt in reads:
        other = first.setdefault((receipt.parameters.stage, receipt.sequence), path)
        if digests[other] != digests[path]:
            detail = f"{other} is another one of the same stage and sequence"
            yield _of_receipt("conflict", path, detail)


def _of_receipt(kind: Kind, path: str, detail: str) -> Finding:
    return Finding(kind=kind, path=path, receipt=path, detail=detail)


def _history(reads: Iterable[_Read]) -> tuple[dict[str, list[_Word]], list[Finding]]:
    """Every word on every file the lake wrote, oldest first; and where two contradict."""
    history: dict[str, list[_Word]] = {}
    clashes = []
    for path, receipt in reads:
        written = {file.path: file for file in receipt.outputs}
        gone: dict[str, FileDigest | None] = dict.fromkeys(receipt.run.removed)
        for name, file in (gone | written).items():
            words = history.setdefault(name, [])
            word = _Word(receipt.sequence, path, file)
            if words and words[-1].sequence == word.sequence and not _same(words[-1].file, file):
                detail = f"{words[-1].receipt}, of the same sequence, says otherwise"
                clashes.append(Finding(kind="conflict", path=name, receipt=path, detail=detail))
            words.append(word)
    return history, clashes


def _live(history: dict[str, list[_Word]]) -> dict[str, Claim]:
    """The newest word on every output that should be there."""
    return {
        path: Claim(words[-1].sequence, words[-1].receipt, words[-1].file, True)
        for path, words in history.items()
        if words[-1].file
    }


def _same(one: FileDigest | None, other: FileDigest | None) -> bool:
    if one is None or other is None:
        return one is other
    return (one.bytes, one.sha256) == (other.bytes, other.sha256)


def _chain(
    reads: Iterable[_Read], history: dict[str, list[_Word]], live: dict[str, Claim]
) -> tuple[dict[str, Claim], list[Finding], list[Finding]]:
    """The newest word on every raw input, broken links, and outputs older than their inputs.

    Only receipts that still have the word on some file count.
    """
    raw: dict[str, Claim] = {}
    broken: list[Finding] = []
    stale: list[Finding] = []
    speaking = {claim.receipt for claim in live.values()}
    for path, receipt in reads:
        for file in receipt.inputs if path in speaking else ():
            words = history.get(file.path, [])
            written = [word for word in words if word.file is not None]
            if not written and not file.path.startswith(tuple(f"{top}/" for top in RECEIPTED)):
                claim = Claim(receipt.sequence, path, file, False)
                if not words or words[-1].sequence < claim.sequence:
                    raw[file.path] = max(claim, raw.get(file.path, claim), key=_reach)
            elif not any(
                _same(word.file, file) and word.sequence <= receipt.sequence for word in written
            ):
                detail = "was read as bytes that no earlier receipt has written"
                broken.append(
                    Finding(kind="unchained", path=file.path, receipt=path, detail=detail)
                )
            elif file.path not in live or not _same(live[file.path].file, file):
                detail = "has changed since this stage read it; run the stage again"
                stale.append(Finding(kind="stale", path=file.path, receipt=path, detail=detail))
    return raw, broken, stale


def _reach(claim: Claim) -> tuple[int, int, str]:
    return claim.sequence, claim.file.bytes, claim.receipt


def claimed_files(store: Store, without: Container[str] = ()) -> set[str]:
    """The files that must be there for the receipts to hold, but for the receipts ``without``:
    outputs and raw inputs alike."""
    reads = [read for read in _read_receipts(store).reads if read.path not in without]
    history, _ = _history(reads)
    live = _live(history)
    raw, _, _ = _chain(reads, history, live)
    return {*live, *raw}


def newest_claim(store: Store, stage: str, path: str) -> Claim | None:
    """What the newest receipt of a stage that names an output says of it, if any does.

    A receipt that cannot be read says nothing: `verify_lake` names it.
    """
    found: Claim | None = None
    for name in list_receipts(store, stage):
        try:
            receipt = decode_receipt(store.read(name), name)
        except ReceiptError:
            continue
        for file in receipt.outputs:
            if file.path == path and (found is None or found.sequence < receipt.sequence):
                found = Claim(receipt.sequence, name, file, True)
    return found


def check_claim(store: Store, claim: Claim) -> Finding | None:
    """Hash the file of one claim and compare; None when it is as claimed."""
    wanted = claim.file
    try:
        entry = store.stat(wanted.path)
        if entry is None:
            return Finding(
                kind="missing", path=wanted.path, receipt=claim.receipt, detail="is not there"
            )
        with store.open(wanted.path) as handle:
            found = hash_prefix(handle, wanted.bytes, wanted.path, wanted.block)
        # A file that shrank since it was looked at has what could be read.
        size = entry.size if found.bytes == wanted.bytes else found.bytes
        if found.sha256 == wanted.sha256 and not (claim.whole and size > wanted.bytes):
            return None
        return _difference(store, claim, found, size)
    except (StorageError, OSError) as error:
        # A store answers for what it opens; a disk may still fail under an open file.
        return Finding(
            kind="unreadable", path=wanted.path, receipt=claim.receipt, detail=str(error)
        )


def _difference(store: Store, claim: Claim, found: FileDigest, size: int) -> Finding:
    wanted = claim.file
    wrong_size = size < wanted.bytes or (claim.whole and size > wanted.bytes)
    said = "has other bytes than its receipt says"
    if wrong_size:
        said = f"has {size:,} bytes, its receipt says {wanted.bytes:,}"
    place = parting(wanted, found)
    line = None
    if place is None:
        said += "; no byte can be named, the receipt's own hash may be the one that is wrong"
    else:
        if wanted.path.endswith(".jsonl"):
            line = _line_at(store, wanted.path, place.start)
        if place.start > 0 or place.end < max(size, wanted.bytes):
            said += f"; {_words(place, line)}"
    return Finding(
        kind="wrong_size" if wrong_size else "wrong_hash",
        path=wanted.path,
        receipt=claim.receipt,
        detail=said,
        start=place and place.start,
        end=place and place.end,
        line=line,
    )


def _words(place: Parting, line: int | None) -> str:
    at = f"at byte {place.start:,}"
    if place.end - place.start > 1:
        at = f"within bytes {place.start:,} to {place.end - 1:,}"
    return f"parts {at}" + (f", line {line:,} or later" if line else "")


def _line_at(store: Store, path: str, offset: int) -> int:
    """The number, from 1, of the line that a byte is in."""
    line = 1
    with store.open(path) as handle:
        while offset > 0 and (piece := handle.read(min(_PIECE, offset))):
            offset -= len(piece)
            line += piece.count(b"\n")
    return line


def _unreceipted(store: Store, live: dict[str, Claim]) -> Iterator[Finding]:
    for folder in RECEIPTED:
        for entry in store.list(folder):
            if entry.path not in live:
                detail = "no receipt names it as written"
                yield Finding(kind="unreceipted", path=entry.path, detail=detail)


def _doubt(finding: Finding, distrusted: set[str]) -> Finding:
    if finding.receipt not in distrusted:
        return finding
    said = f"{finding.detail} (but that receipt is itself in doubt)"
    return msgspec.structs.replace(finding, detail=said)
