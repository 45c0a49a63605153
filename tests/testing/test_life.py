"""How the server for tests begins and ends, wherever it is used."""

from __future__ import annotations

import asyncio
import unittest

import anyio
import httpx
import pytest
import trio

import asyncassist.testing
from asyncassist import APIConnectionError, RetryPolicy, UsageError
from asyncassist.server import MemoryStore, Rule
from asyncassist.testing import FakeServer

from .helpers import ask, place

anyio_test = pytest.mark.anyio

ONCE = RetryPolicy(attempts=1)


@anyio_test
async def test_it_ends_with_its_block() -> None:
    """Once left, requests fail as those to a server that is not there; it can be entered again with what it has."""
    server = FakeServer("Hello!")
    client = server.client(retry=ONCE)
    with pytest.raises(APIConnectionError, match="not running"):
        await client.create_thread()
    async with server:
        thread = await client.create_thread()
        assert "running" in repr(server)
    with pytest.raises(APIConnectionError, match="not running"):
        await client.create_thread()
    async with server:
        assert await client.get_thread(thread.id) == thread


@anyio_test
async def test_an_error_of_the_block_goes_through() -> None:
    """What the block raises is raised as it is, and what was under way has ended."""
    with pytest.raises(LookupError):
        async with FakeServer(Rule(delay=60)) as server:
            here = await place(server.client())
            await server.client().create_run(here.thread_id, assistant_id=here.assistant_id)
            raise LookupError


@anyio_test
async def test_with_starts_it_on_first_use() -> None:
    """In a plain `with` it begins with the first request, of any number at once, and ends soon after the block."""
    with FakeServer("Hello!") as server:
        assert "running" not in repr(server)
        client = server.client(retry=ONCE)
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(ask, client)
        response = await server.respond(httpx.Request("GET", "http://anywhere/v1/assistants"))
        assert len(response.json()["data"] if await response.aread() else ()) == 3
        assert "running" in repr(server)
    with anyio.fail_after(10):
        while "running" in repr(server):
            await anyio.sleep(0.001)
    with pytest.raises(APIConnectionError, match="not running"):
        await client.create_thread()


@anyio_test
async def test_with_one_after_another() -> None:
    """Entered again while it is still ending, it starts anew when that is done, for any number of requests at once."""
    server = FakeServer("Hello!")
    for _ in range(3):
        with server:
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(server.client().create_thread)

    assert [request.status for request in server.requests] == [200] * 9


@anyio_test
async def test_with_beside_a_lifespan() -> None:
    """A server that its app's lifespan runs does not start a second time."""
    with FakeServer("Hello!") as server:
        async with server.app.router.lifespan_context(server.app):
            assert await ask(server.client()) == "Hello!"


def test_one_server_for_several_event_loops() -> None:
    """Used in one event loop after another it goes on with what it holds; it ends with each of them."""
    with FakeServer("Hello!") as server:
        client = server.client()
        asyncio.run(ask(client))
        assert "running" not in repr(server)
        trio.run(ask, client)
        assert "running" not in repr(server)
        asyncio.run(ask(client))

    assert [request.ids["thread_id"] for request in server.requests_for("create_run")] == [
        "thread_1",
        "thread_2",
        "thread_3",
    ]


def test_it_ends_in_a_loop_that_pauses() -> None:
    """Left while its event loop is stopped but not closed, it has ended at once: no task of it is left."""
    with asyncio.Runner() as runner:
        with FakeServer("Hello!") as server:
            runner.run(ask(server.client()))
            assert "running" in repr(server)
        tasks = asyncio.all_tasks(runner.get_loop())

    assert "running" not in repr(server)
    assert not tasks


def test_it_ends_in_a_guest_that_pauses() -> None:
    """Left while its trio loop waits for its host, it ends when that goes on."""
    server = FakeServer("Hello!")
    ended: list[bool] = []

    async def use() -> None:
        server.__enter__()
        await ask(server.client())
        trio.lowlevel.current_trio_token().run_sync_soon(leave)
        while "running" in repr(server):
            await trio.sleep(0.001)
        ended.append(True)

    def leave() -> None:
        server.__exit__(None, None, None)

    trio.run(use)

    assert ended == [True]


@anyio_test
async def test_two_loops_at_once_are_refused() -> None:
    """While it runs in one event loop it does not start in another."""
    with FakeServer("Hello!") as server:
        await ask(server.client())

        async def elsewhere() -> None:
            with pytest.raises(UsageError, match="another event loop"):
                await server.client().create_thread()
            with pytest.raises(UsageError, match="another event loop"):
                async with server:
                    pass

        await anyio.to_thread.run_sync(asyncio.run, elsewhere())


class Broken(MemoryStore):
    """A store that cannot be opened."""

    async def open(self) -> None:
        raise OSError("no disk")


@anyio_test
async def test_a_server_that_cannot_start_says_so() -> None:
    """What keeps it from starting is raised where it was to be started."""
    with pytest.raises(OSError, match="no disk"):
        async with FakeServer(store=Broken()):
            pass
    with FakeServer(store=Broken()) as server:
        with pytest.raises(APIConnectionError, match="no disk"):
            await server.client(retry=ONCE).create_thread()


class Unclosable(MemoryStore):
    """A store that cannot be closed."""

    async def aclose(self) -> None:
        raise OSError("no disk")


@anyio_test
async def test_a_server_that_cannot_end_says_so() -> None:
    """What goes wrong at its end is raised where it was ended."""
    with pytest.raises(OSError, match="no disk"):
        async with FakeServer(store=Unclosable()):
            pass


class InUnittest(unittest.IsolatedAsyncioTestCase):
    """As a user of unittest would have it; their set-up, tests and clean-up are tasks of their own."""

    async def asyncSetUp(self) -> None:
        self.server = await self.enterAsyncContext(FakeServer("Hello!"))

    async def test_in_unittest(self) -> None:
        """A server entered in the set-up serves the test."""
        assert await ask(self.server.client()) == "Hello!"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@anyio_test
async def test_it_serves_on_a_port_as_well() -> None:
    """A port and the record belong to the same server, which the port starts where it has to."""
    with FakeServer("Hello!") as server:
        async with server.on_port() as url, asyncassist.AsyncClient(base_url=url, api_key="any") as client:
            assert await ask(client) == "Hello!"

    assert server.requests_for("create_run")[0].status == 200


@anyio_test
async def test_the_app_can_be_served_by_others() -> None:
    """Its lifespan runs it, and requests that are no HTTP pass by."""
    server = FakeServer("Hello!")
    async with server.app.router.lifespan_context(server.app):
        transport = httpx.ASGITransport(server.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://local") as http:
            assert (await http.get("/v1/assistants")).status_code == 200
    received = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return received.pop(0)

    async def send(message: dict[str, str]) -> None:
        sent.append(message["type"])

    await server.app({"type": "lifespan", "state": {}}, receive, send)

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert [request.operation for request in server.requests] == ["list_assistants"]
