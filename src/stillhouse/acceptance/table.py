"""SPEC's table of gates: what each promises, what it looks at, and in which order all are heard.

The functions themselves stand in `gates`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from stillhouse.acceptance import facts as kind_of
from stillhouse.acceptance import gates
from stillhouse.acceptance.asked import Asked, Found, Judged, View
from stillhouse.acceptance.facts import Meeting
from stillhouse.acceptance.verdicts import Gate

_RUN: Final = "`stillhouse run` writes from the raw logs what does not hold"

GATES: Final[tuple[Gate, ...]] = (
    Gate(1, "accounted", "a raw row that is not blank is evidence or in quarantine, and the "
         "counts add up", "`stillhouse run` reads what is new and settles the rest"),
    Gate(2, "valid", "every record of every file validates", _RUN),
    Gate(3, "anchored", "every evidence record's sig_hash is that of the raw line it names",
         "Put the log back as it was, or `stillhouse run`, which reads it anew"),
    Gate(4, "scored once", "every evidence record has exactly one scored run",
         "`stillhouse run` scores what is not, and mends what was edited"),
    Gate(5, "explained", "every scored run has a known category, a reason and a scorer version",
         _RUN),
    Gate(6, "firewall", "no SFT sample comes from a category in SFT_NEVER",
         f"Do not train on it. {_RUN}"),
    Gate(7, "content firewall", "no SFT answer has a conflicting verdict elsewhere",
         f"Do not train on it. {_RUN}"),
    Gate(8, "opt-in", "no partially accepted sample without the option that the receipt names",
         "Run again, with --include-partial if you want them"),
    Gate(9, "no extraction", "no SFT sample from the extraction class or an extractor role",
         f"Do not train on it. {_RUN}"),
    Gate(10, "substance", "no empty instruction, response, chosen, rejected or chunk", _RUN),
    Gate(11, "pairs", "chosen ≠ rejected, chosen ranks higher, same task, same prompt", _RUN),
    Gate(12, "traceable", "every exported row walks back to its raw line through matching hashes",
         _RUN),
    Gate(13, "receipted", "every file is in a receipt and has its hash",
         "`stillhouse verify` names the bytes; `stillhouse run` writes the file anew"),
    Gate(14, "reproducible", "a second run in a scratch folder gives the same bytes",
         "`stillhouse replay LAKE` shows rows and reasons; `stillhouse run` makes them anew"),
    Gate(15, "idempotent", "running again on the same lake changes nothing",
         "`stillhouse run` brings the lake up to date"),
    Gate(16, "alarms work", "planted faults are each caught by the gate that should",
         "The gates of this version cannot be trusted: report it"),
)  # fmt: skip

OF_LINES: Final[Sequence[tuple[Callable[..., Any], int]]] = (
    (gates.explained, 5),
    (gates.substance, 10),
    (gates.valid, 2),
)
"""Judged of each line."""

OF_MEETINGS: Final[Sequence[tuple[Callable[[Meeting, Asked], Found], int, tuple[int, ...]]]] = (
    (gates.anchored, 3, (kind_of.EVIDENCE,)),
    (gates.accounted, 1, (kind_of.RAW,)),
    (gates.scored_once, 4, (kind_of.EVIDENCE,)),
    (gates.firewall, 6, (kind_of.SFT,)),
    (gates.opt_in, 8, (kind_of.SFT,)),
    (gates.no_extraction, 9, (kind_of.SFT,)),
    (gates.traceable, 12, kind_of.SIDES),
    (gates.settled, 1, ()),
)
"""Judged of all that names one raw line; with the kinds of facts that are counted as checked."""

OF_LAKE: Final[Sequence[tuple[Callable[[View], Judged], int]]] = (
    (gates.receipted, 13),
    (gates.receipts_valid, 2),
    (gates.reproducible, 14),
    (gates.idempotent, 15),
    (gates.alarms_work, 16),
)
"""Judged of the lake as a whole."""

ORDER: Final[tuple[tuple[str, int], ...]] = (
    # What must never train comes first: nothing else that is wrong with a row excuses it.
    ("firewall", 6),
    ("opt_in", 8),
    ("no_extraction", 9),
    ("content_firewall", 7),
    # Then what is said of one row, before what follows from it.
    ("explained", 5),
    ("substance", 10),
    ("pairs", 11),
    ("valid", 2),
    ("anchored", 3),
    ("accounted", 1),
    ("scored_once", 4),
    ("traceable", 12),
    ("settled", 1),
    # Files as a whole, and what is made of them.
    ("receipted", 13),
    ("receipts_valid", 2),
    # Runs of the program, in which everything above shows too.
    ("reproducible", 14),
    ("idempotent", 15),
    ("alarms_work", 16),
)
"""In which order checks are heard, with the number of their gate (see `verdicts`)."""
