"""The pieces in which a run step arrives over a stream."""

from __future__ import annotations

from typing import Literal, TypeAlias

from attrs import field

from asyncassist.models._base import JsonObject, Model, Omittable, OmittableTuple, Unknown, frozen
from asyncassist.models.message_deltas import FileReferenceDelta

__all__ = [
    "CodeOutputDelta",
    "RunStepDelta",
    "RunStepDeltaCodeInterpreter",
    "RunStepDeltaDelta",
    "RunStepDeltaFunction",
    "RunStepDeltaMessageCreation",
    "RunStepDeltaStepDetails",
    "RunStepDeltaStepDetailsMessageCreation",
    "RunStepDeltaStepDetailsToolCalls",
    "RunStepDeltaStepDetailsToolCallsCode",
    "RunStepDeltaStepDetailsToolCallsCodeOutputImage",
    "RunStepDeltaStepDetailsToolCallsCodeOutputLogs",
    "RunStepDeltaStepDetailsToolCallsFileSearch",
    "RunStepDeltaStepDetailsToolCallsFunction",
    "ToolCallDelta",
    "UnknownCodeOutputDelta",
    "UnknownRunStepDeltaStepDetails",
    "UnknownToolCallDelta",
]


@frozen(kw_only=True)
class RunStepDeltaStepDetailsToolCallsCodeOutputLogs(Model):
    """A piece of the text the code wrote."""

    index: int | None = None
    """Which output of the call this belongs to."""
    type: Literal["logs"] = "logs"
    logs: Omittable[str] = None


@frozen(kw_only=True)
class RunStepDeltaStepDetailsToolCallsCodeOutputImage(Model):
    """An image the code made."""

    index: int | None = None
    """Which output of the call this belongs to."""
    type: Literal["image"] = "image"
    image: Omittable[FileReferenceDelta] = None


@frozen(kw_only=True)
class UnknownCodeOutputDelta(Unknown):
    """A piece of an output of code of a kind this version does not know."""


CodeOutputDelta: TypeAlias = (
    RunStepDeltaStepDetailsToolCallsCodeOutputLogs
    | RunStepDeltaStepDetailsToolCallsCodeOutputImage
    | UnknownCodeOutputDelta
)


@frozen(kw_only=True)
class RunStepDeltaCodeInterpreter(Model):
    """A piece of the code, or of what came of it."""

    input: Omittable[str] = None
    outputs: OmittableTuple[CodeOutputDelta] = ()


@frozen(kw_only=True)
class RunStepDeltaStepDetailsToolCallsCode(Model):
    """A piece of a use of the code interpreter."""

    index: int | None = None
    """Which tool call of the step this belongs to."""
    id: Omittable[str] = None
    type: Literal["code_interpreter"] = "code_interpreter"
    code_interpreter: Omittable[RunStepDeltaCodeInterpreter] = None


@frozen(kw_only=True)
class RunStepDeltaStepDetailsToolCallsFileSearch(Model):
    """A piece of a use of file search."""

    index: int | None = None
    """Which tool call of the step this belongs to."""
    id: Omittable[str] = None
    type: Literal["file_search"] = "file_search"
    file_search: JsonObject = field(factory=dict[str, object])
    """Empty so far; the finished step has the results."""


@frozen(kw_only=True)
class RunStepDeltaFunction(Model):
    """A piece of a function's name, arguments or output."""

    name: Omittable[str] = None
    arguments: Omittable[str] = None
    output: Omittable[str] = None


@frozen(kw_only=True)
class RunStepDeltaStepDetailsToolCallsFunction(Model):
    """A piece of a call of a function of the caller's own."""

    index: int | None = None
    """Which tool call of the step this belongs to."""
    id: Omittable[str] = None
    type: Literal["function"] = "function"
    function: Omittable[RunStepDeltaFunction] = None


@frozen(kw_only=True)
class UnknownToolCallDelta(Unknown):
    """A piece of a tool call of a kind this version does not know."""


ToolCallDelta: TypeAlias = (
    RunStepDeltaStepDetailsToolCallsCode
    | RunStepDeltaStepDetailsToolCallsFileSearch
    | RunStepDeltaStepDetailsToolCallsFunction
    | UnknownToolCallDelta
)


@frozen(kw_only=True)
class RunStepDeltaMessageCreation(Model):
    """The message that was created."""

    message_id: Omittable[str] = None


@frozen(kw_only=True)
class RunStepDeltaStepDetailsMessageCreation(Model):
    """A step that writes a message."""

    type: Literal["message_creation"] = "message_creation"
    message_creation: Omittable[RunStepDeltaMessageCreation] = None


@frozen(kw_only=True)
class RunStepDeltaStepDetailsToolCalls(Model):
    """A step that uses tools."""

    type: Literal["tool_calls"] = "tool_calls"
    tool_calls: OmittableTuple[ToolCallDelta] = ()


@frozen(kw_only=True)
class UnknownRunStepDeltaStepDetails(Unknown):
    """Details of a step of a kind this version does not know."""


RunStepDeltaStepDetails: TypeAlias = (
    RunStepDeltaStepDetailsMessageCreation | RunStepDeltaStepDetailsToolCalls | UnknownRunStepDeltaStepDetails
)


@frozen(kw_only=True)
class RunStepDeltaDelta(Model):
    """What changed in a run step."""

    step_details: Omittable[RunStepDeltaStepDetails] = None


@frozen(kw_only=True)
class RunStepDelta(Model):
    """A change to a run step that is under way."""

    id: str
    """The run step's id."""
    object: Literal["thread.run.step.delta"] | str = "thread.run.step.delta"
    delta: RunStepDeltaDelta = field(factory=RunStepDeltaDelta)
