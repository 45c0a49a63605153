"""Files that commands write and read; ``-`` is the standard output or input."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from asyncassist.cli.output import telling
from asyncassist.errors import AsyncAssistError, UsageError

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["reading", "writing"]


@contextmanager
def writing(output: str) -> Generator[IO[bytes], None, None]:
    """The file to write to. One that is there already is replaced when all is written, and else left as it was."""
    if output == "-":
        with telling():
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        return
    # What is no file, such as /dev/null or a named pipe, must not be replaced by one.
    is_replaced = Path(output).is_file() or not Path(output).exists()
    target = Path(output).resolve()
    part = target.with_name(f"{target.name}.part") if is_replaced else target
    try:
        with part.open("wb") as file:
            yield file
        if is_replaced:
            os.replace(part, target)
    except AsyncAssistError:
        raise  # a TimeoutError is an OSError
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error.strerror or error}") from error
    finally:
        if is_replaced:
            part.unlink(missing_ok=True)


@contextmanager
def reading(source: str) -> Generator[IO[bytes], None, None]:
    """The file to read from."""
    if source == "-":
        yield sys.stdin.buffer
        return
    try:
        with open(source, "rb") as file:
            yield file
    except OSError as error:
        raise UsageError(f"{source} cannot be read: {error.strerror or error}") from error
