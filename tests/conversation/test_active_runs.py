"""Runs of others on the thread of a conversation: waited for, cancelled, or told of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

from asyncassist import ActiveRunError, AsyncAssistError, NotFoundError, Run, WaitTimeoutError
from asyncassist.conversation.talk import Conversation
from asyncassist.server import Failure, FunctionCall, OfflineBackend, Rule
from conversation.helpers import World, lock, refuse, world

pytestmark = pytest.mark.anyio

ECHO = Rule(say="You said: {message}")

Take = Callable[[Conversation, float | None], Awaitable[str]]


async def by_asking(talk: Conversation, timeout: float | None = None) -> str:
    """Take a turn in one piece."""
    return (await talk.ask("Hello", timeout=timeout)).text


async def by_streaming(talk: Conversation, timeout: float | None = None) -> str:
    """Take a turn event by event."""
    async with talk.stream("Hello", timeout=timeout) as stream:
        await stream.until_done()
    return stream.reply().text


async def foreign_run(here: World, question: str = "slow") -> Run:
    """Start a run as another process does, on a thread of its own."""
    thread = {"messages": [{"role": "user", "content": question}]}
    run = await here.client.create_thread_and_run(assistant_id=here.assistant_id, thread=thread)
    here.way.asked.clear()
    return run


@pytest.mark.parametrize("take", [by_asking, by_streaming])
@pytest.mark.parametrize(("add_message", "refused"), [("with_run", "run"), ("before_run", "message")])
async def test_a_run_of_others_is_waited_for(take: Take, add_message: Any, refused: str) -> None:
    """By default: it completes, and then the question is put, once."""
    async with world(OfflineBackend([Rule("slow", say="Slow.", delay=0.02), ECHO])) as here:
        run = await foreign_run(here)
        talk = here.client.conversation(run.thread_id, assistant_id=here.assistant_id, add_message=add_message)

        assert await take(talk, None) == "You said: Hello"
        assert await here.said(run.thread_id) == ["slow", "Slow.", "Hello", "You said: Hello"]
        assert [run.status for run in await here.runs(run.thread_id)] == ["completed", "completed"]
        assert here.way.count(refused) == 2
        assert here.way.count("cancel") == 0


async def test_a_message_is_added_once_though_its_run_is_refused() -> None:
    """A run of others comes between message and run: the message stays while that run is waited for."""

    async def locked_once(phase: str, request: httpx.Request) -> httpx.Response | None:
        return lock(run.thread_id, run.id) if phase == "run" and here.way.count("run") == 1 else None

    async with world(OfflineBackend([ECHO])) as here:
        run = await foreign_run(here, "quick")
        await here.runs(run.thread_id)
        here.way.hook = locked_once
        talk = here.client.conversation(run.thread_id, assistant_id=here.assistant_id, add_message="before_run")

        assert await by_asking(talk) == "You said: Hello"
        assert [here.way.count(phase) for phase in ("message", "run", "delete")] == [1, 2, 0]


@pytest.mark.parametrize("take", [by_asking, by_streaming])
async def test_a_run_of_others_is_cancelled(take: Take) -> None:
    """With "cancel": it ends, and the question is put."""
    async with world(OfflineBackend([Rule("slow", delay=3600), ECHO])) as here:
        run = await foreign_run(here)
        talk = here.client.conversation(run.thread_id, assistant_id=here.assistant_id, on_active_run="cancel")

        assert await take(talk, None) == "You said: Hello"
        assert [run.status for run in await here.runs(run.thread_id)] == ["cancelled", "completed"]
        assert here.way.count("cancel") == 1


@pytest.mark.parametrize("take", [by_asking, by_streaming])
async def test_a_run_of_others_is_told_of(take: Take) -> None:
    """With "raise": the error names it, it goes on, and the turn is free for the next."""
    async with world(OfflineBackend([Rule("slow", delay=3600), ECHO])) as here:
        run = await foreign_run(here)
        talk = here.client.conversation(run.thread_id, assistant_id=here.assistant_id, on_active_run="raise")
        with pytest.raises(ActiveRunError) as caught:
            await take(talk, None)

        assert (caught.value.thread_id, caught.value.run_id) == (run.thread_id, run.id)
        assert here.way.asked == ["run"]
        await here.client.cancel_run(run.thread_id, run.id)
        await here.runs(run.thread_id)
        assert await take(talk, None) == "You said: Hello"


@pytest.mark.parametrize("take", [by_asking, by_streaming])
async def test_the_wait_for_a_run_of_others_is_bounded(take: Take) -> None:
    """The turn times out before it has begun, and leaves the other run alone."""
    async with world(OfflineBackend([Rule("slow", delay=3600), ECHO])) as here:
        run = await foreign_run(here)
        talk = here.client.conversation(run.thread_id, assistant_id=here.assistant_id)
        with pytest.raises(WaitTimeoutError, match=f"did not begin: run {run.id} did not end in the 0.05 s") as caught:
            await take(talk, 0.05)

        assert caught.value.run is None
        assert isinstance(caught.value.__cause__, ActiveRunError)
        assert here.way.count("cancel") == 0
        assert (await here.client.get_run(run.thread_id, run.id)).status == "in_progress"


async def test_a_run_of_others_that_requires_action_is_waited_for() -> None:
    """Whoever started it answers it; meanwhile it is looked at with pauses."""
    script = [Rule("tools", calls=[FunctionCall("f", {}, id="call_1")], say="Done."), ECHO]
    async with world(OfflineBackend(script)) as here:
        run = await foreign_run(here, "tools")
        run = await here.client.wait_for_run(run.thread_id, run.id)
        talk = here.client.conversation(run.thread_id, assistant_id=here.assistant_id)
        replies: list[str] = []

        async def ask() -> None:
            replies.append(await by_asking(talk))

        async with anyio.create_task_group() as group:
            here.slept.clear()
            group.start_soon(ask)
            while len(here.slept) < 5:
                await checkpoint()
            outputs = [{"tool_call_id": "call_1", "output": "1"}]
            await here.client.submit_tool_outputs_to_run(run.thread_id, run.id, tool_outputs=outputs)

        assert replies == ["You said: Hello"]
        assert here.slept[:3] == [0.25, 0.375, 0.5625]
        assert await here.said(run.thread_id) == ["tools", "Done.", "Hello", "You said: Hello"]


async def test_a_run_that_has_just_ended_may_be_in_the_way_for_a_moment() -> None:
    """The server says it is over, and refuses still: the turn tries again, after growing pauses."""
    refusals = 4

    async def refuse_some(phase: str, request: httpx.Request) -> httpx.Response | None:
        nonlocal refusals
        if phase == "run" and refusals:
            refusals -= 1
            return lock(run.thread_id, run.id)
        return None

    async with world(OfflineBackend([ECHO])) as here:
        run = await foreign_run(here, "quick")
        await here.runs(run.thread_id)
        here.way.hook = refuse_some
        here.slept.clear()
        talk = here.client.conversation(run.thread_id, assistant_id=here.assistant_id)

        assert await by_asking(talk) == "You said: Hello"
        assert here.slept[:3] == [0.25, 0.375, 0.5625]


@pytest.mark.parametrize("run_id", ["run_gone", "run_1"])
async def test_a_run_that_never_gets_out_of_the_way_is_told_of(run_id: str) -> None:
    """Whether the server does not know it or says that it has ended: the turn gives up after some tries."""

    async def always_locked(phase: str, request: httpx.Request) -> httpx.Response | None:
        return lock(thread.id, run_id) if phase == "run" else None

    async with world(OfflineBackend([ECHO])) as here:
        thread = await here.client.create_thread()
        if run_id == "run_1":
            run = await here.client.run_and_wait(thread.id, assistant_id=here.assistant_id)
            run_id = run.id
        here.way.hook = always_locked
        here.way.asked.clear()
        with pytest.raises(ActiveRunError):
            await by_asking(here.client.conversation(thread.id, assistant_id=here.assistant_id))

        assert here.way.count("run") == 9


async def test_other_runs_may_follow_each_other() -> None:
    """Each that comes in between is waited for in its turn, without a pause."""
    async with world(OfflineBackend([ECHO])) as here:
        thread = await here.client.create_thread()
        ids = [(await here.client.run_and_wait(thread.id, assistant_id=here.assistant_id)).id for _ in range(12)]

        async def busy(phase: str, request: httpx.Request) -> httpx.Response | None:
            return lock(thread.id, ids.pop()) if phase == "run" and ids else None

        here.way.hook = busy
        here.way.asked.clear()
        here.slept.clear()
        reply = await by_asking(here.client.conversation(thread.id, assistant_id=here.assistant_id))

        assert reply == "You said: Hello"
        assert here.way.count("run") == 13
        assert not {0.25, 0.375} & {*here.slept}


@pytest.mark.parametrize("phase", ["run", "poll"])
@pytest.mark.parametrize("take", [by_asking, by_streaming])
async def test_a_run_of_its_own_is_never_in_the_way(take: Take, phase: str) -> None:
    """A turn is cancelled, and the cancel of its run is lost: the next turn cancels it again, even with "raise"."""
    async with world(OfflineBackend([Rule("slow", delay=3600), ECHO])) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id, on_active_run="raise")
        is_begun = anyio.Event()

        async def take_slow() -> None:
            if take is by_asking:
                await talk.ask("slow")
            async with talk.stream("slow") as stream:
                async for _ in stream:
                    is_begun.set()

        async def lose_cancel(kind: str, request: httpx.Request) -> httpx.Response | None:
            if kind == phase:
                is_begun.set()
            return refuse(403) if kind == "cancel" and here.way.count("cancel") == 1 else None

        here.way.hook = lose_cancel
        async with anyio.create_task_group() as group:
            group.start_soon(take_slow)
            await is_begun.wait()
            group.cancel_scope.cancel()

        assert await take(talk, None) == "You said: Hello"
        assert here.way.count("cancel") == 2
        assert [run.status for run in await here.runs(talk.thread_id)] == ["cancelled", "completed"]


async def test_a_run_of_its_own_that_is_being_cancelled_is_waited_for() -> None:
    """The server takes its time to cancel: the next turn is not refused meanwhile."""
    let_go = anyio.Event()

    class Slow(OfflineBackend):
        async def answer(self, turn: Any) -> Any:
            try:
                return await super().answer(turn)
            finally:
                with anyio.CancelScope(shield=True):
                    await let_go.wait()

    async def let_it_go(phase: str, request: httpx.Request) -> httpx.Response | None:
        if here.way.count("run") == 2 and phase == "poll":
            let_go.set()
        return None

    async with world(Slow([Rule("slow", delay=3600), ECHO])) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id, on_active_run="raise")
        with pytest.raises(WaitTimeoutError):
            await talk.ask("slow", timeout=0.05)
        here.way.hook = let_it_go

        assert await by_asking(talk) == "You said: Hello"
        assert [run.status for run in await here.runs(talk.thread_id)] == ["cancelled", "completed"]


async def test_a_cancel_that_comes_too_late_is_no_failure() -> None:
    """The other run has ended meanwhile."""

    async def locked_once(phase: str, request: httpx.Request) -> httpx.Response | None:
        return lock(run.thread_id, run.id) if phase == "run" and here.way.count("run") == 1 else None

    async with world(OfflineBackend([ECHO])) as here:
        run = await foreign_run(here, "quick")
        await here.runs(run.thread_id)
        here.way.hook = locked_once
        talk = here.client.conversation(run.thread_id, assistant_id=here.assistant_id, on_active_run="cancel")

        assert await by_asking(talk) == "You said: Hello"
        assert here.way.count("cancel") == 1


async def test_a_wait_for_a_run_of_others_that_fails_is_raised() -> None:
    """What keeps the turn from being taken is told."""

    async def forbid(phase: str, request: httpx.Request) -> httpx.Response | None:
        if phase == "run":
            return lock("thread_1", "run_1")
        return refuse(403) if phase == "poll" else None

    async with world() as here:
        here.way.hook = forbid
        with pytest.raises(AsyncAssistError) as caught:
            await by_asking(here.client.conversation("thread_1", assistant_id=here.assistant_id))

        assert not isinstance(caught.value, ActiveRunError | NotFoundError)
        assert here.way.asked == ["run", "poll"]


async def test_a_run_that_comes_between_a_failed_one_and_a_fresh_one_is_told_of() -> None:
    """The question is on the thread already and is not put twice."""

    async def lock_second(phase: str, request: httpx.Request) -> httpx.Response | None:
        return lock("thread_1", "run_1") if phase == "run" and here.way.count("run") == 2 else None

    script = [Rule(fail=Failure(code="rate_limit_exceeded"))]
    async with world(OfflineBackend(script)) as here:
        here.way.hook = lock_second
        talk = here.client.conversation(assistant_id=here.assistant_id)
        with pytest.raises(ActiveRunError):
            await talk.ask("Hello", retry_failed_runs=3)

        assert here.way.count("run") == 2
        assert await here.said(talk.thread_id) == ["Hello"]


async def test_two_conversations_share_a_thread() -> None:
    """As two processes do: every question of both gets its own answer."""
    async with world(OfflineBackend([Rule(say="You said: {message}", delay=0.002)])) as here:
        thread = await here.client.create_thread()
        talks = [here.client.conversation(thread.id, assistant_id=here.assistant_id) for _ in range(2)]
        replies: dict[str, str] = {}

        async def ask(talk: Conversation, question: str) -> None:
            replies[question] = (await talk.ask(question)).text

        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(ask, talks[number % 2], f"question {number}")

        assert replies == {f"question {number}": f"You said: question {number}" for number in range(10)}
