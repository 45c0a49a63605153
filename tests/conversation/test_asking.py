"""Turns of a conversation: their order, their replies, and what is left when they fail."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

from asyncassist import (
    APIConnectionError,
    BadRequestError,
    NotFoundError,
    PollPolicy,
    Reply,
    RunCancelledError,
    RunExpiredError,
    RunFailedError,
    RunIncompleteError,
    ToolError,
    Toolset,
    UsageError,
    WaitTimeoutError,
    tool,
)
from asyncassist.server import Failure, FunctionCall, OfflineBackend, Rule
from conversation.helpers import Gate, refuse, world

pytestmark = pytest.mark.anyio

ECHO = [Rule(say="You said: {message}")]


async def test_a_conversation_makes_its_thread_with_the_first_turn() -> None:
    """Nothing is sent when it is made; the first turn makes one thread, and later turns go on with it."""
    async with world(OfflineBackend(ECHO)) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id)
        assert (talk.thread_id, repr(talk), here.way.asked) == (None, "<Conversation without a thread yet>", [])

        first = await talk.ask("Hello")
        second = await talk.ask("Again")

        assert [first.text, second.text] == ["You said: Hello", "You said: Again"]
        assert first.run.thread_id == second.run.thread_id == talk.thread_id
        assert repr(talk) == f"<Conversation {talk.thread_id}>"
        assert here.way.count("thread") == 1
        assert here.way.count("run") == 2
        assert here.way.count("message") == 0


async def test_a_conversation_goes_on_with_a_thread() -> None:
    """With a thread's id nothing is created but the run with its message."""
    async with world(OfflineBackend(ECHO)) as here:
        thread = await here.client.create_thread()
        here.way.asked.clear()
        reply = await here.client.conversation(thread.id, assistant_id=here.assistant_id).ask("Hello")

        assert isinstance(reply, Reply)
        assert await here.said(thread.id) == ["Hello", "You said: Hello"]
        assert [phase for phase in here.way.asked if phase != "poll"] == ["run", "messages", "messages"]


async def test_a_hundred_tasks_ask_at_once() -> None:
    """Each gets the answer to its own question, in the order in which they asked, on one thread."""
    replies: dict[int, str] = {}
    finished: list[int] = []
    async with world(OfflineBackend(ECHO)) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id)

        async def ask(number: int) -> None:
            replies[number] = (await talk.ask(f"question {number}")).text
            finished.append(number)

        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(ask, number)
                await checkpoint()

        order = [int(text.removeprefix("question ")) for text in (await here.said(talk.thread_id))[::2]]
        assert replies == {number: f"You said: question {number}" for number in range(100)}
        assert order == finished
        assert order[1:] == sorted(order[1:])
        assert here.way.count("thread") == 1
        assert {run.status for run in await here.runs(talk.thread_id)} == {"completed"}


async def test_waiting_tasks_that_are_cancelled_leave_the_queue() -> None:
    """The others keep their order, and nothing is sent for those that went."""
    async with world(OfflineBackend(ECHO)) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id)
        answered: list[str] = []
        scopes = [anyio.CancelScope() for _ in range(20)]

        async def ask(number: int) -> None:
            with scopes[number]:
                answered.append((await talk.ask(f"{number}")).text)

        async with anyio.create_task_group() as group:
            async with talk.stream("first") as stream:
                for number in range(20):
                    group.start_soon(ask, number)
                    await anyio.wait_all_tasks_blocked()
                for scope in scopes[::2]:
                    scope.cancel()
                await anyio.wait_all_tasks_blocked()
                await stream.until_done()

        assert answered == [f"You said: {number}" for number in range(1, 20, 2)]
        assert here.way.count("run") == 11


async def test_a_task_that_has_the_turn_does_not_wait_for_itself() -> None:
    """Asking inside the block of a streamed turn, in the same task, is refused at once; afterwards it works."""
    async with world(OfflineBackend(ECHO)) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id)
        async with talk.stream("first") as stream:
            with pytest.raises(UsageError, match="leave its block first"):
                await talk.ask("second")
            await stream.until_done()

        assert (await talk.ask("second")).text == "You said: second"


