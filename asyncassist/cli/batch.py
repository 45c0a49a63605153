"""``batch``: the jobs of a file, to a file of results."""

from __future__ import annotations

import re
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import anyio
import click

from asyncassist import BatchProgress
from asyncassist._wire.json import dumps
from asyncassist.batch.job_file import check_jobs, read_jobs
from asyncassist.cli.batch_output import check_is_own, check_results
from asyncassist.cli.connecting import connect
from asyncassist.cli.output import check_output, functions_print_to_stderr, note, telling
from asyncassist.cli.progress import make_reporter, told_at_the_end
from asyncassist.cli.running import NOT_COMPLETED, CommandError
from asyncassist.cli.tool_source import load_toolset
from asyncassist.errors import (
    APIConnectionError,
    AsyncAssistError,
    AuthenticationError,
    JobFileError,
    PermissionDeniedError,
    ServiceRetiredError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType
    from typing import Any, Self

    from asyncassist import AsyncClient, JobResult, Toolset
    from asyncassist.cli.connecting import Connection
    from asyncassist.runs.watch import OnCancel

__all__ = ["FileBatch", "prepare", "shard_of"]

#: Bad lines that are printed.
_MOST_PROBLEMS = 20


def prepare(
    *,
    jobs: str,
    output: str,
    overwrite: bool,
    ledger: str | None,
    shard: str | None,
    concurrency: int,
    max_in_flight: int | None,
    requests_per_minute: float | None,
    tokens_per_minute: float | None,
    job_seconds: float | None,
    retry_failed_runs: int,
    on_cancel: OnCancel,
    tools: str | None,
    connection: Connection,
) -> Callable[[], Awaitable[int | None]]:
    """Check the options and the file of jobs, and give the function that runs them.

    Raises:
        click.UsageError: options that cannot be meant.
        CommandError: no server is named, the file has bad lines, or the results would be written over others.
    """
    part = None if shard is None else shard_of(shard)
    if not Path(jobs).is_file():
        raise click.UsageError(f"{jobs} is read twice, first to check it, so it must be a file and no pipe")
    if output == "-":
        check_output()
    else:
        check_results(output, jobs, ledger, overwrite=overwrite)
    toolset = None if tools is None else load_toolset(tools)
    client = connect(connection, **_limits(max_in_flight, requests_per_minute, tokens_per_minute))
    batch = FileBatch(
        jobs=jobs,
        output=output,
        overwrite=overwrite,
        ledger=ledger,
        shard=part,
        concurrency=concurrency,
        job_seconds=job_seconds,
        retry_failed_runs=retry_failed_runs,
        on_cancel=on_cancel,
        toolset=toolset,
    )
    batch.count()
    return lambda: batch.run(client)


class FileBatch:
    """The jobs of one file, and where their results go."""

    def __init__(
        self,
        *,
        jobs: str,
        output: str,
        overwrite: bool,
        ledger: str | None,
        shard: tuple[int, int] | None,
        concurrency: int,
        job_seconds: float | None,
        retry_failed_runs: int,
        on_cancel: OnCancel,
        toolset: Toolset | None,
    ) -> None:
        self._jobs = jobs
        self._output = output
        self._overwrite = overwrite
        self._ledger = ledger
        self._shard = shard
        self._concurrency = concurrency
        self._job_seconds = job_seconds
        self._retry_failed_runs = retry_failed_runs
        self._on_cancel: OnCancel = on_cancel
        self._toolset = toolset
        self._total = 0
        self._progress = BatchProgress()

    def count(self) -> None:
        """Look through the file of jobs.

        Raises:
            CommandError: it has bad lines, which are named.
        """
        try:
            self._total = check_jobs(self._jobs, self._shard)
        except JobFileError as error:
            if not error.problems:
                raise
            lines = [f"  line {number}: {' '.join(what.split())}" for number, what in error.problems[:_MOST_PROBLEMS]]
            if error.count > len(lines):
                lines.append(f"  and {error.count - len(lines)} more")
            bad = f"{error.count} line{'s' * (error.count != 1)}"
            raise CommandError(f"{self._jobs}: {bad} cannot be run; nothing was run", hint="\n".join(lines)) from error

    async def run(self, client: AsyncClient) -> int | None:
        """Run the jobs, and return the exit code."""
        started = time.monotonic()
        if self._output != "-" and self._ledger is not None and not self._overwrite:
            await check_is_own(self._output, self._ledger)
        async with client:
            await _check_server(client)
            try:
                with (
                    _Results(self._output) as results,
                    functions_print_to_stderr(),
                    make_reporter(self._total) as reporter,
                ):

                    def on_progress(progress: BatchProgress) -> None:
                        self._progress = progress
                        reporter.update(progress)

                    await self._write_results(client, results, on_progress)
            except anyio.get_cancelled_exc_class():
                note(self._stopped("interrupted"))
                raise
            except AsyncAssistError:
                if self._progress.seen:  # else nothing was begun, and the error says all: of the ledger, most often
                    note(self._stopped("stopped"))
                raise
        progress = self._progress
        where = "" if self._output == "-" else f"; results in {self._output}"
        seconds = time.monotonic() - started
        note(f"{told_at_the_end(progress, seconds)}{where}")
        return NOT_COMPLETED if progress.failed else None

    async def _write_results(
        self, client: AsyncClient, results: _Results, on_progress: Callable[[BatchProgress], None]
    ) -> None:
        batch = client.run_many(
            read_jobs(self._jobs, self._shard),
            concurrency=self._concurrency,
            ledger=self._ledger,
            toolset=self._toolset,
            timeout=self._job_seconds,
            on_progress=on_progress,
            retry_failed_runs=self._retry_failed_runs,
            on_cancel=self._on_cancel,
        )
        async with batch:
            async for result in batch:
                results.write(result)
        results.open()

    def _stopped(self, how: str) -> str:
        done = f"{how}: {self._progress.finished} of {self._total} jobs have ended"
        if self._ledger is None:
            return f"{done}; without --ledger nothing is known of them the next time"
        return f"{done}; the same command goes on where it stopped"


def _limits(
    max_in_flight: int | None, requests_per_minute: float | None, tokens_per_minute: float | None
) -> dict[str, Any]:
    bounds = {
        "max_in_flight": max_in_flight,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
    }
    given: dict[str, Any] = {name: value for name, value in bounds.items() if value is not None}
    if not given:
        return {}
    from asyncassist import Limits

    return {"limits": Limits(**given)}


def shard_of(text: str) -> tuple[int, int]:
    """Read I/N, I from 1 to N.

    Raises:
        click.UsageError: it is not that.
    """
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise click.UsageError(f"--shard takes I/N, such as 1/4, with I from 1 to N, got {text!r}")
    return int(match[1]), int(match[2])


async def _check_server(client: AsyncClient) -> None:
    """Refuse to begin where no job could be run: a wrong key would be told once for each of them."""
    try:
        await client.list_assistants(limit=1)
    except (APIConnectionError, AuthenticationError, PermissionDeniedError, ServiceRetiredError):
        raise
    except AsyncAssistError:
        pass  # not all servers can list assistants


class _Results:
    """Where results go, to be entered.

    The file is begun anew when the first result comes: by then the ledger is this batch's, and the results that another
    one may be writing are not touched.
    """

    def __init__(self, output: str) -> None:
        self._output = output
        self._stdout = sys.stdout
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        if self._file is not None and self._output != "-":
            with suppress(OSError):  # every line was flushed; what could not be has been told
                self._file.close()

    def open(self) -> IO[bytes]:
        """Begin the file, unless it is begun."""
        if self._file is not None:
            return self._file
        with telling():
            self._file = file = self._stdout.buffer if self._output == "-" else open(self._output, "wb")  # noqa: SIM115
        return file

    def write(self, result: JobResult) -> None:
        """Write a line, where whoever looks at the file sees it at once."""
        file = self.open()
        with telling():
            file.write(dumps(result.to_dict()) + b"\n")
            file.flush()
