"""Proxies: given, named by the environment, or excepted by it; tunnels and forwarding."""

from __future__ import annotations

import itertools
import ssl
from typing import Any

import httpx
import pytest

from asyncassist import APIConnectionError, APIStatusError, AsyncClient, UsageError
from asyncassist._transport.environment import proxy_for
from asyncassist._transport.settings import BaseUrl

from .helpers import KEY, ONCE, Choice, connect, pool_of, until
from .loopback import RUN, Loopback, LoopThread, answer, closed_port, head, raw, tunnel
from .socks import SocksProxy

pytestmark = pytest.mark.anyio

PASSWORD = "hunter2-of-the-proxy"


@pytest.fixture
def anyio_backend(setting: tuple[str, Choice]) -> str:
    return setting[0]


async def test_plain_http_goes_through_the_proxy_as_it_is(
    server: Loopback, loop_thread: LoopThread, transport: Choice
) -> None:
    """A request over http is handed to the proxy with its whole URL, over connections that are kept."""
    with Loopback(loop_thread) as proxy:
        async with connect(server, proxy=proxy.origin, transport=transport) as client:
            await client.get_run("thread_1", "run_1")
            await client.get_run("thread_1", "run_1")
            assert 1 == pool_of(client).connections

    assert [] == server.requests
    assert [f"{server.url}/threads/thread_1/runs/run_1"] * 2 == [request.target for request in proxy.requests]
    assert f"127.0.0.1:{server.port}" == proxy.requests[0].header("host")
    assert 1 == proxy.opened


async def test_https_goes_through_a_tunnel(
    tls_server: Loopback, loop_thread: LoopThread, trusting: ssl.SSLContext, transport: Choice
) -> None:
    """A request over https goes through a tunnel; the proxy sees the host and nothing else, the key least of all."""
    with Loopback(loop_thread) as proxy:
        proxy.default = tunnel(tls_server.port)
        async with connect(tls_server, proxy=proxy.origin, verify=trusting, transport=transport) as client:
            await client.get_run("thread_1", "run_1")
            await client.create_run("thread_1", assistant_id="asst_1")

        (opening,) = proxy.requests
        assert ("CONNECT", f"localhost:{tls_server.port}") == (opening.method, opening.target)
        assert KEY not in str(opening)
    assert ["GET", "POST"] == [request.method for request in tls_server.requests]
    assert 1 == tls_server.opened


async def test_the_proxy_is_given_its_password(server: Loopback, loop_thread: LoopThread, transport: Choice) -> None:
    """Name and password in the proxy's URL are sent to the proxy."""
    with Loopback(loop_thread) as proxy:
        url = f"http://user:{PASSWORD}@127.0.0.1:{proxy.port}"
        async with connect(server, proxy=url, transport=transport) as client:
            await client.get_run("thread_1", "run_1")

    (request,) = proxy.requests
    sent = request.header("proxy-authorization")
    assert sent is not None
    assert httpx.BasicAuth("user", PASSWORD)._auth_header == sent


async def test_a_proxy_object_is_taken_too(server: Loopback, loop_thread: LoopThread, transport: Choice) -> None:
    """``proxy=`` takes an httpx.Proxy, headers included."""
    with Loopback(loop_thread) as proxy:
        given = httpx.Proxy(proxy.origin, headers={"X-Team": "blue"})
        async with connect(server, proxy=given, transport=transport) as client:
            await client.get_run("thread_1", "run_1")

    assert "blue" == proxy.requests[0].header("x-team")


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_is_not_there(scheme: str, nothing_left: None, transport: Choice) -> None:
    """A proxy that refuses connections is a clear error; nothing was sent, and no password is shown."""
    with closed_port() as port:
        client = AsyncClient(
            api_key=KEY,
            base_url=f"{scheme}://server.example/v1",
            proxy=f"http://user:{PASSWORD}@127.0.0.1:{port}",
            transport=transport,
            retry=ONCE,
        )
        async with client:
            with pytest.raises(APIConnectionError, match=r"cannot connect to http.*server\.example") as caught:
                await client.create_run("thread_1", assistant_id="asst_1")

    assert not caught.value.sent
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("status", [407, 403, 502])
async def test_a_proxy_that_opens_no_tunnel(
    tls_server: Loopback, loop_thread: LoopThread, trusting: ssl.SSLContext, transport: Choice, status: int
) -> None:
    """A proxy that refuses a tunnel is a connection error with its status; nothing was sent."""
    with Loopback(loop_thread) as proxy:
        proxy.default = answer(b"", status, keep=False)
        async with connect(tls_server, proxy=proxy.origin, verify=trusting, transport=transport, retry=ONCE) as client:
            with pytest.raises(APIConnectionError, match=rf"cannot connect.*{status}") as caught:
                await client.create_run("thread_1", assistant_id="asst_1")

    assert not caught.value.sent
    assert [] == tls_server.requests


