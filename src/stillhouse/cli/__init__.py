"""The command line: parse, build, call, print. No rule lives here.

JSON for programs goes to stdout, tables and progress for people to stderr. Exit codes:
0 done, 1 the data falls short, 2 usage, 3 an error (one line, with a way out).
"""

from stillhouse.cli.app import main

__all__ = ["main"]
