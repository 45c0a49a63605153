"""How a command ends: its exit code, and at most one line on stderr."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from asyncassist.errors import AsyncAssistError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["carry_out", "drop_output"]

#: Modules of the extra, which a program without it may lack.
_EXTRA = frozenset({"starlette", "uvicorn", "yaml"})


def carry_out(load: Callable[[], Callable[[], Awaitable[None]]]) -> int:
    """Carry out a command and return its exit code.

    Args:
        load: imports what the command needs, and gives the function that does it.
    """
    if (reconfigure := getattr(sys.stdout, "reconfigure", None)) is not None:
        reconfigure(errors="replace")  # a reply may hold what this terminal cannot show
    try:
        work = load()
        import anyio

        anyio.run(work)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        drop_output()
        return 1
    except ModuleNotFoundError as error:
        hint = ": pip install 'asyncassist[server]'" if error.name in _EXTRA else ""
        return _fail(f"{error}{hint}")
    except (AsyncAssistError, ImportError) as error:
        return _fail(str(error))
    return 0


def drop_output() -> None:
    """Print into nothing from here on: whoever read the output has gone, and the flush at exit must not fail either."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str) -> int:
    print("error:", " ".join(message.split()), file=sys.stderr)
    return 1
