"""A server of the Assistants API for tests."""

from __future__ import annotations

import itertools
from collections import defaultdict
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Literal

import httpx
from anyio.from_thread import start_blocking_portal
from attrs import evolve

from asyncassist.errors import UsageError, shown
from asyncassist.server.local import LocalServer, random_id
from asyncassist.testing.backend import ExpiringBackend, ScriptedBackend
from asyncassist.testing.clock import Clock
from asyncassist.testing.exchange import Gate
from asyncassist.testing.host import Host
from asyncassist.testing.plan import Faults

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
    from types import TracebackType
    from typing import Self

    from starlette.applications import Starlette

    from asyncassist import AsyncClient
    from asyncassist.server.backends.base import Backend
    from asyncassist.server.backends.script import Rule
    from asyncassist.server.store.base import Store
    from asyncassist.testing.record import SeenRequest

__all__ = ["FakeServer"]


class FakeServer:
    """A `LocalServer` for tests: with a script, a record of what it was asked, a clock to move, and faults.

    ::

        async with FakeServer("Hello!") as server:
            client = server.client()

    ``async with`` starts it at once. ``with`` lets it start when it is first used, in the event loop it is used in, so
    that fixtures which are no coroutines can give it to tests of any framework; left and used again in another event
    loop, it goes on with what its store holds. Both end all that is under way.

    Args:
        script: what runs are answered with; see `script`.
        backend: what answers the runs instead of a script.
        store: where everything is kept; one in memory when None.
        now: the time at which the clock stands until it is moved, in Unix seconds. None lets it go with the machine's.
        ids: ``"counted"`` makes ids that can be foretold: ``run_1``, ``run_2``... ``"random"`` is for a store that
            holds what another server has made.
        api_keys: the keys that are let in; None lets everybody in.
        run_seconds: how long a run may take before it expires.
        strict: whether to refuse what the hosted API refused and most servers let pass; see `LocalServer`.

    Attributes:
        clock: the server's time.
        faults: what is to go wrong.
        requests: what it was asked, oldest first.
        transport: an ``httpx`` transport that calls it in process, for ``httpx.AsyncClient(transport=...)``.

    Raises:
        UsageError: a value cannot be meant.
    """

    def __init__(
        self,
        *script: Rule | str,
        backend: Backend | None = None,
        store: Store | None = None,
        now: float | None = None,
        ids: Literal["counted", "random"] = "counted",
        api_keys: Sequence[str] | None = None,
        run_seconds: float = 600.0,
        strict: bool = False,
    ) -> None:
        if ids not in ("counted", "random"):
            raise UsageError(f'ids must be "counted" or "random", got {shown(ids)}')
        new_id = random_id if ids == "random" else _counted_ids()
        self.clock = Clock(now)
        self.faults = Faults()
        self.requests: list[SeenRequest] = []
        self._scripted: ScriptedBackend | None = None
        if backend is None:
            backend = self._scripted = ScriptedBackend(self.clock)
        self._server = LocalServer(
            ExpiringBackend(backend, self.clock),
            store,
            clock=self.clock,
            sleep=self.clock.sleep,
            new_id=new_id,
            api_keys=api_keys,
            run_seconds=run_seconds,
            strict=strict,
        )
        if script:
            self.script(*script)
        self._api_key = api_keys[0] if api_keys else "local"
        app = self._server.app
        # Outside of all the app has, its care for errors too: a dropped connection is none it should answer.
        app.middleware_stack = Gate(app.build_middleware_stack(), self.faults, self.clock, self.requests, new_id)
        self._host = Host(self._server)
        self._starts_itself = False
        self.transport: httpx.AsyncBaseTransport = _Transport(self._ready, self._server.transport)

    def __repr__(self) -> str:
        state = "running" if self._server.is_running else "stopped"
        return f"<FakeServer {state}, {len(self.requests)} requests>"

    @property
    def app(self) -> Starlette:
        """The ASGI app, for servers of your own; they have to run its lifespan unless this is entered."""
        return self._server.app

    def script(self, *rules: Rule | str) -> None:
        """Answer runs by these rules from now on: the first that matches. A text is the answer to everything.

        Raises:
            UsageError: the server has a backend of its own.
        """
        self._script().set_rules(rules)

    def replies(self, *answers: Rule | str) -> None:
        """Answer the next runs with these, each once and in this order; afterwards the script counts again.

        Args:
            answers: texts, or rules. A rule waits for a run it matches.

        Raises:
            UsageError: the server has a backend of its own.
        """
        self._script().add_replies(answers)

    def requests_for(self, operation: str) -> list[SeenRequest]:
        """The requests of an operation so far, by the name of the client's method."""
        return [request for request in self.requests if request.operation == operation]

    def client(self, **options: Any) -> AsyncClient:
        """Make a client that talks to this server in process.

        Its pauses between polls and before retries are as short as they can be, and end early when the clock is moved.
        It has no connections, so it need not be closed.

        Args:
            options: arguments of `AsyncClient`. Without a ``base_url`` it is ``http://local/v1``.
        """
        from asyncassist import AsyncClient

        given: dict[str, Any] = {
            "base_url": "http://local/v1",
            "api_key": self._api_key,
            "transport": self.transport,
        } | options
        client = AsyncClient(**given)
        sender = client._sender  # pyright: ignore[reportPrivateUsage] - the clock is no setting of a client
        sender.pacing = evolve(sender.pacing, clock=self.clock, sleep=self.clock.pause, random=lambda: 0.0)
        return client

    async def respond(self, request: httpx.Request) -> httpx.Response:
        """Answer a request of httpx, wherever it was meant to go.

        For libraries that put something in the place of hosts: ``respx.route(host=...).mock(side_effect=...)``.
        """
        return await self.transport.handle_async_request(request)

    @asynccontextmanager
    async def on_port(self, port: int = 0) -> AsyncGenerator[str, None]:
        """Serve on a port of this machine as well, over plain HTTP, on asyncio only.

        Args:
            port: 0 for any free one.

        Yields:
            The base URL.

        Raises:
            UsageError: the server is not entered, this is not asyncio, the port cannot be had, or uvicorn is missing.
        """
        await self._ready()
        async with self._server.on_port(port) as url:
            yield url

    @contextmanager
    def in_thread(self) -> Generator[str, None, None]:
        """Serve on a port from a thread of its own, for programs and tests that are not async, or run on trio.

        Meanwhile the server is used by this port only, and its clock cannot be moved.

        Yields:
            The base URL.

        Raises:
            UsageError: it is running already, or uvicorn is missing.
        """
        if self._server.is_running:
            raise UsageError(
                "the server is running already; it can be served from a thread before it is used otherwise"
            )
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(self),
            portal.wrap_async_context_manager(self.on_port()) as url,
        ):
            yield url

    def __enter__(self) -> Self:
        self._starts_itself = True
        return self

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        self._starts_itself = False
        self._host.stop_from_outside()

    async def __aenter__(self) -> Self:
        await self._host.start()
        return self

    async def __aexit__(
        self, cls: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        await self._host.stop()

    async def _ready(self) -> None:
        # Where others run it, by the app's lifespan, there is nothing to start.
        if self._starts_itself and (self._host.is_active or not self._server.is_running):
            await self._host.start()

    def _script(self) -> ScriptedBackend:
        if self._scripted is None:
            raise UsageError("the server was given a backend of its own, which knows of no script")
        return self._scripted


class _Transport(httpx.AsyncBaseTransport):
    """Calls a server that may have to be started first."""

    def __init__(self, ready: Callable[[], Awaitable[None]], transport: httpx.AsyncBaseTransport) -> None:
        self._ready = ready
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await self._ready()
        return await self._transport.handle_async_request(request)


def _counted_ids() -> Callable[[str], str]:
    counters: defaultdict[str, itertools.count[int]] = defaultdict(lambda: itertools.count(1))
    return lambda prefix: f"{prefix}{next(counters[prefix])}"
