"""Why a file of the second run is not the one that a receipt names.

The first cause counts: what is made of something that parted already only follows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

from stillhouse.interfaces import Store
from stillhouse.lake import (
    EVIDENCE,
    QUARANTINE,
    SCORED,
    partition_of,
    partition_path,
    stem_of,
)
from stillhouse.receipts import Claim, Receipt, check_claim
from stillhouse.records import Record
from stillhouse.replay.rows import Difference, compare
from stillhouse.replay.second import Maker
from stillhouse.replay.told import Told, version_of
from stillhouse.state import FileState

Why = Literal["input", "version", "rule", "follows"]

_STAGES: Final = {
    "evidence": "read",
    "score": "scored",
}


_READ_BY_EXPORTS: Final = (f"{EVIDENCE}/", f"{SCORED}/")


class FileParting(Record, frozen=True, kw_only=True):
    """A file that the second run gives otherwise than the ``receipt`` says.

    ``why``: ``input`` (the raw log is gone or changed where it was read), ``version`` (another
    version or commit of Stillhouse ran), ``rule`` (the same one, by name, but its code or a
    plugin's gives something else now), ``follows`` (what this stage reads has parted already).
    ``expected`` and ``found`` are SHA-256, None where there is no such file.
    """

    path: str
    stage: str
    receipt: str | None
    why: Why
    detail: str
    expected: str | None
    found: str | None
    difference: Difference = Difference()


class Seen:
    """Both sides, and what is known of why they may part."""

    def __init__(
        self, store: Store, second: Store, told: Told, maker: Maker, lost: dict[str, str]
    ) -> None:
        self._store, self._second = store, second
        self._told, self._maker = told, maker
        self._lost = {stem_of(path): f"{path} {said}" for path, said in lost.items()}
        self._parted: set[str] = set()

    def partings(
        self, wanted: dict[str, Claim], found: dict[str, FileState]
    ) -> Iterator[FileParting]:
        """Every file that parts, in the order of the stages."""
        order = (EVIDENCE, f"{QUARANTINE}/evidence", f"{QUARANTINE}/torn", SCORED, "")
        for path in sorted(
            wanted.keys() | found.keys(),
            key=lambda path: (next(i for i, top in enumerate(order) if path.startswith(top)), path),
        ):
            claim, file = wanted.get(path), found.get(path)
            same = claim and file and claim.file.sha256 == file.sha256
            # An empty file of refused rows is as good as none.
            empty = not (claim and claim.file.bytes) and not (file and file.bytes)
            if not same and not empty:
                self._parted.add(path)
                yield self._parting(path, claim, file)

    def _parting(self, path: str, claim: Claim | None, file: FileState | None) -> FileParting:
        receipt = self._told.receipts[claim.receipt] if claim else None
        stage = receipt.parameters.stage if receipt else _stage(path)
        why, detail = self._why(path, stage, receipt)
        difference = Difference()
        if claim is None:
            detail = f"no receipt names it, and the second run writes it; {detail}"
        elif file is None:
            detail = f"the second run does not write it; {detail}"
        elif self._store.stat(path) is None:
            detail = f"is not in the lake any more; {detail}"
        elif check_claim(self._store, claim) is not None:
            detail = f"is not in the lake as its receipt says, so its rows say nothing; {detail}"
        else:
            difference = compare(self._store, path, self._second, path)
        return FileParting(
            path=path,
            stage=stage,
            receipt=claim.receipt if claim else None,
            why=why,
            detail=detail,
            expected=claim.file.sha256 if claim else None,
            found=file.sha256 if file else None,
            difference=difference,
        )

    def _why(self, path: str, stage: str, receipt: Receipt | None) -> tuple[Why, str]:
        if self._follows(path, stage):
            return "follows", "what it is made of has parted"
        if stage in _STAGES and stem_of(path) in self._lost:
            return "input", self._lost[stem_of(path)]
        by = receipt.predicate.run_details.builder.version if receipt else {}
        made = Maker(version_of(receipt) if receipt else "", by.get("commit"))
        done = _STAGES.get(stage, "exported")
        if receipt and made != self._maker:
            return "version", f"{done} by {made.words()}, again by {self._maker.words()}"
        return "rule", f"the same rows are {done} otherwise by the code that is here"

    def _follows(self, path: str, stage: str) -> bool:
        """Whether something that this stage makes the file of has parted."""
        if stage == "evidence":
            return False
        place = partition_of(path)
        if stage == "score" and place is not None:
            return partition_path(EVIDENCE, *place) in self._parted
        return any(other.startswith(_READ_BY_EXPORTS) for other in self._parted)


def _stage(path: str) -> str:
    top, _, rest = path.partition("/")
    if top in (EVIDENCE, SCORED):
        return "score" if top == SCORED else "evidence"
    stage = rest.split("/")[0]
    return "evidence" if stage in ("evidence", "torn") else stage
