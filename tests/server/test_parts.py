"""What a server opens and closes along with itself: its store and its backend, where they want that."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from asyncassist.server import LocalServer, MemoryStore, Reply, Turn

pytestmark = pytest.mark.anyio


class Backend:
    """Notes its life; what it begins with can fail."""

    def __init__(self, events: list[str], failure: Exception | None = None) -> None:
        self.events = events
        self.failure = failure

    async def open(self) -> None:
        self.events.append("backend opened")
        if self.failure is not None:
            raise self.failure

    async def answer(self, turn: Turn) -> Reply:
        try:
            self.events.append("asked")
            await anyio.sleep_forever()
        finally:
            self.events.append("let go")

    async def aclose(self) -> None:
        self.events.append("backend closed")


class Store(MemoryStore):
    def __init__(self, events: list[str]) -> None:
        super().__init__()
        self.events = events

    async def open(self) -> None:
        self.events.append("store opened")

    async def aclose(self) -> None:
        self.events.append("store closed")


OPENED = ["store opened", "backend opened"]
CLOSED = ["backend closed", "store closed"]


async def test_opened_before_and_closed_after_all_runs() -> None:
    """The store is opened first and closed last; runs are driven only in between, each time the server is entered."""
    events: list[str] = []
    here = LocalServer(Backend(events), Store(events))
    async with here, here.client() as client:
        assistant = await client.create_assistant(model="m")
        await client.create_thread_and_run(assistant_id=assistant.id)
        while "asked" not in events:
            await checkpoint()
    async with here:
        pass

    assert events[:6] == [*OPENED, "asked", "let go", *CLOSED]
    assert [event for event in events[6:] if event not in ("asked", "let go")] == [*OPENED, *CLOSED]


async def test_closed_when_the_body_fails() -> None:
    """An exception of the body passes through, and all is closed."""
    events: list[str] = []
    with pytest.raises(LookupError, match="mine"):
        async with LocalServer(Backend(events), Store(events)):
            raise LookupError("mine")

    assert events == [*OPENED, *CLOSED]


async def test_a_backend_that_cannot_be_opened() -> None:
    """What was opened before is closed again, and the server can be entered another time."""
    events: list[str] = []
    backend = Backend(events, OSError("not today"))
    here = LocalServer(backend, Store(events))
    with pytest.raises(OSError, match="not today"):
        await here.__aenter__()

    assert events == [*OPENED, "store closed"]
    assert not here.is_running
    backend.failure = None
    async with here:
        assert here.is_running


async def test_parts_with_tasks_of_their_own() -> None:
    """A backend may hold a task group while its server is entered."""

    class Busy:
        group: TaskGroup

        async def open(self) -> None:
            self.group = anyio.create_task_group()
            await self.group.__aenter__()
            self.group.start_soon(anyio.sleep_forever)

        async def answer(self, turn: Turn) -> Reply:
            return Reply("busy")

        async def aclose(self) -> None:
            self.group.cancel_scope.cancel()
            await self.group.__aexit__(None, None, None)

    busy: Any = Busy()
    async with LocalServer(busy) as here, here.client() as client:
        assistant = await client.create_assistant(model="m")
        run = await client.create_thread_run_and_wait(assistant_id=assistant.id)

        assert await client.run_text(run) == "busy"
