"""The command line. Each command is a module here; this one reads the arguments and gives the exit code.

0: done. 1: it failed, and one line on stderr says how. 2: the arguments were wrong. 130: interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

import anyio

from asyncassist.cli import demo
from asyncassist.errors import AsyncAssistError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        arguments: what follows the program's name; None takes it from the command line.
    """
    parser = argparse.ArgumentParser(
        prog="python -m asyncassist", description="A client and an embeddable server for the Assistants API."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    demo.add_arguments(commands.add_parser("demo", help=demo.SUMMARY, description=demo.DESCRIPTION))
    options = parser.parse_args(arguments)
    if (reconfigure := getattr(sys.stdout, "reconfigure", None)) is not None:
        reconfigure(errors="replace")  # a reply may hold what this terminal cannot show
    try:
        anyio.run(options.command, options)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read the output has gone. Nothing more can be said there, not even by the flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (AsyncAssistError, ImportError) as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0
