"""A program that decodes hostile envelopes, each in a process of its own, and tells the most
memory that each took: one JSON line a case, of its name, how it ended, the bytes of the file and
the bytes that were resident at most beyond what the program itself takes.

    python -m tests.vectors.hostile SCRATCH_FILE
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable
from typing import Final

import numpy as np

from stillhouse.errors import VectorDamagedError
from stillhouse.vectors.envelope import verify
from tests.vectors.envelopes import V1, Part, block, header, put_together

Pieces = Iterable[bytes]


def _plain_v1() -> Pieces:
    vectors = np.random.default_rng(1).normal(size=(1_000, 384)).astype(np.float32)
    named = {str(at): vector for at, vector in enumerate(vectors.tolist())}
    fields = {"version": 1, "dimension": 384, "metric": "l2", "vectors": named}
    return [json.dumps({**fields, "metadata": {id_: {"n": id_} for id_ in named}}).encode()]


def _plain_v2() -> Pieces:
    parts = [header(items=8_000, dimension=1_024)]
    for at in range(8):
        ids = [b"%05d" % (at * 1_000 + n) for n in range(1_000)]
        parts += block(ids, np.ones((1_000, 1_024)))
    return [put_together(parts)]


def _of_metadata(text: bytes, dimension: int = 2) -> Pieces:
    """One block, as wide as it may be."""
    ids = [b"%05d" % n + b"x" * 500 for n in range(250)]
    blocks = block(ids, np.ones((250, dimension)), [text] * 250)
    return [put_together([header(items=250, dimension=dimension), *blocks])]


def _one_metadata() -> Pieces:
    text = b'{"a":[' + b"[]," * 5_000_000 + b"[]]}"
    return [put_together([header(items=1), *block([b"a"], [[1, 2]], [text])])]


def _many_keys() -> Pieces:
    yield b'{"metadata":{"x":{}'
    yield from (b',"%x":{}' % at for at in range(60_000))
    yield b'},"vectors":{}}'


CASES: Final[dict[str, Callable[[], Pieces]]] = {
    "many keys": _many_keys,
    "deep lists": lambda: [b'{"vectors":{"a":', b"[" * 10_000_000],
    "deep objects": lambda: [b'{"metadata":{"a":', b'{"a":' * 2_000_000],
    "one long vector": lambda: [b'{"vectors":{"a":[1', b",1" * 5_000_000, b"]}}"],
    "one long text": lambda: [b'{"metadata":{"a":{"b":"', b"x" * 10_000_000, b'"}}}'],
    "a long number": lambda: [b'{"dimension":1', b"0" * 10_000_000, b"}"],
    "blanks": lambda: [b"{", b" " * 10_000_000],
    "objects that just fit": lambda: [b'{"metadata":{"a":[{}', b",{}" * 215_000, b"]}}"],
    "lists that just fit": lambda: [b'{"metadata":{"a":{"b":[[]', b",[]" * 215_000, b"]}}}"],
    "keys that just fit": lambda: [
        b'{"metadata":{"a":{', b",".join(b'"%d":0' % n for n in range(70_000)), b"}}}"
    ],
    "texts that just fit": lambda: [b'{"vectors":{"a":["ab"', b',"\xc3\xa9b"' * 90_000, b"]}}"],
    "plain version 1": _plain_v1,
    "plain version 2": _plain_v2,
    "wide block": lambda: _of_metadata(b'{"a":"' + b"x" * 65_000 + b'"}', 16_384),
    "block of lists": lambda: _of_metadata(b'{"a":[' + b"[]," * 21_000 + b"[]]}"),
    "metadata of lists": _one_metadata,
    "length beyond all": lambda: [put_together([header(), Part(b"IDS ", b"", 2**32 - 1)])],
    "length just allowed": lambda: [put_together([header(), Part(b"IDS ", b"", 16 << 20)])],
    "count beyond all": lambda: [
        put_together([header(items=2**62), Part(b"IDS ", b"\xff" * 9)])
    ],
    "header of lists": lambda: [
        put_together([Part(b"HEAD", b'{"metadata":{"a":[' + b"[]," * 20_000)])
    ],
}  # fmt: skip

VALID: Final = ("plain version 1", "plain version 2", "wide block", "block of lists")


def _peak() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))


def _measure(path: str) -> tuple[str, int, int]:
    before = _peak()
    try:
        with open(path, "rb") as file:
            verify(file)
        how = "valid"
    except VectorDamagedError as error:
        how = error.code
    return how, os.path.getsize(path), _peak() - before


def _apart(work: Callable[[], None]) -> None:
    """Work in a child of its own, which gives all memory back."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def main(path: str) -> None:
    """Every case, made in one process and decoded in another."""
    verify(V1)  # What is imported at the first use is the program's own.
    for name, make in CASES.items():

        def write(make: Callable[[], Pieces] = make) -> None:
            with open(path, "wb") as file:
                file.writelines(make())

        def tell(name: str = name) -> None:
            print(json.dumps([name, *_measure(path)]), flush=True)

        _apart(write)
        _apart(tell)


if __name__ == "__main__":
    main(sys.argv[1])
