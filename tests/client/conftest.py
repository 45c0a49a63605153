"""Fixtures of the client's tests: the misbehaving server of the transport's tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
from transport.conftest import _settled_memory, loop_thread, nothing_left, server

from asyncassist.server import Rule
from asyncassist.testing import FakeServer

from .unlucky import World

__all__ = ["_settled_memory", "loop_thread", "nothing_left", "server", "world"]


@pytest.fixture
async def world() -> AsyncGenerator[World, None]:
    """Give a server whose runs go on until they are cancelled."""
    async with FakeServer(Rule(say="Well.", delay=3600)) as server:
        client = server.client()
        assistant = await client.create_assistant(model="any")
        thread = await client.create_thread()
        yield World(server, client, thread.id, assistant.id)
