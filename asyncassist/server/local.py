"""The server as a whole: its parts put together, and their life."""

from __future__ import annotations

import math
import secrets
import string
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, cast

import anyio
import httpx

from asyncassist._transport.loops import current_loop
from asyncassist.errors import UsageError
from asyncassist.server.app import create_app
from asyncassist.server.backends.offline import OfflineBackend
from asyncassist.server.engine import Engine
from asyncassist.server.operations import Operations
from asyncassist.server.store.memory import MemoryStore
from asyncassist.server.transport import LocalTransport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from socket import socket
    from types import TracebackType
    from typing import Self

    from anyio.abc import TaskGroup
    from starlette.applications import Starlette

    from asyncassist import AsyncClient
    from asyncassist.server.backends.base import Backend
    from asyncassist.server.port import Port
    from asyncassist.server.store.base import Store

__all__ = ["LocalServer"]

_ALPHABET = (string.ascii_letters + string.digits).encode()
_LETTERS = (_ALPHABET * 5)[:256]


def random_id(prefix: str) -> str:
    """An id nobody guesses: the prefix and 24 letters or digits."""
    return prefix + secrets.token_bytes(24).translate(_LETTERS).decode()


class LocalServer:
    """A server of the Assistants API in this process. Runs on asyncio and trio.

    ::

        async with LocalServer() as server:
            client = server.client()

    While it is entered it drives runs; leaving it ends all that is under way, and nothing is left behind. What the
    store holds stays, and a server entered again with the same store goes on with the runs that had not ended. The app
    can also be given to an ASGI server, which enters the server for as long as it runs; where it is mounted into
    another app, that app's lifespan has to enter it.

    Args:
        backend: what answers the runs; an `OfflineBackend` when None.
        store: where everything is kept; a `MemoryStore` when None.
        clock: gives the time in Unix seconds.
        sleep: waits for a number of seconds of that clock.
        new_id: makes an id that starts with a prefix, such as ``run_``. Each must be new.
        api_keys: the keys that are let in; None lets everybody in.
        run_seconds: how long a run may take before it expires.
        strict: whether to refuse, with a 400, what the hosted API refused and most servers let pass: query parameters
            and fields of bodies it does not know, and requests without the header ``OpenAI-Beta: assistants=v2``.

    Attributes:
        app: the ASGI app.
        transport: an ``httpx`` transport that calls the app in process, for ``httpx.AsyncClient(transport=...)``.

    Raises:
        UsageError: ``api_keys`` or ``run_seconds`` cannot be meant.
    """

    def __init__(
        self,
        backend: Backend | None = None,
        store: Store | None = None,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
        new_id: Callable[[str], str] = random_id,
        api_keys: Sequence[str] | None = None,
        run_seconds: float = 600.0,
        strict: bool = False,
    ) -> None:
        if isinstance(api_keys, str) or (api_keys is not None and not all(api_keys)):
            raise UsageError("api_keys must be a list of keys, none of them empty")
        if not 0 < run_seconds < math.inf:
            raise UsageError(f"run_seconds must be a finite number above 0, got {run_seconds}")
        self._api_keys = None if api_keys is None else tuple(api_keys)
        store = MemoryStore() if store is None else store
        backend = OfflineBackend(sleep=sleep) if backend is None else backend
        self._engine = Engine(store, backend, clock=clock, sleep=sleep, new_id=new_id)
        self._parts = (store, backend)
        self._opened = AsyncExitStack()
        self._task_group: TaskGroup | None = None
        self._loop: object = None
        self._ports: set[Port] = set()
        self.app: Starlette = create_app(
            Operations(store, self._engine, clock=clock, new_id=new_id, run_seconds=run_seconds),
            new_id=new_id,
            poll_after_ms=self._poll_after_ms,
            api_keys=self._api_keys,
            strict=strict,
            lifespan=lambda app: _Lifespan(self),
        )
        self.transport = LocalTransport(self.app, self._task_group_here)

    def client(self) -> AsyncClient:
        """Make a client that talks to this server in process. It is the caller's to close.

        Requests fail with ``APIConnectionError`` while the server is not entered.
        """
        from asyncassist import AsyncClient

        api_key = self._api_keys[0] if self._api_keys else "local"
        return AsyncClient(base_url="http://local/v1", api_key=api_key, transport=self.transport)

    @asynccontextmanager
    async def on_port(self, port: int | socket = 0) -> AsyncGenerator[str, None]:
        """Serve on a port of this machine as well, over plain HTTP, on asyncio only.

        Args:
            port: 0 for any free one. A socket that listens, at whatever address, is served and closed.

        Yields:
            The base URL.

        Raises:
            UsageError: the server is not entered, this is not asyncio, the port cannot be had, or uvicorn is missing.
        """
        try:
            from asyncassist.server.port import Port
        except ModuleNotFoundError as error:
            raise UsageError("a port needs uvicorn: pip install 'asyncassist[server]'") from error

        if self._task_group is None:
            raise UsageError("the server is not running: enter it with `async with` first")
        opened = Port(self.app, port)
        self._task_group.start_soon(opened.run)
        self._ports.add(opened)
        try:
            await opened.started()
            yield opened.url
        finally:
            opened.close()
            with anyio.CancelScope(shield=True):
                await opened.closed()
            self._ports.remove(opened)

    @property
    def is_running(self) -> bool:
        """Whether the server is entered."""
        return self._task_group is not None

    @property
    def active_runs(self) -> int:
        """How many runs have not ended; just after the server was entered, those that go on from before."""
        return self._engine.active_runs

    async def __aenter__(self) -> Self:
        if self._task_group is not None:
            raise UsageError("the server is running already")
        await self._open_parts()
        task_group = anyio.create_task_group()
        await task_group.__aenter__()
        self._task_group = task_group
        self._loop = current_loop()
        try:
            await self._engine.open(task_group)
        except BaseException:
            await self.__aexit__(*sys.exc_info())
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        try:
            return await self._stop(exc_type, exc, traceback)
        finally:
            # Not shielded here: a part may have entered scopes of its own when it was opened.
            await self._opened.aclose()

    async def _open_parts(self) -> None:
        """Call the methods ``open`` of the store and the backend, where they have them, and note their ``aclose``."""
        async with AsyncExitStack() as opened:
            for part in self._parts:
                await _method(part, "open")()
                opened.push_async_callback(_method(part, "aclose"))
            self._opened = opened.pop_all()

    async def _stop(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        task_group = self._task_group
        assert task_group is not None
        self._engine.close()
        self._task_group = None
        for port in self._ports:
            port.close()
        if exc is None or task_group.cancel_scope.cancel_called:
            task_group.cancel_scope.cancel()
            return await task_group.__aexit__(exc_type, exc, traceback)
        # The body's exception is none of the task group's doing. It goes on as it is: not put into an exception group,
        # and, where it is a cancellation from outside, not taken for the one of the tasks here.
        task_group.cancel_scope.cancel()
        try:
            await task_group.__aexit__(None, None, None)
        except anyio.get_cancelled_exc_class():
            if not _is_cancellation(exc):
                raise
        return False

    def _task_group_here(self) -> TaskGroup:
        if self._task_group is None:
            raise httpx.ConnectError("the local server is not running")
        if self._loop is not current_loop():
            raise httpx.ConnectError("the local server runs in another event loop; use it there, or by its port")
        return self._task_group

    def _poll_after_ms(self) -> int:
        # The more runs are being polled, the slower each: one more poll every millisecond is what a core can bear.
        return min(50 + self._engine.active_runs, 5000)


async def _nothing() -> None:
    pass


def _method(part: object, name: str) -> Callable[[], Awaitable[object]]:
    method: Callable[[], Awaitable[object]] | None = getattr(part, name, None)
    return _nothing if method is None else method


def _is_cancellation(exc: BaseException) -> bool:
    cancelled = anyio.get_cancelled_exc_class()
    if isinstance(exc, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", exc)
        return group.subgroup(cancelled) is not None
    return isinstance(exc, cancelled)


class _Lifespan:
    """Enters a server for an ASGI server's lifespan, unless it is entered already."""

    def __init__(self, server: LocalServer) -> None:
        self._server = server
        self._is_entered = False

    async def __aenter__(self) -> None:
        if not self._server.is_running:
            await self._server.__aenter__()
            self._is_entered = True

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._server.__aexit__(exc_type, exc, traceback) if self._is_entered else None
