"""Streams that are left before their end: the run is cancelled once, and nothing stays behind."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint
from transport.cancelling import cancelled_at, styles
from transport.helpers import paced, pool_of, until
from transport.loopback import Loopback, answer, drop, hold

from asyncassist import AsyncClient, BadRequestError, UsageError, WaitTimeoutError
from asyncassist.runs.run_stream import RunStream
from asyncassist.tools import Toolset

from .helpers import (
    ASSISTANT,
    KEY,
    MANY_PARTS,
    MANY_TEXT,
    ONE_MESSAGE,
    QUICK,
    RUN,
    THREAD,
    InProcess,
    Recorded,
    Stage,
    Told,
    call,
    cut_at,
    event,
    read,
    run,
    serve,
    tool_rounds,
)

pytestmark = pytest.mark.anyio


async def weather(city: str) -> str:
    """Tell the weather."""
    await checkpoint()
    return f"sunny in {city}"


def start(client: AsyncClient, **options: Any) -> RunStream:
    return client.stream_run(THREAD, assistant_id=ASSISTANT, poll=QUICK, toolset=Toolset([weather]), **options)


TOOLS = tool_rounds([call(1, "weather", city="Rome")])
SITUATIONS: dict[str, Recorded] = {
    "whole": ONE_MESSAGE,
    "with a tool": TOOLS,
    "cut": cut_at(ONE_MESSAGE, 700),
    "cut after the tool": cut_at(TOOLS, len(TOOLS.stages[0].stream) + 200),
}


def in_pieces(data: bytes) -> list[bytes]:
    return [data[at : at + 150] for at in range(0, len(data), 150)]


@pytest.mark.parametrize("on_cancel", ["cancel", "leave"])
@pytest.mark.parametrize("situation", list(SITUATIONS))
async def test_a_reader_cancelled_anywhere(situation: str, on_cancel: Any) -> None:
    """Cancelled at any await, the run is cancelled once at most, never when it has ended; ``"leave"`` lets it go on."""
    for style in styles():
        number = 0
        is_reached = True
        while is_reached:
            recorded = SITUATIONS[situation].anew()
            wire = InProcess(recorded, pieces=in_pieces)
            client = wire.client()
            paced(client)
            told = Told()

            async def work(client: AsyncClient = client, told: Told = told) -> None:
                async with start(client, on_cancel=on_cancel) as stream:
                    await read(stream, told)

            tasks = len(anyio.get_running_tasks())
            is_reached = await cancelled_at(number, work, style)
            ended = "thread.run.completed" in told.names or not recorded.created
            assert recorded.cancels <= (on_cancel == "cancel" and not ended)
            assert (wire.open, recorded.created <= 1) == (0, True)
            assert len(anyio.get_running_tasks()) == tasks
            number += 1
        assert number > 5


@pytest.mark.parametrize("situation", list(SITUATIONS))
async def test_a_run_is_never_left_unseen(situation: str) -> None:
    """The run is cancelled wherever the reader is cancelled, as long as the server has more to say."""
    original = SITUATIONS[situation]
    for style in styles():
        number = 0
        is_reached = True
        while is_reached:
            recorded = original.anew(never_ends=True)
            # No stage comes to its end.
            recorded.stages = [
                Stage(stage.stream.partition(b"event: thread.run.completed")[0], stage.run) for stage in original.stages
            ]
            wire = InProcess(recorded, pieces=in_pieces)
            client = wire.client()
            paced(client)

            async def work(client: AsyncClient = client) -> None:
                async with start(client) as stream:
                    await read(stream)

            with anyio.move_on_after(5) as scope:
                is_reached = await cancelled_at(number, work, style)
            assert not scope.cancelled_caught or number > 5
            assert recorded.cancels == recorded.created
            assert wire.open == 0
            number += 1
            if number > 40:
                break  # it goes on for ever, looking at the run


async def test_reading_on_after_a_pause_loses_nothing() -> None:
    """Whoever gives up waiting for one event, at any await, and reads on, misses nothing and calls no tool twice."""
    for situation, original in {**SITUATIONS, "parts": MANY_PARTS}.items():
        text = {"whole": "Hello", "cut": "Hello", "parts": MANY_TEXT}.get(situation, "Sunny.")
        for style in styles():
            number = 0
            is_reached = True
            while is_reached:
                recorded = original.anew()
                wire = InProcess(recorded, pieces=in_pieces)
                client = wire.client()
                paced(client)
                calls: list[str] = []

                told = Told()
                toolset = counting(calls)
                async with client.stream_run(THREAD, assistant_id=ASSISTANT, poll=QUICK, toolset=toolset) as stream:
                    is_reached = await cancelled_at(number, lambda s=stream, t=told: _until_over(s, t), style)  # type: ignore[misc]
                    if not told.events or told.names[-1] != "done":
                        await _until_over(stream, told)
                assert _text(told) == text, (situation, style, number)
                assert told.names.count("thread.run.completed") == 1
                assert "\n\n".join(message.text for message in stream.messages) == text
                assert (recorded.created, recorded.cancels, wire.open) == (1, 0, 0)
                assert len(calls) == len(set(calls))
                assert len(recorded.submitted) <= len(recorded.stages) - 1
                number += 1


def counting(calls: list[str]) -> Toolset:
    """Return a toolset that writes down its calls."""

    async def weather(city: str) -> str:
        """Tell the weather."""
        calls.append(city)
        await checkpoint()
        return city

    return Toolset([weather])


async def _until_over(stream: RunStream, told: Told) -> None:
    async for told_ in stream:
        told.events.append(told_)


def _text(told: Told) -> str:
    texts: dict[str, str] = {}
    for told_ in told.events:
        if told_.event == "thread.message.delta":
            texts[told_.data.id] = texts.get(told_.data.id, "") + told_.data.text
    return "\n\n".join(texts.values())


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_wait_for_around_one_event(server: Loopback) -> None:
    """asyncio.wait_for around one event, and reading on: nothing is lost over a socket either."""
    original = ONE_MESSAGE.anew()
    # Silent after a while: the rest is never streamed.
    server.default = serve(cut_at(original, 900), "silence")
    async with AsyncClient(api_key=KEY, base_url=server.url) as client, start(client) as stream:
        told = Told()
        while not told.events or told.names[-1] != "done":
            with contextlib.suppress(TimeoutError):
                told.events.append(await asyncio.wait_for(anext(stream), 0.05))
        assert _text(told) == "Hello"
        assert not pool_of(client)._busy


class Left(Exception):
    """Ends a block."""


@pytest.mark.parametrize("on_cancel", ["cancel", "leave"])
@pytest.mark.parametrize("how", ["break", "raise", "timeout", "cancel", "unread"])
async def test_a_block_left_early(server: Loopback, how: str, on_cancel: Any) -> None:
    """However the block is left, the run is cancelled once, its connection is gone, and the client works on."""
    data = ONE_MESSAGE.stages[0].stream
    recorded = ONE_MESSAGE.anew(cut=data.index(b"event: thread.run.step.completed"), never_ends=True)
    server.default = serve(recorded, "silence")
    timeout = 0.1 if how == "timeout" else None
    async with AsyncClient(api_key=KEY, base_url=server.url, max_connections=1, max_streams=1) as client:
        with contextlib.suppress(Left), anyio.CancelScope() as scope:
            if how == "timeout":
                with pytest.raises(WaitTimeoutError) as caught:
                    async with start(client, timeout=timeout, on_cancel=on_cancel) as stream:
                        await read(stream)
                assert caught.value.run is not None
                assert caught.value.run.id == RUN
            else:
                async with start(client, on_cancel=on_cancel) as stream:
                    async for told in stream if how != "unread" else _nothing():
                        if told.event != "thread.message.delta":
                            continue
                        if how == "raise":
                            raise Left
                        if how == "cancel":
                            scope.cancel()
                            await checkpoint()
                        break
        await until(lambda: recorded.cancels == (on_cancel == "cancel"))
        assert not pool_of(client)._busy
        assert (await client.get_run(THREAD, RUN)).id == RUN
        recorded.never_ends, recorded.stage = False, -1
        server.default = serve(ONE_MESSAGE.anew())
        async with start(client) as stream:
            assert (await read(stream)).text == "Hello"
    assert recorded.cancels == (on_cancel == "cancel")


async def _nothing() -> Any:
    return
    yield


async def test_opening_is_cancelled(server: Loopback) -> None:
    """Cancelled before the answer has begun, the creation may finish, so that the run is cancelled, too."""
    recorded = ONE_MESSAGE.anew(cut=100, never_ends=True)
    server.default = hold(serve(recorded, "silence"))
    async with AsyncClient(api_key=KEY, base_url=server.url) as client, anyio.create_task_group() as group:
        scope = anyio.CancelScope()

        async def reading() -> None:
            with scope:
                async with start(client):
                    raise AssertionError

        group.start_soon(reading)
        await until(lambda: server.requests)
        scope.cancel()
        await checkpoint()
        server.release()
        await until(lambda: recorded.cancels == 1)
    assert recorded.created == 1


async def test_the_first_event_is_waited_for_in_vain(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never says which run it is holds up a cancelled reader for a bounded time."""
    monkeypatch.setattr("asyncassist.runs.watch._FINISH_SECONDS", 0.02)
    monkeypatch.setattr("asyncassist.runs.run_stream._LEARN_SECONDS", 0.02)
    server.default = serve(ONE_MESSAGE.anew(cut=50), "silence")
    async with AsyncClient(api_key=KEY, base_url=server.url) as client:
        with anyio.move_on_after(0.05), anyio.fail_after(2):
            async with start(client) as stream:
                await anext(stream)
        server.default = serve(ONE_MESSAGE.anew(cut=50), "silence")
        with anyio.fail_after(2):
            async with start(client):
                pass
        assert not pool_of(client)._busy
    assert len(server.requests) == 2


