"""Events to snapshots: the run, its messages and its steps as far as they have come.

A delta is merged into what came before it by these rules:

- Text that grows (a text's value, a refusal, code, logs, arguments) is appended to. Any other value replaces the one
  before it; null replaces nothing.
- The entries of a list (content parts, annotations, tool calls, outputs) are told apart by ``index`` and ``type``, and
  are put in the order of their indices. Gaps do not matter, nor does the order in which entries begin.
- Where an index is used for two types, or for two ids, it has two entries: nothing is lost.
- An entry without a type belongs to the newest one at its index. One without an index goes on with the newest entry, if
  that is of the same type and can grow, and else is a new one at the end.
- What this version does not know follows the same rules and ends up in ``extra_fields`` and ``Unknown...`` models.

A full object replaces all that was merged, unless it has only begun and has no content yet. Once it is finished, what
says otherwise is a late repetition and is dropped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final, Generic, TypeVar, cast

import attrs

from asyncassist._wire._merging import (
    Entries,
    Growing,
    Json,
    growing_at,
    is_list_of_objects,
    merge,
    with_indices,
    written,
)
from asyncassist._wire.converter import structure
from asyncassist._wire.unstructure import unstructure
from asyncassist.errors import DecodeError
from asyncassist.models import (
    Message,
    MessageContent,
    Model,
    Run,
    RunStep,
    RunStepDetails,
    RunStepDetailsToolCalls,
    Thread,
    ToolCall,
    Unknown,
    UnknownMessageContent,
    UnknownRunStepDetails,
    UnknownToolCall,
)
from asyncassist.models.events import (
    MessageDeltaEvent,
    MessageEvent,
    RunEvent,
    RunStepDeltaEvent,
    RunStepEvent,
    StreamEvent,
    ThreadEvent,
)
from asyncassist.models.message_deltas import MessageContentDelta, MessageDelta, MessageDeltaContentText
from asyncassist.models.run_step_deltas import RunStepDelta

__all__ = ["Snapshots"]

_M = TypeVar("_M", bound=Model)

_BEGUN: Final = frozenset(
    {
        "thread.message.created",
        "thread.message.in_progress",
        "thread.run.step.created",
        "thread.run.step.in_progress",
    }
)


class Snapshots:
    """What the events of a stream add up to.

    Applying a delta costs the same however much came before; models are built when they are asked for.

    Attributes:
        thread: the thread, where the stream created it.
        run: the run as last seen.
    """

    def __init__(self) -> None:
        self.thread: Thread | None = None
        self.run: Run | None = None
        self._messages: dict[str, _MessageDraft] = {}
        self._steps: dict[str, _StepDraft] = {}

    @property
    def messages(self) -> dict[str, Message]:
        """The messages by id, in the order in which they appeared."""
        return {id_: draft.model for id_, draft in self._messages.items()}

    @property
    def steps(self) -> dict[str, RunStep]:
        """The run's steps by id, in the order in which they appeared."""
        return {id_: draft.model for id_, draft in self._steps.items()}

    def message(self, message_id: str) -> Message | None:
        """Return a message as far as it has come; None if no event was about it."""
        draft = self._messages.get(message_id)
        return None if draft is None else draft.model

    def step(self, step_id: str) -> RunStep | None:
        """Return a step as far as it has come; None if no event was about it."""
        draft = self._steps.get(step_id)
        return None if draft is None else draft.model

    def is_finished(self, object_id: str) -> bool:
        """Tell whether a message or step has been given in its final form."""
        draft = self._messages.get(object_id) or self._steps.get(object_id)
        return draft is not None and draft.is_finished

    def text(self, message_id: str) -> str:
        """Return the text of a message so far; empty if there is none."""
        message = self.message(message_id)
        return "" if message is None else message.text

    def apply(self, event: StreamEvent) -> None:
        """Take the next event. Those that are about none of these objects change nothing."""
        match event:
            case MessageDeltaEvent():
                delta = event.data
                draft = self._messages.get(delta.id)
                if draft is None:
                    draft = self._messages[delta.id] = self._unannounced_message(delta)
                draft.add(delta)
            case RunStepDeltaEvent():
                step = self._steps.get(event.data.id)
                if step is None:
                    step = self._steps[event.data.id] = self._unannounced_step(event.data)
                step.add(event.data)
            case MessageEvent():
                draft = self._messages.setdefault(event.data.id, _MessageDraft(event.data))
                draft.replace(event.data, is_finished=event.event not in _BEGUN)
            case RunStepEvent():
                step = self._steps.setdefault(event.data.id, _StepDraft(event.data))
                step.replace(event.data, is_finished=event.event not in _BEGUN)
            case RunEvent():
                self._apply_run(event.data)
            case ThreadEvent():
                self.thread = event.data
            case _:
                pass

    def _apply_run(self, run: Run) -> None:
        ended = self.run is not None and self.run.id == run.id and self.run.is_terminal
        if run.is_terminal or not ended:
            self.run = run

    def _unannounced_message(self, delta: MessageDelta) -> _MessageDraft:
        message = Message(
            id=delta.id,
            thread_id=self._thread_id,
            status="in_progress",
            role=delta.delta.role or "assistant",
            assistant_id=None if self.run is None else self.run.assistant_id,
            run_id=None if self.run is None else self.run.id,
        )
        return _MessageDraft(message)

    def _unannounced_step(self, delta: RunStepDelta) -> _StepDraft:
        step = RunStep(
            id=delta.id,
            assistant_id=None if self.run is None else self.run.assistant_id,
            thread_id=self._thread_id,
            run_id=None if self.run is None else self.run.id,
            status="in_progress",
        )
        return _StepDraft(step)

    @property
    def _thread_id(self) -> str:
        if self.run is not None:
            return self.run.thread_id
        return "" if self.thread is None else self.thread.id


