"""A caller's own httpx client or transport, the aiohttp extra, and respx in between."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import builtins
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest
import respx

from asyncassist import (
    APIConnectionError,
    APIStatusError,
    AsyncClient,
    ClientClosedError,
    DecodeError,
    RateLimitError,
    UsageError,
)
from asyncassist._transport.bodies import read_body

from .helpers import KEY, ONCE, connect, paced, pool_of, until
from .loopback import RUN, Loopback, answer

pytestmark = pytest.mark.anyio


def settings(http: httpx.AsyncClient) -> dict[str, Any]:
    return {
        "headers": dict(http.headers),
        "cookies": dict(http.cookies),
        "params": str(http.params),
        "timeout": http.timeout,
        "base_url": http.base_url,
        "follow_redirects": http.follow_redirects,
        "hooks": http.event_hooks,
        "auth": http.auth,
    }


async def test_a_callers_client_is_used_as_it_is(server: Loopback) -> None:
    """A caller's httpx client adds what it was set up to add, is changed in nothing, and stays open."""
    seen: list[str] = []

    async def hook(request: httpx.Request) -> None:
        seen.append(request.method)

    async with httpx.AsyncClient(
        base_url="http://elsewhere.example/",
        headers={"X-Theirs": "1", "Accept": "text/plain"},
        cookies={"theirs": "1"},
        timeout=3.5,
        event_hooks={"request": [hook]},
    ) as http:
        before = settings(http)
        async with AsyncClient(api_key=KEY, base_url=server.url, http_client=http) as client:
            await client.get_run("thread_1", "run_1")
            await client.create_run("thread_1", assistant_id="asst_1")

        assert before == settings(http)
        assert not http.is_closed
        assert 200 == (await http.get(server.url)).status_code

    get, post, _ = server.requests
    assert "/v1/threads/thread_1/runs/run_1" == get.target
    assert ("1", "application/json") == (get.header("x-theirs"), get.header("accept"))
    assert "theirs=1" == get.header("cookie")
    assert f"Bearer {KEY}" == get.header("authorization")
    assert None is get.header("content-type")
    assert {"assistant_id": "asst_1"} == post.json
    assert ["GET", "POST", "GET"] == seen


async def test_a_callers_parameters_go_beside_ours(server: Loopback) -> None:
    """Query parameters of a caller's client are sent beside those of the call, not in their place."""
    server.default = answer({"data": [], "has_more": False})
    async with httpx.AsyncClient(params={"api-version": "v1", "limit": "1"}) as http:
        client = AsyncClient(api_key=KEY, base_url=server.url, http_client=http, default_query={"x": "ä"})
        await client.list_runs("thread_1", limit=7, after="run_0")
        await client.with_options().list_runs("thread_1")

    first, second = (httpx.URL(f"http://x{request.target}").params for request in server.requests)
    assert {"api-version": "v1", "limit": "7", "x": "ä", "after": "run_0"} == dict(first)
    assert {"api-version": "v1", "limit": "1", "x": "ä"} == dict(second)


async def test_a_callers_auth_is_used(server: Loopback) -> None:
    """Authentication of a caller's client is used where we send no key."""
    from asyncassist import NO_KEY

    async with httpx.AsyncClient(auth=("user", "password")) as http:
        client = AsyncClient(api_key=NO_KEY, base_url=server.url, http_client=http)
        await client.get_run("thread_1", "run_1")

    authorization = server.requests[0].header("authorization")
    assert authorization is not None
    assert authorization.startswith("Basic ")


async def test_a_callers_closed_client_is_a_clear_error(server: Loopback) -> None:
    """A caller's client that was closed is named as the reason."""
    http = httpx.AsyncClient()
    await http.aclose()
    client = AsyncClient(api_key=KEY, base_url=server.url, http_client=http)

    with pytest.raises(ClientClosedError, match="http_client .* has been closed"):
        await client.get_run("thread_1", "run_1")


