"""The rows of a benchmark lake: one builder a stem, each with the category its rules give.

A builder returns the row's own fields as JSON and what a right scorer says of them. The
rules of SPEC section 3 stand here a second time, on purpose: they check the program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from benchmarks.words import ASKS, FILES, SENTENCES

ACCEPTED, PARTIAL, REJECTED, REVIEW = (
    "accepted",
    "partially_accepted",
    "rejected",
    "needs_human_review",
)
CATEGORIES: Final = frozenset({ACCEPTED, PARTIAL, REJECTED, REVIEW})


class Answer(NamedTuple):
    """One answer to one task: its bytes of chance, its text, and when it was given (Unix ms)."""

    bits: bytes
    text: bytes
    task: int
    when: int
    judged: int


def _file(answer: Answer) -> bytes:
    return b"src/%b/part_%d.py" % (FILES[answer.task % 8], answer.task)


def _scrum(answer: Answer) -> tuple[bytes, str]:
    attempt = (1, 1, 1, 1, 2, 3, 2, 4, 6, 0)[answer.judged % 10]
    tried = b"%d" % attempt if attempt else b"null"
    body = b'"file":"%b","accepted_on_attempt":%b,"review":"%b"' % (
        _file(answer),
        tried,
        answer.text,
    )
    return body, {1: ACCEPTED, 2: PARTIAL, 3: PARTIAL}.get(attempt, REVIEW)


def _observer(answer: Answer) -> tuple[bytes, str]:
    word, category = (
        (b'"accept"', ACCEPTED),
        (b'"cycle"', PARTIAL),
        (b'"reject"', REJECTED),
        (b'"accept"', ACCEPTED),
        (b"null", REVIEW),
    )[answer.judged % 5]
    body = b'"file":"%b","verdict":%b,"confidence":0.%d,"notes":["%b"],"review":"%b"' % (
        _file(answer),
        word,
        10 + answer.judged % 90,
        SENTENCES[answer.judged],
        answer.text,
    )
    return body, category


def _audit(answer: Answer) -> tuple[bytes, str]:
    phase = b'"phase":"release-%d",' % answer.task
    summary = b',"summary":"%b"' % answer.text
    if answer.judged % 2:
        word, category = (
            (b"approve", ACCEPTED),
            (b"request_changes", PARTIAL),
            (b"block", REJECTED),
            (b"unclear", REVIEW),
        )[answer.judged // 2 % 4]
        return phase + b'"overall":"%b"' % word + summary, category
    severity, category = (
        (b"info", ACCEPTED),
        (b"low", PARTIAL),
        (b"medium", REVIEW),
        (b"high", REJECTED),
        (b"critical", REJECTED),
    )[answer.judged // 2 % 5]
    findings = b'"findings":[{"severity":"info","message":"%b"},{"severity":"%b","message":"%b"}]'
    words = SENTENCES[answer.judged], severity, SENTENCES[answer.bits[0]]
    return phase + findings % words + summary, category


def _contract(answer: Answer) -> tuple[bytes, str]:
    word, markers, category = (
        (b'"accept"', b"", ACCEPTED),
        (b'"cycle"', b"", PARTIAL),
        (b'"reject"', b"", REJECTED),
        (b"null", b'"missing_insurance"', REJECTED),
        (b"null", b"", REVIEW),
    )[answer.judged % 5]
    body = (
        b'"permit_id":"P-%d","contractor":"Crew %d","observer_verdict":%b,'
        b'"failure_markers":[%b],"analysis":"%b"'
    ) % (answer.task, answer.task % 97, word, markers, answer.text)
    return body, category


def _apply(answer: Answer) -> tuple[bytes, str]:
    action, category = (
        (b"committed", ACCEPTED),
        (b"committed", ACCEPTED),
        (b"build_red_reverted", REJECTED),
        (b"lint_reverted", PARTIAL),
        (b"no_patch", PARTIAL),
        (b"paused", REVIEW),
    )[answer.judged % 6]
    body = b'"file":"%b","action":"%b","patch":"%b"' % (_file(answer), action, answer.text)
    return body, category


def _outcome(answer: Answer) -> tuple[bytes, str]:
    passed = (3, 3, 2, 1, 0, -1)[answer.judged % 6]
    events = b",".join(
        b'{"name":"%b","ok":%b,"note":"%b"}'
        % (name, b"true" if i < passed else b"false", SENTENCES[answer.bits[i]])
        for i, name in enumerate((b"opened", b"saved", b"notified"))
        if passed >= 0
    )
    talk = (
        b'{"role":"system","content":"You help the operators of a billing system."},'
        b'{"role":"user","content":"%b for tenant %d."},'
        b'{"role":"assistant","content":null,"tool_calls":[{"id":"call_%d","type":"function",'
        b'"function":{"name":"find_tenant","arguments":"{\\"tenant\\": %d}"}}]},'
        b'{"role":"tool","tool_call_id":"call_%d","content":"%b"},'
        b'{"role":"assistant","content":"%b"}'
    ) % (
        ASKS[answer.task % 8],
        answer.task,
        answer.task,
        answer.task,
        answer.task,
        SENTENCES[answer.task % 256],
        answer.text,
    )
    body = b'"scenario":"tenant %d","events":[%b],"messages":[%b]' % (answer.task, events, talk)
    category = {3: ACCEPTED, 2: PARTIAL, 1: PARTIAL, 0: REJECTED, -1: REVIEW}[passed]
    return body, category


def _mode(answer: Answer) -> tuple[bytes, str]:
    right, wrong = ((2, 0), (3, 0), (2, 1), (1, 2), (0, 3), (0, 0), (3, 0), (0, 2))[
        answer.judged % 8
    ]
    names = (b"compiles", b"tests_pass", b"lint", b"schema")
    validators = b",".join(
        b'"%b":%b' % (names[i], b"true" if i < right else b"false") for i in range(right + wrong)
    )
    body = (
        b'"task_class":"billing_help","file":"%b","mode":"plain","prompt":"%b (case %d).",'
        b'"validators":{%b},"response":"%b"'
    ) % (_file(answer), ASKS[answer.task % 8], answer.task, validators, answer.text)
    if not right + wrong:
        return body, REVIEW
    return body, ACCEPTED if not wrong else PARTIAL if right else REJECTED


def _fact(answer: Answer) -> tuple[bytes, str]:
    return b'"role":"extractor","fact":"%b"' % answer.text, REVIEW


BUILDERS: Final[dict[str, Callable[[Answer], tuple[bytes, str]]]] = {
    "mode_experiments": _mode,
    "scrum_reviews": _scrum,
    "observer_reviews": _observer,
    "contract_analyses": _contract,
    "auto_apply": _apply,
    "distilled_facts": _fact,
    "outcomes": _outcome,
    "audits": _audit,
}
