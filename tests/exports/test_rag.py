"""Cutting text into chunks: the laws that hold for any text, and the places a reader expects."""

from __future__ import annotations

import time
import unicodedata
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillhouse.errors import UsageError
from stillhouse.exports.firewall import EXPORT, Cleared, ExportOptions, clear, join
from stillhouse.exports.rag import chunk_record, cut
from stillhouse.records import EvidenceRecord, Provenance, ScoredRun, encode
from stillhouse.sources import score_record

_CJK_ENDS = "。！？｡」』”’）】》"  # noqa: RUF001 - the signs themselves are tested
_PIECES = st.sampled_from(
    [
        *["word", "a", "I", " ", "  ", "\n", "\n\n", "\n \n", ". ", "! ", "?) ", "。", "e.g. "],
        *[
            "```\n",
            "~~~\n",
            "é",
            "e\u0301",
            "👩\u200d🔬",
            "🇳🇴",
            "\u00a0",
            "\u3000",
            "長い文",
            "x" * 30,
        ],
    ]
)
_TEXTS = st.one_of(st.lists(_PIECES, max_size=80).map("".join), st.text(max_size=200))
_LIMITS = st.integers(1, 60).flatmap(
    lambda size: st.tuples(st.just(size), st.integers(0, size // 2))
)


def _words(text: str) -> list[tuple[int, int]]:
    """The runs without blanks."""
    runs: list[tuple[int, int]] = []
    start: int | None = None
    for place, character in enumerate(text + " "):
        if character.isspace():
            if start is not None:
                runs.append((start, place))
            start = None
        elif start is None:
            start = place
    return runs


@given(_TEXTS, _LIMITS)
def test_every_character_that_is_not_blank_is_in_a_chunk(
    text: str, limits: tuple[int, int]
) -> None:
    """Nothing but blanks falls between two chunks."""
    covered = {place for start, end in cut(text, *limits) for place in range(start, end)}
    missing = [place for place, word in enumerate(text) if not word.isspace()]
    assert [place for place in missing if place not in covered] == []


@given(_TEXTS, _LIMITS)
def test_chunks_ascend_are_tight_and_keep_the_limits(text: str, limits: tuple[int, int]) -> None:
    """Chunks begin and end on words, in order, within size and overlap."""
    size, overlap = limits
    spans = cut(text, size, overlap)
    for start, end in spans:
        assert 0 < end - start <= size
        assert text[start:end] == text[start:end].strip()
    for (start, end), (next_start, next_end) in pairwise(spans):
        assert start < next_start
        assert end < next_end
        assert end - next_start <= overlap


@given(_TEXTS, _LIMITS)
def test_no_chunk_begins_or_ends_inside_a_word(text: str, limits: tuple[int, int]) -> None:
    """Only a run without blanks that is longer than a chunk is cut, or a CJK sentence end."""
    short = [run for run in _words(text) if run[1] - run[0] <= limits[0]]
    for start, end in cut(text, *limits):
        for first, last in short:
            for place in (start, end):
                inside = first < place < last and text[place - 1] not in _CJK_ENDS
                assert not inside


@given(_TEXTS, _LIMITS)
def test_no_chunk_parts_a_grapheme(text: str, limits: tuple[int, int]) -> None:
    """A combining mark stays with its letter unless the grapheme alone is too long."""
    for start, end in cut(text, *limits):
        for place in (start, end):
            if 0 < place < len(text) and unicodedata.category(text[place])[0] == "M":
                assert end - start == limits[0] or text[place - 1].isspace() or place == start


@given(_TEXTS, _LIMITS)
def test_the_same_text_gives_the_same_chunks(text: str, limits: tuple[int, int]) -> None:
    """Cutting has no state."""
    assert cut(text, *limits) == cut(text, *limits)


def _chunks(text: str, size: int, overlap: int = 0) -> list[str]:
    return [text[start:end] for start, end in cut(text, size, overlap)]


def test_short_text_is_one_chunk_without_its_margins() -> None:
    """Text that fits is not cut, however many sentences it has."""
    assert cut("  One. Two.\n\nThree.\n", 40, 10) == [(2, 19)]
    assert cut(" \n\t ") == []
    assert cut("") == []


def test_a_paragraph_end_is_better_than_a_later_sentence_end() -> None:
    """Between two good places the stronger one wins."""
    text = "First part of it. Done here.\n\nNext one. And more words follow now."
    assert _chunks(text, 44) == [
        "First part of it. Done here.",
        "Next one. And more words follow now.",
    ]


def test_a_sentence_end_is_better_than_a_gap_between_words() -> None:
    """A chunk ends with its sentence even when more words would fit."""
    assert _chunks("One two three four. Five six seven eight nine ten.", 36) == [
        "One two three four.",
        "Five six seven eight nine ten.",
    ]


def test_a_sentence_may_fill_its_chunk_to_the_last_character() -> None:
    """An end at the limit counts; signs that go on behind it are not an end."""
    assert _chunks("One two. Three four five. Six seven", 25)[0] == "One two. Three four five."
    assert _chunks("One two. Three four five... Six seven", 25)[0] == "One two."


@pytest.mark.parametrize("ends", ["。", "！", "？", "。」"])  # noqa: RUF001
def test_cjk_sentences_end_without_a_blank(ends: str) -> None:
    """Chinese and Japanese put no blank after a sentence."""
    text = "".join(f"{word * 8}{ends}" for word in "一二三四")
    assert _chunks(text, 2 * (8 + len(ends)) + 3) == [
        f"{'一' * 8}{ends}{'二' * 8}{ends}",
        f"{'三' * 8}{ends}{'四' * 8}{ends}",
    ]


@pytest.mark.parametrize("short", ["e.g.", "J.", "Dr.", "i.e."])
def test_an_abbreviation_ends_no_sentence(short: str) -> None:
    """The text is cut before the sentence, not after the abbreviation in it."""
    text = f"A first sentence. Then {short} something that goes on and on."
    assert _chunks(text, 44)[0] == "A first sentence."


def test_the_number_of_a_list_item_ends_no_sentence() -> None:
    """ "1." at the start of a line belongs to what follows."""
    text = "Do this now\n1. alpha beta gamma delta epsilon"
    assert _chunks(text, 36)[0] == "Do this now"
    assert _chunks(text, 36)[1].startswith("1. alpha")


@pytest.mark.parametrize("mark", ["```", "~~~~"])
def test_a_code_block_that_fits_is_kept_whole(mark: str) -> None:
    """Neither a blank line nor a full stop inside it is a place to cut, nor to overlap from."""
    code = f"{mark}python\na = 1.\n\nb = 2. \nc = 3\n{mark}"
    text = f"Before it there are words. Many of them.\n{code}\nAfter it there are some more words."
    chunks = _chunks(text, 48, 20)
    assert [chunk for chunk in chunks if code in chunk]
    assert all(chunk.count(mark) in (0, 2) for chunk in chunks)


def test_a_code_block_ends_like_a_sentence() -> None:
    """A chunk rather ends behind the block than in the line that follows it."""
    text = "Run it. So:\n```\nmake a b\n```\nand then these words go on for quite a while"
    assert _chunks(text, 50)[0].endswith("b\n```")


@pytest.mark.parametrize("gap", ["\n\n", "\n \t\n", "\r\n\r\n", "\n\n\n"])
def test_an_empty_line_may_hold_blanks(gap: str) -> None:
    """What looks like a paragraph end is one, whoever's editor wrote it."""
    text = f"First part of it. Done here{gap}Next one. And more words follow now."
    assert _chunks(text, 46)[0] == "First part of it. Done here"


def test_a_code_block_that_does_not_fit_is_cut_at_its_lines() -> None:
    """Long code is cut like text, at the ends of lines."""
    text = "```\n" + "\n".join(f"call_{n}(argument)" for n in range(20)) + "\n```"
    for chunk in _chunks(text, 60):
        assert chunk.endswith((")", "```"))


def test_an_overlap_begins_at_a_sentence_where_there_is_one() -> None:
    """The next chunk repeats whole sentences, as many as the overlap takes."""
    chunks = _chunks("Alpha beta gamma. Delta one. Epsilon zeta eta theta iota kappa.", 46, 16)
    assert chunks == [
        "Alpha beta gamma. Delta one.",
        "Delta one. Epsilon zeta eta theta iota kappa.",
    ]


def test_an_overlap_does_not_begin_behind_an_abbreviation() -> None:
    """What follows it begins no sentence, so that any word is as good."""
    chunks = _chunks("Aa bb cc dd, see Dr. Ee and ff. Gg hh ii jj kk ll", 32, 16)
    assert chunks[1].startswith("Dr. Ee")


def test_an_overlap_begins_at_a_word_where_no_sentence_begins() -> None:
    """Without a sentence start the overlap begins at a word."""
    assert _chunks("aaa bbb ccc ddd eee fff ggg hhh", 15, 6) == [
        "aaa bbb ccc ddd",
        "ddd eee fff ggg",
        "ggg hhh",
    ]


def test_an_overlap_that_leaves_no_room_is_dropped() -> None:
    """A long word begins a chunk of its own; a short chunk is not begun again."""
    assert _chunks("aaaa bbb ccccccccc", 10, 5) == ["aaaa bbb", "ccccccccc"]
    assert _chunks("Ab cd.\n\nefgh ijkl mnop qrst uvwx", 20, 10) == [
        "Ab cd.",
        "cd.\n\nefgh ijkl mnop",
        "ijkl mnop qrst uvwx",
    ]


def test_a_word_longer_than_a_chunk_is_cut_between_graphemes() -> None:
    """The one exception: it is cut at the limit, without overlap, no grapheme parted."""
    assert _chunks("x" * 25, 10, 5) == ["x" * 10, "x" * 10, "x" * 5]
    assert _chunks("e\u0301" * 5, 5) == ["e\u0301" * 2, "e\u0301" * 2, "e\u0301"]
    assert _chunks("👩\u200d🔬" * 3, 5) == ["👩\u200d🔬"] * 3
    assert _chunks("🇳🇴🇸🇪🇩🇰", 3) == ["🇳🇴", "🇸🇪", "🇩🇰"]
    assert _chunks("\ud83d\ude00" * 2, 3) == ["\ud83d\ude00"] * 2
    assert _chunks("a" + "\u0301" * 9, 4) == ["a\u0301\u0301\u0301", "\u0301" * 4, "\u0301" * 2]


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (10, 6), (10, -1)])
def test_limits_that_cannot_work_are_refused(size: int, overlap: int) -> None:
    """An overlap of more than half a chunk would cut the same words for ever."""
    with pytest.raises(UsageError, match="overlap"):
        cut("some text", size, overlap)


