"""Operations on threads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncassist import models
from asyncassist._operations.base import Operations, RawOperations, checked_params, raw
from asyncassist._wire.requests import Kind, request_for
from asyncassist.models import UNSET

if TYPE_CHECKING:
    from typing import Unpack

    from asyncassist.models import Metadata, Thread, ThreadDeleted, ThreadParams, ToolResourcesParam, Unset

__all__ = ["RawThreadOperations", "ThreadOperations"]


class ThreadOperations(Operations):
    """Create, read, change and delete threads."""

    async def create_thread(self, **params: Unpack[ThreadParams]) -> Thread:
        """Create a thread: a conversation, empty or with first messages.

        Args:
            messages: the first messages; mappings as `create_message` takes them.
            tool_resources: the files and vector stores of the tools.
            metadata: up to 16 pairs; keys of at most 64, values of at most 512 characters.

        Raises:
            BadRequestError: a parameter is out of its range.
        """
        body = checked_params("create_thread", models.ThreadParams, params)
        return await self._call(request_for("POST /threads", body=body or UNSET), models.Thread)

    async def get_thread(self, thread_id: str) -> Thread:
        """Read a thread; its messages are read with `list_messages`.

        Raises:
            NotFoundError: there is none with this id.
        """
        return await self._call(request_for("GET /threads/{thread_id}", thread_id), models.Thread)

    async def modify_thread(
        self,
        thread_id: str,
        *,
        tool_resources: ToolResourcesParam | Unset | None = UNSET,
        metadata: Metadata | Unset | None = UNSET,
    ) -> Thread:
        """Change a thread. What is not given stays as it is.

        Args:
            tool_resources: the files and vector stores of the tools.
            metadata: up to 16 pairs; keys of at most 64, values of at most 512 characters. Replaces the old ones.

        Raises:
            NotFoundError: there is no thread with this id.
        """
        body = {"tool_resources": tool_resources, "metadata": metadata}
        request = request_for("POST /threads/{thread_id}", thread_id, kind=Kind.MODIFY, body=body)
        return await self._call(request, models.Thread)

    async def delete_thread(self, thread_id: str) -> ThreadDeleted:
        """Delete a thread with its messages.

        Raises:
            NotFoundError: there is none with this id.
        """
        return await self._call(request_for("DELETE /threads/{thread_id}", thread_id), models.ThreadDeleted)


class RawThreadOperations(RawOperations):
    """The same operations, returning the whole answer."""

    create_thread = raw(ThreadOperations.create_thread)
    get_thread = raw(ThreadOperations.get_thread)
    modify_thread = raw(ThreadOperations.modify_thread)
    delete_thread = raw(ThreadOperations.delete_thread)
