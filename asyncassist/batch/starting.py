"""The client's door to batches."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import anyio
from attrs import evolve

from asyncassist._operations.threads import ThreadOperations
from asyncassist._wire.polls import PollPolicy
from asyncassist.errors import ClientClosedError, UsageError, shown
from asyncassist.models import UNSET
from asyncassist.runs.waiting import RunWaiting, begin_rounds
from asyncassist.runs.watch import DEFAULT_POLL, OnCancel, Supervision

if TYPE_CHECKING:
    from typing import Self

    from asyncassist._transport.settings import CallOptions
    from asyncassist._wire.retry import RetryPolicy
    from asyncassist.batch.batch import Batch, OnProgress
    from asyncassist.batch.intake import Jobs
    from asyncassist.batch.ledger import Ledger
    from asyncassist.batch.results import JobResults
    from asyncassist.models import Unset
    from asyncassist.tools import Toolset

__all__ = ["Batching", "end_batches"]

_MOST_AT_ONCE = 100_000


class Batching(RunWaiting, ThreadOperations):
    """Run many jobs."""

    if TYPE_CHECKING:
        _batches: set[Batch]
        _options: CallOptions

        @property
        def base_url(self) -> str: ...
        @property
        def is_closed(self) -> bool: ...
        def with_options(self, *, retry: RetryPolicy | Unset = UNSET) -> Self: ...

    def run_many(
        self,
        jobs: Jobs,
        *,
        concurrency: int = 50,
        ledger: Ledger | str | os.PathLike[str] | None = None,
        toolset: Toolset | None = None,
        timeout: float | None = None,
        poll: PollPolicy = DEFAULT_POLL,
        on_progress: OnProgress | None = None,
        on_cancel: OnCancel = "cancel",
        retry_failed_runs: int = 0,
        replay: bool = True,
    ) -> JobResults:
        """Run many jobs, and give their results as they finish: ``async for result in client.run_many(jobs)``.

        A job that fails is a result with a ``status`` other than ``"completed"``; the others go on. Jobs are read as
        they are needed, so that a million take no more memory than a few, and none is begun while about ``concurrency``
        results have not been taken. Leaving the loop ends the batch; see `JobResults`.

        With a ledger the batch survives a crash: started again with the same jobs and the same ledger, it does not run
        again what has finished, goes on with what is running on the server, and does the rest. Without one, a job on a
        thread of its own is one request less.

        Args:
            jobs: an iterable or async iterable of `Job`, or of mappings with its fields. An iterable that is not async
                is read in the event loop. Where it raises, the jobs begun before are finished and given, then its error
                is raised. A second job with an id that is under way, or which the ledger has seen in this batch, is an
                error of that job; without a ledger nothing is known of the ids of jobs that have ended.
            concurrency: how many jobs at once, 1-100,000. Calls also wait for the client's ``max_connections``.
            ledger: a path, or an open `Ledger`; None keeps nothing.
            toolset: answers the tool calls of the runs; None gives up a job whose run asks for any, with a `ToolError`.
                A crash in the midst of a call leaves it to the next batch, which makes it again.
            timeout: seconds one job may take to the end of its run; None sets no limit.
            poll: how often to look at each run.
            on_progress: called with a `BatchProgress` when counts have changed, and awaited if it returns an awaitable.
                What it raises ends the batch.
            on_cancel: what becomes of the runs when the batch is ended before its time, and of one whose job's
                ``timeout`` passes: ``"cancel"`` cancels them on the server, ``"leave"`` lets them go on.
            retry_failed_runs: how many fresh runs may follow one that failed with ``rate_limit_exceeded`` or
                ``server_error``, 0-100, as in `run_and_wait`.
            replay: gives the results of the jobs the ledger knows as finished too, because whoever read them before a
                crash may not have kept them; their ``is_replayed`` is True. False leaves them out.

        Raises:
            LedgerError: while reading: the ledger cannot be used.
            ClientClosedError: while reading: the client was closed.
            UsageError, TypeError: a value cannot be used. One of the jobs: while reading.
        """
        from asyncassist.batch.batch import Batch  # whoever runs no batch need not load it
        from asyncassist.batch.intake import checked_jobs
        from asyncassist.batch.ledger import Ledger
        from asyncassist.batch.results import JobResults
        from asyncassist.batch.work import Plan

        checked_jobs(jobs)
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or not 1 <= concurrency <= _MOST_AT_ONCE:
            raise UsageError(f"concurrency must be an int from 1 to {_MOST_AT_ONCE:,}, got {shown(concurrency)}")
        if ledger is not None and not isinstance(ledger, Ledger):
            Ledger.open(ledger)
        if ledger is not None and "metadata" in (self._options.body or ()):
            text = (
                "metadata in the client's extra_body would take the place of the tags by which a ledger finds its runs"
            )
            raise UsageError(f"{text}: give it to the jobs, as their metadata")
        if on_progress is not None and not callable(on_progress):
            raise UsageError(f"on_progress must be a function, got {type(on_progress).__name__}")
        supervision = Supervision(timeout, poll, None, on_cancel)
        begin_rounds(toolset, self._pacing)
        self._wait(supervision, None, retry_failed_runs)
        client = self
        if ledger is not None and self._options.retry.creates == "never":
            client = self.with_options(retry=evolve(self._options.retry, creates="reconcile"))
        plan = Plan(
            client,
            self._send,
            self._pacing,
            self._wait,
            supervision,
            toolset,
            retry_failed_runs,
        )
        batch = Batch(
            plan,
            jobs,
            concurrency=concurrency,
            ledger=ledger,
            on_progress=on_progress,
            replays=replay,
            batches=self._batches,
        )
        return JobResults(batch)


async def end_batches(batches: set[Batch]) -> None:
    """End all batches of a client that is being closed, at the same time, in bounded time."""
    async with anyio.create_task_group() as group:
        for batch in tuple(batches):
            group.start_soon(batch.break_off, ClientClosedError("the client was closed while its batch was under way"))