@pytest.mark.parametrize("error", [RuntimeError("of their own"), ValueError("of their own")], ids=repr)
async def test_errors_of_a_callers_transport(error: Exception) -> None:
    """An error of the caller's own that is none of the connection passes through as it is."""

    def handler(request: httpx.Request) -> httpx.Response:
        raise error

    async with AsyncClient(
        api_key=KEY, base_url="http://server.example", transport=httpx.MockTransport(handler)
    ) as client:
        with pytest.raises(type(error), match="of their own"):
            await client.get_run("thread_1", "run_1")


class Theirs(httpx.AsyncBaseTransport):
    """A caller's transport that counts."""

    def __init__(self, stream: httpx.AsyncByteStream | None = None) -> None:
        self.carried = 0
        self.closed = 0
        self._stream = stream

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.carried += 1
        return httpx.Response(200, json=RUN) if self._stream is None else httpx.Response(200, stream=self._stream)

    async def aclose(self) -> None:
        self.closed += 1


async def test_a_callers_transport_is_not_closed() -> None:
    """A caller's transport carries our requests, as long as the caller likes."""
    theirs = Theirs()
    for _ in range(2):
        async with AsyncClient(api_key=KEY, base_url="http://server.example", transport=theirs) as client:
            await client.get_run("thread_1", "run_1")

    assert (2, 0) == (theirs.carried, theirs.closed)


class Endless(httpx.AsyncByteStream):
    """A body that goes on after it was closed."""

    def __init__(self, piece: bytes) -> None:
        self.given = 0
        self._piece = piece

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.given += 1
            yield self._piece


class Plain(Endless):
    """The same without a generator."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        stream = self

        class Pieces:
            def __aiter__(self) -> Pieces:
                return self

            async def __anext__(self) -> bytes:
                stream.given += 1
                return stream._piece

        return Pieces()


@pytest.mark.filterwarnings("ignore:Async generator:ResourceWarning")  # trio's, of the generator that never ends
@pytest.mark.parametrize("kind", [Endless, Plain])
async def test_a_body_of_a_callers_transport_that_never_ends(kind: type[Endless]) -> None:
    """A body that goes on and on, even after it was closed, ends with an error."""
    stream = kind(b" " * (1 << 20))
    async with AsyncClient(api_key=KEY, base_url="http://server.example", transport=Theirs(stream)) as client:
        with pytest.raises(Exception, match="limit"):
            await client.get_run("thread_1", "run_1")

    assert stream.given < 50_000


async def test_a_body_without_a_generator_that_never_ends() -> None:
    """The same read directly, where there is nothing to close."""
    stream = Plain(b" " * (1 << 20))
    with pytest.raises(DecodeError, match="limit"):
        await read_body(httpx.Response(200, stream=stream))

    assert stream.given < 50_000


@pytest.mark.parametrize(
    "options",
    [
        {"http_client": httpx.AsyncClient(), "transport": Theirs()},
        {"http_client": httpx.AsyncClient(), "proxy": "http://proxy.example"},
        {"http_client": httpx.AsyncClient(), "verify": False},
        {"http_client": httpx.AsyncClient(), "cert": "client.pem"},
        {"transport": Theirs(), "proxy": "http://proxy.example"},
        {"transport": Theirs(), "verify": False},
        {"transport": Theirs(), "cert": "client.pem"},
        {"transport": "requests"},
        {"transport": httpx.HTTPTransport()},
        {"http_client": httpx.Client()},
        {"max_connections": 0},
        {"max_connections": True},
        {"max_connections": 1.5},
        {"max_streams": 65_537},
    ],
    ids=lambda options: "-".join(options),
)
def test_what_does_not_go_together(options: dict[str, Any]) -> None:
    """A caller's client or transport has its own proxy and certificates; both, or others, are refused."""
    with pytest.raises(UsageError):
        AsyncClient(api_key=KEY, base_url="http://server.example", **options)


