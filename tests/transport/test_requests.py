"""What goes over the wire, to the byte where it matters; and what never does."""

from __future__ import annotations

import math
import socket
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from asyncassist import NO_KEY, UNSET, APIConnectionError, AsyncClient, UsageError

from .helpers import KEY, ONCE, Choice, connect
from .loopback import RUN, Loopback, answer, hold

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(setting: tuple[str, Choice]) -> str:
    return setting[0]


def names(server: Loopback, number: int = -1) -> set[str]:
    return {name.lower() for name, _ in server.requests[number].headers}


PLAIN = {"host", "accept", "accept-encoding", "user-agent", "authorization", "openai-beta"}


async def test_a_read(server: Loopback, transport: Choice) -> None:
    """A GET has these headers and no others: no Content-Type, no length, no cookies."""
    async with connect(server, transport=transport) as client:
        await client.get_run("thread_1", "run_1")

    (request,) = server.requests
    assert ("GET", "/v1/threads/thread_1/runs/run_1", b"") == (request.method, request.target, request.body)
    assert PLAIN == names(server) - {"connection"}
    assert f"127.0.0.1:{server.port}" == request.header("host")
    assert "application/json" == request.header("accept")
    assert "gzip, deflate" == request.header("accept-encoding")
    assert "assistants=v2" == request.header("openai-beta")
    assert f"Bearer {KEY}" == request.header("authorization")
    agent = request.header("user-agent")
    assert agent is not None
    assert agent.startswith("asyncassist/")


async def test_a_create(server: Loopback, transport: Choice) -> None:
    """A POST with a body has its type and length; what was not given is not in it, and None is null."""
    async with connect(server, transport=transport) as client:
        await client.create_run("thread_1", assistant_id="asst_1", model=None, temperature=0.5)

    (request,) = server.requests
    assert ("POST", "/v1/threads/thread_1/runs") == (request.method, request.target)
    assert b'{"assistant_id":"asst_1","model":null,"temperature":0.5}' == request.body
    assert PLAIN | {"content-type", "content-length"} == names(server) - {"connection"}
    assert "application/json" == request.header("content-type")
    assert "56" == request.header("content-length")


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.cancel_run("thread_1", "run_1"),
        lambda client: client.create_thread(),
    ],
    ids=["cancel", "create_thread"],
)
async def test_a_post_without_a_body(
    server: Loopback, transport: Choice, call: Callable[[AsyncClient], Awaitable[object]]
) -> None:
    """A POST without a body has no Content-Type, even where the caller's default headers name one, and length 0."""
    async with connect(
        server, transport=transport, default_headers={"content-type": "application/json; charset=utf-8"}
    ) as client:
        await call(client)
        await client.create_run("thread_1", assistant_id="asst_1")

    assert None is server.requests[0].header("content-type")
    assert b"" == server.requests[0].body
    assert "0" == (server.requests[0].header("content-length") or "0")
    assert "application/json; charset=utf-8" == server.requests[1].header("content-type")


async def test_a_delete(server: Loopback, transport: Choice) -> None:
    """A DELETE has neither body nor type."""
    server.default = answer({"id": "thread_1", "deleted": True})
    async with connect(server, transport=transport) as client:
        await client.delete_thread("thread_1")

    assert ("DELETE", "/v1/threads/thread_1", b"") == (
        server.requests[0].method,
        server.requests[0].target,
        server.requests[0].body,
    )
    assert PLAIN == names(server) - {"connection", "content-length"}


async def test_cookies_are_not_kept(server: Loopback, transport: Choice) -> None:
    """A cookie the server sets is not sent back: one client serves many users."""
    server.default = answer(RUN, 200, {"set-cookie": "session=1; Path=/"})
    by_name = server.url.replace("127.0.0.1", "localhost")  # an address gets no cookies anyway
    async with connect(server, transport=transport, base_url=by_name) as client:
        await client.get_run("thread_1", "run_1")
        await client.get_run("thread_1", "run_1")

    assert "cookie" not in names(server)


