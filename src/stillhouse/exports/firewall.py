"""The contamination firewall (SPEC section 4): who may leave, and why the rest may not.

Every exporter takes a `Cleared` and nothing else, and only `clear` makes one. `clear` is
handed the two lines as they lie on disk and the ruling on the whole lake (`rulings`), and
trusts neither: it checks the hash that joins the lines, scores the evidence again with
today's rules, and applies the category rules by itself.
"""

from __future__ import annotations

import functools
from hashlib import sha256
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from stillhouse.errors import RecordError, StillhouseError
from stillhouse.index import messages_key
from stillhouse.interfaces import Refusal
from stillhouse.records import (
    CATEGORIES,
    SFT_NEVER,
    SFT_OPT_IN,
    EvidenceRecord,
    ScoredRun,
    decode,
    decode_types,
)
from stillhouse.sources import score_record, stem_from_source_file
from stillhouse.words import Words, is_empty, is_instructable, words_of

Purpose = Literal["sft", "chosen", "rejected", "unpaired", "rag"]

EXPORT: Final = 0
REASONS: Final[tuple[str, ...]] = (
    "export",
    "not_instructable",
    "forbidden_category",
    "not_opted_in",
    "conflicting_verdict",
    "duplicate",
    "verdict_mismatch",
    "invalid",
    "no_partner",
    "over_max_pairs",
    "unpaired",
    "secret",
    "not_scored",
)
"""Why a scored run is not in an export; a ruling is a position in this table. ``export``
and ``unpaired`` are the two that are no refusals."""
CODE: Final[dict[str, int]] = {reason: code for code, reason in enumerate(REASONS)}


class ExportOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the user may choose. Nothing here opens `SFT_NEVER`.

    ``max_pairs`` is a limit a task; ``chunk_size`` and ``chunk_overlap`` are characters of
    RAG text; ``on_secret`` says whether a row with a secret is redacted or refused. The
    last three shape the dataset folder: how tools and tool-call arguments stand in its rows
    (`dataset.Form`), and whether LLaMA-Factory's own layout and Parquet are written beside.
    """

    include_partial: bool = False
    include_review: bool = False
    max_pairs: int = 4
    on_secret: Literal["redact", "drop"] = "redact"
    chunk_size: int = 1600
    chunk_overlap: int = 200
    tools_as: Literal["strings", "objects", "openai"] = "strings"
    llama_factory: bool = False
    parquet: bool = False


class FirewallError(StillhouseError):
    """Somebody tried to make a `Cleared` without the firewall."""


_SEAL: Final = object()


class _Sealed:
    """What is made only here, and stays as it was made.

    Python cannot keep somebody from reaching for `_SEAL`; it can keep a record from being
    made, changed or copied by mistake, which is what this is for.
    """

    __slots__ = ()

    def __init_subclass__(cls, **more: object) -> None:
        super().__init_subclass__(**more)
        if cls.__module__ != __name__:
            raise FirewallError("what the firewall makes has no other kinds")

    def __setattr__(self, name: str, value: object) -> None:
        raise FirewallError(f"{name} stays as the firewall set it")

    def __delattr__(self, name: str) -> None:
        raise FirewallError(f"{name} stays as the firewall set it")

    def __reduce__(self) -> tuple[object, ...]:
        raise FirewallError("a cleared record is not sent anywhere but to an exporter")


_put: Final = object.__setattr__


class Joined(_Sealed):
    """A scored run and its evidence, with the words of it that may leave.

    ``checked`` says that `join` made it, from two lines that belong together and with the
    verdict and reasons of today's rules; `clear` takes no other.
    """

    __slots__ = ("checked", "evidence", "instructable", "scored", "words")

    checked: bool
    evidence: EvidenceRecord
    instructable: bool
    scored: ScoredRun
    words: Words

    def __init__(
        self,
        scored: ScoredRun,
        evidence: EvidenceRecord,
        words: Words,
        seal: object | None = None,
    ) -> None:
        _put(self, "scored", scored)
        _put(self, "evidence", evidence)
        _put(self, "words", words)
        _put(self, "instructable", is_instructable(evidence, words))
        _put(self, "checked", seal is _SEAL)


class Cleared(_Sealed):
    """A scored run and its evidence that may leave for one purpose.

    The type is the guarantee: exporters accept nothing else, and only `clear` can make one.
    """

    __slots__ = ("joined", "purpose", "stem")

    joined: Joined
    purpose: Purpose
    stem: str

    def __init__(self, seal: object, joined: Joined, purpose: Purpose) -> None:
        if seal is not _SEAL:
            raise FirewallError("only the firewall clears a record for export")
        _put(self, "joined", joined)
        _put(self, "purpose", purpose)
        _put(self, "stem", stem_from_source_file(joined.evidence.provenance.source_file))

    @property
    def evidence(self) -> EvidenceRecord:
        """The evidence of the run."""
        return self.joined.evidence

    @property
    def scored(self) -> ScoredRun:
        """The verdict on it."""
        return self.joined.scored

    @property
    def words(self) -> Words:
        """What of it may leave, without secrets."""
        return self.joined.words


def join(scored_line: bytes, evidence_line: bytes, secret: bool | None = None) -> Joined | Refusal:
    """Read the two lines and check that they belong together and that the verdict stands.

    ``secret`` says whether the index found a secret in the evidence (None: look). A verdict
    that today's rules do not give to this evidence was edited or is stale: the way to change
    one is a ``human_override`` in the raw log, which the rules know.
    """
    try:
        scored = decode(scored_line, ScoredRun)
        evidence = decode_types(evidence_line, EvidenceRecord)
    except RecordError as error:
        return Refusal("invalid", list(error.problems))
    if sha256(evidence_line).hexdigest() != scored.sig_hash:
        return Refusal("not_instructable", ["the scored run names other evidence than this"])
    today = score_record(evidence)
    if today.category != scored.category:
        return Refusal(
            "verdict_mismatch",
            [f"the file says {scored.category!r}, the rules give {today.category!r}"],
        )
    if today.reasons != scored.reasons:
        # Somebody put other words there, and reasons reach the exports.
        scored = replace(scored, reasons=today.reasons)
    words = words_of(evidence, scored.reasons, secret=secret)
    return Joined(scored, evidence, words, _SEAL)


def clear(
    joined: Joined, purpose: Purpose, ruling: int, options: ExportOptions
) -> Cleared | Refusal:
    """Let a record out for one purpose, or say why not.

    ``ruling`` is what the whole lake says of this row (conflicts, duplicates, pairs). It
    can only forbid: whatever it says, the category rules below hold.
    """
    if not joined.checked:
        raise FirewallError("only what was joined from its two lines can be cleared")
    category = joined.scored.category
    if is_empty(joined.evidence) or not (joined.instructable or purpose == "rag"):
        refusal: str | None = "not_instructable"
    else:
        refusal = category_refusal(
            purpose, category, options.include_partial, options.include_review
        )
        if refusal is None and ruling != EXPORT:
            refusal = REASONS[ruling]
    if refusal is None:
        return Cleared(_SEAL, joined, purpose)
    return Refusal(refusal, [explain(refusal, category)])


@functools.cache
def category_refusal(
    purpose: Purpose, category: str, include_partial: bool, include_review: bool
) -> str | None:
    """Why a category may not leave for a purpose; None when it may (SPEC F1, F3, P1, P2)."""
    if category not in CATEGORIES:
        return "invalid"
    if purpose in ("sft", "chosen") and category in SFT_NEVER:
        return "forbidden_category"
    if purpose == "sft" and category in SFT_OPT_IN and not include_partial:
        return "not_opted_in"
    if purpose in ("rejected", "unpaired") and category == "needs_human_review":
        return "forbidden_category"
    if purpose == "rejected" and category == "accepted":
        return "no_partner"
    if purpose == "unpaired" and category == "partially_accepted":
        return "no_partner"
    if purpose == "rag" and category == "rejected":
        return "forbidden_category"
    if purpose == "rag" and category == "needs_human_review" and not include_review:
        return "not_opted_in"
    return None


def explain(reason: str, category: str) -> str:
    """A refusal in words that a reviewer can act on."""
    return _WORDS[reason].format(category=category)


_WORDS: Final[dict[str, str]] = {
    "not_instructable": (
        "no answer to a task in words: extracted, without text, with media, or the log names "
        "neither a prompt nor a task"
    ),
    "forbidden_category": "category {category} never leaves here",
    "not_opted_in": "category {category} leaves only when asked for",
    "conflicting_verdict": "the same answer to the same prompt got another verdict",
    "duplicate": "the same answer to the same prompt is kept once",
    "verdict_mismatch": "the stored verdict is not what the rules give to this evidence",
    "invalid": "the scored run does not validate",
    "no_partner": "{category} without another verdict on the same prompt to compare with",
    "over_max_pairs": "the task has its --max-pairs already",
    "unpaired": "stands by itself, with a label and without a partner",
    "secret": "holds a secret, and --on-secret is drop",
    "not_scored": "no scored run speaks for this evidence",
}


def same_prompt(one: Joined, other: Joined) -> bool:
    """Whether two runs answer the same prompt of the same task (SPEC P1)."""
    if one.words.task_id != other.words.task_id or one.words.tools != other.words.tools:
        return False
    ours, theirs = one.words.prompt, other.words.prompt
    return ours == theirs or messages_key(ours) == messages_key(theirs)