async def test_leaving_reads_on_for_the_run() -> None:
    """A block left before the first event reads on until it knows which run to cancel."""
    recorded = MANY_PARTS.anew()
    wire = InProcess(recorded, pieces=lambda data: [data[at : at + 10] for at in range(0, len(data), 10)])
    async with start(wire.client()):
        pass
    assert (recorded.cancels, wire.open) == (1, 0)


@pytest.mark.parametrize("data", [event("error", "no"), b"", b"<html>"])
async def test_leaving_may_learn_of_no_run(data: bytes) -> None:
    """What comes instead of the first event hinders nobody from leaving."""
    wire = InProcess(Recorded([Stage(data, run("queued"))]))
    async with start(wire.client()):
        pass
    assert (wire.recorded.cancels, wire.open) == (0, 0)


async def test_a_refused_submission_leaves_the_run_alone(server: Loopback) -> None:
    """Outputs that are refused, or lost, are no reason to cancel the run that waits for them."""
    async with AsyncClient(api_key=KEY, base_url=server.url) as client:
        outputs: Any = [{"tool_call_id": "call_1", "output": "x"}]
        server.script.append(answer({"error": {"message": "no"}}, 400))
        with pytest.raises(BadRequestError):
            async with client.stream_tool_outputs(THREAD, RUN, tool_outputs=outputs):
                pass
        server.script.append(drop())
        with pytest.raises(Exception, match="broke"):
            async with client.stream_tool_outputs(THREAD, RUN, tool_outputs=outputs, reconcile=False):
                pass
    assert [request.target.rsplit("/", 1)[1] for request in server.requests] == ["submit_tool_outputs"] * 2


