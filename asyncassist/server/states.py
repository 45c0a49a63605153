"""The life of a run, as pure functions: a run and the time in, the run's next state out.

::

    queued <──> in_progress ──> completed | incomplete | failed
      ^            │
      │            v
      └───── requires_action
    any of these three ──> cancelling ──> cancelled
    any of these four  ──> expired

A run in progress goes back into the queue when the server was stopped under it. Steps and messages under way end with
their run, each in its own words. Times are Unix seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from asyncassist.models import (
    Message,
    MessageContentText,
    MessageIncompleteDetails,
    MessageText,
    Run,
    RunIncompleteDetails,
    RunLastError,
    RunRequiredAction,
    RunRequiredActionSubmitToolOutputs,
    RunStepDetailsToolCalls,
    RunStepDetailsToolCallsFunction,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asyncassist.models import RunCompletionUsage, RunStep, RunToolCall, ToolCall

__all__ = [
    "Ending",
    "IllegalTransition",
    "accept_outputs",
    "cancel",
    "complete",
    "confirm_cancel",
    "end_message",
    "end_step",
    "expire",
    "fail",
    "record_outputs",
    "requeue",
    "require_outputs",
    "start",
    "stop_short",
    "work_on",
]

_UNDER_WAY = ("queued", "in_progress", "requires_action")

#: Why a run can have failed, and why a step: clients decide by these codes and need not know others.
_OTHER_ERROR = "server_error"
_RUN_ERRORS = ("rate_limit_exceeded", "invalid_prompt", _OTHER_ERROR)
_STEP_ERRORS = ("rate_limit_exceeded", _OTHER_ERROR)


class IllegalTransition(Exception):
    """A run cannot go from its state to the one that was asked for.

    Attributes:
        run: the run as it is.
        status: what it was to become.
    """

    def __init__(self, run: Run, status: str) -> None:
        super().__init__(f"run {run.id} is {run.status} and cannot become {status}")
        self.run = run
        self.status = status


def start(run: Run, now: int) -> Run:
    """Take a run out of the queue. ``started_at`` keeps the first time it was."""
    return _move(run, ("queued",), "in_progress", started_at=now if run.started_at is None else run.started_at)


def requeue(run: Run) -> Run:
    """Put a run back into the queue whose work was lost."""
    return _move(run, ("in_progress",), "queued")


def work_on(run: Run) -> Run:
    """Let a run be written for while it is in progress, without changing it."""
    _move(run, ("in_progress",), "in_progress")
    return run


def require_outputs(run: Run, calls: Sequence[RunToolCall]) -> Run:
    """Let a run wait for the outputs of tool calls."""
    wanted = RunRequiredActionSubmitToolOutputs(tool_calls=tuple(calls))
    action = RunRequiredAction(submit_tool_outputs=wanted)
    return _move(run, ("in_progress",), "requires_action", required_action=action)


def accept_outputs(run: Run) -> Run:
    """Queue a run again that has got the outputs it waited for."""
    return _move(run, ("requires_action",), "queued", required_action=None)


def complete(run: Run, now: int, usage: RunCompletionUsage) -> Run:
    """End a run that has answered."""
    return _move(run, ("in_progress",), "completed", completed_at=now, expires_at=None, usage=usage)


def stop_short(run: Run, now: int, usage: RunCompletionUsage, reason: str) -> Run:
    """End a run that ran into a limit, which is the ``reason``."""
    details = RunIncompleteDetails(reason=reason)
    ending = {"completed_at": now, "expires_at": None, "usage": usage, "incomplete_details": details}
    return _move(run, ("in_progress",), "incomplete", **ending)


def fail(run: Run, now: int, usage: RunCompletionUsage, code: str, message: str) -> Run:
    """End a run whose backend could not answer."""
    error = RunLastError(code=code if code in _RUN_ERRORS else _OTHER_ERROR, message=message)
    return _move(run, ("in_progress",), "failed", failed_at=now, expires_at=None, usage=usage, last_error=error)


def cancel(run: Run) -> Run:
    """Ask a run to end."""
    return _move(run, _UNDER_WAY, "cancelling", required_action=None)


def confirm_cancel(run: Run, now: int, usage: RunCompletionUsage) -> Run:
    """End a run that was asked to."""
    return _move(run, ("cancelling",), "cancelled", cancelled_at=now, expires_at=None, usage=usage)


def expire(run: Run, usage: RunCompletionUsage) -> Run:
    """End a run that took too long. ``expires_at`` stays and says when that was."""
    return _move(run, (*_UNDER_WAY, "cancelling"), "expired", usage=usage, required_action=None)


@frozen
class Ending:
    """How the step and the message a run is at end with it."""

    step_status: str
    reason: str | None = None
    """Why the message is incomplete; None for a complete one."""
    usage: RunCompletionUsage | None = None
    error: RunLastError | None = None


def end_step(step: RunStep, ending: Ending, now: int) -> RunStep:
    """End a step that is in progress. Another stays as it is."""
    if step.status != "in_progress":
        return step
    times: dict[str, Any] = {f"{ending.step_status}_at": now}
    error = ending.error
    if error is not None and error.code not in _STEP_ERRORS:
        error = attrs.evolve(error, code=_OTHER_ERROR)
    return attrs.evolve(step, status=ending.step_status, usage=ending.usage, last_error=error, **times)


def end_message(message: Message, ending: Ending, text: str, now: int) -> Message:
    """End a message that is in progress with the text it has got. Another stays as it is."""
    if message.status != "in_progress":
        return message
    content = (MessageContentText(text=MessageText(value=text)),) if text or ending.reason is None else ()
    if ending.reason is None:
        return attrs.evolve(message, status="completed", content=content, completed_at=now)
    details = MessageIncompleteDetails(reason=ending.reason)
    return attrs.evolve(message, status="incomplete", content=content, incomplete_details=details, incomplete_at=now)


def record_outputs(
    step: RunStep, outputs: Mapping[str, str], now: int, usage: RunCompletionUsage | None = None
) -> RunStep:
    """Complete a step that waits for tool outputs, given by the ids of their calls. Another step stays as it is."""
    details = step.step_details
    if step.status != "in_progress" or not isinstance(details, RunStepDetailsToolCalls):
        return step
    calls = tuple([_with_output(call, outputs) for call in details.tool_calls])
    return attrs.evolve(
        step, status="completed", completed_at=now, usage=usage, step_details=attrs.evolve(details, tool_calls=calls)
    )


def _with_output(call: ToolCall, outputs: Mapping[str, str]) -> ToolCall:
    if not isinstance(call, RunStepDetailsToolCallsFunction):
        return call
    return attrs.evolve(call, function=attrs.evolve(call.function, output=outputs.get(call.id)))


def _move(run: Run, origins: tuple[str, ...], status: str, **changes: Any) -> Run:
    if run.status not in origins:
        raise IllegalTransition(run, status)
    return attrs.evolve(run, status=status, **changes)
