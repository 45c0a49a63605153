"""How streams of runs end when all does not go well: failures, limits, cancels, expiry, deletions."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from asyncassist.models import (
    Message,
    MessageEvent,
    Run,
    RunEvent,
    RunStep,
    RunStepEvent,
)
from asyncassist.server import (
    BackendError,
    MemoryStore,
    OfflineBackend,
    Reply,
    Rule,
    Turn,
)

from .helpers import Clock, SteeredBackend, TypingBackend, settle
from .reading import (
    DELTA,
    MESSAGE,
    STARTED,
    TWO_CALLS,
    USAGE,
    Asking,
    last_run,
    names,
    path_of,
    serving,
    snapshots,
)

pytestmark = pytest.mark.anyio


async def test_a_failure_in_the_middle_of_a_message(clock: Clock) -> None:
    """The message is incomplete with the text it has got, the step and the run have failed with the error."""
    backend = TypingBackend(("half",), error=BackendError("slow down", code="rate_limit_exceeded"))
    async with serving(clock, backend) as here, await here.run() as stream:
        backend.go_on(2)
        events = await stream.rest()
        run = last_run(events)
        (step,) = await here.list(f"{path_of(run)}/steps", RunStep)
        message = (await here.list(f"/threads/{run.thread_id}/messages", Message))[0]

    failed = ["thread.message.incomplete", "thread.run.step.failed", "thread.run.failed", "done"]
    assert [*STARTED, *MESSAGE, DELTA, *failed] == names(events)
    assert ({step.id: step}, {message.id: message}) == (snapshots(events).steps, snapshots(events).messages)
    assert run.last_error is not None
    assert (run.last_error, run.last_error.code) == (step.last_error, "rate_limit_exceeded")
    assert message.incomplete_details is not None
    assert (message.text, message.incomplete_details.reason) == ("half", "run_failed")
    assert (step.failed_at, message.incomplete_at, message.completed_at) == (clock.now, clock.now, None)


async def test_a_failure_before_anything_was_said(clock: Clock) -> None:
    """A run that fails at once has no step and no message."""
    async with serving(clock, SteeredBackend(error=BackendError("no"))) as here, await here.run() as stream:
        here.backend.may_answer.set()
        events = await stream.rest()

    assert [*STARTED, "thread.run.failed", "done"] == names(events)


async def test_an_answer_cut_short_is_incomplete(clock: Clock) -> None:
    """A limit ends the message and the run incomplete, and completes the step."""
    backend = TypingBackend(("half",), Reply(usage=USAGE, stopped_by="max_completion_tokens"))
    async with serving(clock, backend) as here, await here.run() as stream:
        backend.go_on(2)
        events = await stream.rest()

    ended = ["thread.message.incomplete", "thread.run.step.completed", "thread.run.incomplete", "done"]
    assert [*STARTED, *MESSAGE, DELTA, *ended] == names(events)
    (message,) = snapshots(events).messages.values()
    assert message.incomplete_details is not None
    assert (message.text, message.incomplete_details.reason) == ("half", "max_tokens")


async def test_a_run_cancelled_by_another_request(clock: Clock) -> None:
    """A stream sees the run cancelling, and cancelled when its backend has let go, with the text so far."""
    backend = TypingBackend()
    async with serving(clock, backend) as here, await here.run() as stream:
        backend.go_on()
        run = last_run(await stream.until(DELTA))
        await here.api.post(f"{path_of(run)}/cancel")
        events = await stream.rest()
        message = (await here.list(f"/threads/{run.thread_id}/messages", Message))[0]
        (step,) = await here.list(f"{path_of(run)}/steps", RunStep)

    ended = ["thread.message.incomplete", "thread.run.step.cancelled", "thread.run.cancelled", "done"]
    assert ["thread.run.cancelling", *ended] == names(events)
    assert message.incomplete_details is not None
    assert (message.text, message.incomplete_details.reason) == ("Hello", "run_cancelled")
    assert (step.status, step.cancelled_at, backend.cancelled) == ("cancelled", clock.now, 1)


async def test_a_run_that_expires(clock: Clock) -> None:
    """A stream sees its run expire, with the text so far; what the backend says later is dropped."""

    class Stubborn:
        async def answer(self, turn: Turn) -> Reply:
            with anyio.CancelScope(shield=True):
                await turn.emit("in time")
                await clock.sleep(601)
                await turn.emit(", too late")
            return Reply("in time, too late")

    async with serving(clock, Stubborn()) as here, await here.run() as stream:
        run = last_run(await stream.until(DELTA))
        await clock.advance(600)
        events = await stream.rest()
        await clock.advance(1)
        message = (await here.list(f"/threads/{run.thread_id}/messages", Message))[0]

    ended = ["thread.message.incomplete", "thread.run.step.expired", "thread.run.expired", "done"]
    assert ended == names(events)
    assert message.incomplete_details is not None
    assert (message.text, message.incomplete_details.reason) == ("in time", "run_expired")


@pytest.mark.parametrize("ending", ["cancelled", "expired"])
async def test_a_step_that_waits_for_outputs_ends_with_its_run(clock: Clock, ending: str) -> None:
    """A run cancelled or expired while it waits takes its step along; the next stream of the thread is its own."""
    async with serving(clock, Asking(TWO_CALLS)) as here, await here.run() as stream:
        run = last_run(await stream.rest())
        if ending == "cancelled":
            await here.api.post(f"{path_of(run)}/cancel")
        else:
            await clock.advance(600)
        await settle()
        run = await here.read(path_of(run), Run)
        (step,) = await here.list(f"{path_of(run)}/steps", RunStep)

    assert [run.status, step.status] == [ending, ending]


async def test_what_is_emitted_before_the_run_has_a_message_may_come_too_late(clock: Clock) -> None:
    """A backend that ignores being cancelled and then speaks begins no message, and fails nothing."""

    class Stubborn:
        async def answer(self, turn: Turn) -> Reply:
            with anyio.CancelScope(shield=True):
                await clock.sleep(1)
                await turn.emit("too ")
                await turn.emit("late")
            return Reply("too late")

    async with serving(clock, Stubborn()) as here, await here.run() as stream:
        run = last_run(await stream.until(STARTED[-1]))
        await here.api.post(f"{path_of(run)}/cancel")
        await clock.advance(1)
        events = await stream.rest()

    assert ["thread.run.cancelling", "thread.run.cancelled", "done"] == names(events)


async def test_a_run_deleted_with_its_thread(clock: Clock) -> None:
    """The stream of a run that is deleted ends with an error, without ``done``."""
    async with serving(clock, SteeredBackend()) as here, await here.run() as stream:
        run = last_run(await stream.until(STARTED[-1]))
        await here.api.delete(f"/threads/{run.thread_id}")
        frame = await stream.next_frame()
        end = await stream.next_frame()

    assert frame is not None
    assert (frame.event, end) == ("error", None)
    assert f"Run {run.id} was deleted with its thread." in frame.data


async def test_a_deleted_message_is_told_no_more(clock: Clock) -> None:
    """Where somebody deletes the message that is being written, the run ends without it."""
    backend = TypingBackend()
    async with serving(clock, backend) as here, await here.run() as stream:
        backend.go_on()
        (message,) = snapshots(await stream.until(DELTA)).messages.values()
        await here.api.delete(f"/threads/{message.thread_id}/messages/{message.id}")
        backend.go_on(3)
        events = await stream.rest()

    assert [DELTA, "thread.run.step.completed", "thread.run.completed", "done"] == names(events)


async def test_a_message_keeps_what_it_is_given_while_it_is_written(clock: Clock) -> None:
    """Metadata set while a message is being written are there when it is complete."""
    backend = TypingBackend()
    async with serving(clock, backend) as here, await here.run() as stream:
        backend.go_on()
        (message,) = snapshots(await stream.until(DELTA)).messages.values()
        path = f"/threads/{message.thread_id}/messages/{message.id}"
        changed = await here.api.post(path, metadata={"a": "b"})
        backend.go_on(3)
        events = await stream.rest()
        ended = await here.read(path, Message)

    assert changed["content"][0]["text"]["value"] == "Hello"
    assert (ended.metadata, ended.text) == ({"a": "b"}, "Hello, world")
    assert {message.id: ended} == snapshots(events).messages


# A store that takes its time.


class Slow(MemoryStore):
    """A store whose writes take some turns of the event loop, before they count and after."""

    async def update(self, *args: Any, **options: Any) -> Any:
        for _ in range(3):
            await checkpoint()
        result = await super().update(*args, **options)
        for _ in range(5):
            await checkpoint()
        return result

    async def add(self, *args: Any) -> None:
        await checkpoint()
        await super().add(*args)
        await checkpoint()


async def test_events_are_never_ahead_of_the_store(clock: Clock) -> None:
    """Whatever an event says, the store says the same or more at that moment."""
    store = Slow()
    order = ["queued", "in_progress", "completed"]
    async with serving(clock, OfflineBackend(), store) as here, await here.run() as stream:
        while (event := await stream.next()).event != "done":
            if isinstance(event, MessageEvent | RunStepEvent | RunEvent):
                stored = await store.get(type(event.data), event.data.id)
                assert stored is not None
                assert order.index(stored.status or "") >= order.index(event.data.status or "")


@pytest.mark.parametrize("delay", range(0, 60, 3))
async def test_a_cancel_at_any_moment_gives_one_story(clock: Clock, delay: int) -> None:
    """Wherever a cancel meets a run that is being written, its events tell one ending, and nothing after it."""
    async with serving(clock, OfflineBackend([Rule(say="a b c")]), Slow()) as here, await here.run() as stream:
        run = last_run([await stream.next()])
        for _ in range(delay):
            await checkpoint()
        response = await here.api.http.post(f"{path_of(run)}/cancel")
        events = await stream.rest()
        await settle()
        ended = await here.read(path_of(run), Run)
        messages = await here.list(f"/threads/{run.thread_id}/messages", Message, run_id=run.id)
        steps = await here.list(f"{path_of(run)}/steps", RunStep)

    told = names(events)
    assert told[-1] == "done"
    assert f"thread.run.{ended.status}" == told[-2]
    assert ended.status == ("cancelled" if response.status_code == 200 else "completed")
    assert told.count("thread.run.cancelling") == (response.status_code == 200)
    whole = snapshots(events)
    assert (ended, {item.id: item for item in messages}, {item.id: item for item in steps}) == (
        whole.run,
        whole.messages,
        whole.steps,
    )
    assert {item.status for item in (*messages, *steps)} <= {ended.status, "incomplete"}
