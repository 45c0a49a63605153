"""Assistants and their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, TypedDict

from attrs import field

from asyncassist.models._base import Metadata, Model, Omittable, frozen
from asyncassist.models.tools import (
    AssistantTool,
    ResponseFormat,
    ResponseFormatParam,
    ToolParam,
    ToolResources,
    ToolResourcesParam,
)

__all__ = ["Assistant", "AssistantDeleted", "AssistantParams", "ModifyAssistantParams", "ReasoningEffort"]

ReasoningEffort: TypeAlias = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | str


@frozen(kw_only=True)
class Assistant(Model):
    """A model with its instructions and tools.

    Attributes:
        created_at: Unix seconds.
        name: at most 256 characters.
        description: at most 512 characters.
        model: the name the server knows the model by.
        instructions: what the model is told before the messages, at most 256,000 characters.
        tools: at most 128.
        tool_resources: the files and vector stores the tools work on.
        temperature: 0-2.
        top_p: 0-1.
    """

    id: str
    object: Literal["assistant"] | str = "assistant"
    created_at: int | None = None
    name: str | None = None
    description: str | None = None
    model: str | None = None
    instructions: str | None = None
    tools: tuple[AssistantTool, ...] = ()
    tool_resources: Omittable[ToolResources] = None
    metadata: Metadata = field(factory=dict[str, str])
    temperature: Omittable[float] = None
    top_p: Omittable[float] = None
    response_format: Omittable[ResponseFormat] = None


@frozen(kw_only=True)
class AssistantDeleted(Model):
    """The answer to deleting an assistant."""

    id: str
    object: Literal["assistant.deleted"] | str = "assistant.deleted"
    deleted: bool | None = None


class AssistantParams(TypedDict, total=False):
    """What an assistant is made of, its model apart. An absent key is not sent; None is JSON's ``null``."""

    name: str | None
    description: str | None
    instructions: str | None
    reasoning_effort: ReasoningEffort | None
    tools: Sequence[ToolParam]
    tool_resources: ToolResourcesParam | None
    metadata: Metadata | None
    temperature: float | None
    top_p: float | None
    response_format: ResponseFormatParam | None


class ModifyAssistantParams(AssistantParams, total=False):
    """What can be changed of an assistant."""

    model: str
