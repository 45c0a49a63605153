"""Operations on runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncassist import models
from asyncassist._operations.base import Operations, RawOperations, checked_params, raw, raw_listing
from asyncassist._wire.requests import Kind, Request, request_for
from asyncassist.models import UNSET

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Literal, Unpack

    from asyncassist._operations.listing import Listing
    from asyncassist.models import CreateRunParams, CreateThreadAndRunParams, Metadata, Run, ToolOutputParam, Unset

__all__ = ["RawRunOperations", "RunOperations", "run_request", "thread_and_run_request"]


class RunOperations(Operations):
    """Create, read, change, cancel and feed runs."""

    async def create_run(self, thread_id: str, *, assistant_id: str, **params: Unpack[CreateRunParams]) -> Run:
        """Start a run: the assistant goes to work on the thread. It comes back at once, ``queued``.

        A thread has one active run at a time. What is given here counts for this run instead of what the assistant
        was created with.

        Args:
            assistant_id: the assistant that works.
            model: another model than the assistant's.
            instructions: instead of the assistant's.
            additional_instructions: appended to the instructions.
            additional_messages: added to the thread before the run.
            include: more to send with the run's steps, such as
                ``step_details.tool_calls[*].file_search.results[*].content``.
            reasoning_effort: how much a reasoning model thinks.
            tools: at most 20, instead of the assistant's.
            metadata: up to 16 pairs; keys of at most 64, values of at most 512 characters.
            temperature: 0-2.
            top_p: 0-1.
            max_prompt_tokens, max_completion_tokens: at least 256, over all turns of the run; beyond it the run ends
                ``incomplete``.
            truncation_strategy: how much of the thread the model sees.
            tool_choice: ``"none"``, ``"auto"``, ``"required"``, or the tool that must be used.
            parallel_tool_calls: whether tools may be called several at a time.
            response_format: ``"auto"`` or the form of the answer.

        Raises:
            ActiveRunError: another run is active on the thread.
            NotFoundError: there is no such thread or assistant.
        """
        return await self._call(run_request("create_run", thread_id, assistant_id, params), models.Run)

    async def create_thread_and_run(self, *, assistant_id: str, **params: Unpack[CreateThreadAndRunParams]) -> Run:
        """Create a thread and start a run on it, in one request.

        A request that got no clear answer cannot be settled by ``RetryPolicy(creates="reconcile")``, since there is no
        thread to look on. `create_run` on a thread that `create_thread` has made can.

        Args:
            assistant_id: the assistant that works.
            thread: the new thread, as `create_thread` takes it; absent, an empty one.
            tool_resources: the files and vector stores of the tools, instead of the assistant's.
            model, instructions, tools, metadata, temperature, top_p, max_prompt_tokens, max_completion_tokens,
                truncation_strategy, tool_choice, parallel_tool_calls, response_format: as in `create_run`.

        Raises:
            NotFoundError: there is no such assistant.
        """
        request = thread_and_run_request("create_thread_and_run", assistant_id, params)
        return await self._call(request, models.Run)

    async def get_run(self, thread_id: str, run_id: str) -> Run:
        """Read a run. To wait for its end, see `wait_for_run`.

        Raises:
            NotFoundError: there is none with this id.
        """
        return await self._call(request_for("GET /threads/{thread_id}/runs/{run_id}", thread_id, run_id), models.Run)

    async def modify_run(self, thread_id: str, run_id: str, *, metadata: Metadata | Unset | None = UNSET) -> Run:
        """Change a run's metadata.

        Args:
            metadata: up to 16 pairs; keys of at most 64, values of at most 512 characters. Replaces the old ones.

        Raises:
            NotFoundError: there is no run with this id.
        """
        route = "POST /threads/{thread_id}/runs/{run_id}"
        request = request_for(route, thread_id, run_id, kind=Kind.MODIFY, body={"metadata": metadata})
        return await self._call(request, models.Run)

    async def cancel_run(self, thread_id: str, run_id: str) -> Run:
        """Ask the server to stop a run. It comes back ``cancelling`` and ends ``cancelled`` soon after.

        The request goes ahead of all others that wait for a connection.

        Raises:
            BadRequestError: the run has ended already.
            NotFoundError: there is none with this id.
        """
        request = request_for("POST /threads/{thread_id}/runs/{run_id}/cancel", thread_id, run_id, kind=Kind.CANCEL)
        return await self._call(request, models.Run)

    def list_runs(
        self,
        thread_id: str,
        *,
        limit: int | None = None,
        order: Literal["asc", "desc"] | None = None,
        after: str | None = None,
        before: str | None = None,
    ) -> Listing[Run]:
        """List the runs of a thread.

        Args:
            limit: objects per page, 1-100; None leaves it to the server (20).
            order: by creation time; None means the newest first.
            after: start behind the object with this id.
            before: walk backward from the object with this id.
        """
        return self._list(
            lambda query: request_for("GET /threads/{thread_id}/runs", thread_id, query=query),
            models.Run,
            limit=limit,
            order=order,
            after=after,
            before=before,
        )

    async def submit_tool_outputs_to_run(
        self, thread_id: str, run_id: str, *, tool_outputs: Sequence[ToolOutputParam]
    ) -> Run:
        """Answer the tool calls of a run that ``requires_action``; all of them, in one request.

        The request goes ahead of all others that wait for a connection, because the run expires without it.

        Args:
            tool_outputs: one for each of ``run.required_tool_calls``: its ``tool_call_id`` and the ``output`` text.

        Raises:
            BadRequestError: outputs are missing or unknown, or the run does not wait for any.
            NotFoundError: there is no run with this id.
        """
        route = "POST /threads/{thread_id}/runs/{run_id}/submit_tool_outputs"
        request = request_for(route, thread_id, run_id, kind=Kind.SUBMIT, body={"tool_outputs": tool_outputs})
        return await self._call(request, models.Run)


# The two creations can be answered in two forms, so their requests are made apart.


def run_request(operation: str, thread_id: str, assistant_id: str, params: CreateRunParams, **form: object) -> Request:
    """Return the request that creates a run; ``form`` is added to its body."""
    body = checked_params(operation, models.CreateRunParams, params, assistant_id=assistant_id) | form
    query = {"include": body.pop("include", None)}
    return request_for("POST /threads/{thread_id}/runs", thread_id, query=query, body=body)


def thread_and_run_request(
    operation: str, assistant_id: str, params: CreateThreadAndRunParams, **form: object
) -> Request:
    """Return the request that creates a thread and a run; ``form`` is added to its body."""
    body = checked_params(operation, models.CreateThreadAndRunParams, params, assistant_id=assistant_id) | form
    return request_for("POST /threads/runs", body=body)


class RawRunOperations(RawOperations):
    """The same operations, returning the whole answer."""

    create_run = raw(RunOperations.create_run)
    create_thread_and_run = raw(RunOperations.create_thread_and_run)
    get_run = raw(RunOperations.get_run)
    modify_run = raw(RunOperations.modify_run)
    cancel_run = raw(RunOperations.cancel_run)
    list_runs = raw_listing(RunOperations.list_runs)
    submit_tool_outputs_to_run = raw(RunOperations.submit_tool_outputs_to_run)
