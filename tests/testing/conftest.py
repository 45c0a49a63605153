"""Fixtures of the tests of `asyncassist.testing`: a server, a client of it, and a thread to run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from asyncassist.testing import FakeServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncassist import AsyncClient

NOON = 1_800_000_000


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    """A server whose clock stands still."""
    async with FakeServer("Hello!", now=NOON) as server:
        yield server


@pytest.fixture
def client(server: FakeServer) -> AsyncClient:
    return server.client()
