"""The server's life: entering, leaving in every way, the port, and an ASGI server's lifespan."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from anyio.lowlevel import checkpoint
from starlette.applications import Starlette
from starlette.routing import Mount

import asyncassist.server
from asyncassist import APIConnectionError, RetryPolicy, UsageError
from asyncassist.server import LocalServer, MemoryStore, Reply, Turn
from asyncassist.server.local import random_id

from .helpers import Api, SteeredBackend, settle

if TYPE_CHECKING:
    from starlette.types import Message, Scope

pytestmark = pytest.mark.anyio


class Boom(Exception):
    pass


async def start_runs(server: LocalServer, count: int = 3) -> None:
    async with httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http:
        api = Api(http)
        for _ in range(count):
            await api.until(await api.run(), "in_progress")


async def test_leaving_ends_active_runs(backend: SteeredBackend) -> None:
    """Runs under way are stopped when the server is left, without a word."""
    async with LocalServer(backend) as server:
        await start_runs(server)

    assert backend.cancelled == 3


async def test_an_exception_of_the_body_comes_out_as_it_is(backend: SteeredBackend) -> None:
    """What is raised inside is not wrapped into a group, and active runs are stopped."""
    boom = Boom()

    with pytest.raises(Boom) as caught:
        async with LocalServer(backend) as server:
            await start_runs(server)
            raise boom

    assert boom is caught.value
    assert backend.cancelled == 3


async def test_a_group_of_the_body_comes_out_as_it_is() -> None:
    """A group raised inside comes out as that group, not as one within another."""
    group = ExceptionGroup("several", [Boom(), Boom()])

    with pytest.raises(ExceptionGroup) as caught:
        async with LocalServer():
            raise group

    assert group is caught.value


async def test_a_group_with_a_cancellation_in_it_comes_out_as_it_is() -> None:
    """What a body raises beside being cancelled is not lost."""
    with anyio.CancelScope() as scope:
        with pytest.raises(BaseExceptionGroup) as caught:
            async with LocalServer():
                scope.cancel()
                try:
                    await anyio.sleep_forever()
                except anyio.get_cancelled_exc_class() as cancelled:
                    raise BaseExceptionGroup("both", [Boom(), cancelled]) from None
        assert caught.value.message == "both"
        assert caught.group_contains(Boom)


async def test_an_exception_does_not_hide_a_cancellation() -> None:
    """A deadline that strikes while the server is closing after an exception is kept as well."""

    class Slow:
        async def answer(self, turn: Turn) -> Reply:
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await settle()
                    scope.cancel()
                    await settle()
            raise AssertionError

    with anyio.CancelScope() as scope:
        async with LocalServer(Slow()) as server:
            await start_runs(server)
            raise Boom

    assert scope.cancelled_caught


async def test_a_cancelled_body_leaves_nothing(backend: SteeredBackend) -> None:
    """Being cancelled from outside ends the server like any other way."""
    entered = anyio.Event()

    async def serve() -> None:
        async with LocalServer(backend) as server:
            await start_runs(server)
            entered.set()
            await anyio.sleep_forever()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(serve)
            await entered.wait()
            task_group.cancel_scope.cancel()

    assert backend.cancelled == 3


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_natively_cancelled_body_stays_cancelled(backend: SteeredBackend) -> None:
    """A cancellation by asyncio's own means is not swallowed on the way out."""
    entered = asyncio.Event()

    async def serve() -> None:
        async with LocalServer(backend) as server:
            await start_runs(server)
            entered.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(serve())
    await entered.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert backend.cancelled == 3


async def test_a_deadline_around_the_server_is_kept() -> None:
    """A timeout that strikes inside is the timeout's own matter."""
    with pytest.raises(TimeoutError):
        with anyio.fail_after(0.01):
            async with LocalServer():
                await anyio.sleep_forever()


async def test_what_the_server_cannot_catch_comes_out_of_the_group() -> None:
    """An error that ends the server's own tasks is not hidden."""

    class Fatal(BaseException):
        pass

    class Deadly:
        async def answer(self, turn: Turn) -> Reply:
            raise Fatal

    with pytest.raises(BaseExceptionGroup) as caught:
        async with LocalServer(Deadly()) as server:
            async with httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http:
                await Api(http).run()
                await anyio.sleep_forever()

    assert caught.group_contains(Fatal)


async def test_a_store_that_does_not_open_leaves_nothing_open() -> None:
    """When the store fails at entering, the server is not running and its error comes out."""

    class Closed(MemoryStore):
        async def active_runs(self) -> Any:
            raise OSError("no such file")

    server = LocalServer(store=Closed())

    with pytest.raises(OSError, match="no such file"):
        await server.__aenter__()

    assert not server.is_running


