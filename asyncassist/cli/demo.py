"""``demo``: one question, asked the way a program would."""

from __future__ import annotations

import os
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import anyio

from asyncassist import AsyncAssistError, AsyncClient

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable

    from asyncassist import Run

__all__ = ["DESCRIPTION", "SUMMARY", "add_arguments", "run"]

SUMMARY = "ask one question and show what happens"
DESCRIPTION = "Makes an assistant and a thread, asks a question, waits for the answer, and deletes both again."
QUESTION = "What is asyncassist for?"

#: Seconds the offline backend takes over its answer, so that there is a run to be seen.
_DELAY = 0.5
#: Seconds to clean up in, also after an interrupt.
_CLEAN_UP = 5.0

_HINT = """\

That answer came from the offline backend: no model was asked, and nothing left this machine.
To ask a real server:

    python -m asyncassist demo --base-url https://your-server/v1 --model MODEL

or set ASYNCASSIST_BASE_URL; the key is read from ASYNCASSIST_API_KEY."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Tell the command line what the command takes, and what runs it."""
    parser.add_argument(
        "--base-url",
        default=os.environ.get("ASYNCASSIST_BASE_URL"),
        help="the server to ask (env ASYNCASSIST_BASE_URL); without one, a server in this process that needs no model",
    )
    parser.add_argument("--model", default="gpt-4o", help="the assistant's model (default: %(default)s)")
    parser.set_defaults(command=run)


async def run(options: argparse.Namespace) -> None:
    """Ask the question, at the server that was named or at one in this process."""
    if options.base_url:
        async with AsyncClient(base_url=options.base_url) as client:
            _say(f"Asking {client.base_url}")
            await _ask(client, options.model)
        return
    from asyncassist.server import LocalServer, OfflineBackend

    async with LocalServer(OfflineBackend(delay=_DELAY)) as server, server.client() as client:
        _say("Asking a server in this process")
        await _ask(client, options.model)
        _say(_HINT)


async def _ask(client: AsyncClient, model: str) -> None:
    async with AsyncExitStack() as clean_up:
        assistant = await client.create_assistant(model=model, name="asyncassist demo")
        clean_up.push_async_callback(_delete, client.delete_assistant, assistant.id)
        _say(f"assistant  {assistant.id}")
        thread = await client.create_thread()
        clean_up.push_async_callback(_delete, client.delete_thread, thread.id)
        _say(f"thread     {thread.id}")
        await client.create_message(thread.id, role="user", content=QUESTION)
        _say(f"question   {QUESTION}")
        done = await client.run_and_wait(thread.id, assistant_id=assistant.id, on_status=_show_status)
        done.raise_for_status()
        _say(f"answer     {await client.run_text(done)}")


def _show_status(run: Run) -> None:
    _say(f"run        {run.id}  {run.status}")


async def _delete(delete: Callable[[str], Awaitable[object]], id: str) -> None:
    """Delete what the demo made, whatever has happened; what cannot be deleted is named."""
    with anyio.move_on_after(_CLEAN_UP, shield=True):
        try:
            await delete(id)
        except AsyncAssistError as error:
            print(f"{id} is left there:", " ".join(str(error).split()), file=sys.stderr)


def _say(line: str) -> None:
    print(line, flush=True)
