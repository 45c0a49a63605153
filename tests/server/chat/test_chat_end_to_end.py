"""From a client's call to a model server and back: `LocalServer` over the chat backend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from transport.helpers import until
from transport.loopback import Loopback, hold

from asyncassist import AsyncClient, PollPolicy, RunFailedError, RunIncompleteError, Toolset, tool
from asyncassist.models import RunStepDetailsMessageCreation, RunStepDetailsToolCalls
from asyncassist.server import LocalServer

from .helpers import DONE, HELLO, USAGE, backend_of, calls, chunk, cut, endless, entry, refusal, streaming, usage

pytestmark = pytest.mark.anyio

QUICK = PollPolicy.every(0.001)


@asynccontextmanager
async def asking(server: Loopback, **options: Any) -> AsyncIterator[tuple[AsyncClient, str]]:
    """A client of a server that asks the model server, and an assistant."""
    async with LocalServer(backend_of(server, **options)) as here, here.client() as client:
        assistant = await client.create_assistant(model="gpt-4o", instructions="Be brief.")
        yield client, assistant.id


async def thread_of(client: AsyncClient, text: str = "Hi") -> str:
    return (await client.create_thread(messages=[{"role": "user", "content": text}])).id


async def test_run_and_wait(server: Loopback) -> None:
    """A run ends with the model's text and usage; the next one's model gets to see both."""
    server.default = streaming(*HELLO)
    async with asking(server) as (client, assistant_id):
        thread_id = await thread_of(client)
        run = await client.run_and_wait(thread_id, assistant_id=assistant_id, poll=QUICK)
        await client.create_message(thread_id, role="user", content="Bye")
        await client.run_and_wait(thread_id, assistant_id=assistant_id, poll=QUICK)

        assert ("completed", "Hello") == (run.status, await client.run_text(run))
    assert run.usage is not None
    assert (5, 3, 8) == (run.usage.prompt_tokens, run.usage.completion_tokens, run.usage.total_tokens)
    assert server.requests[1].json["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye"},
    ]


async def test_stream_run(server: Loopback) -> None:
    """A streamed run gives each piece when the model server has sent it."""
    server.default = streaming(*HELLO)
    async with asking(server) as (client, assistant_id):
        async with client.stream_run(await thread_of(client), assistant_id=assistant_id) as stream:
            pieces = [piece async for piece in stream.text()]
            run = await stream.until_done()

    assert (["Hel", "lo"], "completed") == (pieces, run.status)


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"18 in {city}"


async def test_toolset_over_two_rounds(server: Loopback) -> None:
    """A toolset answers the model's calls round by round; its words before a call stand where they belong."""
    server.script += [
        streaming(
            chunk("\n"),
            calls(entry("weather", "", index=0, id="call_0"), entry("weather", "", index=1, id="call_1")),
            calls(entry(None, '{"city": "Paris"}', index=0), entry(None, '{"city": "Rome"}', index=1)),
            chunk(finish="tool_calls"),
            usage(),
            DONE,
        ),
        streaming(
            chunk("And Oslo?"),
            calls(entry("weather", '{"city": "Oslo"}', index=0, id="call_0"), finish="stop"),
            usage(),
            DONE,
        ),
    ]
    server.default = streaming(*HELLO)
    async with asking(server) as (client, assistant_id):
        run = await client.run_and_wait(
            await thread_of(client),
            assistant_id=assistant_id,
            tools=[weather],
            tool_choice="required",
            max_completion_tokens=300,
            toolset=Toolset([weather]),
            poll=QUICK,
        )
        steps = [step async for step in client.list_run_steps(run.thread_id, run.id, order="asc")]

    last = server.requests[2].json
    assert last["messages"][2:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": id, "type": "function", "function": {"name": "weather", "arguments": f'{{"city": "{city}"}}'}}
                for id, city in (("call_0", "Paris"), ("call_1", "Rome"))
            ],
        },
        {"role": "tool", "tool_call_id": "call_0", "content": "18 in Paris"},
        {"role": "tool", "tool_call_id": "call_1", "content": "18 in Rome"},
        {
            "role": "assistant",
            "content": "And Oslo?",
            "tool_calls": [
                {
                    "id": last["messages"][6]["tool_call_id"],
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city": "Oslo"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": last["messages"][6]["tool_call_id"], "content": "18 in Oslo"},
    ]
    sent = [(request.json.get("tool_choice"), request.json["max_completion_tokens"]) for request in server.requests]
    assert sent == [("required", 300), (None, 297), (None, 294)]
    assert [type(step.step_details) for step in steps] == [
        RunStepDetailsToolCalls,
        RunStepDetailsMessageCreation,
        RunStepDetailsToolCalls,
        RunStepDetailsMessageCreation,
    ]
    assert run.status == "completed"
    assert run.usage is not None
    assert run.usage.total_tokens == 3 * USAGE["total_tokens"]


async def test_truncation_leaves_the_question(server: Loopback) -> None:
    """A run that sees only the last message still sees it when it has said something before a call."""
    server.script.append(streaming(chunk("Let me see."), calls(entry("weather", '{"city": "Rome"}', index=0)), DONE))
    server.default = streaming(*HELLO)
    async with asking(server) as (client, assistant_id):
        thread_id = await thread_of(client, "Old")
        await client.create_message(thread_id, role="user", content="Weather?")
        await client.run_and_wait(
            thread_id,
            assistant_id=assistant_id,
            tools=[weather],
            toolset=Toolset([weather]),
            truncation_strategy={"type": "last_messages", "last_messages": 1},
            poll=QUICK,
        )

    for request in server.requests:
        assert [message["content"] for message in request.json["messages"][1:3]] in (
            ["Weather?"],
            ["Weather?", "Let me see."],
        )
    assert [message["role"] for message in server.requests[1].json["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
    ]


async def test_cancelled_in_the_middle(server: Loopback) -> None:
    """Cancelling a run ends the model server's work: it sees its connection closed. The text so far stays."""
    server.default = endless(chunk("Hel"))
    async with asking(server) as (client, assistant_id):
        async with client.stream_run(await thread_of(client), assistant_id=assistant_id) as stream:
            async for _ in stream.text():
                break
            assert stream.run is not None
            await client.cancel_run(stream.run.thread_id, stream.run.id)
            run = await stream.until_done()
        await until(lambda: server.acted)
        messages = [message async for message in client.list_messages(run.thread_id, run_id=run.id)]

    assert ("cancelled", ["Hel"]) == (run.status, [message.text for message in messages])


async def test_left_in_the_middle(server: Loopback) -> None:
    """A server that is left closes its connections to the model server."""
    server.default = endless(chunk("Hel"))
    async with asking(server) as (client, assistant_id):
        await client.create_run(await thread_of(client), assistant_id=assistant_id)
        await until(lambda: server.requests)

    await until(lambda: server.open_now == 0)


async def test_left_when_cancelled(server: Loopback) -> None:
    """Connections that wait for their next use are closed also where leaving is part of a cancellation."""
    server.default = streaming(*HELLO)
    with anyio.CancelScope() as scope:
        async with LocalServer(backend_of(server)) as here, here.client() as client:
            assistant = await client.create_assistant(model="gpt-4o")
            await client.run_and_wait(await thread_of(client), assistant_id=assistant.id, poll=QUICK)
            assert server.open_now == 1
            scope.cancel()
            await anyio.sleep(1)

    await until(lambda: server.open_now == 0)


async def test_expired(server: Loopback) -> None:
    """A run that expires lets go of the model server."""
    server.default = hold(streaming(*HELLO))
    async with LocalServer(backend_of(server), run_seconds=0.1) as here, here.client() as client:
        assistant = await client.create_assistant(model="gpt-4o")
        run = await client.run_and_wait(await thread_of(client), assistant_id=assistant.id, poll=QUICK)
        await until(lambda: server.open_now == 0)

    assert run.status == "expired"


async def test_failed(server: Loopback) -> None:
    """What the model server refuses is the run's last error."""
    server.default = refusal(429, "Slow down.")
    async with asking(server) as (client, assistant_id):
        run = await client.run_and_wait(await thread_of(client), assistant_id=assistant_id, poll=QUICK)

    with pytest.raises(RunFailedError, match=r"rate_limit_exceeded: The model server failed: .*Slow down\."):
        run.raise_for_status()


async def test_cut(server: Loopback) -> None:
    """A model server that breaks off fails the run with the text so far, once; the thread is free again."""
    server.script.append(cut(chunk("Hel")))
    server.default = streaming(*HELLO)
    async with asking(server) as (client, assistant_id):
        thread_id = await thread_of(client)
        async with client.stream_run(thread_id, assistant_id=assistant_id) as stream:
            pieces = [piece async for piece in stream.text()]
            run = await stream.until_done()
        again = await client.run_and_wait(thread_id, assistant_id=assistant_id, poll=QUICK)

    assert (["Hel"], "failed") == (pieces, run.status)
    assert run.last_error is not None
    assert run.last_error.code == "server_error"
    assert again.status == "completed"


async def test_cut_short(server: Loopback) -> None:
    """An answer that runs into its limit makes the run incomplete."""
    server.default = streaming(chunk("Hel"), chunk(finish="length"), usage(), DONE)
    async with asking(server) as (client, assistant_id):
        run = await client.run_and_wait(
            await thread_of(client), assistant_id=assistant_id, max_completion_tokens=256, poll=QUICK
        )

        assert await client.run_text(run) == "Hel"
    with pytest.raises(RunIncompleteError, match="max_completion_tokens"):
        run.raise_for_status()


async def test_many_at_once(server: Loopback) -> None:
    """Many runs are answered side by side, each with its own text."""
    server.default = streaming(*HELLO)
    texts: list[str] = []

    async def one(client: AsyncClient, assistant_id: str) -> None:
        run = await client.run_and_wait(await thread_of(client), assistant_id=assistant_id)
        texts.append(await client.run_text(run))

    async with asking(server) as (client, assistant_id), anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(one, client, assistant_id)

    assert texts == ["Hello"] * 20
