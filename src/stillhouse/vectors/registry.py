"""Which indexes there are: by name, what each was made with, its number in the truth, its search.

The registry is a picture of the database's table of indexes. The writer alone changes it, after a
commit; everybody reads it.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from stillhouse.vectors.refusals import index_not_found
from stillhouse.vectors.search_index import SearchIndex
from stillhouse.vectors.values import IndexSpec


class Entry(NamedTuple):
    """An index that can be used."""

    number: int
    spec: IndexSpec
    search: SearchIndex


class Registry(Protocol):
    """Looks up indexes. A failure other than "not found" is a `VectorFailedError`; whatever was
    under way ends there."""

    def find(self, name: str) -> Entry:
        """The index of a name. Raises `VectorNotFoundError` (``index_not_found``)."""
        ...

    def entries(self) -> list[Entry]:
        """Every index, by name."""
        ...

    def put(self, entry: Entry) -> None:
        """An index is there from now on, in the place of another of that name."""
        ...

    def drop(self, name: str) -> None:
        """An index is gone."""
        ...


class FolderRegistry:
    """The registry of a data folder. A dictionary is replaced whole, so readers need no lock."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def find(self, name: str) -> Entry:
        entry = self._entries.get(name)
        if entry is None:
            raise index_not_found(name)
        return entry

    def entries(self) -> list[Entry]:
        return [entry for _, entry in sorted(self._entries.items())]

    def put(self, entry: Entry) -> None:
        self._entries = {**self._entries, entry.spec.name: entry}

    def drop(self, name: str) -> None:
        self._entries = {key: entry for key, entry in self._entries.items() if key != name}
