"""What a stream that broke would have said: a pure function of what it did say and of what the server says now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

from attrs import evolve

from asyncassist._wire.converter import structure
from asyncassist._wire.unstructure import unstructure
from asyncassist.models import (
    Message,
    MessageContent,
    MessageContentRefusal,
    MessageContentText,
    Run,
    RunStep,
    RunStepDetailsMessageCreation,
)
from asyncassist.models.events import MessageDeltaEvent, MessageEvent, RunEvent, RunStepEvent, StreamEvent
from asyncassist.models.message_deltas import (
    MessageContentDelta,
    MessageDelta,
    MessageDeltaContentRefusal,
    MessageDeltaContentText,
    MessageDeltaDelta,
    MessageDeltaText,
)

if TYPE_CHECKING:
    from asyncassist._wire.snapshots import Snapshots

__all__ = ["missed_events"]


def missed_events(
    seen: Snapshots, run: Run, messages: Iterable[Message], steps: Iterable[RunStep]
) -> Iterator[StreamEvent]:
    """Give the events that take a reader from what the stream has said to what the server says now.

    Args:
        seen: what the stream has said.
        run: as it is now.
        messages, steps: of this run, as they are now, the oldest first.
    """
    unclaimed = {message.id: message for message in messages}
    for step in steps:
        if seen.is_finished(step.id):
            continue
        if seen.step(step.id) is None:
            begun = evolve(step, status="in_progress", completed_at=None, failed_at=None, cancelled_at=None)
            yield RunStepEvent(event="thread.run.step.created", data=begun, reconciled=True)
        message = unclaimed.pop(_message_id(step), None)
        if message is not None:
            yield from _of_message(seen, message)
        if seen.step(step.id) != step:
            yield RunStepEvent(event=_name("thread.run.step", step.status), data=step, reconciled=True)
    for message in unclaimed.values():
        yield from _of_message(seen, message)
    if seen.run is None or (seen.run.status, seen.run.required_tool_calls) != (run.status, run.required_tool_calls):
        yield RunEvent(event=_name("thread.run", run.status), data=run, reconciled=True)


def _name(kind: str, status: str | None) -> Any:
    return f"{kind}.{status or 'completed'}"


def _message_id(step: RunStep) -> str:
    details = step.step_details
    if isinstance(details, RunStepDetailsMessageCreation) and details.message_creation is not None:
        return details.message_creation.message_id or ""
    return ""


def _of_message(seen: Snapshots, message: Message) -> Iterator[StreamEvent]:
    if seen.is_finished(message.id):
        return
    begun = seen.message(message.id)
    if begun is None:
        begun = evolve(message, status="in_progress", content=(), completed_at=None, incomplete_at=None)
        yield MessageEvent(event="thread.message.created", data=begun, reconciled=True)
    for index, part in enumerate(message.content):
        had = begun.content[index] if index < len(begun.content) else None
        if (rest := _rest(index, had, part)) is not None:
            delta = MessageDelta(id=message.id, delta=MessageDeltaDelta(content=(rest,)))
            yield MessageDeltaEvent(data=delta, reconciled=True)
    yield MessageEvent(event=_name("thread.message", message.status), data=message, reconciled=True)


def _rest(index: int, had: MessageContent | None, part: MessageContent) -> MessageContentDelta | None:
    """Give what a content part has beyond what was seen of it; None where that is nothing, or no continuation."""
    match had, part:
        case (MessageContentText() | None, MessageContentText()):
            rest = _suffix("" if had is None else had.text.value, part.text.value)
            return MessageDeltaContentText(index=index, text=MessageDeltaText(value=rest)) if rest else None
        case (MessageContentRefusal() | None, MessageContentRefusal()):
            rest = _suffix((had and had.refusal) or "", part.refusal or "")
            return MessageDeltaContentRefusal(index=index, refusal=rest) if rest else None
        case (None, _):
            values = {**cast("dict[str, object]", unstructure(part)), "index": index}
            return structure(values, cast("type[MessageContentDelta]", MessageContentDelta))
        case _:
            return None


def _suffix(had: str, now: str) -> str:
    return now[len(had) :] if now.startswith(had) else ""