async def test_the_aiohttp_extra(server: Loopback, anyio_backend: str) -> None:
    """``transport="aiohttp"`` works on asyncio; on trio the first use says that it does not."""
    async with connect(server, transport="aiohttp") as client:
        if anyio_backend == "asyncio":
            assert "run_1" == (await client.get_run("thread_1", "run_1")).id
        else:
            with pytest.raises(UsageError, match="asyncio only"):
                await client.get_run("thread_1", "run_1")
            assert (0, 0) == (pool_of(client).connections, pool_of(client).waiting)

    assert (anyio_backend == "asyncio") == bool(server.requests)


def test_the_aiohttp_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, ``transport="aiohttp"`` says what to install."""
    real_import = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name == "aiohttp":
            raise ImportError(name)
        return real_import(name, *args)

    monkeypatch.delitem(sys.modules, "asyncassist._transport.aiohttp_line", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r"pip install 'asyncassist\[aiohttp\]'"):
        AsyncClient(api_key=KEY, base_url="http://server.example", transport="aiohttp")


@pytest.mark.parametrize("using", ["httpcore", "httpx"])
async def test_respx_sees_our_requests(using: str) -> None:
    """respx intercepts the client in both its modes; nothing leaves the machine."""
    with respx.mock(using=using) as mock:
        get = mock.get("http://server.example/v1/threads/thread_1/runs/run_1").respond(json=RUN)
        post = mock.post("http://server.example/v1/threads/thread_1/runs").respond(201, json=RUN)
        missing = mock.get("http://server.example/v1/threads/nobody").respond(404, json={"error": {"message": "none"}})
        mock.get("http://server.example/v1/threads/broken").mock(side_effect=httpx.ConnectError("refused"))
        async with AsyncClient(api_key=KEY, base_url="http://server.example/v1", retry=ONCE) as client:
            run = await client.get_run("thread_1", "run_1")
            await client.create_run("thread_1", assistant_id="asst_1")
            with pytest.raises(APIStatusError):
                await client.get_thread("nobody")
            with pytest.raises(APIConnectionError, match="refused"):
                await client.get_thread("broken")
            assert 0 == pool_of(client).waiting

    assert "run_1" == run.id
    assert f"Bearer {KEY}" == get.calls[0].request.headers["authorization"]
    assert {"assistant_id": "asst_1"} == json.loads(post.calls[0].request.content)
    assert missing.called


@respx.mock
async def test_respx_as_a_decorator() -> None:
    """respx as a decorator, in its default mode, intercepts https too."""
    respx.get("https://server.example/v1/threads/thread_1/runs/run_1").respond(json=RUN)
    async with AsyncClient(api_key=KEY, base_url="https://server.example/v1") as client:
        assert "run_1" == (await client.get_run("thread_1", "run_1")).id


@pytest.mark.parametrize("using", ["httpcore", "httpx"])
async def test_respx_lets_real_requests_pass(server: Loopback, using: str) -> None:
    """What respx passes through reaches the server."""
    with respx.mock(using=using) as mock:
        mock.route(host="127.0.0.1").pass_through()
        async with connect(server) as client:
            await client.get_run("thread_1", "run_1")
            await client.create_run("thread_1", assistant_id="asst_1")

    assert ["GET", "POST"] == [request.method for request in server.requests]


async def test_a_refusal_while_the_key_is_asked_for() -> None:
    """A call whose key takes a while lines up again where others were refused meanwhile, whatever carries it."""
    gate, asked = anyio.Event(), 0
    answers = iter([httpx.Response(429), httpx.Response(200, json=RUN)])

    async def key() -> str:
        nonlocal asked
        asked += 1
        if asked == 1:
            await gate.wait()
        return KEY

    transport = httpx.MockTransport(lambda request: next(answers))
    async with AsyncClient(api_key=key, base_url="http://server.example/v1", retry=ONCE, transport=transport) as client:
        naps = paced(client)
        async with anyio.create_task_group() as group:
            group.start_soon(client.get_run, "thread_1", "run_1")
            await until(lambda: asked == 1)
            with pytest.raises(RateLimitError):
                await client.get_run("thread_1", "run_2")
            gate.set()

    assert 3 == asked  # once again after its pause
    assert [True] == [0 < nap <= 0.1 for nap in naps.taken]