async def test_an_answer_of_the_proxy_itself(server: Loopback, loop_thread: LoopThread, transport: Choice) -> None:
    """What a forwarding proxy answers itself is an answer like any other."""
    with Loopback(loop_thread) as proxy:
        proxy.default = raw(head(407, length=0))
        async with connect(server, proxy=proxy.origin, transport=transport, retry=ONCE) as client:
            with pytest.raises(APIStatusError) as caught:
                await client.get_run("thread_1", "run_1")

    assert 407 == caught.value.status


async def test_tunnels_that_break_are_replaced(
    tls_server: Loopback, loop_thread: LoopThread, trusting: ssl.SSLContext, transport: Choice
) -> None:
    """A tunnel closed while it was unused is replaced before anything is sent on it."""
    tls_server.script.append(answer(RUN, keep=False))
    with Loopback(loop_thread) as proxy:
        proxy.default = tunnel(tls_server.port)
        async with connect(tls_server, proxy=proxy.origin, verify=trusting, transport=transport, retry=ONCE) as client:
            await client.get_run("thread_1", "run_1")
            await client.create_run("thread_1", assistant_id="asst_1")

    assert 2 == len(proxy.requests)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_the_environment_names_the_proxy(
    server: Loopback, loop_thread: LoopThread, transport: Choice, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP_PROXY and ALL_PROXY are obeyed unless ``proxy=`` is given, and NO_PROXY excepts hosts."""
    with Loopback(loop_thread) as proxy, Loopback(loop_thread) as other:
        # In the environment a proxy may be named without its scheme.
        monkeypatch.setenv(name, f"127.0.0.1:{proxy.port}")
        async with connect(server, transport=transport) as client:
            await client.get_run("thread_1", "run_1")
        async with connect(server, transport=transport, proxy=other.origin) as client:
            await client.get_run("thread_1", "run_1")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        async with connect(server, transport=transport) as client:
            await client.get_run("thread_1", "run_1")

    assert [1, 1, 1] == [len(proxy.requests), len(other.requests), len(server.requests)]


async def test_the_environment_names_the_proxy_for_https(
    tls_server: Loopback,
    loop_thread: LoopThread,
    trusting: ssl.SSLContext,
    transport: Choice,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """HTTPS_PROXY is obeyed for https, HTTP_PROXY is not."""
    with Loopback(loop_thread) as proxy, Loopback(loop_thread) as other:
        proxy.default = tunnel(tls_server.port)
        monkeypatch.setenv("HTTP_PROXY", other.origin)
        monkeypatch.setenv("HTTPS_PROXY", proxy.origin)
        async with connect(tls_server, verify=trusting, transport=transport) as client:
            await client.get_run("thread_1", "run_1")

    assert [1, 0, 1] == [len(proxy.requests), len(other.requests), len(tls_server.requests)]


def by_httpx(urls: list[str]) -> dict[str, str | None]:
    """Return the proxies a plain httpx client takes for URLs."""
    routes: dict[str, str | None] = {}
    with httpx.Client(verify=False) as client:
        for url in urls:
            transport: Any = client._transport_for_url(httpx.URL(url))
            found = getattr(transport._pool, "_proxy_url", None)
            routes[url] = None if found is None else f"{found.scheme.decode()}://{found.host.decode()}:{found.port}"
    return routes


HOSTS = ("example.com", "api.example.com", "notexample.com", "EXAMPLE.com", "localhost", "127.0.0.1", "10.1.2.3")
URLS = [
    f"{scheme}://{host}{port}/v1"
    for scheme, host, port in itertools.product(("http", "https"), (*HOSTS, "[::1]"), ("", ":8080"))
]
EXCEPTIONS = (
    "",
    "*",
    "example.com",
    ".example.com",
    "EXAMPLE.COM",
    " example.com , other.example",
    "com",
    "example.com:8080",
    "localhost",
    "localhost,127.0.0.1,::1",
    "127.0.0.1",
    "127.0.0.1:8080",
    "10.1.2.3",
    "10.1.2.4",
    "::1",
    "http://example.com",
    "https://example.com",
    "all://example.com",
    "https://example.com:8080",
    "https://",
    "other.example",
    ".",
)


@pytest.mark.parametrize("exceptions", EXCEPTIONS)
@pytest.mark.parametrize(
    "proxies",
    [
        {},
        {"ALL_PROXY": "http://all.example:3128"},
        {"HTTP_PROXY": "http://http.example:3128"},
        {"HTTPS_PROXY": "http://https.example:3128", "ALL_PROXY": "http://all.example:3128"},
        {"http_proxy": "plain.example:3128", "https_proxy": "plain.example:3129"},
        {"HTTP_PROXY": "", "ALL_PROXY": "http://all.example:3128"},
    ],
    ids=["none", "all", "http", "https", "lower", "blank"],
)
def test_the_environment_is_read_as_httpx_reads_it(
    proxies: dict[str, str], exceptions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every URL the environment leads to the proxy a plain httpx client would take."""
    for name, value in proxies.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_PROXY", exceptions)

    assert by_httpx(URLS) == {url: proxy_for(BaseUrl(url)) for url in URLS}


@pytest.mark.parametrize(
    ("exceptions", "excepted", "others"),
    [
        ("*.example.com", "http://api.example.com/v1", "http://example.org/v1"),
        ("10.0.0.0/8", "http://10.1.2.3/v1", "http://11.1.2.3/v1"),
        ("2001:db8::/32", "http://[2001:db8::1]/v1", "http://[2001:db9::1]/v1"),
        ("[::1]", "http://[::1]/v1", "http://[::2]/v1"),
        ("[::1]:8080", "http://[::1]:8080/v1", "http://[::1]:8081/v1"),
        ("example.com:443", "https://example.com/v1", "http://example.com/v1"),
        ("http://*", "http://example.com/v1", "https://example.com/v1"),
        ("a/b", "", "http://10.1.2.3/v1"),
    ],
)
def test_exceptions_httpx_does_not_understand(
    exceptions: str, excepted: str, others: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wildcards, networks, bracketed addresses and default ports in NO_PROXY, on which httpx fails, are understood."""
    monkeypatch.setenv("ALL_PROXY", "http://all.example:3128")
    monkeypatch.setenv("NO_PROXY", exceptions)

    assert not excepted or proxy_for(BaseUrl(excepted)) is None
    assert "http://all.example:3128" == proxy_for(BaseUrl(others))


@pytest.mark.parametrize(
    "proxy",
    [
        "",
        "proxy",
        "ftp://proxy.example",
        f"socks4://user:{PASSWORD}@proxy.example",
        f"http://user:{PASSWORD}@[::1",
        f"http://user:{PASSWORD}@proxy.example:port",
        "http://",
        "http://proxy.example:0",
        "http://a..b",
        f"http://{'x' * 64}.example",
        f"http://user:{PASSWORD}@proxy\x00",
        5,
        b"http://proxy.example",
        httpx.URL("http://proxy.example"),
    ],
    ids=repr,
)
def test_what_cannot_be_a_proxy(proxy: Any) -> None:
    """What ``proxy=`` cannot be is refused at construction, without showing it: it may hold a password."""
    with pytest.raises(UsageError, match="proxy") as caught:
        AsyncClient(api_key=KEY, base_url="http://server.example/v1", proxy=proxy)

    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_socks_needs_a_package(scheme: str, monkeypatch: pytest.MonkeyPatch, transport: Choice) -> None:
    """A SOCKS proxy, given or in the environment, is refused at construction where it could not be used."""
    monkeypatch.setattr("asyncassist._transport.connections.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="SOCKS"):
        AsyncClient(
            api_key=KEY, base_url="http://server.example/v1", proxy=f"{scheme}://proxy.example", transport=transport
        )
    monkeypatch.setenv("ALL_PROXY", f"{scheme}://proxy.example")
    with pytest.raises(UsageError, match="SOCKS"):
        AsyncClient(api_key=KEY, base_url="http://server.example/v1", transport=transport)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_on_https(
    server: Loopback,
    tls_server: Loopback,
    loop_thread: LoopThread,
    server_context: ssl.SSLContext,
    trusting: ssl.SSLContext,
    own: None,
    scheme: str,
) -> None:
    """A proxy may itself be on https, with an SSL context of its own; https goes through it encrypted twice."""
    target = tls_server if scheme == "https" else server
    with Loopback(loop_thread, tls=server_context) as proxy:
        if scheme == "https":
            proxy.default = tunnel(tls_server.port)
        given = httpx.Proxy(proxy.origin, ssl_context=trusting)
        async with connect(target, proxy=given, verify=trusting) as client:
            await client.get_run("thread_1", "run_1")
            await client.create_run("thread_1", assistant_id="x" * 300_000)
            assert 1 == pool_of(client).connections
        await until(lambda: proxy.open_now == 0)

    assert (["CONNECT"] if scheme == "https" else ["GET", "POST"]) == [request.method for request in proxy.requests]
    assert 300_000 < len((target if scheme == "https" else proxy).requests[-1].body)


@pytest.fixture
def own(transport: Choice) -> None:
    """Leave aiohttp out: it uses no SOCKS proxies, and no SSL context for a proxy alone."""
    if transport == "aiohttp":
        pytest.skip("not with aiohttp")


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
@pytest.mark.parametrize("user", [None, "user"])
async def test_through_a_socks_proxy(
    server: Loopback, loop_thread: LoopThread, scheme: str, user: str | None, own: None
) -> None:
    """A SOCKS proxy is asked for the server by its name, given its password, and its connection is kept."""
    with SocksProxy(loop_thread, server.port) as proxy:
        login = "" if user is None else f"{user}:{PASSWORD}@"
        url = "http://server.example:8080/v1"
        async with connect(server, base_url=url, proxy=f"{scheme}://{login}127.0.0.1:{proxy.port}") as client:
            await client.get_run("thread_1", "run_1")
            await client.create_run("thread_1", assistant_id="asst_1")
            assert 1 == pool_of(client).connections
        await until(lambda: proxy.open_now == 0)

    assert [("server.example", 8080)] == proxy.asked
    assert ([] if user is None else [(user, PASSWORD)]) == proxy.logins
    assert ["/v1/threads/thread_1/runs/run_1", "/v1/threads/thread_1/runs"] == [got.target for got in server.requests]


async def test_https_through_a_socks_proxy(
    tls_server: Loopback, loop_thread: LoopThread, trusting: ssl.SSLContext, own: None
) -> None:
    """Through a SOCKS proxy https is encrypted as far as the server."""
    with SocksProxy(loop_thread, tls_server.port) as proxy:
        async with connect(tls_server, proxy=f"socks5://127.0.0.1:{proxy.port}", verify=trusting) as client:
            await client.get_run("thread_1", "run_1")
        await until(lambda: proxy.open_now == 0)

    assert 1 == len(tls_server.requests)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"reply": 5}, "Connection refused"),
        ({"garbled": b""}, "Malformed reply"),
        ({"garbled": b"HTTP/1.1 400 Bad Request\r\n\r\n"}, "Malformed reply"),
    ],
    ids=["refused", "closed", "no SOCKS"],
)
async def test_a_socks_proxy_that_does_not_connect(
    server: Loopback, loop_thread: LoopThread, options: dict[str, Any], reason: str, own: None
) -> None:
    """A SOCKS proxy that refuses, hangs up or speaks something else is a clear error; nothing was sent."""
    with SocksProxy(loop_thread, server.port, **options) as proxy:
        route = f"socks5://user:{PASSWORD}@127.0.0.1:{proxy.port}"
        async with connect(server, base_url="http://server.example/v1", proxy=route, retry=ONCE) as client:
            with pytest.raises(APIConnectionError, match=rf"cannot connect.*{reason}") as caught:
                await client.create_run("thread_1", assistant_id="asst_1")
            assert 0 == pool_of(client).connections
        await until(lambda: proxy.open_now == 0)

    assert not caught.value.sent
    assert PASSWORD not in str(caught.value)
    assert [] == server.requests
