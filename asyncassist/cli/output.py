"""What commands print: text for people, and lines of JSON for machines, never both on the standard output."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, contextmanager, redirect_stdout, suppress
from datetime import datetime
from typing import TYPE_CHECKING

from asyncassist._wire.json import dumps
from asyncassist.cli.running import OutputError
from asyncassist.errors import AsyncAssistError

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = [
    "check_output",
    "functions_print_to_stderr",
    "note",
    "one_line",
    "say",
    "say_json",
    "shown_time",
    "telling",
    "write",
]

# What the server sends must not steer the terminal: no escape sequences, no way back to the beginning of a line.
_STEERING = {code: "\ufffd" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"} | {0x0D: ""}


def check_output() -> None:
    """Refuse to begin where nothing can be printed.

    Raises:
        OutputError: the program was started without a standard output.
    """
    if sys.stdout is None:
        raise OutputError("there is no standard output to print to")


def write(text: str) -> None:
    """Print a piece of text at once, as it is; on a terminal without what would steer that."""
    with telling():
        sys.stdout.write(text.translate(_STEERING) if sys.stdout.isatty() else text)
        sys.stdout.flush()


def say(line: str = "") -> None:
    """Print a line, likewise."""
    write(f"{line}\n")


def say_json(value: object) -> None:
    """Print a line of JSON, in UTF-8 whatever the terminal has."""
    with telling():
        sys.stdout.flush()
        sys.stdout.buffer.write(dumps(value) + b"\n")
        sys.stdout.buffer.flush()


def note(line: str) -> None:
    """Say something beside the output: on stderr, where there is one that can be written."""
    if sys.stderr is not None:
        with suppress(OSError):  # nobody has to read it
            print(line.translate(_STEERING), file=sys.stderr, flush=True)


def one_line(text: str, length: int = 100) -> str:
    """Put a text in one line, the end left out where it is longer."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "\u2026"


def shown_time(seconds: int | None) -> str:
    """Write Unix seconds as local time; as a dash where there are none, or none that a calendar has."""
    try:
        return "-" if seconds is None else datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return "-"


def functions_print_to_stderr() -> AbstractContextManager[object]:
    """Keep what a user's own functions print in this block away from an output that is for machines."""
    return redirect_stdout(sys.stderr)


@contextmanager
def telling() -> Generator[None, None, None]:
    """Write to the output in this block: what goes wrong is told as the output's failure.

    Raises:
        OutputError: it cannot be written.
        BrokenPipeError: nobody reads it any more.
    """
    try:
        yield
    except (BrokenPipeError, AsyncAssistError):  # a TimeoutError of the API is an OSError
        raise
    except OSError as error:
        raise OutputError(f"the output cannot be written: {error.strerror or error}") from error
