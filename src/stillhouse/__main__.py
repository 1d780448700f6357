"""``python -m stillhouse``: the program, where its script is not on the path.

This module only starts the command line; it never parses or decides anything.
"""

from stillhouse.cli import main

if __name__ == "__main__":
    main()
