"""How type checkers see the events of a stream: a match, or a comparison of the name, says what the data is."""

from __future__ import annotations

from typing import Literal, assert_never, assert_type

from asyncassist.models import (
    DoneEvent,
    Message,
    MessageDelta,
    MessageDeltaEvent,
    MessageEvent,
    Run,
    RunEvent,
    RunStep,
    RunStepDelta,
    RunStepDeltaEvent,
    RunStepEvent,
    StreamEvent,
    Thread,
    ThreadEvent,
    UnknownEvent,
)


def by_class(event: StreamEvent) -> None:
    """Take every class there is, and no more."""
    match event:
        case MessageDeltaEvent(data=delta):
            assert_type(delta, MessageDelta)
        case RunStepDeltaEvent(data=step_delta):
            assert_type(step_delta, RunStepDelta)
        case MessageEvent(event="thread.message.completed", data=message):
            assert_type(message, Message)
        case MessageEvent():
            assert_type(event.data, Message)
        case RunStepEvent(data=step):
            assert_type(step, RunStep)
        case RunEvent(data=run):
            assert_type(run, Run)
        case ThreadEvent(data=thread):
            assert_type(thread, Thread)
        case DoneEvent(data=done):
            assert_type(done, Literal["[DONE]"])
        case UnknownEvent(name=name, data=data):
            assert_type(name, str)
            assert_type(data, object)
        case _:
            assert_never(event)


def by_name(event: StreamEvent) -> None:
    """Compare the name alone."""
    assert_type(event.reconciled, bool)
    if event.event == "thread.message.delta":
        assert_type(event, MessageDeltaEvent)
        assert_type(event.data, MessageDelta)
    elif event.event == "thread.run.completed" or event.event == "thread.run.failed":
        assert_type(event.data, Run)
    elif event.event == "thread.run.step.completed":
        assert_type(event.data, RunStep)
    elif event.event == "unknown":
        assert_type(event.data, object)


def made(run: Run) -> None:
    """Make events, right ones and wrong ones."""
    event: StreamEvent = RunEvent(event="thread.run.queued", data=run, reconciled=True)
    event = DoneEvent()
    event = RunEvent(event="thread.run.paused", data=run)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    event = RunEvent(data=run)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    event = ThreadEvent(data=run)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    event.reconciled = True  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
