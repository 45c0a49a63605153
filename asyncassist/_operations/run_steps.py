"""Operations on the steps of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncassist import models
from asyncassist._operations.base import Operations, RawOperations, raw, raw_listing
from asyncassist._wire.requests import request_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal

    from asyncassist._operations.listing import Listing
    from asyncassist.models import RunInclude, RunStep

__all__ = ["RawRunStepOperations", "RunStepOperations"]


class RunStepOperations(Operations):
    """Read what a run has done."""

    async def get_run_step(
        self, thread_id: str, run_id: str, step_id: str, *, include: Sequence[RunInclude] | None = None
    ) -> RunStep:
        """Read a step of a run.

        Args:
            include: more to send, such as ``step_details.tool_calls[*].file_search.results[*].content``.

        Raises:
            NotFoundError: there is none with this id.
        """
        route = "GET /threads/{thread_id}/runs/{run_id}/steps/{step_id}"
        request = request_for(route, thread_id, run_id, step_id, query={"include": include})
        return await self._call(request, models.RunStep)

    def list_run_steps(
        self,
        thread_id: str,
        run_id: str,
        *,
        limit: int | None = None,
        order: Literal["asc", "desc"] | None = None,
        after: str | None = None,
        before: str | None = None,
        include: Sequence[RunInclude] | None = None,
    ) -> Listing[RunStep]:
        """List the steps of a run.

        Args:
            limit: objects per page, 1-100; None leaves it to the server (20).
            order: by creation time; None means the newest first.
            after: start behind the object with this id.
            before: walk backward from the object with this id.
            include: more to send, such as ``step_details.tool_calls[*].file_search.results[*].content``.
        """
        return self._list(
            lambda query: request_for("GET /threads/{thread_id}/runs/{run_id}/steps", thread_id, run_id, query=query),
            models.RunStep,
            limit=limit,
            order=order,
            after=after,
            before=before,
            include=include,
        )


class RawRunStepOperations(RawOperations):
    """The same operations, returning the whole answer."""

    get_run_step = raw(RunStepOperations.get_run_step)
    list_run_steps = raw_listing(RunStepOperations.list_run_steps)
