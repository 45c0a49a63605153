"""Runs."""

from __future__ import annotations

from typing import Final, Literal, Self, TypeAlias

from attrs import field

from asyncassist.errors import (
    RunCancelledError,
    RunError,
    RunExpiredError,
    RunFailedError,
    RunIncompleteError,
    UsageError,
)
from asyncassist.models._base import JsonObject, Metadata, Model, Omittable, frozen
from asyncassist.models.tools import AssistantTool, ResponseFormat, ToolChoice

__all__ = [
    "TERMINAL_RUN_STATUSES",
    "Run",
    "RunCompletionUsage",
    "RunErrorCode",
    "RunInclude",
    "RunIncompleteDetails",
    "RunIncompleteReason",
    "RunLastError",
    "RunRequiredAction",
    "RunRequiredActionSubmitToolOutputs",
    "RunStatus",
    "RunToolCall",
    "RunToolCallFunction",
    "Truncation",
    "TruncationParam",
]

RunStatus: TypeAlias = (
    Literal[
        "queued",
        "in_progress",
        "requires_action",
        "cancelling",
        "cancelled",
        "failed",
        "completed",
        "incomplete",
        "expired",
    ]
    | str
)
RunErrorCode: TypeAlias = Literal["server_error", "rate_limit_exceeded", "invalid_prompt"] | str
RunIncompleteReason: TypeAlias = Literal["max_completion_tokens", "max_prompt_tokens"] | str
RunInclude: TypeAlias = Literal["step_details.tool_calls[*].file_search.results[*].content"] | str

TERMINAL_RUN_STATUSES: Final = frozenset({"completed", "failed", "cancelled", "incomplete", "expired"})
"""The statuses a run never leaves."""

_BAD_ENDINGS: Final[dict[str, tuple[type[RunError], str]]] = {
    "failed": (RunFailedError, "failed"),
    "expired": (RunExpiredError, "expired"),
    "cancelled": (RunCancelledError, "was cancelled"),
    "incomplete": (RunIncompleteError, "is incomplete"),
}


@frozen(kw_only=True)
class RunToolCallFunction(Model):
    """The function to run and its arguments."""

    name: str = ""
    arguments: str = ""
    """JSON text written by the model; it may be invalid."""


@frozen(kw_only=True)
class RunToolCall(Model):
    """A call of a function the run waits for."""

    id: str
    type: Literal["function"] | str = "function"
    function: RunToolCallFunction = field(factory=RunToolCallFunction)


@frozen(kw_only=True)
class RunRequiredActionSubmitToolOutputs(Model):
    """The calls whose outputs the run waits for."""

    tool_calls: tuple[RunToolCall, ...] = ()


@frozen(kw_only=True)
class RunRequiredAction(Model):
    """What a run with status ``requires_action`` waits for."""

    type: Literal["submit_tool_outputs"] | str = "submit_tool_outputs"
    submit_tool_outputs: RunRequiredActionSubmitToolOutputs | None = None


@frozen(kw_only=True)
class RunLastError(Model):
    """Why a run failed."""

    code: RunErrorCode | None = None
    message: str | None = None


@frozen(kw_only=True)
class RunIncompleteDetails(Model):
    """Why a run is incomplete."""

    reason: Omittable[RunIncompleteReason] = None


@frozen(kw_only=True)
class RunCompletionUsage(Model):
    """Tokens a run, or one of its steps, has used."""

    completion_tokens: int | None = None
    prompt_tokens: int | None = None
    total_tokens: int | None = None


@frozen(kw_only=True)
class Truncation(Model):
    """How much of the thread the model gets to see."""

    type: Literal["auto", "last_messages"] | str = "auto"
    last_messages: Omittable[int] = None
    """How many of the newest messages; with ``type="last_messages"``."""


TruncationParam: TypeAlias = Truncation | JsonObject


@frozen(kw_only=True)
class Run(Model):
    """An assistant at work on a thread.

    Attributes:
        created_at, started_at, cancelled_at, failed_at, completed_at: Unix seconds; None for what has not happened.
        status: `TERMINAL_RUN_STATUSES` has those a run never leaves.
        required_action: what the run waits for; set while the status is ``requires_action``.
        last_error: why the run failed, or the last thing that went wrong.
        expires_at: Unix seconds, when the server gives the run up; None once the run has ended.
        incomplete_details: why the run ended ``incomplete``.
        model, instructions, tools: what the run works with, its assistant's or its own; at most 20 tools.
        usage: tokens over all turns; None until the run has ended.
        temperature: 0-2.
        top_p: 0-1.
        max_prompt_tokens, max_completion_tokens: at least 256, over all turns of the run; None for no limit.
        truncation_strategy: how much of the thread the model gets to see.
    """

    id: str
    object: Literal["thread.run"] | str = "thread.run"
    created_at: int | None = None
    thread_id: str
    assistant_id: str | None = None
    status: RunStatus
    required_action: RunRequiredAction | None = None
    last_error: RunLastError | None = None
    expires_at: int | None = None
    started_at: int | None = None
    cancelled_at: int | None = None
    failed_at: int | None = None
    completed_at: int | None = None
    incomplete_details: RunIncompleteDetails | None = None
    model: str | None = None
    instructions: str | None = None
    tools: tuple[AssistantTool, ...] = ()
    metadata: Metadata = field(factory=dict[str, str])
    usage: RunCompletionUsage | None = None
    temperature: Omittable[float] = None
    top_p: Omittable[float] = None
    max_prompt_tokens: int | None = None
    max_completion_tokens: int | None = None
    truncation_strategy: Truncation | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether the run has ended, well or badly."""
        return self.status in TERMINAL_RUN_STATUSES

    @property
    def required_tool_calls(self) -> tuple[RunToolCall, ...]:
        """The tool calls whose outputs the run waits for; empty when it waits for none."""
        if self.required_action is None or self.required_action.submit_tool_outputs is None:
            return ()
        return self.required_action.submit_tool_outputs.tool_calls

    def raise_for_status(self) -> Self:
        """Return the run if it has completed, as ``response.raise_for_status()`` does for responses.

        Raises:
            RunFailedError, RunExpiredError, RunCancelledError, RunIncompleteError: the run ended otherwise.
            UsageError: the run has not ended.
        """
        if self.status == "completed":
            return self
        ending = _BAD_ENDINGS.get(self.status)
        if ending is None:
            hint = "wait for it first"
            if self.status == "requires_action":
                hint = "answer its required_tool_calls with submit_tool_outputs_to_run, then wait again, or cancel it"
            raise UsageError(f"run {self.id} has not ended: its status is {self.status!r}; {hint}")
        error, verb = ending
        message = f"run {self.id} {verb}"
        reasons: list[str | None] = []
        if self.last_error is not None:
            reasons += [self.last_error.code, self.last_error.message]
        if self.incomplete_details is not None:
            reasons.append(self.incomplete_details.reason)
        raise error(": ".join([message, *filter(None, reasons)]), run=self)
