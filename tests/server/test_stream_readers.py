"""Readers of streams, gone, slow or many, and servers that close under them."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

from asyncassist.models import (
    Message,
    Run,
    RunStep,
)
from asyncassist.server import (
    MemoryStore,
    OfflineBackend,
    PageQuery,
)
from asyncassist.server.local import random_id
from asyncassist.server.streaming import EventStream, Streams

from .helpers import Clock, SteeredBackend, TypingBackend, settle
from .reading import (
    COMPLETED,
    DELTA,
    MESSAGE,
    STARTED,
    TWO_CALLS,
    Asking,
    Streamed,
    last_run,
    names,
    path_of,
    pieces,
    serving,
)

pytestmark = pytest.mark.anyio


async def test_a_run_goes_on_without_its_reader(clock: Clock) -> None:
    """A reader who leaves ends the stream, not the run, and leaves nothing behind."""
    backend = TypingBackend()
    async with serving(clock, backend) as here:
        async with await here.run() as stream:
            backend.go_on()
            run = last_run(await stream.until(DELTA))
            assert here.open_streams == 1
        await settle()
        left = here.open_streams, here.tasks
        backend.go_on(3)
        await settle()
        ended = await here.read(path_of(run), Run)

    assert left == (0, 1)  # the run's own task
    assert (ended.status, backend.cancelled) == ("completed", 0)


async def test_a_request_cancelled_while_it_streams_leaves_nothing(clock: Clock) -> None:
    """A task that is cancelled in the middle of reading leaves neither stream nor task."""
    async with serving(clock, TypingBackend()) as here:
        seen = anyio.Event()

        async def read() -> None:
            async with await here.run() as stream:
                await stream.until(STARTED[-1])
                seen.set()
                await stream.rest()

        async with anyio.create_task_group() as task_group:
            task_group.start_soon(read)
            await seen.wait()
            task_group.cancel_scope.cancel()
        await settle()
        left = here.open_streams, here.tasks

    assert left == (0, 1)


async def test_a_slow_reader_slows_nothing_down(clock: Clock) -> None:
    """A run ends while nobody reads its stream; the events wait, and are all there in their order."""
    words = tuple(f"{number} " for number in range(5000))
    backend = TypingBackend(words)
    async with serving(clock, backend) as here, await here.run() as stream:
        run = last_run(await stream.until(STARTED[-1]))
        backend.go_on(len(words) + 1)
        with anyio.fail_after(60):
            while (await here.read(path_of(run), Run)).status != "completed":
                await checkpoint()
        assert here.open_streams == 0
        events = await stream.rest()

    assert words == tuple(pieces(events))
    assert [*MESSAGE, DELTA, *COMPLETED] == names(events)


async def test_what_nobody_will_read_is_dropped(clock: Clock) -> None:
    """A reader who leaves with events unread leaves no memory behind, though the run goes on talking."""
    backend = TypingBackend(("x" * 100_000,) * 100)
    async with serving(clock, backend) as here:
        async with await here.run() as stream:
            await stream.until(STARTED[-1])
            backend.go_on(50)
            await settle()
            kept = here.server._engine._journal.streams._by_run["run_1"]
        await settle()
        backend.go_on(50)
        await settle()

    assert not kept._waiting


async def test_nobody_pays_for_events_nobody_reads(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a stream no event is encoded; with one, each is encoded once."""
    encoded: list[str] = []

    def encode(name: str, data: bytes) -> bytes:
        encoded.append(name)
        return b""

    monkeypatch.setattr("asyncassist.server.streaming.encode_event", encode)
    async with serving(clock) as here:
        await here.api.until(await here.api.run(), "completed")
        silent = list(encoded)
        async with await here.run() as stream:
            await stream.rest()

    assert silent == []
    assert [*STARTED, *MESSAGE, *[DELTA] * 14, *COMPLETED[:-1]] == encoded


async def test_two_hundred_streams_at_once(clock: Clock) -> None:
    """Many runs are streamed side by side, each whole and in order, and nothing is left."""
    wholes: list[list[str]] = []

    async def read(here: Streamed, number: int) -> None:
        thread_id = await here.api.thread(f"number {number}")
        async with here.runs(thread_id, assistant_id) as stream:
            events = await stream.rest()
        wholes.append(names(events))
        assert "".join(pieces(events)).endswith(f"number {number}")

    async with serving(clock) as here:
        assistant_id = await here.api.assistant()
        async with anyio.create_task_group() as task_group:
            for number in range(200):
                task_group.start_soon(read, here, number)
        await settle()
        left = here.open_streams, here.tasks

    assert wholes == [[*STARTED, *MESSAGE, DELTA, *COMPLETED]] * 200
    assert left == (0, 0)