async def test_a_lost_submission_is_looked_after() -> None:
    """Where the answer to tool outputs is lost, the run is followed by looking at it."""
    recorded = TOOLS.anew(stage=0, created=1)
    wire = InProcess(recorded)
    client = wire.client()
    paced(client)
    outputs: Any = [{"tool_call_id": "call_1", "output": "x"}]

    async def handle(request: Any, handle: Any = wire.handle_async_request) -> Any:
        response = await handle(request)
        if request.url.path.endswith("submit_tool_outputs"):
            await response.aclose()
            raise httpx.ReadError("lost")
        return response

    wire.handle_async_request = handle  # type: ignore[method-assign]
    async with client.stream_tool_outputs(THREAD, RUN, tool_outputs=outputs, poll=QUICK) as stream:
        told = await read(stream)
    assert told.text == "Sunny."
    assert all(told_.reconciled for told_ in told.events)
    assert len(recorded.submitted) == 1


async def test_a_timeout_while_opening(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """The timeout covers the opening; a server that never answers costs a bounded time more."""
    monkeypatch.setattr("asyncassist.runs.watch._FINISH_SECONDS", 0.02)
    server.default = hold()
    async with AsyncClient(api_key=KEY, base_url=server.url) as client:
        with pytest.raises(WaitTimeoutError, match="never seen"):
            async with start(client, timeout=0.02):
                pass
        assert not pool_of(client)._busy


async def test_a_timeout_without_tools() -> None:
    """A stream that takes longer than its timeout, while the run is looked at after a break, says so."""
    recorded = ONE_MESSAGE.anew(cut=ONE_MESSAGE.length - 300, never_ends=True)
    wire = InProcess(recorded)
    with pytest.raises(WaitTimeoutError, match="in_progress") as caught:
        async with wire.client().stream_run(THREAD, assistant_id=ASSISTANT, poll=QUICK, timeout=0.1) as stream:
            await read(stream)
    assert (caught.value.attempted, recorded.cancels, wire.open) == ((), 1, 0)


@pytest.mark.parametrize("options", [{"timeout": -1}, {"poll": 5}, {"on_cancel": "stop"}, {"timeout": True}])
async def test_wrong_settings_open_nothing(options: Any) -> None:
    """A stream with settings that cannot be meant is refused before anything is sent."""
    wire = InProcess(ONE_MESSAGE.anew())
    client = wire.client()
    with pytest.raises(UsageError):
        client.stream_run(THREAD, **{"assistant_id": ASSISTANT, **options})
    with pytest.raises(TypeError):
        client.stream_run(THREAD, assistant_id=ASSISTANT, toolset=Toolset)  # type: ignore[arg-type]
    assert wire.recorded.asked == []
