"""The life of a client: closing it, at rest and in full use, and what it was given by its caller."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest
import respx
from anyio.lowlevel import checkpoint

from asyncassist import NO_KEY, AsyncClient, AuthenticationError, ClientClosedError, Run, Thread
from asyncassist._transport.pacing import Pacing

from .helpers import BASE, KEY, OBJECT, OPERATIONS, Server, reply

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("operation", list(OPERATIONS))
async def test_use_after_close(operation: str) -> None:
    """Every operation of a closed client, a copy or the raw form raises ClientClosedError and sends nothing."""
    server = Server()
    async with server.client() as client:
        copy = client.with_options(timeout=5)
    for closed in (client, copy, client.with_raw_response, client.with_options(timeout=1)):
        with pytest.raises(ClientClosedError, match="the client is closed; create a new one"):
            await OPERATIONS[operation](closed)
    assert [] == server.requests


async def test_a_client_is_entered_with_async_with() -> None:
    """A plain ``with`` says so."""
    client = Server().client()
    with pytest.raises(TypeError, match="^an AsyncClient is entered with `async with`, not `with`"):
        with client:  # type: ignore[attr-defined]
            pass
    await client.aclose()


@pytest.mark.parametrize(
    ("name", "hint"),
    [("beta", "methods of the client itself"), ("threads", "create_thread()"), ("chat", "Assistants API only")],
)
async def test_names_of_other_clients(name: str, hint: str) -> None:
    """What code for another client asks for says what there is instead; anything else is Python's own error."""
    client = AsyncClient(api_key=KEY, base_url=BASE)
    with pytest.raises(AttributeError, match=f"no attribute '{name}'; .*{re.escape(hint)}"):
        getattr(client, name)
    with pytest.raises(AttributeError, match="^'AsyncClient' object has no attribute 'nothing'$"):
        client.nothing  # type: ignore[attr-defined]  # noqa: B018
    await client.aclose()


async def test_closing_twice() -> None:
    """Closing is harmless when repeated, also at the same time and inside the block."""
    async with Server().client() as client:
        await client.get_thread("t")
        async with anyio.create_task_group() as group:
            group.start_soon(client.aclose)
            group.start_soon(client.aclose)
        await client.aclose()
        assert client.is_closed


async def test_entering_a_closed_client() -> None:
    """A client that was closed, or a copy of it, cannot be entered again; the error comes there, at no later call."""
    async with Server().client() as client:
        copy = client.with_options(timeout=5)
    for closed in (client, copy):
        with pytest.raises(ClientClosedError, match=r"^the client is closed; create a new one$"):
            async with closed:
                pytest.fail("it was entered")


async def test_an_unused_client() -> None:
    """A client that was never used can be closed."""
    client = AsyncClient(api_key=KEY, base_url=BASE)
    await client.aclose()
    assert client.is_closed


class Gate:
    """Lets nobody through."""

    def __init__(self) -> None:
        self.waiting = 0

    async def __call__(self, _: object) -> Any:
        self.waiting += 1
        await anyio.sleep_forever()

    async def until(self, count: int) -> None:
        with anyio.fail_after(5):
            while self.waiting < count:
                await checkpoint()


async def close_among(client: AsyncClient, gate: Gate, operations: list[str]) -> list[BaseException]:
    """Close a client while calls are at the gate and return how they end."""
    ends: list[BaseException] = []

    async def call(operation: str) -> None:
        try:
            await OPERATIONS[operation](client)
        except ClientClosedError as error:
            ends.append(error)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for operation in operations:
                group.start_soon(call, operation)
            await gate.until(len(operations))
            await client.aclose()
    return ends


async def test_closing_while_calls_are_under_way() -> None:
    """Each of 20 calls under way ends with ClientClosedError."""
    gate = Gate()
    client = Server(gate).client()
    ends = await close_among(client, gate, ["get_thread", "create_thread"] * 10)
    assert 20 == len(ends)
    assert all("the client was closed before the answer came" in str(end) for end in ends)


async def test_closing_while_retries_pause() -> None:
    """Calls that wait for their next attempt end at once, and nothing more is sent."""
    gate = Gate()
    server = Server(reply({}, 500))
    client = server.client()
    client._sender.pacing = Pacing(sleep=gate)
    ends = await close_among(client, gate, ["get_thread"] * 20)
    assert 20 == len(ends) == len(server.requests)
    assert all("the client was closed before the next attempt" in str(end) for end in ends)


async def test_a_cancel_under_way_outlives_the_closing() -> None:
    """Closing waits for a cancel, so that no run is left behind."""
    started, go = anyio.Event(), anyio.Event()
    cancelled: list[Run] = []

    async def slow(request: httpx.Request) -> httpx.Response:
        started.set()
        await go.wait()
        return httpx.Response(200, json=OBJECT)

    client = Server(slow).client()

    async def cancel() -> None:
        cancelled.append(await client.cancel_run("t", "r"))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(cancel)
            await started.wait()
            group.start_soon(client.aclose)
            while not client.is_closed:
                await checkpoint()
            go.set()
    assert ["any_1"] == [run.id for run in cancelled]


async def test_a_connection_that_breaks_in_closing() -> None:
    """What breaks because the client is being closed says so."""

    async def closing(request: httpx.Request) -> httpx.Response:
        client._sender._is_closed = True
        raise httpx.ReadError("closed")

    client = Server(closing).client()
    with pytest.raises(ClientClosedError, match="the client was closed meanwhile"):
        await client.get_thread("t")
    await client.aclose()


# What the caller brings


