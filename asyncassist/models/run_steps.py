"""Run steps: what a run did, one step at a time."""

from __future__ import annotations

from typing import Literal, TypeAlias

from attrs import field

from asyncassist.models._base import Metadata, Model, Omittable, OmittableTuple, Unknown, frozen
from asyncassist.models.messages import FileReference
from asyncassist.models.runs import RunCompletionUsage, RunLastError
from asyncassist.models.tools import FileSearchRanker

__all__ = [
    "CodeOutput",
    "RunStep",
    "RunStepCodeInterpreter",
    "RunStepDetails",
    "RunStepDetailsMessageCreation",
    "RunStepDetailsToolCalls",
    "RunStepDetailsToolCallsCode",
    "RunStepDetailsToolCallsCodeOutputImage",
    "RunStepDetailsToolCallsCodeOutputLogs",
    "RunStepDetailsToolCallsFileSearch",
    "RunStepDetailsToolCallsFileSearchRankingOptions",
    "RunStepDetailsToolCallsFileSearchResult",
    "RunStepDetailsToolCallsFileSearchResultContent",
    "RunStepDetailsToolCallsFunction",
    "RunStepFileSearch",
    "RunStepFunction",
    "RunStepMessageCreation",
    "RunStepStatus",
    "RunStepType",
    "ToolCall",
    "UnknownCodeOutput",
    "UnknownRunStepDetails",
    "UnknownToolCall",
]

RunStepStatus: TypeAlias = Literal["in_progress", "cancelled", "failed", "completed", "expired"] | str
RunStepType: TypeAlias = Literal["message_creation", "tool_calls"] | str


@frozen(kw_only=True)
class RunStepDetailsToolCallsCodeOutputLogs(Model):
    """Text the code wrote."""

    type: Literal["logs"] = "logs"
    logs: str | None = None


@frozen(kw_only=True)
class RunStepDetailsToolCallsCodeOutputImage(Model):
    """An image the code made."""

    type: Literal["image"] = "image"
    image: FileReference | None = None


@frozen(kw_only=True)
class UnknownCodeOutput(Unknown):
    """An output of code of a kind this version does not know."""


CodeOutput: TypeAlias = (
    RunStepDetailsToolCallsCodeOutputLogs | RunStepDetailsToolCallsCodeOutputImage | UnknownCodeOutput
)


@frozen(kw_only=True)
class RunStepCodeInterpreter(Model):
    """Code and what came of it."""

    input: str | None = None
    """The code."""
    outputs: tuple[CodeOutput, ...] = ()


@frozen(kw_only=True)
class RunStepDetailsToolCallsCode(Model):
    """A use of the code interpreter."""

    id: str
    type: Literal["code_interpreter"] = "code_interpreter"
    code_interpreter: RunStepCodeInterpreter | None = None


@frozen(kw_only=True)
class RunStepDetailsToolCallsFileSearchRankingOptions(Model):
    """How the results were ranked."""

    ranker: FileSearchRanker | None = None
    score_threshold: float | None = None
    """0-1."""


@frozen(kw_only=True)
class RunStepDetailsToolCallsFileSearchResultContent(Model):
    """A passage of a file that was found."""

    type: Omittable[Literal["text"] | str] = None
    text: Omittable[str] = None


@frozen(kw_only=True)
class RunStepDetailsToolCallsFileSearchResult(Model):
    """A file that was found."""

    file_id: str | None = None
    file_name: str | None = None
    score: float | None = None
    """0-1."""
    content: OmittableTuple[RunStepDetailsToolCallsFileSearchResultContent] = ()
    """The passages; only sent when asked for with ``include``."""


@frozen(kw_only=True)
class RunStepFileSearch(Model):
    """What file search found and how."""

    ranking_options: Omittable[RunStepDetailsToolCallsFileSearchRankingOptions] = None
    results: OmittableTuple[RunStepDetailsToolCallsFileSearchResult] = ()


@frozen(kw_only=True)
class RunStepDetailsToolCallsFileSearch(Model):
    """A use of file search."""

    id: str
    type: Literal["file_search"] = "file_search"
    file_search: RunStepFileSearch | None = None


@frozen(kw_only=True)
class RunStepFunction(Model):
    """A function, its arguments and its output."""

    name: str = ""
    arguments: str = ""
    """JSON text written by the model; it may be invalid."""
    output: str | None = None
    """None until the output was submitted."""


@frozen(kw_only=True)
class RunStepDetailsToolCallsFunction(Model):
    """A call of a function of the caller's own."""

    id: str
    type: Literal["function"] = "function"
    function: RunStepFunction = field(factory=RunStepFunction)


@frozen(kw_only=True)
class UnknownToolCall(Unknown):
    """A tool call of a kind this version does not know."""


ToolCall: TypeAlias = (
    RunStepDetailsToolCallsCode | RunStepDetailsToolCallsFileSearch | RunStepDetailsToolCallsFunction | UnknownToolCall
)


@frozen(kw_only=True)
class RunStepMessageCreation(Model):
    """The message that was created."""

    message_id: str | None = None


@frozen(kw_only=True)
class RunStepDetailsMessageCreation(Model):
    """A step that wrote a message."""

    type: Literal["message_creation"] = "message_creation"
    message_creation: RunStepMessageCreation | None = None


@frozen(kw_only=True)
class RunStepDetailsToolCalls(Model):
    """A step that used tools."""

    type: Literal["tool_calls"] = "tool_calls"
    tool_calls: tuple[ToolCall, ...] = ()


@frozen(kw_only=True)
class UnknownRunStepDetails(Unknown):
    """Details of a step of a kind this version does not know."""


RunStepDetails: TypeAlias = RunStepDetailsMessageCreation | RunStepDetailsToolCalls | UnknownRunStepDetails


@frozen(kw_only=True)
class RunStep(Model):
    """One step of a run.

    Attributes:
        created_at, expired_at, cancelled_at, failed_at, completed_at: Unix seconds; None for what has not happened.
        type: ``"message_creation"`` or ``"tool_calls"``, as ``step_details`` is.
        step_details: the message that was written, or the calls of tools with their outputs.
        last_error: why the step failed.
        usage: tokens; None while the step is in progress.
    """

    id: str
    object: Literal["thread.run.step"] | str = "thread.run.step"
    created_at: int | None = None
    assistant_id: str | None = None
    thread_id: str
    run_id: str | None = None
    type: RunStepType | None = None
    status: RunStepStatus | None = None
    step_details: RunStepDetails | None = None
    last_error: RunLastError | None = None
    expired_at: int | None = None
    cancelled_at: int | None = None
    failed_at: int | None = None
    completed_at: int | None = None
    metadata: Metadata = field(factory=dict[str, str])
    usage: RunCompletionUsage | None = None
