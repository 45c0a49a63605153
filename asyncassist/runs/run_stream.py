"""One run as a stream of events: to its end, over all rounds of tools, and over a break of the connection."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

import anyio

from asyncassist._wire.events import decode_event
from asyncassist._wire.snapshots import Snapshots
from asyncassist._wire.sse import ServerSentEvent, SSEDecoder
from asyncassist.errors import (
    APIConnectionError,
    APIStatusError,
    AsyncAssistError,
    DecodeError,
    StreamError,
    StreamInterruptedError,
    UsageError,
    WaitTimeoutError,
)
from asyncassist.models import Message, Run, RunStep, Thread
from asyncassist.models.events import DoneEvent, MessageDeltaEvent, MessageEvent, RunEvent, RunStepEvent, StreamEvent
from asyncassist.runs.missed import missed_events
from asyncassist.runs.misuse import OnlyAsyncWith
from asyncassist.runs.stream_views import ServerSentEvents, TextPieces
from asyncassist.runs.unstreamed import kind_of_answer, read_run
from asyncassist.runs.watch import finish_anyway

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from asyncassist._transport.byte_stream import ByteStream
    from asyncassist.runs.source import RunSource

__all__ = ["RunStream"]

logger = logging.getLogger("asyncassist")

_LEARN_SECONDS = 5.0
"""How long a stream that is left before its run is known is read on, so that the run can be cancelled."""
_LOOK_SECONDS = 0.02
_LAST_WORD_SECONDS = 2.0
"""How long the server may take to end a stream after its last event. Some never do, and send comments for ever."""


class _State(Enum):
    NEW = "new"
    OPEN = "open"
    OVER = "over"
    """All events have been given."""
    FAILED = "failed"
    LEFT = "left"


class RunStream(OnlyAsyncWith):
    """A run as it goes: ``async with client.stream_run(...) as stream``, then ``async for event in stream``.

    Every stream ends with a `DoneEvent`, behind the event that ended the run or, without a toolset, requires action.
    With a toolset one stream goes on over all tool rounds. If the connection breaks, or the server answers with the run
    instead of a stream, the run is looked at until it has ended, and what was missed follows as ordinary events whose
    ``reconciled`` is True. Leaving the block before the run has ended cancels the run on the server.

    One task reads at a time.

    Raises:
        StreamError: the server reports an error, or sends what is no stream of events.
        StreamInterruptedError: the stream broke and the rest could not be recovered.
        WaitTimeoutError: the run did not end in the ``timeout``.
        ToolError: the toolset cannot go on.
        UsageError: the stream is not open, or another task reads it.
    """

    _usage = "async with client.stream_run(...) as stream"

    def __init__(self, source: RunSource) -> None:
        self._source = source
        self._watch = source.watch
        self._snapshots = Snapshots()
        self._state = _State.NEW
        self._deadline = float("inf")
        self._failure: Exception | None = None
        self._is_reading = False
        # The connection, and what has been read from it but not been given yet.
        self._bytes: ByteStream | None = None
        self._decoder = SSEDecoder()
        self._received: Iterator[ServerSentEvent] = iter(())
        self._ready: deque[StreamEvent] = deque()
        self._raw: ServerSentEvent | None = None
        self._is_done = False
        self._has_begun = False
        # Tool outputs were sent, and the run has not been seen since.
        self._is_resumed = False
        self._broken_by: Exception | None = None
        self._is_reconciled = False

    # What has come so far.

    @property
    def run(self) -> Run | None:
        """The run as last seen; None before its first event."""
        return self._snapshots.run

    @property
    def thread(self) -> Thread | None:
        """The thread, where this stream created it."""
        return self._snapshots.thread

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages of the run as far as they have come, in the order in which they appeared."""
        return tuple(self._snapshots.messages.values())

    @property
    def steps(self) -> tuple[RunStep, ...]:
        """The steps of the run as far as they have come, in the order in which they appeared."""
        return tuple(self._snapshots.steps.values())

    @property
    def last_received(self) -> ServerSentEvent | None:
        """The event given last, as the server sent it; None for one the server did not send."""
        return self._raw

    # Reading.

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        if self._is_reading:
            raise UsageError("another task is reading this stream")
        if self._state is not _State.OPEN:
            raise self._not_open()
        self._is_reading = True
        try:
            while (event := self._take()) is None:
                await self._advance_in_time()
                if self._state is not _State.OPEN:  # another task has left the block
                    raise self._not_open()
            return event
        except Exception as error:
            if self._state is _State.OPEN:
                self._state, self._failure = _State.FAILED, error
            # Where the run is not known yet, the one who leaves reads on.
            if self._state is not _State.LEFT or self._watch.ids is not None:
                await self._close_bytes()
            raise
        finally:
            self._is_reading = False

    def text(self) -> TextPieces:
        """Give the text as it comes: ``async for piece in stream.text()``.

        Together the pieces are what `AsyncClient.run_text` gives: several messages are parted by an empty line.
        """
        return TextPieces(self)

    def sse(self) -> ServerSentEvents:
        """Give the events as server-sent events, in bytes, for a web response of type ``text/event-stream``.

        The names and data are those of the API, whatever form the server chose. When the stream fails, an ``error``
        event that tells nothing but the error's code goes out before the error is raised.
        """
        return ServerSentEvents(self)

    async def until_done(self) -> Run:
        """Read to the end, and return the run: ended, or requiring action that no toolset takes."""
        if self._state is not _State.OVER:
            async for _ in self:
                pass
        run = self.run
        assert run is not None  # no stream is over before its run is known
        return run

    def _not_open(self) -> Exception:
        match self._state:
            case _State.NEW:
                return UsageError(f"use a stream as: {self._usage}")
            case _State.FAILED:
                return self._failure or StopAsyncIteration()
            case _State.LEFT:
                return UsageError("the stream's block was left, and its connection given back")
            case _:
                return StopAsyncIteration()

    def _take(self) -> StreamEvent | None:
        """Return the next event of what has been read; None where nothing is left of it."""
        while (raw := next(self._received, None)) is not None:
            event = decode_event(raw, redact=self._redact)
            self._raw = raw
            if self._note(event):
                return event
        if not self._ready:
            return None
        self._raw = None
        event = self._ready.popleft()
        self._note(event)
        if isinstance(event, DoneEvent):
            self._state = _State.OVER
        return event

    def _redact(self, text: str) -> str:
        return text if self._bytes is None else self._bytes.redact(text)

    def _note(self, event: StreamEvent) -> bool:
        """Take an event into account, and tell whether it is to be given: the server's last word is not, ours is."""
        match event:
            case MessageDeltaEvent():
                pass
            case RunEvent(data=run):
                self._watch.see(run)
                self._is_resumed = False
            case MessageEvent(data=data) | RunStepEvent(data=data):
                if self._watch.ids is None and data.run_id and data.thread_id:
                    with suppress(UsageError):  # these are no ids
                        self._watch.name(data.thread_id, data.run_id)
            case DoneEvent():
                self._is_done = True
                self._received = iter(())
                return False
            case _:
                pass
        self._snapshots.apply(event)
        return True

    async def _advance_in_time(self) -> None:
        if self._deadline == float("inf"):
            await self._advance()
            return
        with anyio.CancelScope(deadline=self._deadline) as scope:
            await self._advance()
        if scope.cancelled_caught:
            raise self._timed_out()

    async def _advance(self) -> None:
        """Do what brings the next events."""
        # As the reader has seen it: a look at the run that was cancelled half way must not count.
        run = self._snapshots.run
        is_paused = run is not None and (run.is_terminal or run.status == "requires_action")
        if self._bytes is not None and not self._is_done and await self._read_on(self._bytes, is_paused=is_paused):
            return
        await self._close_bytes()
        if self._state is not _State.OPEN:  # another task has left the block
            raise self._not_open()
        if run is None or not is_paused or self._is_resumed:
            await self._reconcile()
        elif run.status == "requires_action" and self._source.rounds is not None:
            self._is_resumed = True
            self._begin(await self._source.rounds.hand_in(run, self._source.open, is_stream=True))
        else:
            self._ready.append(DoneEvent(reconciled=self._is_reconciled or not self._is_done))

    async def _read_on(self, stream: ByteStream, *, is_paused: bool) -> bool:
        if self._watch.ids is None:
            # A read that is cancelled breaks the connection, and then nothing would tell which run to cancel.
            return await finish_anyway(partial(self._read, stream))
        if not is_paused or self._is_resumed:
            return await self._read(stream)
        with anyio.move_on_after(_LAST_WORD_SECONDS):
            return await self._read(stream)
        return False

    async def _read(self, stream: ByteStream) -> bool:
        """Read what comes next; tell whether anything came before the end."""
        data, failure = b"", None
        try:
            data = await stream.read()
        except (APIConnectionError, DecodeError) as error:
            logger.debug("a stream broke: %s", error)
            failure = error
        if self._bytes is not stream:  # the block was left meanwhile
            raise self._not_open()
        self._broken_by = failure
        if not self._has_begun and (kind := kind_of_answer(data)) is not None:
            if not self._is_resumed:  # then the outputs were taken
                await self._take_for_run(stream, kind, data)
            self._is_done = True  # the run itself tells the rest
            return False
        self._has_begun = True
        self._received = self._decoder.feed(data)
        return bool(data)

    # Opening.

    async def __aenter__(self) -> Self:
        if self._state is not _State.NEW:
            raise UsageError("a stream can be entered once; ask the client for another one")
        self._state = _State.OPEN
        if self._source.timeout is not None:
            self._deadline = anyio.current_time() + self._source.timeout
        is_open = is_refused = False
        try:
            with anyio.CancelScope(deadline=self._deadline):
                await finish_anyway(self._open_first)
                is_open = True
                return self
            raise self._timed_out()
        except AsyncAssistError as error:
            # Refused, or not answered: nothing says that a run that waits for these tool outputs should end.
            is_refused = not isinstance(error, StreamError | WaitTimeoutError)
            raise
        finally:
            if not is_open:
                await self._leave(is_abandoned=not is_refused)

    async def _open_first(self) -> None:
        try:
            begun = await self._source.begin()
            if isinstance(begun, Run):  # only a listing shows it
                self._watch.see(begun)
            self._begin(None if isinstance(begun, Run) else begun)
        except APIConnectionError as error:
            # The server may have acted. Where the run is known, it tells.
            if not error.sent or self._watch.ids is None or not self._source.reconcile:
                raise
            self._broken_by = error
        if self._bytes is not None:
            kind = self._bytes.headers.get("content-type", "").lower()
            if "json" in kind or "html" in kind:  # most likely, but some are careless with the header
                await self._read(self._bytes)

    def _begin(self, stream: ByteStream | None) -> None:
        """Go on with another connection; None: the run itself must tell how it goes on."""
        self._bytes = stream
        self._decoder = SSEDecoder()
        self._is_done = self._has_begun = False
        self._broken_by = None

    async def _take_for_run(self, stream: ByteStream, kind: str, body: bytes) -> None:
        """Read an answer that is no stream of events: from a server that does not stream it is the run."""
        told = ""
        run = await read_run(stream, body)
        if run is not None and self._watch.ids in (None, (run.thread_id, run.id)):
            self._watch.see(run)
            if self._source.reconcile:
                logger.debug("the answer is run %s instead of a stream of events; looking at the run", run.id)
                return
            told = f" (run {run.id})"
        request = self._source.request
        raise StreamError(
            f"{request.method} {request.path}: the answer is {kind} instead of a stream of events{told}; "
            "this server may not stream, in which case run_and_wait works"
        )

    # Breaks.

    async def _reconcile(self) -> None:
        """Look at the run until it pauses, and make ready the events that were missed."""
        cause = self._broken_by
        try:
            if not self._source.reconcile or not await self._is_known():
                raise self._interrupted(cause) from cause
            run = await self._watch.until_pause()
            messages = await self._source.messages(run)
            steps = await self._source.steps(run)
        except (APIConnectionError, APIStatusError, DecodeError, UsageError) as error:  # UsageError: an id that is none
            raise self._interrupted(error) from error
        self._ready.extend([*missed_events(self._snapshots, run, messages, steps)])
        self._is_reconciled = True
        self._is_resumed = False

    async def _is_known(self) -> bool:
        """Tell whether the run is known; where it is not, it may be found by its tag."""
        if self._watch.ids is None and self._source.creation is not None:
            run = await self._source.creation.find()
            if run is not None:
                self._watch.see(run)
        return self._watch.ids is not None

    def _interrupted(self, cause: Exception | None) -> StreamInterruptedError:
        thread_id, run_id = self._watch.ids or (None if self.thread is None else self.thread.id, None)
        request = self._source.request
        known = f"run {run_id}" if run_id else "the run's id had not come yet, and the run may go on"
        reason = f": {cause}" if cause is not None else ""
        return StreamInterruptedError(
            f"{request.method} {request.path}: the stream ended before its run did ({known}){reason}",
            thread_id=thread_id,
            run_id=run_id,
            snapshot=self._snapshots,
        )

    def _timed_out(self) -> WaitTimeoutError:
        error = self._watch.timed_out(f"in the {self._source.timeout} s allowed")
        if self._source.rounds is not None:
            error.attempted, error.completed = self._source.rounds.attempted, self._source.rounds.completed
        return error

    # Leaving.

    async def __aexit__(
        self, cls: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        run = self._watch.run
        # A run that requires action waits for whoever leaves the block in peace to answer it.
        is_due = run is not None and run.status == "requires_action" and self._source.rounds is None
        await self._leave(is_abandoned=error is not None or not (is_due or self._state is _State.OVER))

    async def _leave(self, *, is_abandoned: bool) -> None:
        """Give the connection back, and cancel the run where nobody will see its end."""
        self._state = _State.LEFT
        cancels = is_abandoned and self._source.on_cancel == "cancel"
        with anyio.CancelScope(shield=True):
            try:
                if cancels:
                    if self._watch.ids is None:
                        await self._learn_ids()
                    # First of all: to close the connections of a thousand streams takes a while.
                    await self._watch.cancel()
            finally:  # asyncio's own task.cancel() gets through a shield when it is called twice
                await self._close_bytes()

    async def _learn_ids(self) -> None:
        with anyio.move_on_after(_LEARN_SECONDS):
            try:
                while self._watch.ids is None:
                    if self._is_reading:  # another task, which is about to get what comes next
                        await anyio.sleep(_LOOK_SECONDS)
                    elif self._take() is None and (self._bytes is None or not await self._read(self._bytes)):
                        await self._is_known()
                        break
            except AsyncAssistError as error:
                logger.debug("the run of a stream that was left stays unknown: %s", error)

    async def _close_bytes(self) -> None:
        stream, self._bytes = self._bytes, None
        self._received = iter(())
        if stream is None:
            return
        try:
            if self._is_done and self._state is _State.OPEN:
                await stream.drain()
        except (APIConnectionError, DecodeError):
            pass  # nothing more was expected
        finally:
            await stream.aclose()
