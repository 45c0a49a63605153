"""What the tests of `asyncassist.testing` share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from asyncassist import AsyncClient


@frozen
class Place:
    """Where a run can be started."""

    thread_id: str
    assistant_id: str


async def place(client: AsyncClient, text: str = "hi") -> Place:
    """Make an assistant, and a thread with a message."""
    assistant = await client.create_assistant(model="m")
    thread = await client.create_thread(messages=[{"role": "user", "content": text}])
    return Place(thread.id, assistant.id)


async def ask(client: AsyncClient, text: str = "hi") -> str:
    """Ask on a new thread."""
    here = await place(client, text)
    run = await client.run_and_wait(here.thread_id, assistant_id=here.assistant_id, timeout=30)
    return await client.run_text(run.raise_for_status())