@pytest.mark.parametrize(
    "unit",
    ["word ", "x", ".", "!)", "\n", " \n", "```\n", "a. ", "。", "\u0301", "a\n\n", "🇳", "~~~ "],
)
def test_the_time_is_linear_in_the_length(unit: str) -> None:
    """Four times the text takes about four times as long, also for hostile text."""
    times = []
    for length in (100_000, 400_000):
        text = (unit * length)[:length] + "z"
        began = time.process_time()
        cut(text)
        times.append(time.process_time() - began)
    assert times[1] < 0.05 + 12 * times[0]


# ----------------------------------------------------------------------------- records

TIME = "2026-01-31T12:00:00Z"


def _cleared(text: str) -> Cleared:
    """A record that the firewall let out."""
    at = Provenance(
        source_file="_kb/observer_reviews.jsonl",
        line_offset=7,
        sig_hash="ab" * 32,
        recorded_at=TIME,
    )
    evidence = EvidenceRecord(
        run_id="run-1",
        task_id="observer:a.py",
        timestamp=TIME,
        provenance=at,
        model_name="m",
        model_role="reviewer",
        source_files=["a.py"],
        observer_verdict="accept",
        text=text,
    )
    line = encode(evidence)
    verdict = score_record(evidence)
    scored = ScoredRun(
        evidence_run_id="run-1",
        evidence_task_id="observer:a.py",
        category=verdict.category,
        reasons=verdict.reasons,
        scored_at=TIME,
        scorer_version="v1.0.0",
        sig_hash=sha256(line).hexdigest(),
        provenance=at,
    )
    joined = join(encode(scored), line)
    assert not isinstance(joined, tuple)
    cleared = clear(joined, "rag", EXPORT, ExportOptions())
    assert isinstance(cleared, Cleared)
    return cleared