async def test_what_is_said_may_have_parts_attachments_and_parameters() -> None:
    """The message stands behind additional messages of the caller, and parameters go to the run."""
    bodies: list[Any] = []

    async def keep(phase: str, request: httpx.Request) -> None:
        if phase == "run":
            bodies.append(json.loads(request.content))

    async with world(OfflineBackend(ECHO)) as here:
        here.way.hook = keep
        attachment = {"file_id": "file_1", "tools": [{"type": "file_search"}]}
        reply = await here.client.conversation(assistant_id=here.assistant_id).ask(
            [{"type": "text", "text": "Look"}],
            attachments=[attachment],
            additional_messages=[{"role": "assistant", "content": "Yes?"}],
            additional_instructions="Be brief.",
            metadata={"turn": "1"},
        )

    assert reply.text == "You said: Look"
    assert dict(reply.run.metadata) == {"turn": "1"}
    assert bodies == [
        {
            "assistant_id": here.assistant_id,
            "additional_instructions": "Be brief.",
            "metadata": {"turn": "1"},
            "additional_messages": [
                {"role": "assistant", "content": "Yes?"},
                {"role": "user", "content": [{"type": "text", "text": "Look"}], "attachments": [attachment]},
            ],
        }
    ]


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (Rule("break", fail=Failure("Broken.")), RunFailedError),
        (Rule("break", say="Half an", stopped_by="max_completion_tokens"), RunIncompleteError),
    ],
)
async def test_a_turn_that_fails_raises_and_leaves_the_conversation_usable(rule: Rule, error: Any) -> None:
    """The error has the run, whose text so far can be read, and the next turn is answered."""
    async with world(OfflineBackend([rule, *ECHO])) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id)
        with pytest.raises(error) as caught:
            await talk.ask("break")
        reply = await talk.ask("mend")

        assert await here.client.run_text(caught.value.run) == (rule.say or "")
        assert reply.text == "You said: mend"


async def test_a_run_that_others_cancel_or_that_expires_raises_its_error() -> None:
    """And the next turn is answered."""
    async with world(OfflineBackend([Rule("slow", delay=3600), *ECHO]), run_seconds=1) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id)

        async def cancel(run: Any) -> None:
            if run.status == "queued":
                await here.client.cancel_run(run.thread_id, run.id)

        with pytest.raises(RunCancelledError):
            await talk.ask("slow", on_status=cancel)
        with pytest.raises(RunExpiredError):
            await talk.ask("slow")

        assert (await talk.ask("quick")).text == "You said: quick"


async def test_a_run_that_failed_may_be_followed_by_a_fresh_one() -> None:
    """The question is not put again: the fresh run finds it on the thread."""
    failures = iter([Failure("Try again in 1s.", code="rate_limit_exceeded")])

    class Flaky(OfflineBackend):
        async def answer(self, turn: Any) -> Any:
            failure = next(failures, None)
            return await OfflineBackend([Rule(fail=failure)] if failure else ECHO).answer(turn)

    async with world(Flaky()) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id)
        reply = await talk.ask("Hello", retry_failed_runs=1)

        assert reply.text == "You said: Hello"
        assert await here.said(talk.thread_id) == ["Hello", "You said: Hello"]
        assert [run.status for run in await here.runs(talk.thread_id)] == ["failed", "completed"]


# Tools.

CALLS = [Rule("add", calls=[FunctionCall("add", {"a": 2, "b": 3})], say="It is {outputs[0]}."), *ECHO]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


async def test_a_toolset_answers_the_calls() -> None:
    """In every turn that asks for them."""
    async with world(OfflineBackend(CALLS)) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id, toolset=Toolset([add]))

        assert [(await talk.ask("add")).text, (await talk.ask("add")).text] == ["It is 5.", "It is 5."]


async def test_a_run_that_asks_for_tools_nobody_has_is_cancelled() -> None:
    """It would lock the thread; the error names the tools, and the next turn is answered."""
    async with world(OfflineBackend(CALLS)) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id, on_active_run="raise")
        with pytest.raises(ToolError, match=r"requires action \(add\) and this conversation has no toolset") as caught:
            await talk.ask("add")
        reply = await talk.ask("Hello")

        assert caught.value.run is not None
        assert caught.value.run.status == "requires_action"
        assert (caught.value.attempted, caught.value.completed) == ((), ())
        assert reply.text == "You said: Hello"
        assert [run.status for run in await here.runs(talk.thread_id)] == ["cancelled", "completed"]


# Cancelled, timed out, cut.


@pytest.mark.parametrize("phase", ["thread", "run", "poll", "messages"])
async def test_a_turn_cancelled_in_any_phase_leaves_nothing(phase: str) -> None:
    """No run goes on, no second thread is made, and the next question is answered, even with "raise"."""
    async with world(OfflineBackend([Rule("slow", delay=0 if phase == "messages" else 3600), *ECHO])) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id, on_active_run="raise")
        gate = Gate(phase)
        here.way.hook = gate
        async with anyio.create_task_group() as group:
            group.start_soon(talk.ask, "slow")
            await gate.is_reached.wait()
            group.cancel_scope.cancel()
            gate.is_open.set()
        reply = await talk.ask("again")

        runs = await here.runs(talk.thread_id)
        assert reply.text == "You said: again"
        assert here.way.count("thread") == 1
        first = {"thread": [], "run": ["cancelled"], "poll": ["cancelled"], "messages": ["completed"]}
        assert [run.status for run in runs] == [*first[phase], "completed"]


