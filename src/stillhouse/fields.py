"""Naming everything that is wrong with the fields of a raw row, for a person mending a log.

Runs only for rows that are refused, and never changes what it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_origin

import msgspec

from stillhouse.records import field_problems, fields_of, json_type


def row_problems(
    row: Mapping[str, Any], kind: type[msgspec.Struct], at: str = ""
) -> tuple[list[str], dict[str, Any]]:
    """As `field_problems`, and item by item within lists of messages, events and the like."""
    lists = {}
    for field in fields_of(kind):
        item = _item_struct(field.type)
        if item and not field.required and isinstance(row.get(field.encode_name), list):
            lists[field.encode_name] = item
    plain = {name: value for name, value in row.items() if name not in lists}
    problems, values = field_problems(plain, kind, at)
    for name, item in lists.items():
        for number, member in enumerate(row[name]):
            here = f"{at}{name}[{number}]"
            if isinstance(member, dict):
                problems += row_problems(member, item, f"{here}.")[0]
            else:
                problems.append(f"{here}: is {json_type(member)}, not an object")
    return problems, values


def _item_struct(hint: Any) -> type[msgspec.Struct] | None:
    """``S`` for a type like ``list[S] | None`` where ``S`` is a struct."""
    for option in (hint, *get_args(hint)):
        if get_origin(option) is list:
            (item,) = get_args(option)
            if isinstance(item, type) and issubclass(item, msgspec.Struct):
                return item
    return None


def shown(value: object) -> str:
    """A refused value as the log spells it, cut where it is long."""
    if isinstance(value, list | dict):
        return json_type(value)
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 60 else text[:60] + "…"
