"""What streams say of the things that happen to a run: pure functions from records to named events, in the API's order.

An event is its name and its data, ready for JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

from asyncassist.models import Message, RunStep, RunStepDetailsToolCalls, RunStepDetailsToolCallsFunction

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncassist.models import Run, Thread

__all__ = ["Event", "begun", "changed", "created", "text_delta"]

Event: TypeAlias = tuple[str, object]

#: Characters of a call's arguments in one delta.
_ARGUMENTS_PIECE = 16


def created(run: Run, thread: Thread | None) -> Iterable[Event]:
    """A run was made, and its thread with it if there is one here."""
    if thread is not None:
        yield "thread.created", thread
    yield "thread.run.created", run
    yield changed(run)


def changed(record: Run | RunStep | Message) -> Event:
    """A run, a step or a message has a new status."""
    return f"{record.object}.{record.status}", record


def begun(record: RunStep | Message) -> Iterable[Event]:
    """A step or a message was begun. The tool calls of a step come in pieces."""
    empty = record
    calls: list[RunStepDetailsToolCallsFunction] = []
    if isinstance(record, RunStep) and isinstance(record.step_details, RunStepDetailsToolCalls):
        empty = attrs.evolve(record, step_details=RunStepDetailsToolCalls())
        calls = [call for call in record.step_details.tool_calls if isinstance(call, RunStepDetailsToolCallsFunction)]
    yield f"{record.object}.created", empty
    yield changed(empty)
    for index, call in enumerate(calls):
        yield from _call_deltas(record.id, index, call)


def _call_deltas(step_id: str, index: int, call: RunStepDetailsToolCallsFunction) -> Iterable[Event]:
    function = {"name": call.function.name, "arguments": "", "output": None}
    yield _step_delta(step_id, {"index": index, "id": call.id, "type": "function", "function": function})
    arguments = call.function.arguments
    for start in range(0, len(arguments), _ARGUMENTS_PIECE):
        piece = arguments[start : start + _ARGUMENTS_PIECE]
        yield _step_delta(step_id, {"index": index, "type": "function", "function": {"arguments": piece}})


def _step_delta(step_id: str, call: dict[str, object]) -> Event:
    details = {"type": "tool_calls", "tool_calls": [call]}
    name = "thread.run.step.delta"
    return name, {"id": step_id, "object": name, "delta": {"step_details": details}}


def text_delta(message_id: str, text: str, *, is_first: bool) -> Event:
    """A message has got more text. The first piece brings the list for the annotations, as the API's does."""
    value: dict[str, object] = {"value": text, "annotations": []} if is_first else {"value": text}
    name = "thread.message.delta"
    delta = {"content": [{"index": 0, "type": "text", "text": value}]}
    return name, {"id": message_id, "object": name, "delta": delta}