@pytest.mark.parametrize(
    ("suffix", "target"),
    [
        ("", "/threads/thread_1"),
        ("/", "/threads/thread_1"),
        ("/v1", "/v1/threads/thread_1"),
        ("/v1/", "/v1/threads/thread_1"),
        ("/api/projects/my%20x/", "/api/projects/my%20x/threads/thread_1"),
        ("/openai//v1///", "/openai//v1/threads/thread_1"),
        ("/caf\u00e9", "/caf%C3%A9/threads/thread_1"),
    ],
)
async def test_the_base_urls_path_is_kept(server: Loopback, transport: Choice, suffix: str, target: str) -> None:
    """A path in the base URL goes before every path, with or without a slash at its end."""
    async with connect(server, transport=transport, base_url=server.origin + suffix) as client:
        await client.get_thread("thread_1")

    assert target == server.requests[0].target


async def test_default_query_and_headers(server: Loopback, transport: Choice) -> None:
    """Default and extra query and headers go with every request; a later value replaces an earlier one."""
    server.default = answer({"data": [], "has_more": False})
    async with connect(
        server,
        transport=transport,
        default_query={"api-version": "v1", "limit": 5},
        default_headers={"X-A": "1", "x-b": "1"},
    ) as client:
        await client.list_runs("thread_1", limit=7)
        copy = client.with_options(headers={"x-a": "2"}, extra_query={"api-version": "v2", "x": "ä&b"})
        await copy.list_runs("thread_1", order="asc")

    first, second = server.requests
    assert "/v1/threads/thread_1/runs?api-version=v1&limit=5" == first.target
    assert "/v1/threads/thread_1/runs?api-version=v2&limit=5&x=%C3%A4%26b&order=asc" == second.target
    assert ("1", "1") == (first.header("x-a"), first.header("x-b"))
    assert ("2", "1") == (second.header("x-a"), second.header("x-b"))


async def test_extra_fields_of_a_vendor(server: Loopback, transport: Choice) -> None:
    """Extra fields are merged into every body that creates or changes something, and win over given ones."""
    async with connect(server, transport=transport) as client:
        copy = client.with_options(extra_body={"x_vendor": {"a": [1]}, "model": "b"})
        await copy.create_run("thread_1", assistant_id="asst_1", model="a")
        await copy.create_thread()
        await copy.get_run("thread_1", "run_1")
        await client.create_run("thread_1", assistant_id="asst_1")

    assert {"assistant_id": "asst_1", "x_vendor": {"a": [1]}, "model": "b"} == server.requests[0].json
    assert {"x_vendor": {"a": [1]}, "model": "b"} == server.requests[1].json
    assert b"" == server.requests[2].body
    assert {"assistant_id": "asst_1"} == server.requests[3].json


IDS = ["a b", "a/b", "../x", "..%2Fx", "a?b=c", "a#b", "a%2fb", "ä€😀", "a;b", "a:b", "a@b", "a\\b", "~", "...", "-"]


@pytest.mark.parametrize("id_", IDS)
async def test_an_id_is_one_segment(server: Loopback, transport: Choice, id_: str) -> None:
    """Whatever an id holds, it stays one quoted segment of its path."""
    async with connect(server, transport=transport) as client:
        await client.get_run(id_, "run_1")

    target = server.requests[0].target
    assert 6 == len(target.split("/"))
    assert target.isascii()
    assert not set(target) & set("?# ")
    assert target.endswith("/runs/run_1")


BAD_IDS: list[Any] = ["", ".", "..", "a\0", "a\nb", "a\x7f", "\r\nHost: x", "\ud800", "x" * 70_000]
NO_IDS: list[Any] = [None, 5, b"thread_1", ["thread_1"], UNSET]


