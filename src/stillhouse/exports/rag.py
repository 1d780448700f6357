"""RAG chunks: trusted text, cut where a reader would cut it (SPEC P2).

Long text is cut at paragraph ends, else sentence ends, else line ends, else between
words, with an overlap that begins at a sentence or a word. A fenced code block that fits
into a chunk is kept whole. This module never decides whether a record may be exported
(the firewall did) and never reads or writes anything.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Final, NamedTuple

from stillhouse.errors import UsageError
from stillhouse.records import SCHEMA_VERSION, RagChunk

if TYPE_CHECKING:
    from stillhouse.exports.firewall import Cleared

SIZE: Final = 1600
"""Characters a chunk holds at most; about 400 tokens of English."""

OVERLAP: Final = 200
"""Characters two neighbours share at most."""

# Repetitions are possessive and nothing must follow them: no input makes these patterns
# take more than linear time.
_PARAGRAPH: Final = re.compile(r"\n[^\S\n]*+\n")
_LINE: Final = re.compile(r"\n")
_SENTENCE: Final = re.compile(r"[.!?…。！？｡]++[\"'”’)\]»」』）】》]*+")  # noqa: RUF001
_CJK_STOPS: Final = frozenset("。！？｡")  # noqa: RUF001
_FENCE: Final = re.compile(r"^ {0,3}(`{3,}+|~{3,}+)[^\n]*+$", re.MULTILINE)
_ABBREVIATIONS: Final = frozenset(
    {"e.g", "i.e", "cf", "vs", "mr", "mrs", "ms", "dr", "prof", "fig", "no", "st", "approx"}
)

_JOINER: Final = "\u200d"
_EMOJI_TONES: Final = range(0x1F3FB, 0x1F400)
_REGIONAL: Final = range(0x1F1E6, 0x1F200)
_LOW_SURROGATES: Final = range(0xDC00, 0xE000)
_HANGUL_VOWELS_AND_TAILS: Final = range(0x1160, 0x1200)


class _Ends(NamedTuple):
    """Where a chunk may end, sorted, from the best kind of place to the least."""

    paragraphs: list[int]
    sentences: list[int]
    lines: list[int]
    fences: list[tuple[int, int]]


def chunk_record(
    cleared: Cleared,
    redacted_text: str,
    created_at: str,
    size: int = SIZE,
    overlap: int = OVERLAP,
) -> list[RagChunk]:
    """The chunks of one cleared record's text, which is already redacted.

    Ids hash the source, the raw line's hash, the chunk's number and its words.
    """
    evidence, scored = cleared.evidence, cleared.scored
    spans = cut(redacted_text, size, overlap)
    out = []
    for number, (start, end) in enumerate(spans):
        text = redacted_text[start:end]
        out.append(
            RagChunk(
                schema_version=SCHEMA_VERSION,
                id=_chunk_id(cleared.stem, evidence.provenance.sig_hash, number, text),
                text=text,
                chunk=number,
                chunks=len(spans),
                start=start,
                end=end,
                source_stem=cleared.stem,
                task_id=evidence.task_id,
                source_run_id=evidence.run_id,
                category=scored.category,
                created_at=created_at,
                provenance=evidence.provenance,
                source_files=evidence.source_files,
                model_name=evidence.model_name,
                model_role=evidence.model_role,
            )
        )
    return out


def cut(text: str, size: int = SIZE, overlap: int = OVERLAP) -> list[tuple[int, int]]:
    """The spans (start, end) of a text's chunks, in characters; none when it is blank.

    Spans ascend, begin and end with a character that is not blank, are at most ``size``
    long, share at most ``overlap`` characters with the one before, and together cover
    every character that is not blank. A chunk never ends or begins inside a word, with
    one exception: a run without blanks that is longer than ``size`` is cut at ``size``,
    between two graphemes, and its parts do not overlap.

    Raises `UsageError` for a size below 1 or an overlap not within 0 and half the size.
    """
    if size < 1 or not 0 <= overlap <= size // 2:
        raise UsageError(
            f"chunks of {size} characters cannot overlap by {overlap}",
            way_out="Take a size of 1 or more, and an overlap between 0 and half of it.",
        )
    start, stop = len(text) - len(text.lstrip()), len(text.rstrip())
    if start >= stop:
        return []
    if stop - start <= size:
        return [(start, stop)]
    ends = _ends(text, size)
    spans: list[tuple[int, int]] = []
    covered = start
    while True:
        if stop - start <= size:
            spans.append((start, stop))
            return spans
        end = _best_end(text, ends, start, covered, size)
        if end is None and start < covered:
            start = covered  # what follows does not fit behind an overlap
            continue
        end = _hard_end(text, start, size) if end is None else end
        spans.append((start, _trimmed(text, start, end)))
        covered = _skip_blank(text, end)
        start = _next_start(text, ends, max(start + 1, end - overlap), end, covered)


def _ends(text: str, size: int) -> _Ends:
    fences = _fences(text, size)
    paragraphs = [m.start() for m in _PARAGRAPH.finditer(text)]
    paragraphs = sorted({*paragraphs, *(edge for fence in fences for edge in fence)})
    sentences = [m.end() for m in _SENTENCE.finditer(text) if _ends_sentence(text, m)]
    lines = [m.start() for m in _LINE.finditer(text)]
    return _Ends(
        _outside(paragraphs, fences), _outside(sentences, fences), _outside(lines, fences), fences
    )


def _fences(text: str, size: int) -> list[tuple[int, int]]:
    """The spans of closed code blocks that fit into a chunk, marks included."""
    spans: list[tuple[int, int]] = []
    if "```" not in text and "~~~" not in text:
        return spans
    opened: re.Match[str] | None = None
    for mark in _FENCE.finditer(text):
        if opened is None:
            opened = mark
        elif mark[1].startswith(opened[1]) and mark[0].strip() == mark[1]:
            start = opened.start(1)
            if mark.end() - start <= size:
                spans.append((start, mark.end()))
            opened = None
    return spans


def _outside(ends: list[int], fences: list[tuple[int, int]]) -> list[int]:
    if not fences:
        return ends
    starts = [start for start, _ in fences]
    return [end for end in ends if not _inside(end, starts, fences)]


def _inside(place: int, starts: list[int], fences: list[tuple[int, int]]) -> bool:
    before = bisect_left(starts, place) - 1
    return before >= 0 and place < fences[before][1]


def _ends_sentence(text: str, mark: re.Match[str]) -> bool:
    """True when a blank follows or the sign is CJK, which needs none; but not for the full
    stop of an abbreviation, an initial or a list number."""
    signs, end = mark[0], mark.end()
    if end < len(text) and not text[end].isspace():
        return not _CJK_STOPS.isdisjoint(signs)
    if signs != ".":
        return True
    word = text[max(0, mark.start() - 8) : mark.start()].rpartition(" ")[2].rpartition("\n")[2]
    if len(word) > 6:
        return True
    bare = word.lstrip("(\"'[").casefold()
    if bare in _ABBREVIATIONS or (len(bare) == 1 and word[-1].isupper()):
        return False
    return not (bare.isdecimal() and _begins_line(text, mark.start() - len(word)))


def _begins_line(text: str, place: int) -> bool:
    line = text.rfind("\n", max(0, place - 8), place)
    return (line >= 0 or place <= 8) and not text[line + 1 : place].strip()


def _best_end(text: str, ends: _Ends, start: int, covered: int, size: int) -> int | None:
    """The best place to end a chunk that begins at ``start`` and must pass ``covered``.

    A paragraph or sentence end in the window's second half is best; one in the first half
    still beats a line end, and that a gap between words. ``None``: no such place.
    """
    limit = start + size
    half = max(covered, start + size // 2)
    for floor, places in (
        (half, ends.paragraphs),
        (half, ends.sentences),
        (covered, ends.paragraphs),
        (covered, ends.sentences),
        (covered, ends.lines),
    ):
        last = bisect_right(places, limit) - 1
        if last >= 0 and places[last] > floor:
            return places[last]
    at = bisect_right(ends.fences, (limit, 0)) - 1
    if at >= 0 and limit < ends.fences[at][1]:
        limit = ends.fences[at][0]  # a code block that is kept whole has no gaps
    for place in range(limit, covered, -1):
        if text[place].isspace():
            return place
    return None


def _hard_end(text: str, start: int, size: int) -> int:
    """Where to cut a word longer than a chunk: at the limit, or before the grapheme there.

    A single grapheme longer than the whole chunk is cut at the limit.
    """
    place = start + size
    while place > start and _joined(text, place):
        place -= 1
    flags = 0
    while place - flags > start and ord(text[place - flags - 1]) in _REGIONAL:
        flags += 1
    if flags % 2 and ord(text[place]) in _REGIONAL:
        place -= 1
    return place if place > start else start + size


def _joined(text: str, place: int) -> bool:
    """True when the character at ``place`` belongs to the grapheme before it."""
    character = text[place]
    code = ord(character)
    return (
        text[place - 1] == _JOINER
        or character == _JOINER
        or unicodedata.category(character)[0] == "M"
        or code in _EMOJI_TONES
        or code in _LOW_SURROGATES
        or code in _HANGUL_VOWELS_AND_TAILS
    )


def _next_start(text: str, ends: _Ends, floor: int, end: int, covered: int) -> int:
    """Where the next chunk begins: at the first sentence, else line, else word that begins
    between ``floor`` and ``end``; else at ``covered``, without an overlap."""
    at = bisect_right(ends.fences, (floor, len(text))) - 1
    if at >= 0 and floor > ends.fences[at][0]:
        floor = max(floor, ends.fences[at][1])  # never from the middle of a code block
    for places in (ends.sentences, ends.lines):
        for index in range(max(0, bisect_left(places, floor) - 1), len(places)):
            start = _skip_blank(text, places[index])
            if start >= end:
                break
            if start >= floor:
                return start
    for place in range(floor, end):
        if text[place - 1].isspace() and not text[place].isspace():
            return place
    return covered


def _skip_blank(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def _trimmed(text: str, start: int, end: int) -> int:
    while end > start and text[end - 1].isspace():
        end -= 1
    return end


def _chunk_id(stem: str, sig_hash: str, number: int, text: str) -> str:
    digest = hashlib.sha256()
    for part in (stem, sig_hash, str(number), text):
        data = part.encode("utf-8", "surrogatepass")
        # A length before each part: no two different lists of parts share their bytes.
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return f"rag-{digest.hexdigest()[:32]}"
