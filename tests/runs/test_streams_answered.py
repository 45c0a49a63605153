"""Servers that answer with the run where a stream of events was asked for: the run is looked at instead."""

from __future__ import annotations

import json
from typing import Any

import pytest
from transport.helpers import paced
from transport.loopback import Loopback, answer

from asyncassist import AsyncClient, StreamError, StreamInterruptedError, Toolset, WaitTimeoutError
from asyncassist.models.events import DoneEvent

from .helpers import (
    ASSISTANT,
    KEY,
    MANY_PARTS,
    MANY_TEXT,
    ONE_MESSAGE,
    ONE_TEXT,
    QUICK,
    RUN,
    THREAD,
    InProcess,
    Recorded,
    call,
    read,
    run,
    tool_rounds,
)

pytestmark = pytest.mark.anyio


class Unstreamed(Recorded):
    """A server that knows no streams: it answers with the run, whatever is asked."""

    def _next_stage(self, body: Any) -> Any:
        status, content, breaks = super()._next_stage(body)
        return status, content if isinstance(content, dict) else run("queued"), breaks


def unstreamed(recorded: Recorded, **changes: Any) -> tuple[Unstreamed, AsyncClient]:
    server = Unstreamed(recorded.stages, looks=2, **changes)
    client = InProcess(server).client()
    paced(client)
    return server, client


@pytest.mark.parametrize(("story", "text"), [(ONE_MESSAGE, ONE_TEXT), (MANY_PARTS, MANY_TEXT)])
async def test_the_run_is_followed(story: Recorded, text: str) -> None:
    """All comes, as events that are marked; one run is started and none cancelled."""
    server, client = unstreamed(story)

    async with client.stream_run(THREAD, assistant_id=ASSISTANT, poll=QUICK) as stream:
        told = await read(stream)

    assert told.text == text
    assert all(told_.reconciled for told_ in told.events)
    assert told.names[-2:] == ["thread.run.completed", "done"]
    assert [message.text for message in stream.messages] == text.split("\n\n")
    assert (server.created, server.cancels, server.asked.count(f"GET /threads/{THREAD}/runs/{RUN}")) == (1, 0, 3)


async def test_a_thread_and_its_run() -> None:
    """Created together, they are followed likewise."""
    server, client = unstreamed(ONE_MESSAGE)

    async with client.stream_thread_and_run(assistant_id=ASSISTANT, poll=QUICK) as stream:
        assert (await read(stream)).text == ONE_TEXT

    assert (server.created, server.cancels) == (1, 0)


async def test_tool_rounds() -> None:
    """A toolset answers the calls of every round once, and its outputs go out once."""
    made: list[str] = []

    async def weather(city: str) -> str:
        """Tell the weather."""
        made.append(city)
        return f"sunny in {city}"

    rounds = tool_rounds(
        [call(1, "weather", city="Paris"), call(2, "weather", city="Rome")], [call(3, "weather", city="Oslo")]
    )
    server, client = unstreamed(rounds)

    async with client.stream_run(THREAD, assistant_id=ASSISTANT, toolset=Toolset([weather]), poll=QUICK) as stream:
        told = await read(stream)

    assert told.text == "Sunny."
    assert sorted(made) == ["Oslo", "Paris", "Rome"]
    assert [[output["tool_call_id"] for output in outputs] for outputs in server.submitted] == [
        ["call_1", "call_2"],
        ["call_3"],
    ]
    assert (server.created, server.cancels) == (1, 0)


async def test_tool_outputs() -> None:
    """Handed in by the caller, they are followed by what came of them."""
    server, client = unstreamed(tool_rounds([call(1, "weather", city="Rome")]))
    async with client.stream_run(THREAD, assistant_id=ASSISTANT, poll=QUICK) as stream:
        asked = await stream.until_done()

    outputs: Any = [{"tool_call_id": "call_1", "output": "sunny"}]
    async with client.stream_tool_outputs(THREAD, asked.id, tool_outputs=outputs, poll=QUICK) as stream:
        assert (await read(stream)).text == "Sunny."

    assert asked.status == "requires_action"
    assert (len(server.submitted), server.cancels) == (1, 0)


async def test_a_run_that_is_left() -> None:
    """Left before its end has been seen, or out of time, the run is cancelled."""
    server, client = unstreamed(ONE_MESSAGE)
    async with client.stream_run(THREAD, assistant_id=ASSISTANT, poll=QUICK):
        pass
    assert server.cancels == 1

    server, client = unstreamed(ONE_MESSAGE, never_ends=True)
    with pytest.raises(WaitTimeoutError):
        async with client.stream_run(THREAD, assistant_id=ASSISTANT, poll=QUICK, timeout=0.05) as stream:
            await read(stream)
    assert server.cancels == 1


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream", ""])
@pytest.mark.parametrize("body", [json.dumps(run("completed")), "\n " + json.dumps(run("completed"), indent=2)])
async def test_any_header_will_do(server: Loopback, kind: str, body: str) -> None:
    """What the answer begins with tells that it is no stream."""
    page = json.dumps({"data": [], "has_more": False}).encode()
    done = json.dumps(run("completed")).encode()
    server.script += [
        answer(body.encode(), headers={"content-type": kind} if kind else {}),
        *(answer(data, headers={"content-type": "application/json"}) for data in (done, page, page)),
    ]
    async with AsyncClient(api_key=KEY, base_url=server.url) as client:
        async with client.stream_run(THREAD, assistant_id=ASSISTANT) as stream:
            told = await read(stream)

    assert told.names == ["thread.run.completed", "done"]
    assert isinstance(told.events[-1], DoneEvent)
    assert told.events[-1].reconciled


async def test_without_reconciliation() -> None:
    """With ``reconcile=False`` it is the error it was, which tells the run, and the run is cancelled."""
    server, client = unstreamed(ONE_MESSAGE)

    with pytest.raises(StreamError, match=r"the answer is JSON instead of a stream of events \(run run_1\);") as caught:
        async with client.stream_run(THREAD, assistant_id=ASSISTANT, reconcile=False) as stream:
            await read(stream)

    assert not isinstance(caught.value, StreamInterruptedError)
    assert server.asked[1:] == [f"POST /threads/{THREAD}/runs/{RUN}/cancel"]


async def test_another_run() -> None:
    """A run nobody has asked about is no answer to tool outputs; it is left alone."""
    server, client = unstreamed(ONE_MESSAGE)
    outputs: Any = [{"tool_call_id": "call_1", "output": "sunny"}]

    with pytest.raises(StreamError, match="JSON instead of a stream of events;"):
        async with client.stream_tool_outputs(THREAD, "run_2", tool_outputs=outputs) as stream:
            await read(stream)

    assert server.asked[1:] == [f"POST /threads/{THREAD}/runs/run_2/cancel"]
