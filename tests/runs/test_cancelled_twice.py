"""A task that is cancelled again while it cleans up: its run is cancelled on the server all the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from asyncassist import AsyncClient
from asyncassist.server import LocalServer, OfflineBackend

Follow = Callable[[AsyncClient, str, str], Coroutine[Any, Any, None]]


async def wait(client: AsyncClient, thread_id: str, assistant_id: str) -> None:
    await client.run_and_wait(thread_id, assistant_id=assistant_id)


async def stream(client: AsyncClient, thread_id: str, assistant_id: str) -> None:
    async with client.stream_run(thread_id, assistant_id=assistant_id) as events:
        await events.until_done()


@pytest.mark.parametrize("follow", [wait, stream])
def test_a_second_cancel_does_not_stop_the_first(follow: Follow) -> None:
    """asyncio's own ``task.cancel()`` knows no shield, and servers call it twice in a row; whenever it comes."""

    async def use() -> None:
        async with LocalServer(OfflineBackend(delay=60)) as server, server.on_port() as url:
            async with AsyncClient(base_url=url, api_key="test") as client:
                assistant = await client.create_assistant(model="any")
                for steps in range(8):
                    thread = await client.create_thread()
                    task = asyncio.create_task(follow(client, thread.id, assistant.id))
                    while not [run for run in (await client.list_runs(thread.id)).data if run.status == "in_progress"]:
                        await asyncio.sleep(0.01)
                    await asyncio.sleep(0.02)  # so that a stream has been opened
                    task.cancel()
                    for _ in range(steps):
                        await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.wait([task])

                    assert task.cancelled()
                    async with asyncio.timeout(1):
                        while (await client.list_runs(thread.id)).data[0].status != "cancelled":
                            await asyncio.sleep(0.01)

    asyncio.run(use())
