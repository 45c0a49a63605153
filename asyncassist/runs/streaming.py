"""Start runs and follow them event by event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from asyncassist import models
from asyncassist._operations.creates import creation_of
from asyncassist._operations.run_steps import RunStepOperations
from asyncassist._operations.runs import run_request, thread_and_run_request
from asyncassist._wire.polls import PollPolicy
from asyncassist._wire.requests import Kind, check_parameters, request_for
from asyncassist.errors import APIStatusError
from asyncassist.runs.patience import patiently
from asyncassist.runs.waiting import RunWaiting, begin_rounds
from asyncassist.runs.watch import DEFAULT_POLL, OnCancel, Supervision, Watch

if TYPE_CHECKING:
    from typing import Unpack

    from asyncassist._transport.byte_stream import ByteStream
    from asyncassist._wire.requests import Request
    from asyncassist.models import CreateRunParams, CreateThreadAndRunParams, Run, RunStep, ToolOutputParam
    from asyncassist.runs.run_stream import RunStream
    from asyncassist.tools import Toolset

__all__ = ["RunStreaming"]

_OPTIONS = ("toolset", "timeout", "poll", "reconcile", "on_cancel")
"""What the methods take besides the parameters of the run."""


class RunStreaming(RunWaiting, RunStepOperations):
    """Start runs and follow them event by event."""

    if TYPE_CHECKING:

        @property
        def _open(self) -> Callable[[Request], Awaitable[ByteStream]]: ...

    def stream_run(
        self,
        thread_id: str,
        *,
        assistant_id: str,
        toolset: Toolset | None = None,
        timeout: float | None = None,
        poll: PollPolicy = DEFAULT_POLL,
        reconcile: bool = True,
        on_cancel: OnCancel = "cancel",
        **params: Unpack[CreateRunParams],
    ) -> RunStream:
        """Start a run and follow its events: ``async with client.stream_run(...) as stream``.

        Nothing is sent before the block is entered. With ``RetryPolicy(creates="reconcile")`` a run whose stream breaks
        before it has said anything is found by its tag.

        Args:
            assistant_id: the assistant that works.
            toolset: answers the run's tool calls, so that one stream goes on over all rounds to the run's end; None
                ends the stream when the run ``requires_action``.
            timeout: seconds the whole run may take; None leaves it to the server.
            poll: how often to look at the run after the stream broke.
            reconcile: whether to recover what a broken stream did not say, or a server that does not stream and
                answers with the run; False raises `StreamInterruptedError`, or `StreamError`.
            on_cancel: what becomes of the run when the block is left before its end: ``"cancel"`` cancels it on the
                server; ``"leave"`` lets it go on.
            params: as in `create_run`.

        Raises:
            ActiveRunError: another run is active on the thread; raised on entering the block, as are the others.
            NotFoundError: there is no such thread or assistant.
            StreamError: the answer is neither a stream of events nor the run.
        """
        check_parameters("stream_run", models.CreateRunParams, params, besides=_OPTIONS)
        request = run_request("stream_run", thread_id, assistant_id, params, stream=True)
        return self._stream(request, Supervision(timeout, poll, None, on_cancel), toolset, reconcile=reconcile)

    def stream_thread_and_run(
        self,
        *,
        assistant_id: str,
        toolset: Toolset | None = None,
        timeout: float | None = None,
        poll: PollPolicy = DEFAULT_POLL,
        reconcile: bool = True,
        on_cancel: OnCancel = "cancel",
        **params: Unpack[CreateThreadAndRunParams],
    ) -> RunStream:
        """Create a thread, start a run on it and follow its events. The thread is in ``stream.thread``.

        Args:
            assistant_id, toolset, timeout, poll, reconcile, on_cancel: as in `stream_run`.
            params: as in `create_thread_and_run`.

        Raises:
            NotFoundError: there is no such assistant; raised on entering the block, as are the others.
            StreamError: the answer is neither a stream of events nor the run.
        """
        check_parameters("stream_thread_and_run", models.CreateThreadAndRunParams, params, besides=_OPTIONS)
        request = thread_and_run_request("stream_thread_and_run", assistant_id, params, stream=True)
        return self._stream(request, Supervision(timeout, poll, None, on_cancel), toolset, reconcile=reconcile)

    def stream_tool_outputs(
        self,
        thread_id: str,
        run_id: str,
        *,
        tool_outputs: Sequence[ToolOutputParam],
        toolset: Toolset | None = None,
        timeout: float | None = None,
        poll: PollPolicy = DEFAULT_POLL,
        reconcile: bool = True,
        on_cancel: OnCancel = "cancel",
    ) -> RunStream:
        """Answer the tool calls of a run that ``requires_action``, and follow the events of the run as it goes on.

        Args:
            tool_outputs: one for each of ``run.required_tool_calls``: its ``tool_call_id`` and the ``output`` text.
            toolset: answers the calls of further rounds.
            timeout, poll, reconcile, on_cancel: as in `stream_run`.

        Raises:
            BadRequestError: outputs are missing or unknown, or the run does not wait for any; raised on entering the
                block, as are the others.
            NotFoundError: there is no run with this id.
            StreamError: the answer is neither a stream of events nor the run.
        """
        route = "POST /threads/{thread_id}/runs/{run_id}/submit_tool_outputs"
        body = {"tool_outputs": tool_outputs, "stream": True}
        request = request_for(route, thread_id, run_id, kind=Kind.SUBMIT, body=body)
        supervision = Supervision(timeout, poll, None, on_cancel)
        return self._stream(request, supervision, toolset, reconcile=reconcile, ids=(thread_id, run_id))

    def _stream(
        self,
        request: Request,
        supervision: Supervision,
        toolset: Toolset | None,
        *,
        reconcile: bool,
        ids: tuple[str, str] | None = None,
    ) -> RunStream:
        # Whoever does not stream need not load it.
        from asyncassist.runs.run_stream import RunStream
        from asyncassist.runs.source import RunSource

        watch = Watch(self._send, self._pacing, supervision)
        if ids is not None:
            watch.name(*ids)
        source = RunSource(
            open=self._open,
            request=request,
            creation=creation_of(self._send, request) if reconcile else None,
            watch=watch,
            messages=lambda run: patiently(lambda: self._messages_of(run), supervision.poll, self._pacing),
            steps=lambda run: patiently(lambda: self._steps_of(run), supervision.poll, self._pacing),
            rounds=begin_rounds(toolset, self._pacing),
            timeout=supervision.timeout,
            on_cancel=supervision.on_cancel,
            reconcile=reconcile,
        )
        return RunStream(source)

    async def _steps_of(self, run: Run) -> Iterable[RunStep]:
        try:
            return await self.list_run_steps(run.thread_id, run.id, order="asc", limit=100).collect()
        except APIStatusError as error:
            if error.status not in (404, 405, 501):
                raise
            return ()  # a server that keeps no steps
