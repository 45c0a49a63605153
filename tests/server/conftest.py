"""Fixtures of the server's tests: a running server, and the plain HTTP of its clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from asyncassist.server import LocalServer

from .helpers import Api, Clock, SteeredBackend, counted_ids

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server(clock: Clock) -> AsyncIterator[LocalServer]:
    """A server with the offline backend, on the clock turned by hand."""
    async with LocalServer(clock=clock, sleep=clock.sleep, new_id=counted_ids()) as server:
        yield server


@pytest.fixture
async def api(server: LocalServer) -> AsyncIterator[Api]:
    async with httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http:
        yield Api(http)


@pytest.fixture
async def backend() -> SteeredBackend:
    return SteeredBackend()


@pytest.fixture
async def steered(clock: Clock, backend: SteeredBackend) -> AsyncIterator[Api]:
    """The API of a server whose backend is steered by the test."""
    async with (
        LocalServer(backend, clock=clock, sleep=clock.sleep, new_id=counted_ids()) as server,
        httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http,
    ):
        yield Api(http)
