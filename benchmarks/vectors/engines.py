"""Who is measured, and what each must be able to do.

An engine is a class made with a folder, living in a child process of its own (`child`). Every
engine gets the same vectors, metadata, graph parameters (`M`, `EF_CONSTRUCTION`) and threads; what
it is set to beyond that, and why, stands at the top of its file. Answers are ids and scores,
never vectors or metadata.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, NamedTuple

from benchmarks.vectors.data import Floats

M: Final = 24
EF_CONSTRUCTION: Final = 150
THREADS: Final = 2
"""For building, adding and batches; single queries get one."""
EFS: Final = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)

Setting = dict[str, Any]
"""One point of an engine's sweep; what the keys mean is the engine's own."""


class Engine(ABC):
    """One engine over one folder. Items are numbered; an engine makes of a number whatever id it
    takes. Made without touching the folder; then `create` or `open`."""

    settings: ClassVar[Sequence[Setting]] = tuple({"ef": ef} for ef in EFS)
    """The sweep, from fast to exact."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.setting: Setting = dict(self.settings[0])

    @abstractmethod
    def create(self) -> None:
        """Make an empty index on the folder, which is there and empty."""

    @abstractmethod
    def open(self) -> None:
        """Open what lies in the folder."""

    @abstractmethod
    def close(self) -> None:
        """Leave the folder so that another process can open it."""

    @abstractmethod
    def add(self, first: int, vectors: Floats, metadata: list[dict[str, int]]) -> None:
        """Add items numbered from ``first``."""

    def flush(self) -> bool:
        """Whatever the engine offers to make sure that added items are on disk; False when it
        offers nothing beyond `add`."""
        return False

    def settle(self) -> None:
        """Wait until, or see to it that, searching is as fast as it will be."""
        return

    def threads(self, count: int) -> None:
        """How many threads may search, where the engine lets one say."""
        return

    def use(self, setting: Setting) -> None:
        """Search with this setting from now on."""
        self.setting = setting

    def query(self, vector: Floats) -> Any:
        """A query in the form the engine likes best; made outside the timing."""
        return vector

    def condition(self, field: str, value: int) -> Any:
        """A filter, field = value, in the engine's form; made outside the timing."""
        return {field: value}

    @abstractmethod
    def search(self, query: Any, condition: Any) -> Any:
        """The `K` nearest to a query, of those that fulfil the condition (None: of all)."""

    def search_many(self, queries: list[Any]) -> list[Any]:
        """The same for several queries at once, without a condition."""
        return [self.search(query, None) for query in queries]

    def numbers(self, answer: Any) -> list[int]:
        """The numbers of the items of an answer; outside the timing."""
        return [int(number) for number in answer]


class Contender(NamedTuple):
    """An engine by name. ``durable`` says what it claims about items it has acknowledged."""

    name: str
    target: str
    """``module:class``."""
    package: str
    """Whose version is told."""
    durable: str
    database: bool = True


STILLHOUSE: Final = "stillhouse"
FAISS: Final = "faiss float32"
FAISS_CODES: Final = "faiss 8-bit, re-ranked"
BARE: Final = (FAISS, FAISS_CODES)

_HERE: Final = "benchmarks.vectors"
CONTENDERS: Final = (
    Contender(
        STILLHOUSE,
        f"{_HERE}.engine_stillhouse:Stillhouse",
        "stillhouse",
        "yes: fsync before it answers (SQLite, synchronous=FULL)",
    ),
    Contender(
        FAISS,
        f"{_HERE}.engine_faiss:Flat",
        "faiss-cpu",
        "no: in memory, a file when told",
        database=False,
    ),
    Contender(
        FAISS_CODES,
        f"{_HERE}.engine_faiss:Codes",
        "faiss-cpu",
        "no: in memory, a file when told",
        database=False,
    ),
    Contender(
        "chromadb",
        f"{_HERE}.engine_chroma:Chroma",
        "chromadb",
        "a log in SQLite; does not claim an fsync",
    ),
    Contender(
        "lancedb",
        f"{_HERE}.engine_lance:Lance",
        "lancedb",
        "a file and a manifest a batch; does not claim an fsync",
    ),
    Contender(
        "zvec",
        f"{_HERE}.engine_zvec:Zvec",
        "zvec",
        "claims that its log survives power loss; flush() called after each batch",
    ),
    Contender(
        "milvus-lite",
        f"{_HERE}.engine_milvus:MilvusLite",
        "milvus-lite",
        "no: a log without fsync, as its source says of the default",
    ),
    Contender(
        "qdrant-edge",
        f"{_HERE}.engine_qdrant:QdrantEdge",
        "qdrant-edge-py",
        "a log; does not claim an fsync an update; flush() called after each batch",
    ),
)
NAMES: Final = tuple(contender.name for contender in CONTENDERS)
