"""RAG chunks: trusted text, cut where a reader would cut it (SPEC P2).

Long text is cut at paragraph ends, else sentence ends, else line ends, else between
words, with an overlap that begins at a sentence or a word. A fenced code block that fits
into a chunk is kept whole. Places to cut are looked for only where a chunk can end, so that
the work is in proportion to the number of chunks rather than of sentences. This module
never decides whether a record may be exported (the firewall did) and never reads or writes
anything.
"""

from __future__ import annotations

import re
import unicodedata
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from stillhouse.errors import UsageError
from stillhouse.records import SCHEMA_VERSION, RagChunk

if TYPE_CHECKING:
    from stillhouse.exports.firewall import Cleared

SIZE: Final = 1600
"""Characters a chunk holds at most; about 400 tokens of English."""

OVERLAP: Final = 200
"""Characters two neighbours share at most."""

# Repetitions are possessive, and every search is bounded by a window of the text: no input
# takes more than linear time.
_PARAGRAPH: Final = re.compile(r"\n[^\S\n]*+\n")
_SIGNS: Final = ".!?…。！？｡"  # noqa: RUF001
_CLOSING: Final = r"[\"'”’)\]»」』）】》]*+"  # noqa: RUF001
# A blank has to follow, or the last sign is CJK, which needs none. A run of signs is tried
# at its first sign alone; what says so comes second, since `re` is fast at a set that is first.
_SENTENCE: Final = re.compile(
    rf"[{_SIGNS}](?<![{_SIGNS}]{{2}})[{_SIGNS}]*+(?:(?<=[。！？｡]){_CLOSING}|{_CLOSING}(?=\s))"  # noqa: RUF001
)
_WORD_START: Final = re.compile(r"(?<=\s)\S")
_FENCE: Final = re.compile(r"\n {0,3}(`{3,}+|~{3,}+)[^\n]*+")
_ABBREVIATIONS: Final = frozenset(
    {"e.g", "i.e", "cf", "vs", "mr", "mrs", "ms", "dr", "prof", "fig", "no", "st", "approx"}
)

_JOINER: Final = "\u200d"
_EMOJI_TONES: Final = range(0x1F3FB, 0x1F400)
_REGIONAL: Final = range(0x1F1E6, 0x1F200)
_LOW_SURROGATES: Final = range(0xDC00, 0xE000)
_HANGUL_VOWELS_AND_TAILS: Final = range(0x1160, 0x1200)


def chunk_record(
    cleared: Cleared,
    created_at: str,
    size: int = SIZE,
    overlap: int = OVERLAP,
) -> list[RagChunk]:
    """The chunks of one cleared record's text, which has no secret in it any more.

    Ids hash the source, the raw line's hash, the chunk's number and its words.
    """
    evidence, category = cleared.evidence, cleared.scored.category
    stem, provenance = cleared.stem, evidence.provenance
    whole = cleared.words.text
    spans = cut(whole, size, overlap)
    origin = _framed(stem) + _framed(provenance.sig_hash)
    out = []
    for number, (start, end) in enumerate(spans):
        text = whole[start:end]
        hashed = sha256(origin + _framed(str(number)) + _framed(text))
        out.append(
            RagChunk(
                schema_version=SCHEMA_VERSION,
                id=f"rag-{hashed.hexdigest()[:32]}",
                text=text,
                chunk=number,
                chunks=len(spans),
                start=start,
                end=end,
                source_stem=stem,
                task_id=cleared.words.task_id,
                source_run_id=evidence.run_id,
                category=category,
                created_at=created_at,
                provenance=provenance,
                source_files=evidence.source_files,
                model_name=evidence.model_name,
                model_role=evidence.model_role,
            )
        )
    return out


def _framed(part: str) -> bytes:
    """A part of an id behind its length: no two different lists of parts share their bytes."""
    data = part.encode("utf-8", "surrogatepass")
    return len(data).to_bytes(8, "big") + data


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
    # To look for one character is far cheaper than for three.
    if ("`" in text and "```" in text) or ("~" in text and "~~~" in text):
        text = _without_code(text, size)
    spans: list[tuple[int, int]] = []
    covered = start
    while stop - start > size:
        end = _best_end(text, start, covered, size)
        if not end and start < covered:
            start = covered  # what follows does not fit behind an overlap
            continue
        end = end or _hard_end(text, start, size)
        spans.append((start, _trimmed(text, start, end)))
        covered = _skip_blank(text, end, stop)
        start = _next_start(text, max(start + 1, end - overlap), end) or covered
    spans.append((start, stop))
    return spans