async def test_a_server_is_entered_once_at_a_time() -> None:
    """Entering a running server is a UsageError; after leaving it, it can be entered again and has kept its objects."""
    server = LocalServer()
    async with server, server.client() as client:
        created = await client.create_assistant(model="m")
        with pytest.raises(UsageError, match="running already"):
            await server.__aenter__()

    async with server, server.client() as client:
        seen = await client.get_assistant(created.id)

    assert created == seen


async def test_a_server_that_is_not_entered_cannot_be_reached() -> None:
    """The client's calls fail as with a server that is not there."""
    server = LocalServer()
    async with server.client() as client:
        with pytest.raises(APIConnectionError):
            await client.with_options(retry=RetryPolicy(attempts=1)).get_assistant("asst_1")


def test_another_event_loop_cannot_reach_it() -> None:
    """A client in another event loop is told so, where it would wait for ever otherwise."""
    server = LocalServer()

    async def ask() -> None:
        async with httpx.AsyncClient(transport=server.transport) as http:
            await http.get("http://local/v1/assistants")

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(server):
        with pytest.raises(httpx.ConnectError, match="another event loop"):
            anyio.run(ask)


async def test_an_app_without_its_server_runs_nothing() -> None:
    """Where the app is mounted and nobody enters the server, runs are refused with a 503 that says so."""
    store = MemoryStore()
    async with LocalServer(SteeredBackend(), store) as server:
        await start_runs(server, 1)
    run = (await store.active_runs())[0]

    async with httpx.AsyncClient(transport=httpx.ASGITransport(server.app), base_url="http://local/v1") as http:
        api = Api(http)
        assistant_id, thread_id = await api.assistant(), await api.thread()
        path = f"/threads/{run.thread_id}/runs/{run.id}"
        errors = [
            await api.refused("POST", f"{path}/cancel", 503),
            await api.refused("POST", f"{path}/submit_tool_outputs", 503, json={"tool_outputs": []}),
            await api.refused("POST", f"/threads/{thread_id}/runs", 503, json={"assistant_id": assistant_id}),
        ]
        runs = await api.get(f"/threads/{thread_id}/runs")

    assert all("enter" in error["message"] for error in errors)
    assert runs["data"] == []


async def test_the_client_knows_the_key() -> None:
    """The server's own client is let in."""
    async with LocalServer(api_keys=["secret"]) as server, server.client() as client:
        page = await client.list_assistants()

    assert page.data == ()


async def lifespan(server: LocalServer) -> list[str]:
    """Go through an ASGI lifespan, with a run in between."""
    sent: list[str] = []
    may_stop = anyio.Event()
    messages = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Message:
        message = next(messages)
        if message == "lifespan.shutdown":
            await may_stop.wait()
        return {"type": message}

    async def send(message: Message) -> None:
        sent.append(message["type"])

    async with anyio.create_task_group() as task_group:
        scope: Scope = {"type": "lifespan", "state": {}}
        task_group.start_soon(server.app, scope, receive, send)
        while not sent:
            await checkpoint()
        async with server.client() as client:
            assistant = await client.create_assistant(model="m")
            run = await client.create_thread_run_and_wait(assistant_id=assistant.id)
            sent.append(run.status)
        may_stop.set()
    return sent


@pytest.mark.parametrize("is_entered", [False, True])
async def test_an_asgi_server_enters_it_for_its_lifespan(is_entered: bool) -> None:
    """Given to an ASGI server the app runs on its own; entered before, it is left alone."""
    server = LocalServer()
    if is_entered:
        async with server:
            sent = await lifespan(server)
            assert server.is_running
    else:
        sent = await lifespan(server)

    assert sent == ["lifespan.startup.complete", "completed", "lifespan.shutdown.complete"]
    assert not server.is_running


