"""How commands speak: progress of what tells none of its own."""

from __future__ import annotations

from stillhouse.cli.output import Watched
from stillhouse.engines import InlineEngine


def test_units_of_a_watched_engine_are_heard_of() -> None:
    """Each unit is one step of the stage, of a total where it is known; results are the same."""
    heard: list[tuple[str, int, int | None]] = []

    def hears(stage: str, done: int, total: int | None, /) -> None:
        heard.append((stage, done, total))

    engine = Watched(InlineEngine(), "reading", hears)
    assert list(engine.map(abs, [-1, -2])) == [1, 2]
    assert list(engine.map(abs, iter([-3]))) == [3]
    assert heard == [
        ("reading", 0, 2),
        ("reading", 1, 2),
        ("reading", 2, 2),
        ("reading", 0, None),
        ("reading", 1, None),
    ]
    assert (engine.name, engine.workers) == ("inline", 1)
