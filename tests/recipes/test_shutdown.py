"""The recipes shut down in the middle of a stream, in this process: in the right order, with nothing left running."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import ModuleType

import httpx
import pytest
import uvicorn
from aiohttp import web

from asyncassist import AsyncClient, ClientClosedError
from asyncassist.server import LocalServer

from .running import RECIPES, Steered


def load(name: str) -> ModuleType:
    """Return a recipe as a module of its own."""
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@asynccontextmanager
async def fastapi_app(recipe: ModuleType) -> AsyncGenerator[tuple[str, AsyncClient], None]:
    """Serve the recipe until the block's end; give its URL and its client."""
    config = uvicorn.Config(recipe.app, port=0, log_config=None, timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}", recipe.app.state.client
    server.should_exit = True
    await serving


@asynccontextmanager
async def aiohttp_app(recipe: ModuleType) -> AsyncGenerator[tuple[str, AsyncClient], None]:
    """Serve the recipe until the block's end; give its URL and its client."""
    runner = web.AppRunner(recipe.app, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", recipe.app[recipe.CLIENT]
    await runner.cleanup()


Serve = Callable[[ModuleType], AbstractAsyncContextManager[tuple[str, AsyncClient]]]


@pytest.mark.parametrize("serve", [fastapi_app, aiohttp_app])
def test_a_shutdown_during_a_stream(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is cancelled and the assistant deleted through a client that is open; then it is closed, and all ends."""
    recipe = load(serve.__name__)
    thread_id = ""

    async def read(url: str, begun: asyncio.Event) -> None:
        nonlocal thread_id
        async with httpx.AsyncClient(base_url=url) as browser:
            thread_id = (await browser.post("/threads")).json()["thread_id"]
            async with browser.stream("POST", f"/threads/{thread_id}/stream", json={"question": "half"}) as response:
                async for text in response.aiter_text():
                    if "Half an " in text:
                        begun.set()

    async def use() -> None:
        async with LocalServer(Steered()) as api, api.on_port() as api_url, api.client() as watching:
            monkeypatch.setenv("ASYNCASSIST_BASE_URL", api_url)
            monkeypatch.setenv("ASYNCASSIST_API_KEY", "test")
            before = asyncio.all_tasks()
            begun = asyncio.Event()
            async with serve(recipe) as (url, client):
                reading = asyncio.create_task(read(url, begun))
                await begun.wait()
            with pytest.raises(httpx.RemoteProtocolError):  # cut in the middle
                await reading

            left = {task for task in asyncio.all_tasks() - before if not task.done()}
            assert not left
            with pytest.raises(ClientClosedError):
                await client.create_thread()
            assert not (await watching.list_assistants()).data
            assert [run.status for run in await watching.list_runs(thread_id).collect()] == ["cancelled"]

    asyncio.run(use())
