"""The events of a stream: a name, and the object it is about.

There is one class for each kind of object. Both ``match event: case MessageDeltaEvent(data=delta)`` and
``if event.event == "thread.run.completed"`` tell type checkers what ``event.data`` is.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from attrs import frozen

from asyncassist.models.error_objects import ErrorObject
from asyncassist.models.message_deltas import MessageDelta
from asyncassist.models.messages import Message
from asyncassist.models.run_step_deltas import RunStepDelta
from asyncassist.models.run_steps import RunStep
from asyncassist.models.runs import Run
from asyncassist.models.threads import Thread

__all__ = [
    "DoneEvent",
    "ErrorEvent",
    "MessageDeltaEvent",
    "MessageEvent",
    "RunEvent",
    "RunStepDeltaEvent",
    "RunStepEvent",
    "StreamEvent",
    "ThreadEvent",
    "UnknownEvent",
]


@frozen(kw_only=True)
class _Event:
    reconciled: bool = False
    """Whether the stream broke and this event was made from what the server said when asked afterwards."""


@frozen(kw_only=True)
class ThreadEvent(_Event):
    """A thread was created."""

    event: Literal["thread.created"] = "thread.created"
    data: Thread


@frozen(kw_only=True)
class RunEvent(_Event):
    """A run was created or has a new status."""

    event: Literal[
        "thread.run.created",
        "thread.run.queued",
        "thread.run.in_progress",
        "thread.run.requires_action",
        "thread.run.completed",
        "thread.run.incomplete",
        "thread.run.failed",
        "thread.run.cancelling",
        "thread.run.cancelled",
        "thread.run.expired",
    ]
    data: Run


@frozen(kw_only=True)
class RunStepEvent(_Event):
    """A step of the run was created or has a new status."""

    event: Literal[
        "thread.run.step.created",
        "thread.run.step.in_progress",
        "thread.run.step.completed",
        "thread.run.step.failed",
        "thread.run.step.cancelled",
        "thread.run.step.expired",
    ]
    data: RunStep


@frozen(kw_only=True)
class RunStepDeltaEvent(_Event):
    """A step of the run goes on."""

    event: Literal["thread.run.step.delta"] = "thread.run.step.delta"
    data: RunStepDelta


@frozen(kw_only=True)
class MessageEvent(_Event):
    """A message was created or has a new status."""

    event: Literal[
        "thread.message.created",
        "thread.message.in_progress",
        "thread.message.completed",
        "thread.message.incomplete",
    ]
    data: Message


@frozen(kw_only=True)
class MessageDeltaEvent(_Event):
    """A message goes on."""

    event: Literal["thread.message.delta"] = "thread.message.delta"
    data: MessageDelta


@frozen(kw_only=True)
class ErrorEvent(_Event):
    """The server failed. A stream never gives it: it raises `StreamError` with the same facts."""

    event: Literal["error"] = "error"
    data: ErrorObject


@frozen(kw_only=True)
class DoneEvent(_Event):
    """The server has no more to say. Some servers leave it out."""

    event: Literal["done"] = "done"
    data: Literal["[DONE]"] = "[DONE]"


@frozen(kw_only=True)
class UnknownEvent(_Event):
    """An event this version does not know."""

    event: Literal["unknown"] = "unknown"
    """Not the event's name, so that comparing it with a known name leaves only known classes."""
    name: str
    """The event's name as sent; ``message`` when there was none."""
    data: object
    """Its data: raw JSON, or the text itself when that is no JSON."""


StreamEvent: TypeAlias = (
    MessageDeltaEvent
    | RunStepDeltaEvent
    | MessageEvent
    | RunStepEvent
    | RunEvent
    | ThreadEvent
    | DoneEvent
    | UnknownEvent
)
"""What a stream gives."""