async def test_a_natively_cancelled_turn_leaves_nothing(anyio_backend: str) -> None:
    """Cancelled by asyncio itself: first a turn under way, then one in the queue."""
    if anyio_backend == "trio":
        return
    async with world(OfflineBackend([Rule("slow", delay=3600), *ECHO])) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id)
        gate = Gate("poll")
        here.way.hook = gate
        turns = [asyncio.create_task(talk.ask(text)) for text in ("slow", "waiting", "last")]
        await gate.is_reached.wait()
        turns[1].cancel()
        turns[0].cancel()
        gate.is_open.set()
        done = await asyncio.gather(*turns, return_exceptions=True)

        assert [type(result) for result in done] == [asyncio.CancelledError, asyncio.CancelledError, Reply]
        assert [run.status for run in await here.runs(talk.thread_id)] == ["cancelled", "completed"]


@pytest.mark.parametrize("phase", ["queue", "thread", "run", "poll", "messages"])
async def test_the_timeout_covers_every_phase(phase: str) -> None:
    """Also the wait for the turns before; what was begun is cancelled, and the next turn is answered."""
    async with world(OfflineBackend([Rule("slow", delay=3600), *ECHO])) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id)
        gate = Gate(phase)
        here.way.hook = gate
        question = "slow" if phase in ("run", "poll") else "quick"
        async with anyio.create_task_group() as group:
            if phase == "queue":
                group.start_soon(talk.ask, "slow")
                while not here.way.count("poll"):
                    await checkpoint()
            elif phase in ("thread", "run"):
                group.start_soon(_open_soon, gate)
            with pytest.raises(WaitTimeoutError, match="in the 0.0[0-9]+ s allowed") as caught:
                await talk.ask(question, timeout=0.05)
            group.cancel_scope.cancel()
        here.way.hook = None

        assert (caught.value.run is None) == (phase in ("queue", "thread"))
        assert (await talk.ask("again")).text == "You said: again"
        assert here.way.count("thread") == 1
        assert all(run.is_terminal for run in await here.runs(talk.thread_id))


async def _open_soon(gate: Gate) -> None:
    await gate.is_reached.wait()
    await anyio.sleep(0.1)
    gate.is_open.set()


@pytest.mark.parametrize("mode", ["wait", "cancel"])
async def test_a_run_whose_creation_was_lost_is_in_the_way_of_the_next_turn_only_for_a_while(mode: Any) -> None:
    """The answer to the creation is lost: the error says that it was sent, and the next turn gets over what it left."""

    async def lose(phase: str, request: httpx.Request) -> None:
        if phase == "run":
            here.way.hook = None
            await here.way.inner.handle_async_request(request)
            raise httpx.ReadError("cut")

    async with world(OfflineBackend([Rule("lost", delay=0.02), *ECHO])) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id, on_active_run=mode)
        here.way.hook = lose
        with pytest.raises(APIConnectionError) as caught:
            await talk.ask("lost")
        reply = await talk.ask("again")

        assert caught.value.sent
        assert reply.text == "You said: again"
        assert [run.status for run in await here.runs(talk.thread_id)] == [
            "completed" if mode == "wait" else "cancelled",
            "completed",
        ]


async def test_a_thread_or_an_assistant_that_is_not_there_is_an_error() -> None:
    """And with the right assistant the same thread is used."""
    async with world(OfflineBackend(ECHO)) as here:
        with pytest.raises(NotFoundError):
            await here.client.conversation("thread_none", assistant_id=here.assistant_id).ask("Hello")
        talk = here.client.conversation(assistant_id="asst_none")
        with pytest.raises(NotFoundError):
            await talk.ask("Hello")

        assert await here.said(talk.thread_id) == []


# History.


async def test_history_is_listed_oldest_first() -> None:
    """It is empty before there is a thread, and follows pages both ways."""
    async with world(OfflineBackend(ECHO)) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id, poll=PollPolicy(shortest=0.01))
        history = talk.history(limit=1)
        assert await history.collect() == []
        for text in ("one", "two"):
            await talk.ask(text)

        everything = await history.collect()
        assert [message.text for message in everything] == ["one", "You said: one", "two", "You said: two"]
        assert [m.text async for m in talk.history(after=everything[1].id)] == ["two", "You said: two"]
        assert [m.text async for m in talk.history(before=everything[1].id)] == ["one"]
        with pytest.raises(UsageError):
            await talk.history(limit=0)


async def test_a_bad_request_is_raised_as_it_is() -> None:
    """What is no active run is not waited for."""

    async def no(phase: str, request: httpx.Request) -> httpx.Response | None:
        return refuse(400, "No such model.") if phase == "run" else None

    async with world() as here:
        here.way.hook = no
        with pytest.raises(BadRequestError, match="No such model"):
            await here.client.conversation(assistant_id=here.assistant_id).ask("Hello")

        assert here.way.count("run") == 1
