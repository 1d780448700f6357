"""Units of work for the engine tests: importable by name, as workers need them."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

from stillhouse.errors import RecordError, StillhouseError, StorageError


def square(number: int) -> int:
    return number * number


def whoami(_: object) -> int:
    return os.getpid()


def my_group(_: object) -> int:
    return os.getpgrp()


def slow_then_broken(number: int) -> float:
    if number == 0:
        time.sleep(0.5)
        return 0.0
    return 1 / (number - 1)


def slow_first(number: int) -> int:
    time.sleep(0.3 if number == 0 else 0)
    return number


def echo_large(block: bytes) -> bytes:
    return block


def mark_and_return(task: tuple[str, int]) -> int:
    folder, number = task
    Path(folder, str(number)).touch()
    return number


def refuse_third(number: int) -> int:
    if number == 3:
        raise StorageError("no room", where=f"unit {number}", way_out="Make some.")
    return number


def refuse_with_problems(number: int) -> int:
    raise RecordError(["one", "two"], where=f"row {number}")


def divide_by(number: int) -> float:
    return 1 / number


def kill_myself_at_five(number: int) -> int:
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def exit_at_two(number: int) -> int:
    if number == 2:
        os._exit(7)
    return number


def raise_what_cannot_be_sent(number: int) -> int:
    class LocalError(Exception):
        pass

    if number:
        raise LocalError("strange")
    return number


def return_what_cannot_be_sent(number: int) -> object:
    return threading.Lock() if number else number


def sleep_long(number: int) -> int:
    time.sleep(0.01 if number == 0 else 60)
    return number


def kill_once(task: tuple[str, int]) -> int:
    """Dies the first time that unit 2 comes by."""
    folder, number = task
    try:
        Path(folder, str(number)).mkdir()
    except FileExistsError:
        return number
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


class Unsendable:
    def __reduce__(self) -> tuple[object, ...]:
        raise StillhouseError("this one stays here")
