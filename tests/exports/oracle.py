"""The contamination firewall once more, slow and simple, from the words of the specification.

It looks at raw rows alone and at every pair of them. It shares with the program only the
wording of the instruction templates, which is part of the format and golden-tested.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from stillhouse.records import EvidenceRecord
from stillhouse.rows import read_line
from stillhouse.sources import build_instruction, source_for
from tests.exports.lakes import Rows, line_of

EXTRACTION = ("distilled_facts", "audit_facts", "a_stem_of_nobody")
TEXT_FIELD = {
    "scrum_reviews": "review",
    "observer_reviews": "review",
    "audits": "summary",
    "contract_analyses": "analysis",
    "auto_apply": "patch",
    "outcomes": "report",
    "mode_experiments": "response",
}
RANK = {"rejected": 0, "partially_accepted": 1, "accepted": 2}
OVERRIDE = {
    "accept": "accepted",
    "reject": "rejected",
    "needs_review": "needs_human_review",
}
OBSERVER = {"accept": "accepted", "cycle": "partially_accepted", "reject": "rejected"}
SEVERITIES = (
    ("critical", "rejected"),
    ("high", "rejected"),
    ("medium", "needs_human_review"),
    ("low", "partially_accepted"),
    ("info", "accepted"),
)

Key = tuple[Any, ...]

# Tokens that the tests plant, put together from parts. What an export shows of each is the mark.
TOKENS = tuple(
    "ghp_" + body
    for body in ("Zk3vQ9xL2mT7rW5pY8nB4cD6fG1hJ0sAqEuI", "aB7dE2fG9hJ4kL1mN6pQ3rS8tU5vW0xY2zC4")
)
MARK = "[REDACTED:github]"


class Seen(NamedTuple):
    """One raw row as the specification sees it."""

    stem: str
    line: int
    sig_hash: str
    category: str
    task: str
    prompt: Key
    answer: Key | None
    said: Key | None
    text: str
    tools: str
    secret: bool
    instructable: bool

    @property
    def name(self) -> str:
        """``STEM:LINE``, counted from 0."""
        return f"{self.stem}:{self.line}"

    @property
    def content(self) -> Key:
        """Prompt and answer together: what its verdict is about."""
        return (self.prompt, self.answer)

    @property
    def shown(self) -> Key:
        """Prompt and text together: what RAG shows of it."""
        return (self.prompt, self.said)


def redacted(text: str) -> str:
    """Text as an export shows it (S10)."""
    for token in TOKENS:
        text = text.replace(token, MARK)
    return text


def plain(text: str) -> str:
    """Text as it is compared (S9)."""
    return unicodedata.normalize("NFC", redacted(text).strip()).strip()


def category_of(stem: str, row: Mapping[str, Any]) -> str:
    """The truth tables (C3), and a person's word above them (C4)."""
    override = row.get("human_override")
    if override:
        decision = override if isinstance(override, str) else override["decision"]
        return OVERRIDE[decision]
    if stem in EXTRACTION:
        return "needs_human_review"
    return _RULES[stem](row) or "needs_human_review"


def _scrum(row: Mapping[str, Any]) -> str | None:
    return {1: "accepted", 2: "partially_accepted", 3: "partially_accepted"}.get(
        row.get("accepted_on_attempt", 0)
    )


def _observer(row: Mapping[str, Any]) -> str | None:
    return OBSERVER.get(str(row.get("verdict")))


def _audit(row: Mapping[str, Any]) -> str | None:
    if "findings" in row:
        found = {finding["severity"] for finding in row["findings"]}
        return next((means for name, means in SEVERITIES if name in found), "accepted")
    words = {
        "approve": "accepted",
        "request_changes": "partially_accepted",
        "block": "rejected",
    }
    return words.get(str(row.get("overall")))


def _contract(row: Mapping[str, Any]) -> str | None:
    if row.get("failure_markers"):
        return "rejected"
    return OBSERVER.get(str(row.get("observer_verdict")))


def _apply(row: Mapping[str, Any]) -> str | None:
    words = {
        "committed": "accepted",
        "build_red_reverted": "rejected",
        "lint_reverted": "partially_accepted",
        "no_patch": "partially_accepted",
    }
    return words.get(str(row.get("action")))


def _share(results: Sequence[bool]) -> str | None:
    if not results:
        return None
    if all(results):
        return "accepted"
    return "partially_accepted" if any(results) else "rejected"


_RULES: dict[str, Any] = {
    "scrum_reviews": _scrum,
    "observer_reviews": _observer,
    "audits": _audit,
    "contract_analyses": _contract,
    "auto_apply": _apply,
    "outcomes": lambda row: _share([event["ok"] for event in row.get("events", [])]),
    "mode_experiments": lambda row: _share(list(row.get("validators", {}).values())),
}


# ------------------------------------------------------------------- prompt and answer


def _words(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content if part["type"] == "text")
    return content or ""