# --- an object under way ---------------------------------------------------------------------------------------------


class _Draft(ABC, Generic[_M]):
    """A full object and what deltas have added to it since."""

    def __init__(self, full: _M) -> None:
        self._full = full
        self._merged: Json | None = None
        self._built: _M | None = full
        self.is_finished = False

    @property
    def model(self) -> _M:
        if self._built is None:
            self._built = self._full if self._merged is None else self._build(self._full, written(self._merged))
        return self._built

    def replace(self, full: _M, *, is_finished: bool) -> None:
        if is_finished or not self.is_finished:
            self._full = full
            self._built = None
            self.is_finished = is_finished
            if is_finished or self._content_of(full):
                self._drop_merged()

    def _begun(self) -> Json:
        """Give what deltas are merged into, at first what the full object has."""
        self._built = None
        if self._merged is None:
            self._merged = {}
            merge(self._merged, with_indices(self._content_of(self._full)))
        return self._merged

    def _drop_merged(self) -> None:
        self._merged = None

    @abstractmethod
    def _content_of(self, full: _M) -> Json:
        """Give the JSON of that part of an object that deltas can change; empty if there is nothing."""

    @abstractmethod
    def _build(self, full: _M, merged: Json) -> _M:
        """Put the changed part in place."""


class _MessageDraft(_Draft[Message]):
    def __init__(self, full: Message) -> None:
        super().__init__(full)
        # The text of each part, by index, as long as nothing but text has come since.
        self._texts: dict[int | None, Growing] = {}

    def add(self, delta: MessageDelta) -> None:
        if self.is_finished:
            return
        for part in delta.delta.content:
            # Nearly every delta is a piece of a text that has begun, and nothing else.
            if type(part) is MessageDeltaContentText and part.index in self._texts:
                text = part.text
                if text and text.value and not (text.annotations or text.extra_fields or part.extra_fields):
                    self._texts[part.index].append(text.value)
                    self._built = None
                    continue
            self._merge(part)

    def _merge(self, part: MessageContentDelta) -> None:
        content = self._begun().setdefault("content", Entries())
        content.add(cast("Json", unstructure(part)))
        self._texts.clear()
        if type(part) is MessageDeltaContentText and part.index is not None:
            growing = growing_at(content.at(part.index, "text"), "text", "value")
            if growing is not None:
                self._texts[part.index] = growing

    def _drop_merged(self) -> None:
        super()._drop_merged()
        self._texts.clear()

    def _content_of(self, full: Message) -> Json:
        return {"content": unstructure(full.content)} if full.content else {}

    def _build(self, full: Message, merged: Json) -> Message:
        parts = [_fitting(part, MessageContent, UnknownMessageContent) for part in merged.get("content", ())]
        return attrs.evolve(full, content=tuple(parts))


class _StepDraft(_Draft[RunStep]):
    def add(self, delta: RunStepDelta) -> None:
        details = delta.delta.step_details
        if self.is_finished or details is None:
            return
        merged = self._begun()
        if details.type is not None and details.type != merged.get("type", details.type):
            merged.clear()
        merge(merged, cast("Json", unstructure(details)))

    def _content_of(self, full: RunStep) -> Json:
        details = full.step_details
        return {} if details in (None, RunStepDetailsToolCalls()) else cast("Json", unstructure(details))

    def _build(self, full: RunStep, merged: Json) -> RunStep:
        details: RunStepDetails
        calls = merged.get("tool_calls")
        if merged.get("type") == "tool_calls" and is_list_of_objects(calls):
            bare: Json = {**merged, "tool_calls": []}
            details = structure(bare, RunStepDetailsToolCalls)
            tool_calls = tuple([_fitting(call, ToolCall, UnknownToolCall) for call in calls])
            details = attrs.evolve(details, tool_calls=tool_calls)
        else:
            details = _fitting(merged, RunStepDetails, UnknownRunStepDetails)
        return attrs.evolve(full, type=full.type or details.type, step_details=details)


def _fitting(values: Json, type_: Any, unknown: type[Unknown]) -> Any:
    """Make a model of merged values; what does not fit yet, for want of an id, is kept raw."""
    try:
        return structure(values, type_)
    except DecodeError:
        type_ = values.get("type")
        return unknown(type=type_ if isinstance(type_, str) else None, raw=values)
