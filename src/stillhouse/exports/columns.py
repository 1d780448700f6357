"""The types of the dataset's columns, and Parquet files of just these types (SPEC T1).

One table serves the card's front matter and the Parquet schema. Nothing is inferred from
rows: a schema guessed from a file's first bytes fails on a key that comes later. This
module never opens a file; it writes to the sink it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from stillhouse.exports.dataset import Config, Form

if TYPE_CHECKING:
    import pyarrow as pa

    from stillhouse.interfaces import Sink

MESSAGES: Final[list[Any]] = [
    {
        "role": "string",
        "content": "string",
        "tool_calls": [
            {
                "id": "string",
                "type": "string",
                "function": {"name": "string", "arguments": "json"},
            }
        ],
        "tool_call_id": "string",
        "name": "string",
    }
]

COLUMNS: Final[dict[Config, dict[str, Any]]] = {
    "sft": {"messages": MESSAGES, "tools": "json"},
    "preference": {
        "prompt": MESSAGES,
        "chosen": MESSAGES,
        "rejected": MESSAGES,
        "tools": "json",
    },
    "unpaired": {"prompt": MESSAGES, "completion": MESSAGES, "label": "bool", "tools": "json"},
    "rag": dict.fromkeys(("id", "text", "source", "task_id", "category"), "string"),
}
"""The type of each config's columns: a list holds its items' type, a dict is a struct.

``json`` is text in the files, and a value once `datasets` has opened it by the card: no
loader can fill gaps in a text, and chat templates get the objects that they want."""

ROW_GROUP_BYTES: Final = 8 << 20
"""JSON bytes a Parquet row group is made of; what `to_parquet` keeps in memory."""


def to_parquet(lines: Iterable[bytes], sink: Sink, config: Config, form: Form = "strings") -> int:
    """Write rows of a form as Parquet; returns their number. JSON is text there in any form.

    The schema is `COLUMNS`, not inferred, so a file of any rows opens beside any other.
    The same lines give the same bytes with the same pyarrow.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, _arrow(kind)) for name, kind in COLUMNS[config].items()])
    decode = msgspec.json.Decoder().decode
    rows = 0
    with pq.ParquetWriter(_Writable(sink), schema, compression="zstd") as writer:
        for batch in _batches(lines):
            values = [_with_texts(decode(line), form) for line in batch]
            writer.write_table(pa.Table.from_pylist(values, schema=schema), len(batch))
            rows += len(batch)
    return rows


def _with_texts(row: dict[str, Any], form: Form) -> dict[str, Any]:
    """The row with its JSON values as texts, which in form ``strings`` they are."""
    if form != "strings" and row.get("tools") is not None:
        row["tools"] = msgspec.json.encode(row["tools"]).decode()
    if form == "objects":
        for messages in row.values():
            for message in messages if isinstance(messages, list) else ():
                for call in message.get("tool_calls", ()):
                    function = call["function"]
                    function["arguments"] = msgspec.json.encode(function["arguments"]).decode()
    return row


def _batches(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    held = 0
    for line in lines:
        batch.append(line)
        held += len(line)
        if held >= ROW_GROUP_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _arrow(kind: Any) -> pa.DataType:
    import pyarrow as pa

    if isinstance(kind, list):
        return pa.list_(_arrow(kind[0]))
    if isinstance(kind, dict):
        return pa.struct([(name, _arrow(inner)) for name, inner in kind.items()])
    return pa.bool_() if kind == "bool" else pa.string()


class _Writable:
    """What pyarrow needs to write to a sink: the sink itself stays open."""

    closed = False

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._written = 0

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._sink.write(view)
        self._written += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        return self._written

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        """The sink belongs to the caller."""
