"""``ask``: one question, one answer."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Unpack

import click

from asyncassist.cli.connecting import client_options, connect
from asyncassist.cli.output import check_output, functions_print_to_stderr, note, say_json, write
from asyncassist.cli.running import NOT_COMPLETED, tell_failure
from asyncassist.cli.talking import Answering, Talk, as_text, summary
from asyncassist.cli.tool_source import load_toolset
from asyncassist.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncassist import Toolset
    from asyncassist.cli.connecting import Connection

__all__ = ["prepare"]


def prepare(
    *, question: str | None, connection: Connection, tools: str | None, as_json: bool, **answering: Unpack[Answering]
) -> Callable[[], Awaitable[int | None]]:
    """Check the options, read the question, and give the function that asks it.

    Raises:
        click.UsageError: there is no question.
        UsageError: the question is not UTF-8.
        CommandError: no server is named, or the tools cannot be had.
    """
    check_output()
    client_options(connection)  # a server that is not named is told before anybody types
    toolset = None if tools is None else load_toolset(tools)
    text = _question(question)
    return partial(_ask, text, connection, answering, toolset, as_json=as_json)


async def _ask(
    question: str, connection: Connection, answering: Answering, toolset: Toolset | None, *, as_json: bool
) -> int | None:
    async with connect(connection) as client, Talk(client, answering, toolset) as talk:
        try:
            if as_json:
                with functions_print_to_stderr():
                    run, text = await talk.answer(question, _ignore)
            else:
                run, text = await talk.answer(question, write)
                if text and not text.endswith("\n"):
                    write("\n")
        finally:
            if answering["thread"] is None and talk.thread_id is not None and not as_json:
                note(f"thread {talk.thread_id}: --thread goes on with it")
        if as_json:
            say_json(summary(run, text))
        try:
            run.raise_for_status()
        except RunError as error:
            tell_failure(str(error))
            return NOT_COMPLETED
    return None


def _ignore(piece: str) -> None:
    pass


def _question(given: str | None) -> str:
    stdin = sys.stdin
    if given is None or given == "-":
        if stdin is None or (given is None and stdin.isatty()):
            raise click.UsageError("there is no question: give one, or - to read it from the standard input")
        text = as_text(stdin.buffer.read(), "the standard input").rstrip("\r\n")
    else:
        text = as_text(given, "the question")
    if not text.strip():
        raise click.UsageError("the question is empty")
    return text
