"""Operations on the messages of a thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncassist import models
from asyncassist._operations.base import Operations, RawOperations, raw, raw_listing
from asyncassist._wire.requests import Kind, request_for
from asyncassist.models import UNSET

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from asyncassist._operations.listing import Listing
    from asyncassist.models import (
        JsonObject,
        Message,
        MessageAttachment,
        MessageContentParam,
        MessageDeleted,
        MessageRole,
        Metadata,
        Unset,
    )

__all__ = ["MessageOperations", "RawMessageOperations"]


class MessageOperations(Operations):
    """Create, read, change and delete messages."""

    async def create_message(
        self,
        thread_id: str,
        *,
        role: MessageRole,
        content: str | Sequence[MessageContentParam],
        attachments: Sequence[MessageAttachment | JsonObject] | Unset | None = UNSET,
        metadata: Metadata | Unset | None = UNSET,
    ) -> Message:
        """Add a message to a thread.

        Args:
            role: ``"user"``, or ``"assistant"`` for words put into the assistant's mouth.
            content: text, or a list of at least one text or image part.
            attachments: files, each with the tools it is for.
            metadata: up to 16 pairs; keys of at most 64, values of at most 512 characters.

        Raises:
            ActiveRunError: a run is active on the thread; it takes no messages until the run ends.
            NotFoundError: there is no thread with this id.
        """
        body = {"role": role, "content": content, "attachments": attachments, "metadata": metadata}
        return await self._call(request_for("POST /threads/{thread_id}/messages", thread_id, body=body), models.Message)

    async def get_message(self, thread_id: str, message_id: str) -> Message:
        """Read a message.

        Raises:
            NotFoundError: there is none with this id.
        """
        request = request_for("GET /threads/{thread_id}/messages/{message_id}", thread_id, message_id)
        return await self._call(request, models.Message)

    async def modify_message(
        self, thread_id: str, message_id: str, *, metadata: Metadata | Unset | None = UNSET
    ) -> Message:
        """Change a message's metadata.

        Args:
            metadata: up to 16 pairs; keys of at most 64, values of at most 512 characters. Replaces the old ones.

        Raises:
            NotFoundError: there is no message with this id.
        """
        route = "POST /threads/{thread_id}/messages/{message_id}"
        request = request_for(route, thread_id, message_id, kind=Kind.MODIFY, body={"metadata": metadata})
        return await self._call(request, models.Message)

    async def delete_message(self, thread_id: str, message_id: str) -> MessageDeleted:
        """Delete a message.

        Raises:
            NotFoundError: there is none with this id.
        """
        request = request_for("DELETE /threads/{thread_id}/messages/{message_id}", thread_id, message_id)
        return await self._call(request, models.MessageDeleted)

    def list_messages(
        self,
        thread_id: str,
        *,
        limit: int | None = None,
        order: Literal["asc", "desc"] | None = None,
        after: str | None = None,
        before: str | None = None,
        run_id: str | None = None,
    ) -> Listing[Message]:
        """List the messages of a thread.

        Args:
            limit: objects per page, 1-100; None leaves it to the server (20).
            order: by creation time; None means the newest first.
            after: start behind the object with this id.
            before: walk backward from the object with this id.
            run_id: only the messages this run has made.
        """
        return self._list(
            lambda query: request_for("GET /threads/{thread_id}/messages", thread_id, query=query),
            models.Message,
            limit=limit,
            order=order,
            after=after,
            before=before,
            run_id=run_id,
        )


class RawMessageOperations(RawOperations):
    """The same operations, returning the whole answer."""

    create_message = raw(MessageOperations.create_message)
    get_message = raw(MessageOperations.get_message)
    modify_message = raw(MessageOperations.modify_message)
    delete_message = raw(MessageOperations.delete_message)
    list_messages = raw_listing(MessageOperations.list_messages)
