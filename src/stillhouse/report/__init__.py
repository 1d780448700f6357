"""One page that says whether a lake is fit to train on, what changed, and what needs a human.

    Store → gather_facts → Facts → render_page → one HTML file

`facts` holds the structs, which are also the shape of `stillhouse report --json`; `gather` fills
them with the help of `excerpts` (rows to read), `history` (receipts) and `checks` (what audit and
acceptance wrote); `judgement` says what they mean; `charts` draws them and `page` puts them into
the templates. This package only reads the lake: the page is written by whoever asks for it. It
reads no clock, and the same lake and time give the same bytes.
"""

from stillhouse.report.facts import Facts
from stillhouse.report.gather import gather_facts

__all__ = ["Facts", "gather_facts"]