@pytest.mark.parametrize("id_", BAD_IDS + NO_IDS, ids=lambda id_: repr(id_)[:20])
async def test_hostile_ids_are_refused(server: Loopback, transport: Choice, id_: Any) -> None:
    """What cannot be an id is refused before anything is sent, by every operation that takes one."""
    error = UsageError if id_ in BAD_IDS else TypeError
    async with connect(server, transport=transport) as client:
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: client.get_assistant(id_),
            lambda: client.delete_thread(id_),
            lambda: client.get_run(id_, "run_1"),
            lambda: client.get_run("thread_1", id_),
            lambda: client.create_run(id_, assistant_id="asst_1"),
            lambda: client.cancel_run("thread_1", id_),
            lambda: client.get_run_step("thread_1", "run_1", id_),
            lambda: client.list_messages(id_),
            lambda: client.wait_for_run(id_, "run_1"),
            lambda: client.wait_for_run("thread_1", id_),
            lambda: client.run_and_wait(id_, assistant_id="asst_1"),
        ]
        for call in calls:
            with pytest.raises(error):
                await call()

    assert [] == server.requests
    assert 0 == server.opened


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, b"x", {1: 2}, {"a": {3}}, object(), 10**5000, print],
    ids=lambda value: type(value).__name__,
)
async def test_what_is_no_json_is_refused(server: Loopback, transport: Choice, value: Any) -> None:
    """A body JSON cannot carry is a UsageError that names the place; nothing is sent."""
    async with connect(server, transport=transport) as client:
        with pytest.raises(UsageError):
            await client.create_run("thread_1", assistant_id="asst_1", metadata={"deep": value})
        with pytest.raises(UsageError):
            await client.with_options(extra_body={"x": [value]}).create_thread()

    assert [] == server.requests


async def test_unknown_parameters_are_refused(server: Loopback, transport: Choice) -> None:
    """An unknown parameter is a TypeError, as of any function; nothing is sent."""
    async with connect(server, transport=transport) as client:
        with pytest.raises(TypeError, match="'modle'"):
            await client.create_run("thread_1", assistant_id="asst_1", modle="x")  # type: ignore[call-arg]

    assert [] == server.requests


async def test_every_request_has_its_own_key(server: Loopback, transport: Choice) -> None:
    """An async key function is called for each request, in the task of the request: each user is sent with his key."""
    user: ContextVar[str] = ContextVar("user")
    server.default = hold()
    calls = 0

    async def key() -> str:
        nonlocal calls
        calls += 1
        await checkpoint()
        return f"key-of-{user.get()}"

    async with connect(server, api_key=key, transport=transport) as client:

        async def call(number: int) -> None:
            user.set(str(number))
            await client.get_run("thread_1", f"run_{number}")
            await client.cancel_run("thread_1", f"run_{number}")

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(call, number)
            while len(server.requests) < 20:
                await anyio.sleep(0.001)
            server.release()

    assert 40 == calls
    for request in server.requests:
        user_of_run = request.target.split("run_")[1].split("/")[0]
        assert f"Bearer key-of-{user_of_run}" == request.header("authorization")


@pytest.mark.parametrize("source", [lambda: KEY, lambda: f" {KEY}\n", KEY, f"\t{KEY} "])
async def test_keys_are_stripped(server: Loopback, transport: Choice, source: Any) -> None:
    """A key is given as it is or by a plain function, and spaces around it are dropped."""
    async with connect(server, api_key=source, transport=transport) as client:
        await client.get_run("thread_1", "run_1")

    assert f"Bearer {KEY}" == server.requests[0].header("authorization")


async def test_no_key(server: Loopback, transport: Choice) -> None:
    """NO_KEY sends no Authorization header, and ``beta=None`` no OpenAI-Beta."""
    async with connect(server, api_key=NO_KEY, beta=None, transport=transport) as client:
        await client.get_run("thread_1", "run_1")

    assert PLAIN - {"authorization", "openai-beta"} == names(server) - {"connection"}


async def test_a_host_that_is_not_found(transport: Choice, nothing_left: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host name that cannot be resolved is a connection error with the reason; nothing was sent."""

    def getaddrinfo(*_: object, **__: object) -> object:
        raise socket.gaierror(-2, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    client = AsyncClient(api_key=KEY, base_url="http://server.example/v1", transport=transport, retry=ONCE)
    async with client:
        with pytest.raises(APIConnectionError, match="cannot connect to http://server.example/v1: .*unknown") as caught:
            await client.create_thread()

    assert not caught.value.sent
