"""``runs``: what runs there are on a thread; one is cancelled or watched."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import anyio

from asyncassist.cli.connecting import connect
from asyncassist.cli.output import check_output, one_line, say, say_json, shown_time
from asyncassist.cli.running import NOT_COMPLETED, tell_failure
from asyncassist.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncassist import AsyncClient, Run
    from asyncassist.cli.connecting import Connection

__all__ = ["prepare_cancel", "prepare_list", "prepare_watch"]

#: Seconds between two looks at a run that waits for tool outputs of others.
_LOOK = 1.0


def prepare_list(
    *, thread_id: str, connection: Connection, most: int | None, as_json: bool
) -> Callable[[], Awaitable[None]]:
    """Give the function that prints the runs of a thread, the newest first."""
    check_output()
    client = connect(connection)

    async def work() -> None:
        async with client:
            count = 0
            async for run in client.list_runs(thread_id, limit=100 if most is None else min(most, 100)):
                if as_json:
                    say_json(run)
                else:
                    say(_line(run))
                count += 1
                if count == most:
                    return
            if not count and not as_json:
                say(f"thread {thread_id} has no runs")

    return work


def prepare_cancel(
    *, thread_id: str, run_id: str, connection: Connection, as_json: bool
) -> Callable[[], Awaitable[None]]:
    """Give the function that cancels a run."""
    check_output()
    client = connect(connection)

    async def work() -> None:
        async with client:
            run = await client.cancel_run(thread_id, run_id)
            if as_json:
                say_json(run)
            else:
                say(_line(run))

    return work


def prepare_watch(
    *, thread_id: str, run_id: str, connection: Connection, as_json: bool
) -> Callable[[], Awaitable[int | None]]:
    """Give the function that prints each status of a run, to its end."""
    check_output()
    return partial(_watch, connect(connection), thread_id, run_id, as_json=as_json)


async def _watch(client: AsyncClient, thread_id: str, run_id: str, *, as_json: bool) -> int | None:
    last: list[str] = []

    def show(run: Run) -> None:
        if [run.status] == last:
            return
        last[:] = [run.status]
        if as_json:
            say_json(run)
            return
        now = datetime.now().strftime("%H:%M:%S")
        names = ", ".join(call.function.name for call in run.required_tool_calls)
        say(f"{now}  {run.status}{f': {names}' if names else ''}")

    async with client:
        # It is another's run: whoever only looks does not cancel it.
        watch = partial(client.wait_for_run, thread_id, run_id, on_status=show, on_cancel="leave")
        run = await watch()
        while not run.is_terminal:  # it requires action: whoever started it may answer; else it expires
            await anyio.sleep(_LOOK)
            run = await watch()
        if not as_json and (text := await client.run_text(run)):
            say(f"\n{text}")
    try:
        run.raise_for_status()
    except RunError as error:
        tell_failure(str(error))
        return NOT_COMPLETED
    return None


def _line(run: Run) -> str:
    tokens = run.usage.total_tokens if run.usage is not None else None
    why = (run.last_error.message or run.last_error.code or "") if run.last_error is not None else ""
    return "  ".join(
        filter(
            None,
            (
                run.id,
                f"{run.status:<15}",
                shown_time(run.created_at),
                "" if tokens is None else f"{tokens} tokens",
                one_line(why),
            ),
        )
    ).rstrip()
