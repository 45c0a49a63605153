"""``chat``: question after question, typed or piped in.

The event loop has a thread of its own, and the main thread waits: for a line, where the terminal's own editing works
and Ctrl-C interrupts it, or for an answer, where Ctrl-C cancels that.
"""

from __future__ import annotations

import sys
from concurrent.futures import wait
from contextlib import ExitStack, nullcontext, suppress
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Unpack

import anyio
import click
from anyio.from_thread import start_blocking_portal

from asyncassist.cli.connecting import client_options, connect
from asyncassist.cli.output import check_output, functions_print_to_stderr, note, say, say_json, write
from asyncassist.cli.running import NOT_COMPLETED, OutputError, hint_for, is_terminating, tell_failure
from asyncassist.cli.talking import Answering, Talk, as_text, summary
from asyncassist.cli.tool_source import load_toolset
from asyncassist.errors import AsyncAssistError, RunError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.from_thread import BlockingPortal

    from asyncassist import Run, Toolset
    from asyncassist.cli.connecting import Connection

__all__ = ["prepare"]

#: Seconds between two looks whether Ctrl-C was pressed, where waiting cannot be interrupted (Windows).
_LOOK = 0.2


def prepare(
    *, connection: Connection, tools: str | None, as_json: bool, **answering: Unpack[Answering]
) -> Callable[[], int | None]:
    """Check the options, and give the function that chats.

    Raises:
        click.UsageError: there is no standard input.
        CommandError: no server is named, or the tools cannot be had.
    """
    check_output()
    if sys.stdin is None:
        raise click.UsageError("there is no standard input to read questions from")
    client_options(connection)
    toolset = None if tools is None else load_toolset(tools)
    return partial(_chat, connection, answering, toolset, as_json=as_json)


def _chat(connection: Connection, answering: Answering, toolset: Toolset | None, *, as_json: bool) -> int | None:
    is_typed = sys.stdin.isatty() and sys.stdout.isatty() and not as_json
    with ExitStack() as stack:
        portal = stack.enter_context(start_blocking_portal("asyncio"))
        client = stack.enter_context(portal.wrap_async_context_manager(connect(connection)))
        talk = stack.enter_context(portal.wrap_async_context_manager(Talk(client, answering, toolset)))
        chat = _Chat(portal, talk, is_typed=is_typed, as_json=as_json)
        return chat.typed() if is_typed else chat.piped()


class _Chat:
    def __init__(self, portal: BlockingPortal, talk: Talk, *, is_typed: bool, as_json: bool) -> None:
        self._portal = portal
        self._talk = talk
        self._is_typed = is_typed
        self._as_json = as_json
        self._told_thread: str | None = None
        self._is_interrupted = False

    def typed(self) -> int | None:
        """Answer what is typed, whatever goes wrong with one question, until Ctrl-D or Ctrl-C."""
        with suppress(ImportError):
            import_module("readline")  # where it is imported, the arrow keys work
        say("Ctrl-C cancels an answer; Ctrl-D ends.")
        self._tell_thread()
        while (question := self._read()) is not None:
            try:
                self._turn(question)
            except (OutputError, BrokenPipeError):
                raise
            except AsyncAssistError as error:
                tell_failure(str(error))
                if hint := hint_for(error):
                    note(hint)
            self._tell_thread()
        return None

    def piped(self) -> int | None:
        """Answer line after line, until one cannot be answered."""
        try:
            for line in sys.stdin.buffer:
                if (question := as_text(line, "the standard input")).strip():
                    self._turn(question.rstrip("\r\n"))
        except RunError as error:
            tell_failure(str(error))
            return NOT_COMPLETED
        finally:
            if not self._as_json:
                self._tell_thread()
        return None

    def _turn(self, question: str) -> None:
        with functions_print_to_stderr() if self._as_json else nullcontext():
            answered = self._answer(question)
        if answered is None:
            if not self._is_typed:
                raise KeyboardInterrupt
            say("\n(cancelled)")
            return
        run, text = answered
        if self._as_json:
            say_json(summary(run, text))
        elif text and not text.endswith("\n"):
            say()
        run.raise_for_status()

    def _answer(self, question: str) -> tuple[Run, str] | None:
        """Have a question answered in the event loop; None where Ctrl-C has cancelled it."""
        scope = self._portal.call(anyio.CancelScope)
        show = _ignore if self._as_json else write

        async def answer() -> tuple[Run, str] | None:
            with scope:
                return await self._talk.answer(question, show)
            return None

        future = self._portal.start_task_soon(answer)
        while not future.done():
            try:
                wait([future], _LOOK)
            except KeyboardInterrupt:
                if scope.cancel_called or is_terminating():
                    raise
                self._is_interrupted = True
                self._portal.call(scope.cancel)
        return future.result()

    def _read(self) -> str | None:
        """Read a line that is not empty; None at the end. The first Ctrl-C clears a line, the second in a row ends."""
        while True:
            try:
                line = as_text(input("> "), "the line")
            except EOFError:
                say()
                return None
            except KeyboardInterrupt:
                if self._is_interrupted or is_terminating():
                    raise
                self._is_interrupted = True
                say("\nCtrl-C again ends.")
                continue
            except UsageError as error:
                tell_failure(str(error))
                continue
            self._is_interrupted = False
            if line.strip():
                return line

    def _tell_thread(self) -> None:
        thread_id = self._talk.thread_id
        if thread_id is not None and thread_id != self._told_thread:
            self._told_thread = thread_id
            note(f"thread {thread_id}: --thread goes on with it")


def _ignore(piece: str) -> None:
    pass