class Counting(httpx.AsyncBaseTransport):
    """A caller's transport."""

    def __init__(self, server: Server) -> None:
        self.inner = server.transport
        self.closed = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self.inner.handle_async_request(request)

    async def aclose(self) -> None:
        self.closed += 1


async def test_a_callers_transport_is_never_closed() -> None:
    """It serves on after the client, for other clients too."""
    server = Server()
    transport = Counting(server)
    for _ in range(2):
        async with AsyncClient(api_key=KEY, base_url=BASE, transport=transport) as client:
            await client.get_thread("t")
    assert 0 == transport.closed
    assert 2 == len(server.requests)


@pytest.fixture
async def theirs() -> AsyncIterator[tuple[httpx.AsyncClient, Server]]:
    """A caller's httpx client with settings of its own, and where it leads."""
    server = Server()
    async with httpx.AsyncClient(
        transport=Counting(server),
        headers={"X-Theirs": "1", "Authorization": "Bearer theirs"},
        params={"their": "param"},
        cookies={"session": "theirs"},
        base_url="http://elsewhere",
    ) as http:
        yield http, server


async def test_a_callers_client_keeps_its_settings(theirs: tuple[httpx.AsyncClient, Server]) -> None:
    """Its headers, parameters and cookies go with what we send; our base URL and key count, and it stays as it was."""
    http, server = theirs
    before = (dict(http.headers), dict(http.params), dict(http.cookies), http.timeout, http.base_url)
    async with AsyncClient(api_key=KEY, base_url=BASE, http_client=http, default_query={"our": "x"}) as client:
        await client.list_runs("t", limit=5)
        await client.create_thread(metadata={"a": "b"})
    listing, create = server.requests
    assert "http://test/v1/threads/t/runs" == str(listing.url.copy_with(query=None))
    assert {"their": "param", "our": "x", "limit": "5"} == dict(listing.url.params)
    assert {"their": "param", "our": "x"} == dict(create.url.params)
    assert b'{"metadata":{"a":"b"}}' == create.content
    for request in server.requests:
        assert "1" == request.headers["x-theirs"]
        assert "session=theirs" == request.headers["cookie"]
        assert [f"Bearer {KEY}"] == request.headers.get_list("authorization")
        assert ["gzip, deflate"] == request.headers.get_list("accept-encoding")
        assert ["application/json"] == request.headers.get_list("accept")
    assert before == (dict(http.headers), dict(http.params), dict(http.cookies), http.timeout, http.base_url)
    assert not http.is_closed


async def test_a_callers_client_may_bring_the_key(theirs: tuple[httpx.AsyncClient, Server]) -> None:
    """With NO_KEY its own Authorization is sent."""
    http, server = theirs
    async with AsyncClient(api_key=NO_KEY, base_url=BASE, http_client=http) as client:
        await client.get_thread("t")
    assert "Bearer theirs" == server.request.headers["authorization"]


async def test_a_callers_client_may_bring_its_auth() -> None:
    """Its auth is asked for every request."""
    server = Server()
    async with httpx.AsyncClient(transport=server.transport, auth=("user", "password"), follow_redirects=True) as http:
        async with AsyncClient(api_key=NO_KEY, base_url=BASE, http_client=http) as client:
            await client.get_thread("t")
            assert server.request.headers["authorization"].startswith("Basic ")
            server.script = [reply({}, 401)]
            with pytest.raises(AuthenticationError):
                await client.get_thread("t")
            server.script = [reply({}, 302, {"location": "/"})]
            with pytest.raises(Exception, match="redirects are not followed"):
                await client.get_thread("t")


async def test_a_callers_client_closed_under_us(theirs: tuple[httpx.AsyncClient, Server]) -> None:
    """When it has been closed, calls say so; closing ours is still harmless."""
    http, server = theirs
    async with AsyncClient(api_key=KEY, base_url=BASE, http_client=http) as client:
        await http.aclose()
        with pytest.raises(ClientClosedError, match="the http_client this client was given has been closed") as caught:
            await client.get_thread("t")
        assert not client.is_closed
    assert caught.value.__cause__ is None
    assert [] == server.requests


async def test_a_callers_event_hook_may_fail() -> None:
    """What a caller's own code raises comes through as it is."""

    async def hook(request: httpx.Request) -> None:
        raise RuntimeError("a hook of their own")

    async with httpx.AsyncClient(transport=Server().transport, event_hooks={"request": [hook]}) as http:
        async with AsyncClient(api_key=KEY, base_url=BASE, http_client=http) as client:
            with pytest.raises(RuntimeError, match="a hook of their own"):
                await client.get_thread("t")


# respx


async def test_respx_intercepts_our_connections() -> None:
    """The mock of httpcore, respx's default, stands in for the network below our pool."""
    with respx.mock(base_url="http://test/v1") as router:
        route = router.post("/threads").respond(201, json=OBJECT)
        async with AsyncClient(api_key=KEY, base_url=BASE) as client:
            assert isinstance(await client.create_thread(), Thread)
    assert f"Bearer {KEY}" == route.calls.last.request.headers["authorization"]


async def test_respx_intercepts_our_httpx_client() -> None:
    """The mock of httpx stands in for its transports, our pool among them."""
    with respx.mock(base_url="http://test/v1", using="httpx") as router:
        route = router.get("/threads/t").mock(side_effect=[httpx.Response(500), httpx.Response(200, json=OBJECT)])
        async with AsyncClient(api_key=KEY, base_url=BASE) as client:
            client._sender.pacing = Pacing(sleep=lambda _: checkpoint())
            assert isinstance(await client.get_thread("t"), Thread)
    assert 2 == route.call_count
