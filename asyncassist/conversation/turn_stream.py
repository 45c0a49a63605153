"""A turn of a conversation, event by event."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from asyncassist.conversation.reply import Reply
from asyncassist.errors import UsageError
from asyncassist.runs.misuse import OnlyAsyncWith

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from asyncassist.conversation.turns import Turn
    from asyncassist.models import CreateRunParams, Message, Run, RunStep
    from asyncassist.models.events import StreamEvent
    from asyncassist.runs.run_stream import RunStream
    from asyncassist.runs.stream_views import ServerSentEvents, TextPieces

__all__ = ["TurnStream"]


class TurnStream(OnlyAsyncWith):
    """A turn as it goes: ``async with conversation.stream(text) as stream``, then ``async for event in stream``.

    Entering the block waits for the turn; leaving it gives the turn to the next. In between it is a `RunStream`, and
    `reply` has what came of it. Leaving before the run has ended cancels the run on the server.

    Raises:
        WaitTimeoutError: the turn did not begin, or did not end, in the ``timeout``.
        ActiveRunError: a run of others is active on the thread and is not waited for; raised on entering the block.
        ToolError: the run asks for tools, and the conversation has no toolset, or that cannot go on.
        StreamError, StreamInterruptedError, UsageError: as of a `RunStream`.
    """

    _usage = "async with conversation.stream(text) as stream"

    def __init__(self, turn: Turn, open_stream: Callable[[str, CreateRunParams, float | None], RunStream]) -> None:
        self._turn = turn
        self._open_stream = open_stream
        self._is_entered = False
        self._stream: RunStream | None = None

    async def __aenter__(self) -> Self:
        if self._is_entered:
            raise UsageError("a turn can be entered once; ask the conversation for another one")
        self._is_entered = True
        try:
            self._stream = await self._turn.begin(self._begin)
        except BaseException:
            self._turn.end()
            raise
        return self

    async def _begin(self, thread_id: str, params: CreateRunParams) -> RunStream:
        stream = self._open_stream(thread_id, params, self._turn.left)
        try:
            return await stream.__aenter__()
        except BaseException:
            self._turn.see(stream.run)
            raise

    async def __aexit__(
        self, cls: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        stream = self._entered
        try:
            await stream.__aexit__(cls, error, frames)
        finally:
            self._turn.see(stream.run)
            self._turn.end()

    @property
    def _entered(self) -> RunStream:
        if self._stream is None:
            raise UsageError(f"use a turn as: {self._usage}")
        return self._stream

    @property
    def run(self) -> Run | None:
        """The run as last seen; None before its first event."""
        return None if self._stream is None else self._stream.run

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages of the run as far as they have come, in the order in which they appeared."""
        return () if self._stream is None else self._stream.messages

    @property
    def steps(self) -> tuple[RunStep, ...]:
        """The steps of the run as far as they have come, in the order in which they appeared."""
        return () if self._stream is None else self._stream.steps

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        return await anext(self._entered)

    def text(self) -> TextPieces:
        """Give the text as it comes; see `RunStream.text`."""
        return self._entered.text()

    def sse(self) -> ServerSentEvents:
        """Give the events as the bytes of server-sent events, for a web response; see `RunStream.sse`."""
        return self._entered.sse()

    async def until_done(self) -> Run:
        """Read to the end, and return the run as it has ended."""
        return await self._entered.until_done()

    def reply(self) -> Reply:
        """Return what came of the turn, once it has been read to its end; inside the block and after it.

        Raises:
            RunFailedError, RunExpiredError, RunCancelledError, RunIncompleteError: the run has not completed.
            UsageError: the run's end has not been read.
        """
        run = self.run
        if run is None:
            raise UsageError("there is no reply before the stream has been read to its end")
        run.raise_for_status()
        return Reply(run, [message for message in self.messages if message.role != "user"])
