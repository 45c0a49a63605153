"""The parameters of runs. Apart from `runs`, because they need the models of messages, and reading a run does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict

from asyncassist.models._base import JsonObject, Metadata
from asyncassist.models.assistants import ReasoningEffort
from asyncassist.models.messages import MessageParam
from asyncassist.models.runs import RunInclude, TruncationParam
from asyncassist.models.threads import ThreadParams
from asyncassist.models.tools import ResponseFormatParam, ToolChoiceParam, ToolParam, ToolResourcesParam

__all__ = ["CreateRunParams", "CreateThreadAndRunParams", "RunParams"]


class RunParams(TypedDict, total=False):
    """What a run may differ in from its assistant. An absent key is not sent; None is JSON's ``null``."""

    model: str | None
    instructions: str | None
    tools: Sequence[ToolParam] | None
    metadata: Metadata | None
    temperature: float | None
    top_p: float | None
    max_prompt_tokens: int | None
    max_completion_tokens: int | None
    truncation_strategy: TruncationParam | None
    tool_choice: ToolChoiceParam | None
    parallel_tool_calls: bool
    response_format: ResponseFormatParam | None


class CreateRunParams(RunParams, total=False):
    """What a run on an existing thread may be given besides."""

    reasoning_effort: ReasoningEffort | None
    additional_instructions: str | None
    additional_messages: Sequence[MessageParam] | None
    include: Sequence[RunInclude]


class CreateThreadAndRunParams(RunParams, total=False):
    """What a run on a thread of its own may be given besides."""

    thread: ThreadParams | JsonObject
    tool_resources: ToolResourcesParam | None