def _is_all_text(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    return not isinstance(content, list) or all(part["type"] == "text" for part in content)


def _said(message: Mapping[str, Any]) -> Key:
    role = "system" if message["role"] == "developer" else message["role"]
    calls = tuple(
        (call["function"]["name"], str(call["function"]["arguments"]))
        for call in message.get("tool_calls") or ()
    )
    return (role, plain(_words(message)), calls)


def _messages(row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    messages = list(row.get("messages") or [])
    prompt = row.get("prompt")
    if prompt and prompt.strip() and not any(m["role"] == "user" for m in messages):
        at = 0
        while at < len(messages) and messages[at]["role"] in ("system", "developer"):
            at += 1
        messages.insert(at, {"role": "user", "content": prompt})
    return messages


def _text(stem: str, row: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> str:
    for field in (TEXT_FIELD.get(stem, "fact"), "text", "response"):
        if row.get(field, "").strip():
            return str(row[field])
    if messages and messages[-1]["role"] == "assistant":
        return _words(messages[-1])
    return ""


def see(stem: str, number: int, row: Mapping[str, Any], line: bytes) -> Seen:
    """One raw row, read from its words."""
    sig_hash = sha256(line).hexdigest()
    record = read_line(line, source_for(stem), f"_kb/{stem}.jsonl", number, "", sig_hash)
    assert isinstance(record, EvidenceRecord), record
    messages = _messages(row)
    text = _text(stem, row, messages)
    asked = [at for at, message in enumerate(messages) if message["role"] == "user"]
    spoken = [at for at, message in enumerate(messages) if message["role"] == "assistant"]
    later = [at for at in spoken if not asked or at > asked[0]]
    first = later[0] if later else len(messages)
    prompt = tuple(_said(message) for message in messages[:first])
    if not prompt:
        prompt = (("user", plain(build_instruction(record)), ()),)
    talk = _talk(messages[first:], text)
    is_talk = len(talk) > 1 or any(message.get("tool_calls") for message in talk)
    answer, answers = _answer(talk if is_talk or not text.strip() else [], text)
    return Seen(
        stem=stem,
        line=number,
        sig_hash=sig_hash,
        category=category_of(stem, row),
        task=redacted(record.task_id),
        prompt=prompt,
        answer=answer,
        said=("text", plain(text)) if text.strip() else None,
        text=redacted(text),
        tools=str(row.get("tools")),
        secret=any(token in line.decode() for token in TOKENS),
        instructable=bool(text.strip())
        and stem not in EXTRACTION
        and row.get("role", "").strip().lower() != "extractor"
        and all(_is_all_text(message) for message in messages)
        and any(words or calls for _, words, calls in prompt)
        and answers,
    )


def _talk(rest: Sequence[Mapping[str, Any]], text: str) -> list[Mapping[str, Any]]:
    """What follows the prompt, up to the answer that the verdict is about: the text."""
    spoken = [at for at, message in enumerate(rest) if message["role"] == "assistant"]
    talk = list(rest[: spoken[-1] + 1]) if spoken else []
    if not text.strip():
        return talk
    worded = [at for at in spoken if _words(rest[at]).strip()]
    says = [at for at in worded if _words(rest[at]).strip() == text.strip()]
    if says:
        later = [at for at in worded if at > says[-1]]
        talk = talk[: later[0]] if later else talk
        while talk[-1]["role"] != "assistant":
            talk.pop()
        return talk
    given = {"role": "assistant", "content": text}
    if not talk:
        return [given]
    if rest[-1]["role"] != "assistant":
        return [*rest, given]
    return [*talk, given] if talk[-1].get("tool_calls") else [*talk[:-1], given]


def _answer(talk: Sequence[Mapping[str, Any]], text: str) -> tuple[Key | None, bool]:
    """The answer, and whether the assistant gives one in it. Turns that say nothing do not
    count, and one that is left is its text."""
    if not talk:
        return (("text", plain(text)), True) if text.strip() else (None, False)
    turns = [_said(message) for message in talk]
    spoken = [bool(words or calls) for role, words, calls in turns if role == "assistant"]
    answers = bool(spoken) and all(spoken)
    turns = [turn for turn in turns if turn[1] or turn[2]]
    if not turns:
        return None, False
    if len(turns) == 1 and not turns[0][2]:
        return ("text", turns[0][1]), answers
    return ("talk", *turns), answers


def look(rows: Rows) -> dict[str, Seen]:
    """``STEM:LINE`` → row, for every row that is not a repeat of an earlier line (section 2)."""
    out: dict[str, Seen] = {}
    for stem, logged in rows.items():
        before: set[bytes] = set()
        for number, row in enumerate(logged):
            line = line_of(row)
            if line not in before and isinstance(row, dict):
                seen = see(stem, number, row, line)
                out[seen.name] = seen
            before.add(line)
    return out


# --------------------------------------------------------------------------- the rules


def speaks_against(row: Seen) -> bool:
    """Whether its verdict keeps the same answer out wherever else it was given (F5)."""
    if row.category == "rejected":
        return True
    return row.category == "needs_human_review" and row.stem not in EXTRACTION


def same(one: Seen, other: Seen) -> bool:
    """The same answer to the same prompt. A conversation is the same as a text that it ends
    in; two that end in the same words are not the same for that."""
    if one.prompt != other.prompt:
        return False
    pairs = ((one.answer, other.answer), (one.answer, other.said), (one.said, other.answer))
    return any(left is not None and left == right for left, right in pairs)


def same_text(one: Seen, other: Seen) -> bool:
    """The same text to the same prompt as that of one, which RAG would show."""
    return one.prompt == other.prompt and one.said in (other.said, other.answer)


def conflicted(row: Seen, lake: Mapping[str, Seen]) -> bool:
    """F5, by looking at every row."""
    return any(speaks_against(other) and same(row, other) for other in lake.values())


def may_train(row: Seen, lake: Mapping[str, Seen], *, partial: bool) -> bool:
    """F1, F3, F4 and F5: whether a row may be an SFT sample."""
    wanted = ("accepted", "partially_accepted") if partial else ("accepted",)
    return row.instructable and row.category in wanted and not conflicted(row, lake)


def may_be_good(row: Seen, lake: Mapping[str, Seen]) -> bool:
    """Whether a row may stand on the chosen side of a pair."""
    return may_train(row, lake, partial=True)
