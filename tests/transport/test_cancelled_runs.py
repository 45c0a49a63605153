"""Runs whose callers are cancelled at every possible moment: none goes on unseen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from anyio.lowlevel import checkpoint

from asyncassist import AsyncClient

from .cancelling import cancelled_at, styles
from .helpers import paced, settle

pytestmark = pytest.mark.anyio


class Runs:
    """A server with runs that only end when they are cancelled, or after some looks."""

    def __init__(self, looks: int) -> None:
        self.statuses: dict[str, str] = {}
        self.cancels = 0
        self._looks = looks

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        await checkpoint()
        *_, last = request.url.path.split("/")
        if last == "runs":
            last = f"run_{len(self.statuses)}"
            self.statuses[last] = "queued"
        elif last == "cancel":
            last = request.url.path.split("/")[-2]
            self.cancels += 1
            self.statuses[last] = "cancelled"
        else:
            self._looks -= 1
            if self._looks == 0:
                self.statuses[last] = "completed"
        await checkpoint()
        return httpx.Response(200, json={"id": last, "thread_id": "thread_1", "status": self.statuses[last]})

    @property
    def active(self) -> list[str]:
        return [run_id for run_id, status in self.statuses.items() if status == "queued"]


CALLS: dict[str, Callable[..., Awaitable[object]]] = {
    "run_and_wait": lambda client, **options: client.run_and_wait("thread_1", assistant_id="asst_1", **options),
    "create_thread_run_and_wait": lambda client, **options: client.create_thread_run_and_wait(
        assistant_id="asst_1", **options
    ),
}


@pytest.mark.parametrize("call", list(CALLS))
async def test_no_run_goes_on_unseen(call: str) -> None:
    """Cancelled at any await, while the run is created, looked at or paused for: the run is cancelled too."""
    for style in styles():
        number = 0
        is_reached = True
        while is_reached:
            runs = Runs(looks=3)
            client = AsyncClient(api_key="key-of-tests", base_url="http://test", transport=httpx.MockTransport(runs))
            paced(client)

            async def work(client: AsyncClient = client) -> object:
                return await CALLS[call](client, on_status=lambda run: checkpoint())

            is_reached = await cancelled_at(number, work, style)
            await settle()
            assert [] == runs.active
            assert runs.cancels <= 1
            number += 1
        assert number > 5
        assert {"run_0": "completed"} == runs.statuses


async def test_a_run_may_be_left() -> None:
    """With ``on_cancel="leave"`` nothing is cancelled, whenever the caller is."""
    for style in styles():
        number = 0
        is_reached = True
        while is_reached:
            runs = Runs(looks=3)
            client = AsyncClient(api_key="key-of-tests", base_url="http://test", transport=httpx.MockTransport(runs))
            paced(client)

            async def work(client: AsyncClient = client) -> object:
                return await CALLS["run_and_wait"](client, on_cancel="leave")

            is_reached = await cancelled_at(number, work, style)
            assert 0 == runs.cancels
            number += 1


@pytest.mark.parametrize("looks", [1, 5])
async def test_a_wait_cancelled_anywhere(looks: int) -> None:
    """Cancelled at any await, ``wait_for_run`` cancels its run unless it has seen it end."""
    for style in styles():
        number = 0
        is_reached = True
        while is_reached:
            runs = Runs(looks)
            runs.statuses["run_0"] = "queued"
            client = AsyncClient(api_key="key-of-tests", base_url="http://test", transport=httpx.MockTransport(runs))
            paced(client)
            seen: list[Any] = []

            async def work(client: AsyncClient = client, seen: list[Any] = seen) -> None:
                seen.append(await client.wait_for_run("thread_1", "run_0"))

            is_reached = await cancelled_at(number, work, style)
            await settle()
            assert [] == runs.active
            assert bool(seen) != bool(runs.cancels)
            number += 1