async def test_mounted_below_a_path_with_parameters() -> None:
    """Mounted into another app, under a path with parameters of its own, the API is the same."""
    async with LocalServer() as server:
        app = Starlette(routes=[Mount("/tenants/{tenant}/{thread_id}", app=server.app)])
        transport = httpx.ASGITransport(app)
        for base in ("http://local/tenants/a/b/v1", "http://local/tenants/a/b"):
            async with httpx.AsyncClient(transport=transport, base_url=base) as http:
                api = Api(http)
                run = await api.until(await api.run(), "completed")
                steps = await api.get(f"/threads/{run['thread_id']}/runs/{run['id']}/steps")
                assert len(steps["data"]) == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_port_serves_the_same_objects() -> None:
    """Over the port and in process it is one server; afterwards the port is closed."""
    async with LocalServer() as server, httpx.AsyncClient() as http:
        async with server.on_port() as url:
            response = await http.post(f"{url}/assistants", json={"model": "m"})
            async with server.client() as client:
                seen = await client.get_assistant(response.json()["id"])
        with pytest.raises(httpx.ConnectError):
            await http.get(f"{url}/assistants")

    assert seen.model == "m"


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_port_answers_at_once() -> None:
    """Answers over a connection that is kept do not wait for the network's delayed acknowledgements, 40 ms each."""
    seconds: list[float] = []
    async with LocalServer() as server, server.on_port() as url, httpx.AsyncClient(base_url=url) as http:
        for _ in range(21):
            started = time.perf_counter()
            await http.get("/assistants")
            seconds.append(time.perf_counter() - started)

    assert sorted(seconds)[10] < 0.03


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_port_is_closed_when_the_body_is_cancelled() -> None:
    """A cancelled body closes the port in bounded time, with a request under way."""

    class Slow:
        async def answer(self, turn: Turn) -> Reply:
            await anyio.sleep_forever()
            raise AssertionError

    url = ""
    with anyio.fail_after(5):
        with anyio.move_on_after(0.2):
            async with LocalServer(Slow()) as server, server.on_port() as url, httpx.AsyncClient(base_url=url) as http:
                await Api(http).run()
                async with anyio.create_task_group() as task_group:
                    for _ in range(3):
                        task_group.start_soon(http.get, "/assistants")
                    await anyio.sleep_forever()
        async with httpx.AsyncClient() as http:
            with pytest.raises(httpx.ConnectError):
                await http.get(url)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_leaving_the_server_first_closes_its_port() -> None:
    """A server that is left before its port takes the port with it."""
    server = LocalServer()
    await server.__aenter__()
    port = server.on_port()
    url = await port.__aenter__()

    await server.__aexit__(None, None, None)
    await port.__aexit__(None, None, None)

    async with httpx.AsyncClient() as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(url)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("port", ["taken", 70_000, -1])
async def test_a_port_that_cannot_be_had_is_a_usage_error(port: int | str) -> None:
    """A taken or impossible port is refused, and the server goes on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1] if isinstance(port, str) else port
        async with LocalServer() as server:
            with pytest.raises(UsageError, match="cannot be opened"):
                async with server.on_port(number):
                    pass
            assert server.is_running


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_on_trio_there_is_no_port() -> None:
    """On trio a port is refused in plain words."""
    async with LocalServer() as server:
        with pytest.raises(UsageError, match="asyncio only"):
            async with server.on_port():
                pass


async def test_a_port_needs_uvicorn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where uvicorn is not installed a port is refused with the command that gets it."""
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "asyncassist.server.port", raising=False)
    async with LocalServer() as server:
        with pytest.raises(UsageError, match="pip install 'asyncassist\\[server\\]'"):
            async with server.on_port():
                pass


async def test_a_port_needs_a_running_server() -> None:
    """Serving a port without entering the server is a UsageError."""
    with pytest.raises(UsageError, match="not running"):
        async with LocalServer().on_port():
            pass


def test_ids_are_new_each_time() -> None:
    """An id has its prefix and 24 letters or digits."""
    ids = {random_id("run_") for _ in range(1000)}

    assert len(ids) == 1000
    assert all(id.startswith("run_") and len(id) == 28 and id[4:].isalnum() for id in ids)


def test_public_names_are_there() -> None:
    """Every name in ``__all__`` loads, is listed, and is sorted; others are an AttributeError."""
    names = asyncassist.server.__all__

    assert sorted(names) == names == dir(asyncassist.server)
    assert all(getattr(asyncassist.server, name).__name__ == name for name in names)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = asyncassist.server.nothing


@pytest.mark.parametrize(
    ("missing", "hint"), [("starlette", "pip install 'asyncassist\\[server\\]'"), ("cattrs", "cattrs")]
)
def test_without_the_extra_there_is_a_hint(monkeypatch: pytest.MonkeyPatch, missing: str, hint: str) -> None:
    """Where the extra is not installed the import error says how to get it; other imports fail as ever."""

    def fail(name: str) -> object:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.setattr("asyncassist.server.import_module", fail)
    monkeypatch.delitem(vars(asyncassist.server), "LocalServer", raising=False)

    with pytest.raises(ImportError, match=hint):
        _ = asyncassist.server.LocalServer
