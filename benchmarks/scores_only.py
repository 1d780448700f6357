"""The first half of `stillhouse run` alone: raw rows to evidence and scored runs.

The command line has no such option, because nobody but a benchmark wants it: the parts are
the same, up to the commit.

    python -m benchmarks.scores_only LAKE --workers 2 --recorded-at 2026-03-01T00:00:00Z
"""

from __future__ import annotations

import argparse

from stillhouse.distil import read_raw
from stillhouse.engines import start_engine
from stillhouse.pipeline import open_work
from stillhouse.storage import open_store


def main() -> None:
    """Read, score, commit."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("lake")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--recorded-at", required=True)
    options = parser.parse_args()
    engine = start_engine("local", options.workers)
    try:
        with open_work(open_store(options.lake), engine, options.recorded_at) as work:
            read_raw(work)
            work.commit()
    finally:
        engine.close()


if __name__ == "__main__":
    main()
