"""Options that several commands share, in one wording."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated

import typer

from stillhouse import config
from stillhouse.engines import start_engine
from stillhouse.interfaces import Engine

Lake = Annotated[
    str,
    typer.Argument(
        metavar="LAKE", help="Folder (or s3://bucket/prefix) whose _kb/ holds the run logs."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
RecordedAt = Annotated[
    str | None,
    typer.Option(
        "--recorded-at",
        metavar="TIME",
        help="Time written into the records (ISO 8601; default: now). The same time and input "
        "give the same bytes.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", "-w", min=1, help="Units at once (default: the machine's cores)."),
]


class EngineName(StrEnum):
    """Where units of work run."""

    local = "local"
    inline = "inline"
    ray = "ray"


EngineChoice = Annotated[
    EngineName,
    typer.Option(
        "--engine",
        help="local: processes; inline: this process; ray: a cluster (stillhouse\\[ray]).",
    ),
]


class ToolsAs(StrEnum):
    """How tools stand in the dataset's rows."""

    strings = "strings"
    objects = "objects"
    openai = "openai"


class OnSecret(StrEnum):
    """What happens to a row with a secret in it."""

    redact = "redact"
    drop = "drop"


IncludePartial = Annotated[
    bool,
    typer.Option("--include-partial", help="Let partially accepted answers into SFT."),
]
IncludeReview = Annotated[
    bool,
    typer.Option(
        "--include-review",
        help="Let text that awaits human review into RAG, labelled. Never into SFT.",
    ),
]
MaxPairs = Annotated[int, typer.Option("--max-pairs", min=1, help="Preference pairs a task.")]
Secrets = Annotated[
    OnSecret,
    typer.Option(
        "--on-secret", help="redact: replace it by \\[REDACTED:kind]; drop: refuse the row."
    ),
]
ToolsChoice = Annotated[
    ToolsAs,
    typer.Option(
        "--tools-as",
        help="How tools and tool-call arguments stand in the dataset: JSON strings (safe with "
        "every loader), objects, or as the OpenAI fine-tuning API wants them.",
    ),
]
LlamaFactory = Annotated[
    bool,
    typer.Option("--llama-factory", help="Write LLaMA-Factory's own layout beside the dataset."),
]
Parquet = Annotated[
    bool,
    typer.Option("--parquet", help="Write the dataset as Parquet too (stillhouse\\[parquet])."),
]


@contextmanager
def engine_for(name: EngineName, workers: int | None) -> Iterator[Engine]:
    """The engine asked for, closed at the end."""
    engine = start_engine(name.value, workers or config.default_workers())
    try:
        yield engine
    finally:
        engine.close()
