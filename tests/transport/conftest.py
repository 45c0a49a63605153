"""Fixtures of the transport's tests: servers that misbehave, and a watch over sockets left open."""

from __future__ import annotations

import gc
import ssl
import warnings
from collections.abc import AsyncIterator, Iterator

import pytest
import trustme

from .helpers import Choice, sockets, until
from .loopback import Loopback, LoopThread


@pytest.fixture(scope="session")
def loop_thread() -> Iterator[LoopThread]:
    """The thread all servers run in."""
    thread = LoopThread()
    yield thread
    thread.stop()


@pytest.fixture(scope="session")
def _settled_memory() -> Iterator[None]:
    """Undo in the end what makes collecting garbage after each test quick."""
    yield
    gc.unfreeze()


@pytest.fixture
async def nothing_left(_settled_memory: None) -> AsyncIterator[None]:
    """Fail a test that leaves sockets open, collected by chance or not."""
    before = sockets()
    yield
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        gc.collect()
    gc.freeze()  # what is left now need not be looked at again
    assert [] == [str(warning.message) for warning in caught if warning.category is ResourceWarning]
    await until(lambda: sockets() <= before)


@pytest.fixture
async def server(loop_thread: LoopThread, nothing_left: None) -> AsyncIterator[Loopback]:
    """A server on http."""
    with Loopback(loop_thread) as server:
        yield server
        await until(lambda: server.open_now == 0)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """Who signs the certificates of the servers."""
    return trustme.CA()


@pytest.fixture(scope="session")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """What a client needs to trust the servers."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="session")
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
async def tls_server(
    loop_thread: LoopThread, nothing_left: None, server_context: ssl.SSLContext
) -> AsyncIterator[Loopback]:
    """A server on https."""
    with Loopback(loop_thread, tls=server_context) as server:
        yield server
        await until(lambda: server.open_now == 0)


@pytest.fixture(params=[("asyncio", None), ("trio", None), ("asyncio", "aiohttp")], ids=["asyncio", "trio", "aiohttp"])
def setting(request: pytest.FixtureRequest) -> tuple[str, Choice]:
    """An event loop and the ``transport=`` to use on it."""
    setting: tuple[str, Choice] = request.param
    return setting


@pytest.fixture
def transport(setting: tuple[str, Choice]) -> Choice:
    """What to give as ``transport=``; modules that use it take their event loop from `setting` too."""
    return setting[1]
