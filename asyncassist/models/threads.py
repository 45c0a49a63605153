"""Threads and their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict

from attrs import field

from asyncassist.models._base import Metadata, Model, frozen
from asyncassist.models.messages import MessageParam
from asyncassist.models.tools import ToolResources, ToolResourcesParam

__all__ = ["Thread", "ThreadDeleted", "ThreadParams"]


@frozen(kw_only=True)
class Thread(Model):
    """A conversation: messages in order.

    Attributes:
        created_at: Unix seconds.
        tool_resources: the files and vector stores that tools have in this thread, beside the assistant's.
    """

    id: str
    object: Literal["thread"] | str = "thread"
    created_at: int | None = None
    tool_resources: ToolResources | None = None
    metadata: Metadata = field(factory=dict[str, str])


@frozen(kw_only=True)
class ThreadDeleted(Model):
    """The answer to deleting a thread."""

    id: str
    object: Literal["thread.deleted"] | str = "thread.deleted"
    deleted: bool | None = None


class ThreadParams(TypedDict, total=False):
    """What a thread is made of. An absent key is not sent; None is JSON's ``null``."""

    messages: Sequence[MessageParam]
    tool_resources: ToolResourcesParam | None
    metadata: Metadata | None
