"""One line tells what is missing or not understood when a store is opened."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stillhouse.errors import UsageError
from stillhouse.vectors.places import open_backend

LOGIN = "u:s3cret" + "@"
_WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None  # as if it was not installed
from stillhouse.errors import UsageError
from stillhouse.vectors.places import open_backend
try:
    open_backend(sys.argv[2])
except UsageError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("package", "extra", "url"),
    [
        ("psycopg", "pgvector", "postgresql://h/db"),
        ("psycopg", "pgvector", "postgres://h/db"),
        ("pymilvus", "milvus", "milvus://h"),
        ("pymilvus", "milvus", "milvus:x.db"),
    ],
)
def test_a_missing_extra_is_one_line_that_names_it(package: str, extra: str, url: str) -> None:
    """Without the package, opening says what to install."""
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT, package, url],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.count("\n") == 1
    assert f"pip install 'stillhouse[{extra}]'" in done.stdout


def test_a_url_of_an_unknown_kind_is_refused_without_its_password() -> None:
    """What cannot be opened is not repeated whole."""
    with pytest.raises(UsageError, match="no vector store is known for mysql:// URLs") as failed:
        open_backend(f"mysql://{LOGIN}host/db")
    assert "s3cret" not in str(failed.value)
