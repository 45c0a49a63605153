"""Operations on assistants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncassist import models
from asyncassist._operations.base import Operations, RawOperations, checked_params, raw, raw_listing
from asyncassist._wire.requests import Kind, request_for

if TYPE_CHECKING:
    from typing import Literal, Unpack

    from asyncassist._operations.listing import Listing
    from asyncassist.models import Assistant, AssistantDeleted, AssistantParams, ModifyAssistantParams

__all__ = ["AssistantOperations", "RawAssistantOperations"]


class AssistantOperations(Operations):
    """Create, read, change and delete assistants."""

    async def create_assistant(self, *, model: str, **params: Unpack[AssistantParams]) -> Assistant:
        """Create an assistant: a model with instructions and tools.

        Args:
            model: the name the server knows the model by.
            name, description: at most 256 and 512 characters.
            instructions: at most 256,000 characters.
            reasoning_effort: how much a reasoning model thinks.
            tools: at most 128.
            tool_resources: the files and vector stores of the tools.
            metadata: up to 16 pairs; keys of at most 64, values of at most 512 characters.
            temperature: 0-2.
            top_p: 0-1.
            response_format: ``"auto"`` or the form of the answers.

        Raises:
            BadRequestError: a parameter is out of its range.
        """
        body = checked_params("create_assistant", models.AssistantParams, params, model=model)
        return await self._call(request_for("POST /assistants", body=body), models.Assistant)

    async def get_assistant(self, assistant_id: str) -> Assistant:
        """Read an assistant.

        Raises:
            NotFoundError: there is none with this id.
        """
        return await self._call(request_for("GET /assistants/{assistant_id}", assistant_id), models.Assistant)

    async def modify_assistant(self, assistant_id: str, **params: Unpack[ModifyAssistantParams]) -> Assistant:
        """Change an assistant. What is not given stays as it is; a given list or mapping replaces the old one whole.

        Args:
            model: the name the server knows the model by.
            name, description: at most 256 and 512 characters.
            instructions: at most 256,000 characters.
            reasoning_effort: how much a reasoning model thinks.
            tools: at most 128.
            tool_resources: the files and vector stores of the tools.
            metadata: up to 16 pairs; keys of at most 64, values of at most 512 characters.
            temperature: 0-2.
            top_p: 0-1.
            response_format: ``"auto"`` or the form of the answers.

        Raises:
            NotFoundError: there is no assistant with this id.
            BadRequestError: a parameter is out of its range.
        """
        body = checked_params("modify_assistant", models.ModifyAssistantParams, params)
        request = request_for("POST /assistants/{assistant_id}", assistant_id, kind=Kind.MODIFY, body=body)
        return await self._call(request, models.Assistant)

    async def delete_assistant(self, assistant_id: str) -> AssistantDeleted:
        """Delete an assistant. Its threads and runs stay.

        Raises:
            NotFoundError: there is none with this id.
        """
        return await self._call(request_for("DELETE /assistants/{assistant_id}", assistant_id), models.AssistantDeleted)

    def list_assistants(
        self,
        *,
        limit: int | None = None,
        order: Literal["asc", "desc"] | None = None,
        after: str | None = None,
        before: str | None = None,
    ) -> Listing[Assistant]:
        """List the assistants.

        Args:
            limit: objects per page, 1-100; None leaves it to the server (20).
            order: by creation time; None means the newest first.
            after: start behind the object with this id.
            before: walk backward from the object with this id.
        """
        return self._list(
            lambda query: request_for("GET /assistants", query=query),
            models.Assistant,
            limit=limit,
            order=order,
            after=after,
            before=before,
        )


class RawAssistantOperations(RawOperations):
    """The same operations, returning the whole answer."""

    create_assistant = raw(AssistantOperations.create_assistant)
    get_assistant = raw(AssistantOperations.get_assistant)
    modify_assistant = raw(AssistantOperations.modify_assistant)
    delete_assistant = raw(AssistantOperations.delete_assistant)
    list_assistants = raw_listing(AssistantOperations.list_assistants)
