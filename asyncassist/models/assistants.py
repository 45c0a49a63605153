"""Assistants and their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, TypedDict

from attrs import field, frozen

from asyncassist.models._base import Metadata, Model, Omittable
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
    """A model with its instructions and tools."""

    id: str
    object: Literal["assistant"] | str = "assistant"
    created_at: int | None = None
    """Unix seconds."""
    name: str | None = None
    """At most 256 characters."""
    description: str | None = None
    """At most 512 characters."""
    model: str | None = None
    instructions: str | None = None
    """At most 256,000 characters."""
    tools: tuple[AssistantTool, ...] = ()
    """At most 128."""
    tool_resources: Omittable[ToolResources] = None
    metadata: Metadata = field(factory=dict[str, str])
    temperature: Omittable[float] = None
    """0-2."""
    top_p: Omittable[float] = None
    """0-1."""
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