def test_chunks_of_a_record_say_where_they_come_from() -> None:
    """Each chunk is valid, counted, labelled, and its offsets give its text."""
    text = "One two three four. Five six seven eight nine ten."
    chunks = chunk_record(_cleared(text), TIME, size=36, overlap=0)
    assert [(chunk.chunk, chunk.chunks, chunk.text) for chunk in chunks] == [
        (0, 2, "One two three four."),
        (1, 2, "Five six seven eight nine ten."),
    ]
    for chunk in chunks:
        assert chunk.problems() == []
        assert text[chunk.start : chunk.end] == chunk.text
        assert (chunk.source_stem, chunk.category) == ("observer_reviews", "accepted")
        assert (chunk.task_id, chunk.source_run_id) == ("observer:a.py", "run-1")
        assert (chunk.source_files, chunk.model_name, chunk.model_role) == (
            ["a.py"],
            "m",
            "reviewer",
        )
        assert chunk.provenance.line_offset == 7
        assert chunk.created_at == TIME


def test_a_chunks_id_hashes_its_source_its_number_and_its_words() -> None:
    """The format is pinned: length of each part, then the part."""
    (chunk,) = chunk_record(_cleared("Left."), TIME)
    parts = [b"observer_reviews", b"ab" * 32, b"0", b"Left."]
    framed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    assert chunk.id == f"rag-{sha256(framed).hexdigest()[:32]}"
    assert len({c.id for c in chunk_record(_cleared("Left. " * 900), TIME)}) > 1
