"""``demo``: one question, asked the way a program would."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Annotated

import anyio
from msgspec import Meta

from asyncassist import NO_KEY, AsyncAssistError, AsyncClient, MessageDeltaEvent, RunEvent, Toolset, tool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncassist import RunStream

__all__ = ["run"]

QUESTION = "What time is it in UTC?"

#: Seconds the offline backend takes over its answers and between words, so that there is a run to be seen.
_DELAY, _PAUSE = 0.3, 0.03
_OFFLINE_ANSWER = "This is the offline backend: no model was asked. The tool says: {outputs[0]}"
#: Seconds to clean up in, also after an interrupt.
_CLEAN_UP = 5.0

_HINT = """\

That answer came from the offline backend: no model was asked, and nothing left this machine.
To ask a real server:

    python -m asyncassist demo --base-url https://your-server/v1 --model MODEL

or set ASYNCASSIST_BASE_URL; the key is read from ASYNCASSIST_API_KEY (--no-key sends none)."""


@tool
def current_time(hours_from_utc: Annotated[int, Meta(ge=-12, le=14)]) -> str:
    """Tell what time it is.

    Args:
        hours_from_utc: where, by the hours its clocks are ahead of UTC.
    """
    zone = timezone(timedelta(hours=hours_from_utc))
    text = datetime.now(zone).strftime("%H:%M, %d %B %Y")
    _say(f"tool       current_time({hours_from_utc}) -> {text}")
    return text


async def run(*, base_url: str | None, no_key: bool, model: str) -> None:
    """Ask the question, at the server that was named or at one in this process."""
    if base_url:
        async with AsyncClient(base_url=base_url, api_key=NO_KEY if no_key else None) as client:
            _say(f"Asking {client.base_url}")
            await _ask(client, model)
        return
    from asyncassist.server import FunctionCall, LocalServer, OfflineBackend, Rule

    rule = Rule(QUESTION, calls=[FunctionCall(current_time.name, {"hours_from_utc": 0})], say=_OFFLINE_ANSWER)
    backend = OfflineBackend([rule], delay=_DELAY, pause=_PAUSE)
    async with LocalServer(backend) as server, server.client() as client:
        _say("Asking a server in this process")
        await _ask(client, model)
        _say(_HINT)


async def _ask(client: AsyncClient, model: str) -> None:
    async with AsyncExitStack() as clean_up:
        assistant = await client.create_assistant(model=model, name="asyncassist demo", tools=[current_time])
        clean_up.push_async_callback(_delete, client.delete_assistant, assistant.id)
        _say(f"assistant  {assistant.id}")
        thread = await client.create_thread()
        clean_up.push_async_callback(_delete, client.delete_thread, thread.id)
        _say(f"thread     {thread.id}")
        await client.create_message(thread.id, role="user", content=QUESTION)
        _say(f"question   {QUESTION}")
        async with client.stream_run(thread.id, assistant_id=assistant.id, toolset=Toolset([current_time])) as stream:
            await _show(stream)


async def _show(stream: RunStream) -> None:
    answer = ""
    async for event in stream:
        match event:
            case RunEvent(data=run):
                _say(f"run        {run.id}  {event.event.rpartition('.')[2]}", after=answer)
                answer = ""
                if run.is_terminal:
                    run.raise_for_status()
            case MessageDeltaEvent(data=delta):
                print(delta.text if answer else f"answer     {delta.text}", end="", flush=True)
                answer += delta.text
            case _:
                pass


async def _delete(delete: Callable[[str], Awaitable[object]], id: str) -> None:
    """Delete what the demo made, whatever has happened; what cannot be deleted is named."""
    with anyio.move_on_after(_CLEAN_UP, shield=True):
        try:
            await delete(id)
        except AsyncAssistError as error:
            print(f"{id} is left there:", " ".join(str(error).split()), file=sys.stderr)


def _say(line: str, *, after: str = "") -> None:
    print("\n" + line if after else line, flush=True)
