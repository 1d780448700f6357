"""The commands of signatures: keygen, sign. `verify --key` checks what they make."""

from __future__ import annotations

from typing import Annotated

import typer

from stillhouse import config
from stillhouse.cli import output
from stillhouse.cli.options import EngineChoice, EngineName, Json, Lake, Workers, engine_for
from stillhouse.receipts import sign_lake
from stillhouse.receipts.keys import make_key_pair, read_private_key
from stillhouse.storage import open_store


def keygen(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="Where the private key goes; the public one goes to FILE.pub."
        ),
    ],
    json: Json = False,
) -> int:
    """A new pair of keys for signing receipts (Ed25519). Never replaces a file."""
    keyid = make_key_pair(file)
    if json:
        output.emit({"schema_version": 1, "keyid": keyid, "private": file, "public": f"{file}.pub"})
    else:
        output.say(f"key {keyid}")
        output.say(
            f"wrote {file} (keep it secret, and outside the lake) and {file}.pub (give away)"
        )
    return 0


def sign(
    lake: Lake,
    key: Annotated[str, typer.Option("--key", metavar="FILE", help="Your private key.")],
    engine: EngineChoice = EngineName.local,
    workers: Workers = None,
    json: Json = False,
) -> int:
    """Sign every receipt that this key has not signed yet. Verifies the lake first.

    A lake that does not hold is not signed.
    """
    store, secret = open_store(lake), read_private_key(key)
    with engine_for(engine, workers) as pool:
        report = sign_lake(store, secret, f"stillhouse {config.version()}", pool)
    if json:
        output.emit(report)
        return 0
    said = f"signed {output.number(report.signed, 'receipt')} with key {report.keyid[:16]}…"
    if report.already:
        said += f"; {report.already:,} had its signature already"
    output.say(said)
    if report.replaced:
        wrong = output.number(report.replaced, "signature")
        output.note(f"replaced {wrong} in this key's name that the key had not made")
    return 0
