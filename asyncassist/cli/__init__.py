"""The command line. ``commands.py`` says what can be typed; each command is carried out by a module of its own.

Exit codes: 0: done. 1: it failed, and one line on stderr says how, with a hint below it perhaps. 2: the arguments were
wrong. 3: it was done, but a run or a job did not complete. 130: interrupted (Ctrl-C). 143: ended by SIGTERM.

What is imported here and in ``commands.py`` is paid for by every ``--help`` and every completion of a word: click only.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: what follows the program's name; None takes it from the command line.
    """
    try:
        from asyncassist.cli.commands import run
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        print("error: the command line needs click: pip install 'asyncassist[cli]'", file=sys.stderr)
        return 1
    return run(arguments)
