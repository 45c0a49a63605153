"""The client on uvloop, which most production servers run: its transports are none of asyncio's own classes."""

from __future__ import annotations

import asyncio
import json
import ssl
from typing import Any

import anyio
import pytest
import trustme

from asyncassist import AsyncClient

pytest.importorskip("uvloop", reason="uvloop is not made for this platform")
pytestmark = pytest.mark.anyio

LONG = "x" * 1_000_000
RUN = json.dumps({"id": "run_1", "thread_id": "thread_1", "status": "completed", "instructions": LONG}).encode()


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run on uvloop alone."""
    return "asyncio", {"use_uvloop": True}


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request of a connection with a run of a megabyte; never answer one for a run named slow."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if b"/slow" in head:
                await reader.read()  # until the client has gone
                break
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(RUN) + RUN)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the client has gone
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_calls_and_cancels_leave_nothing(scheme: str) -> None:
    """Large answers arrive whole over reused connections, and a cancelled call gives up its connection."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context if scheme == "https" else None)
    port = server.sockets[0].getsockname()[1]
    async with server, AsyncClient(api_key="key", base_url=f"{scheme}://127.0.0.1:{port}", verify=trusting) as client:
        pool = client._sender.carrier.pool
        assert pool is not None

        runs = await asyncio.gather(*[client.get_run("thread_1", "run_1") for _ in range(20)])
        for _ in range(5):
            await client.get_run("thread_1", "run_1")
        assert {len(run.instructions or "") for run in runs} == {1_000_000}
        assert pool.connections == pool.idle == 20

        with anyio.move_on_after(0.05):
            await client.get_run("thread_1", "slow")
        assert pool.connections == pool.idle == 19
        assert (await client.get_run("thread_1", "run_1")).id == "run_1"
