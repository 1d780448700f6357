"""The sentences that benchmark rows are made of: realistic in length, alphabet and escapes.

Everything here is JSON-escaped once at import, so that a row is a join of bytes. It never
chooses anything: `lake` does, by hash.
"""

from __future__ import annotations

import json
from typing import Final

_SUBJECTS: Final = (
    "The retry loop in the uploader",
    "The session cache",
    "Our parser for tariff tables",
    "The nightly reconciliation step",
    "The webhook handler",
    "The query that backs the “overdue” page",
    "The migration that adds the audit column",
    "The feature flag for split invoices",
    "The rate limiter in front of search",
    "The importer for the Zürich feed",
    "The function `normalise_address`",
    "The export to the accounting system",
    "The worker that renders letters",
    "The permission check on bulk edits",
    "The test for leap-day billing",
    'The route "/v2/meters/{id}/readings"',
)
_PREDICATES: Final = (
    "drops the last batch when the connection closes before the acknowledgement arrives.",
    "holds its lock while it waits for the network, so one slow peer stalls all the others.",
    "treats an empty string and a missing value alike, and the difference matters downstream.",
    "was checked against four recorded inputs and gave the expected totals each time.",
    "reads the whole file although only the header is needed; on large tenants that takes 9 s.",
    "rounds to cents twice, which moves the sum by up to 0.02 € for invoices with many lines.",
    'logs "ok" even if the write failed, because the result of the call is never looked at.',
    "does what the requirement asks: an unchanged row is left alone and a changed one is kept.",
    "falls back to the server's local time; compare line 88, where UTC is assumed.",
    "needs an index on (tenant_id, due_on) → the plan shows a sequential scan of 1.4 M rows.",
    "passes now, and I ran the neighbouring suite as well: 212 passed, 0 failed, 3 skipped.",
    "should refuse a negative quantity instead of turning it into a credit note.",
    "is covered by no test; I added one that fails without the change and passes with it.",
    "keeps the old behaviour behind `legacy=True`, as the ticket allows until the next release.",
    "escapes the user's input in the title but not in the tooltip.",
    "can be reverted on its own: nothing else in this change depends on it.",
)
_SNIPPETS: Final = (
    "```python\nfor row in batch:\n    if row.total < 0:\n        raise NegativeTotal(row.id)\n```",
    "```diff\n-    return cache.get(key) or load(key)\n"
    "+    found = cache.get(key, MISSING)\n"
    "+    return load(key) if found is MISSING else found\n```",
    "```sql\nselect tenant_id, count(*)\nfrom invoices\nwhere due_on < current_date"
    " and paid_at is null\ngroup by tenant_id;\n```",
    '```json\n{"meter": "A-1093", "readings": [{"at": "06:00", "kwh": 412.7}]}\n```',
    "```\n$ make check\n212 passed, 3 skipped in 41.20s\n```",
    "```python\ndef due_on(issued: date, days: int) -> date:\n"
    '    """Working days only."""\n    return add_workdays(issued, days)\n```',
    "1. Open the tenant's page.\n2. Change the tariff to “night”.\n3. Save twice.\n"
    "The second save returns 409.",
    "| case | before | after |\n| --- | --- | --- |\n| empty | 500 | 422 |\n| twice | 201 | 409 |",
)
_ASKS: Final = (
    "Explain why the total on the invoice differs from the sum of its lines",
    "Write a query that lists tenants whose readings stopped",
    "Rewrite the loop so that a failed upload is tried again",
    "Summarise the incident for the people on call",
    "Say which of the two plans is safe to run during office hours",
    "Name the fields of the feed that our importer ignores",
    "Draft the answer to the customer whose letter arrived twice",
    "Find the first commit that made the export slower",
)
_FILES: Final = ("billing", "letters", "meters", "search", "tenants", "feeds", "auth", "reports")


def escaped(words: str) -> bytes:
    """The words as they stand inside a JSON string, without the quotes."""
    return json.dumps(words, ensure_ascii=False)[1:-1].encode()


SENTENCES: Final = tuple(
    escaped(f"{subject} {predicate}") for subject in _SUBJECTS for predicate in _PREDICATES
)
"""256 sentences of about 120 bytes: one byte of a hash picks one."""

SNIPPETS: Final = tuple(escaped(snippet) for snippet in _SNIPPETS)
ASKS: Final = tuple(escaped(ask) for ask in _ASKS)
FILES: Final = tuple(name.encode() for name in _FILES)
MODELS: Final = (
    (b"plover-8b", b"local"),
    (b"plover-70b", b"local"),
    (b"sandpiper-2", b"northgate"),
    (b"curlew-mini", b"eastbank"),
)


def fake_secrets() -> tuple[bytes, ...]:
    """Strings in the format of well-known secrets, put together here and valid nowhere."""
    return (
        b"AKIA" + b"BENCHMARK" + b"2345678",
        b"ghp" + b"_" + b"b3nCh" * 7 + b"x",
        b"postgresql://" + b"app:" + b"bench-pass-41" + b"@db.example.net/billing",
        b"sk-" + b"proj-" + b"Bench4mark7" * 4,
    )