# The server's life.


async def test_streams_end_when_the_server_closes(clock: Clock) -> None:
    """A reader outside the server does not wait for ever; the stream has no ``done``, for the run has not ended."""
    seen: list[str] = []
    reading, ended = anyio.Event(), anyio.Event()

    async def read(here: Streamed) -> None:
        async with await here.run() as stream:
            try:
                while (frame := await stream.next_frame()) is not None:
                    seen.append(frame.event)
                    if frame.event == STARTED[-1]:
                        reading.set()
            except httpx.RemoteProtocolError:
                seen.append("cut")
        ended.set()

    async with anyio.create_task_group() as readers:
        async with serving(clock, SteeredBackend()) as here:
            readers.start_soon(read, here)
            await reading.wait()
        with anyio.fail_after(5):
            await ended.wait()

    assert STARTED == [name for name in seen if name != "cut"]
    assert here.open_streams == 0


async def test_a_new_server_begins_a_half_written_message_anew(clock: Clock) -> None:
    """What the last server was writing when it was closed is gone; the run is answered once."""
    store = MemoryStore()
    backend = TypingBackend()
    async with serving(clock, backend, store, random_id) as here, await here.run() as stream:
        backend.go_on()
        run = last_run(await stream.until(DELTA))
    half = [message.status for message in (await store.page(Message, PageQuery(), within=run.id)).data]

    async with serving(clock, OfflineBackend(), store, random_id) as here:
        await here.api.until({"thread_id": run.thread_id, "id": run.id}, "completed")
        (message,) = await here.list(f"/threads/{run.thread_id}/messages", Message, run_id=run.id)
        (step,) = await here.list(f"{path_of(run)}/steps", RunStep)

    assert half == ["in_progress"]
    assert (message.status, step.status) == ("completed", "completed")
    assert message.text.endswith("hello")


async def test_a_new_server_goes_on_after_tool_outputs(clock: Clock) -> None:
    """Outputs given to one server are there for the backend of the next."""
    store = MemoryStore()
    async with serving(clock, Asking(TWO_CALLS), store, random_id) as here:
        waiting = await here.api.until(await here.api.run(), "requires_action")
        run = await here.read(f"/threads/{waiting['thread_id']}/runs/{waiting['id']}", Run)

    async with serving(clock, Asking(TWO_CALLS), store, random_id) as here, here.outputs(run, "a", "b") as stream:
        events = await stream.rest()

    assert pieces(events) == ["a b"]


class Unreliable(MemoryStore):
    """A store that fails to write runs of one status."""

    unwritable = ""

    async def update(self, kind: Any, id: str, change: Any, **options: Any) -> Any:
        def failing(record: Any) -> Any:
            new = change(record)
            if new.status == self.unwritable:
                raise OSError("disk full")
            return new

        return await super().update(kind, id, failing, **options)


@pytest.mark.parametrize("status", ["completed", "cancelled", "expired"])
async def test_a_store_that_fails_ends_the_stream_with_an_error(
    clock: Clock, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A reader is told when the server cannot go on with a run; other runs go on."""
    store, backend = Unreliable(), SteeredBackend()
    store.unwritable = status
    async with serving(clock, backend, store) as here, await here.run() as stream:
        run = last_run(await stream.until(STARTED[-1]))
        if status == "completed":
            backend.may_answer.set()
        elif status == "cancelled":
            await here.api.post(f"{path_of(run)}/cancel")
        else:
            await clock.advance(600)
        while (frame := await stream.next_frame()) is not None and frame.event != "error":
            pass
        end = await stream.next_frame()
        store.unwritable = ""
        backend.may_answer.set()
        async with await here.run() as other:
            assert (await other.rest())[-1].event == "done"

    assert frame is not None
    assert ("server had an error" in frame.data, end) == (True, None)
    assert "disk full" in caplog.text


async def test_a_stream_that_begins_on_a_closed_server_ends_at_once() -> None:
    """A request that is still being answered when the server closes waits for no events."""
    streams, stream = Streams(), EventStream()
    streams.close()

    streams.open("run_1", stream)
    streams.tell("run_1", [("thread.run.created", {})])

    assert [chunk async for chunk in stream] == []
    assert len(streams) == 0