def _without_code(text: str, size: int) -> str:
    """The text with every closed code block that fits into a chunk, marks included, made
    one long word that ends a sentence: it is kept whole, and may be cut behind."""
    # The pattern begins with the line feed before a mark, which the first line has not.
    parts: list[str] = []
    done = 0
    opened: re.Match[str] | None = None
    for mark in _FENCE.finditer(f"\n{text}"):
        if opened is None:
            opened = mark
        elif mark[1].startswith(opened[1]) and mark[0].strip() == mark[1]:
            start, end = opened.start(1) - 1, mark.end(1) - 1
            if end - start <= size:
                parts += (text[done:start], "x" * (end - start - 1), ".")
                done = end
            opened = None
    return "".join((*parts, text[done:]))


# Of the functions below, those that look for an end give 0 where there is none: no chunk
# ends there.


def _best_end(text: str, start: int, covered: int, size: int) -> int:
    """The best place to end a chunk that begins at ``start`` and must pass ``covered``.

    A paragraph or sentence end in the window's second half is best; one in the first half
    still beats a line end, and that a gap between words.
    """
    limit = start + size
    for floor in (max(covered, start + size // 2), covered):
        end = _paragraph_end(text, floor, limit) or _sentence_end(text, floor, limit)
        if end:
            return end
    line = text.rfind("\n", covered + 1, limit + 1)
    return line if line >= 0 else _gap(text, covered, limit)


def _paragraph_end(text: str, floor: int, limit: int) -> int:
    """The last paragraph end behind ``floor`` and not behind ``limit``; one without blanks
    in its empty line is preferred, as it is found without a regular expression."""
    end = text.rfind("\n\n", floor + 1, limit + 2)
    if end >= 0:
        return end
    end = 0
    if text.find("\n", floor + 1, limit + 1) >= 0:
        for match in _PARAGRAPH.finditer(text, floor + 1, limit + 2):
            end = match.start()
    return end


def _sentence_end(text: str, floor: int, limit: int) -> int:
    """The last sentence end behind ``floor`` and not behind ``limit``."""
    stop = text.rfind(". ", floor, limit + 1)  # nearly always ends one: look from there first
    for begin in (stop, floor) if stop >= 0 else (floor,):
        # One character more than can be used: it shows whether the signs go on.
        for match in reversed([*_SENTENCE.finditer(text, begin, limit + 1)]):
            if floor < match.end() <= limit and _ends_sentence(text, match):
                return match.end()
    return 0


def _ends_sentence(text: str, match: re.Match[str]) -> bool:
    """False for the full stop of an abbreviation, an initial or a list number."""
    if match[0] != ".":
        return True
    place = match.start()
    word = text[max(0, place - 8) : place].rpartition(" ")[2].rpartition("\n")[2]
    if len(word) > 6:
        return True
    bare = word.lstrip("(\"'[").casefold()
    if bare in _ABBREVIATIONS or (len(bare) == 1 and word[-1].isupper()):
        return False
    return not (bare.isdecimal() and _begins_line(text, place - len(word)))


def _begins_line(text: str, place: int) -> bool:
    line = text.rfind("\n", max(0, place - 8), place)
    return (line >= 0 or place <= 8) and not text[line + 1 : place].strip()


def _gap(text: str, floor: int, limit: int) -> int:
    """The last blank behind ``floor`` and not behind ``limit``."""
    if limit <= floor:
        return 0
    if text[limit].isspace():
        return limit
    window = text[floor + 1 : limit + 1]
    word = window.rsplit(None, 1)[-1]
    return limit - len(word) if len(word) < len(window) else 0


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


def _next_start(text: str, floor: int, end: int) -> int:
    """Where the next chunk begins: at the first sentence, else line, else word that begins
    between ``floor`` and ``end``; 0 where none does."""
    # From a few characters before, where a sentence that begins at the floor is preceded.
    begin = max(0, floor - 4)
    stop = text.find(". ", begin, end)
    for match in _SENTENCE.finditer(text, begin if stop < 0 else stop, end):
        start = _skip_blank(text, match.end(), end)
        if floor <= start < end and _ends_sentence(text, match):
            return start
    line = text.find("\n", floor - 1, end)
    if line >= 0:
        start = _skip_blank(text, line, end)
        if start < end:
            return start
    word = _WORD_START.search(text, floor, end)
    return word.start() if word else 0


def _skip_blank(text: str, place: int, stop: int) -> int:
    while place < stop and text[place].isspace():
        place += 1
    return place


def _trimmed(text: str, start: int, end: int) -> int:
    while end > start and text[end - 1].isspace():
        end -= 1
    return end
