"""Each fault is met by our client in process on both event loops, and on a port of asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from asyncassist import AsyncClient
from asyncassist.testing import FakeServer

from ..conftest import NOON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(params=["asyncio", "trio", "port"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Both event loops in process, and asyncio on a port."""
    return "trio" if request.param == "trio" else "asyncio"


@pytest.fixture
async def server(anyio_backend: str) -> AsyncIterator[FakeServer]:
    async with FakeServer("one two three", now=NOON) as server:
        yield server


@pytest.fixture
async def client(server: FakeServer, request: pytest.FixtureRequest) -> AsyncIterator[AsyncClient]:
    if request.node.callspec.params["anyio_backend"] == "port":
        async with server.on_port() as url, AsyncClient(base_url=url, api_key="any") as client:
            yield client
    else:
        yield server.client()
