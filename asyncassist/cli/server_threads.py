"""``threads``: the threads of a server, shown to people or written out as lines of JSON."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from asyncassist._wire.json import dumps
from asyncassist.cli.connecting import connect
from asyncassist.cli.files import writing
from asyncassist.cli.output import check_output, note, say, say_json, shown_time
from asyncassist.errors import APIStatusError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from asyncassist import AsyncClient, Message, RunStep
    from asyncassist.cli.connecting import Connection

__all__ = ["prepare_export", "prepare_show"]


def prepare_show(*, thread_id: str, connection: Connection, as_json: bool) -> Callable[[], Awaitable[None]]:
    """Give the function that prints a thread with its messages and runs."""
    check_output()
    return partial(_show, connect(connection), thread_id, as_json=as_json)


def prepare_export(*, thread_id: Sequence[str], connection: Connection, output: str) -> Callable[[], Awaitable[None]]:
    """Give the function that writes threads out."""
    if output == "-":
        check_output()
    return partial(_export, connect(connection), tuple(dict.fromkeys(thread_id)), output)


async def _show(client: AsyncClient, thread_id: str, *, as_json: bool) -> None:
    async with client:
        thread = await client.get_thread(thread_id)
        messages = await client.list_messages(thread_id, order="asc", limit=100).collect()
        runs = await client.list_runs(thread_id, order="asc", limit=100).collect()
    if as_json:
        say_json({"thread": thread, "messages": messages, "runs": runs})
        return
    say(f"thread   {thread.id}")
    say(f"created  {shown_time(thread.created_at)}")
    for name, value in thread.metadata.items():
        say(f"         {name} = {value}")
    for message in messages:
        say(f"\n{message.role}  {shown_time(message.created_at)}  {message.id}")
        say(_content(message))
    if runs:
        say()
    for run in runs:
        say(f"run  {run.id}  {run.status:<15}  {shown_time(run.created_at)}")


def _content(message: Message) -> str:
    others = [part.type for part in message.content if not hasattr(part, "text")]
    return "\n".join(filter(None, [message.text, *(f"[{kind}]" for kind in others)])) or "[nothing]"


async def _export(client: AsyncClient, thread_ids: Sequence[str], output: str) -> None:
    async with client:
        # Threads that are not there are told before anything is written.
        for thread_id in thread_ids:
            await client.get_thread(thread_id)
        with writing(output) as file:

            def write(value: object) -> None:
                file.write(dumps(value) + b"\n")

            await _write(client, thread_ids, write)
    if output != "-":
        note(f"{len(thread_ids)} thread{'s' * (len(thread_ids) != 1)} written to {output}")


async def _write(client: AsyncClient, thread_ids: Sequence[str], write: Callable[[object], None]) -> None:
    """Write the objects of threads in the order in which ``import-threads`` takes them."""
    seen: set[str] = set()
    for thread_id in thread_ids:
        # The assistants of its runs come before the thread.
        async for run in client.list_runs(thread_id, order="asc", limit=100):
            if run.assistant_id and run.assistant_id not in seen:
                seen.add(run.assistant_id)
                with suppress(NotFoundError):  # deleted meanwhile
                    write(await client.get_assistant(run.assistant_id))
        write(await client.get_thread(thread_id))
        async for message in client.list_messages(thread_id, order="asc", limit=100):
            write(message)
        async for run in client.list_runs(thread_id, order="asc", limit=100):
            write(run)
            for step in await _steps(client, thread_id, run.id):
                write(step)


async def _steps(client: AsyncClient, thread_id: str, run_id: str) -> Sequence[RunStep]:
    try:
        return await client.list_run_steps(thread_id, run_id, order="asc", limit=100).collect()
    except APIStatusError as error:
        if error.status not in (404, 405, 501):
            raise
        return ()  # a server that keeps no steps
