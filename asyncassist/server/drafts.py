"""What a run is working on: the message it writes, and the records that are begun for messages and tool calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import attrs
from attrs import define, field

from asyncassist.models import (
    Message,
    MessageContentText,
    MessageText,
    Run,
    RunStep,
    RunStepDetailsMessageCreation,
    RunStepDetailsToolCalls,
    RunStepDetailsToolCallsFunction,
    RunStepFunction,
    RunStepMessageCreation,
    RunToolCall,
    RunToolCallFunction,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asyncassist.server.backends.base import FunctionCall

__all__ = ["Draft", "begin_message", "begin_tool_calls", "message_id_of"]


@define(eq=False)
class Draft:
    """A message that is being written. The store has it from its first piece on, and its text when it has ended."""

    run: Run
    message: Message | None = None
    step: RunStep | None = None
    pieces: list[str] = field(factory=list[str])
    is_frozen: bool = False
    """Whether its text is being written down: pieces that come now come too late."""
    is_answered: bool = False
    """Whether the backend has said all it has to say."""
    beginning: anyio.Lock = field(factory=lambda: anyio.Lock())
    """Held while the first piece is begun."""

    @property
    def text(self) -> str:
        """The text so far."""
        return "".join(self.pieces)

    def shown_in(self, message: Message) -> Message:
        """The message as the store has it, with the text so far."""
        return attrs.evolve(message, content=(MessageContentText(text=MessageText(value=self.text)),))


def begin_message(run: Run, new_id: Callable[[str], str], now: int) -> tuple[RunStep, Message]:
    """An empty message of a run, and the step that writes it."""
    message = Message(
        id=new_id("msg_"),
        created_at=now,
        thread_id=run.thread_id,
        status="in_progress",
        role="assistant",
        assistant_id=run.assistant_id,
        run_id=run.id,
    )
    details = RunStepDetailsMessageCreation(message_creation=RunStepMessageCreation(message_id=message.id))
    return _begin_step(run, "message_creation", details, new_id, now), message


def begin_tool_calls(
    run: Run, calls: Sequence[FunctionCall], new_id: Callable[[str], str], now: int
) -> tuple[RunStep, Sequence[RunToolCall]]:
    """The step that waits for the outputs of some calls, and the calls as its run shows them."""
    wanted = [
        RunToolCall(
            id=call.id or new_id("call_"),
            function=RunToolCallFunction(name=call.name, arguments=call.arguments),
        )
        for call in calls
    ]
    in_step = [
        RunStepDetailsToolCallsFunction(
            id=call.id, function=RunStepFunction(name=call.function.name, arguments=call.function.arguments)
        )
        for call in wanted
    ]
    return _begin_step(run, "tool_calls", RunStepDetailsToolCalls(tool_calls=tuple(in_step)), new_id, now), wanted


def _begin_step(
    run: Run,
    type: str,
    details: RunStepDetailsMessageCreation | RunStepDetailsToolCalls,
    new_id: Callable[[str], str],
    now: int,
) -> RunStep:
    return RunStep(
        id=new_id("step_"),
        created_at=now,
        assistant_id=run.assistant_id,
        thread_id=run.thread_id,
        run_id=run.id,
        type=type,
        status="in_progress",
        step_details=details,
    )


def message_id_of(step: RunStep) -> str | None:
    """The id of the message a step writes; None for a step that writes none."""
    details = step.step_details
    if isinstance(details, RunStepDetailsMessageCreation) and details.message_creation is not None:
        return details.message_creation.message_id
    return None
