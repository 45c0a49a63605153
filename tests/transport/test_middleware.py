"""Users' own functions around each attempt."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
from attrs import evolve
from attrs.exceptions import FrozenInstanceError

from asyncassist import (
    UNSET,
    APIConnectionError,
    APITimeoutError,
    AsyncClient,
    AttemptRequest,
    AttemptResponse,
    CallNext,
    ClientClosedError,
    DecodeError,
    InternalServerError,
    Limits,
    NotFoundError,
    RateLimitError,
    Timeout,
    UsageError,
)

from .helpers import KEY, connect, pool_of, settle, until
from .loopback import RUN, Loopback, answer, chunked, drop, hang, hold

pytestmark = pytest.mark.anyio

DONE = (
    b"event: thread.run.completed\ndata: "
    + b'{"id":"run_1","object":"thread.run","thread_id":"thread_1","status":"completed"}'
)
EVENTS = chunked(DONE + b"\n\nevent: done\ndata: [DONE]\n\n", headers={"content-type": "text/event-stream"})


class Watcher:
    """Keeps what it sees."""

    def __init__(self) -> None:
        self.requests: list[AttemptRequest] = []
        self.ends: list[AttemptResponse | BaseException] = []

    async def __call__(self, request: AttemptRequest, call_next: CallNext) -> AttemptResponse:
        self.requests.append(request)
        try:
            response = await call_next(request)
        except BaseException as error:
            self.ends.append(error)
            raise
        self.ends.append(response)
        return response

    @property
    def responses(self) -> list[AttemptResponse]:
        assert all(isinstance(end, AttemptResponse) for end in self.ends)
        return [end for end in self.ends if isinstance(end, AttemptResponse)]


async def test_it_sees_every_attempt(server: Loopback) -> None:
    """The ones that are tried again too, whatever their status, with what was asked."""
    watcher = Watcher()
    server.script.extend([answer({}, 503), answer({"error": {"message": "too many"}}, 429), answer(RUN)])
    async with connect(server, middleware=[watcher], default_query={"api-version": "v1"}) as client:
        await client.get_run("thread_1", "run_1")

    assert [503, 429, 200] == [response.status for response in watcher.responses]
    assert [1, 2, 3] == [request.attempt for request in watcher.requests]
    request = watcher.requests[0]
    assert ("read", "GET", "/threads/thread_1/runs/run_1") == (request.kind, request.method, request.path)
    assert (("api-version", "v1"),) == request.query
    assert request.body is UNSET
    assert not request.is_stream
    assert {"OpenAI-Beta": "assistants=v2"} == request.headers
    assert 0 < watcher.responses[0].seconds < 5


async def test_it_sees_the_body_and_the_end_of_a_call_that_fails(server: Loopback) -> None:
    """An error of the server is an answer for it, and an error for the caller."""
    watcher = Watcher()
    server.default = answer({"error": {"message": "no such thread"}}, 404, {"x-request-id": "req_1"})
    async with connect(server, middleware=[watcher]) as client:
        with pytest.raises(NotFoundError, match="no such thread") as caught:
            await client.create_message("thread_1", role="user", content="hi")

    (response,) = watcher.responses
    assert (404, "req_1") == (response.status, response.request_id)
    assert {"role": "user", "content": "hi"} == watcher.requests[0].body
    assert "hi" not in repr(watcher.requests[0])
    assert caught.value.attempts == 1


async def test_the_first_is_outermost(server: Loopback) -> None:
    """And the last is next to the server."""
    seen: list[str] = []

    def named(name: str) -> Any:
        async def middleware(request: AttemptRequest, call_next: CallNext) -> AttemptResponse:
            seen.append(f"{name} in")
            response = await call_next(request)
            seen.append(f"{name} out")
            return response

        return middleware

    async with connect(server, middleware=iter([named("a"), named("b")])) as client:
        await client.with_options(timeout=5).get_run("thread_1", "run_1")

    assert ["a in", "b in", "b out", "a out"] == seen


async def test_nothing_secret_is_seen(server: Loopback) -> None:
    """Neither in requests, nor where the server repeats it, nor in errors."""
    secret = "sesame-0123456789"
    watcher = Watcher()
    echo = {"x-echo": f"{KEY} {secret}", "set-cookie": "a=b", "x-request-id": KEY, "x-ratelimit-remaining-tokens": "7"}
    server.script.extend([answer(RUN, headers=echo), answer({}, 404, echo)])
    headers = {"X-Api-Key": secret, "X-Team": "blue", "Cookie": "c=d"}
    query = {"code": "1", "api_key": secret}
    async with connect(server, middleware=[watcher], default_headers=headers, default_query=query) as client:
        await client.get_run("thread_1", "run_1")
        with pytest.raises(NotFoundError):
            await client.get_run("thread_1", "run_1")

    text = repr(watcher.requests) + repr([(one.headers, one.request_id) for one in watcher.responses])
    assert KEY not in text
    assert secret not in text
    assert "cookie" not in text.lower()
    assert "authorization" not in text.lower()
    assert {"OpenAI-Beta": "assistants=v2", "X-Team": "blue"} == watcher.requests[0].headers
    assert (("code", "1"),) == watcher.requests[0].query
    assert "7" == watcher.responses[0].headers["x-ratelimit-remaining-tokens"]
    assert server.requests[0].header("x-api-key") == secret


async def test_headers_can_be_added(server: Loopback) -> None:
    """To each attempt others; one that is there is replaced, whatever the case of its name."""

    async def tracing(request: AttemptRequest, call_next: CallNext) -> AttemptResponse:
        more = {"traceparent": f"00-{request.attempt}", "openai-beta": "assistants=v3"}
        changed = request.with_headers(more)
        assert more == changed.headers
        return await call_next(changed)

    server.script.extend([answer({}, 503), answer(RUN)])
    async with connect(server, middleware=[tracing]) as client:
        await client.get_run("thread_1", "run_1")

    assert ["00-1", "00-2"] == [request.header("traceparent") for request in server.requests]
    assert ["assistants=v3"] * 2 == [request.header("openai-beta") for request in server.requests]
    assert server.requests[0].header("authorization") == f"Bearer {KEY}"


async def test_a_secret_that_was_added_is_kept_secret(server: Loopback) -> None:
    """Where the server repeats it."""
    watcher = Watcher()

    async def signing(request: AttemptRequest, call_next: CallNext) -> AttemptResponse:
        return await call_next(request.with_headers({"X-Signature-Key": "signature-of-mine"}))

    server.default = answer({"error": {"message": "signature-of-mine"}}, 400, {"x-echo": "signature-of-mine"})
    async with connect(server, middleware=[watcher, signing]) as client:
        with pytest.raises(Exception, match="redacted") as caught:
            await client.get_run("thread_1", "run_1")

    assert "signature-of-mine" not in f"{caught.value} {watcher.responses[0].headers}"


def test_headers_are_not_put_into_a_request() -> None:
    """That would have no effect, so it is an error."""
    request = AttemptRequest("read", "GET", "/", (), UNSET, 1, is_stream=False, headers={"a": "b"})
    for changed in (request, request.with_headers({"c": "d"})):
        with pytest.raises(TypeError, match="does not support item assignment"):
            changed.headers["x"] = "y"  # type: ignore[index]


async def test_headers_that_cannot_be_sent_are_refused(server: Loopback) -> None:
    """Before anything is sent, however they were added."""
    for headers in ({"x": "a\r\nb: c"}, {"host": "other"}, {"a b": "c"}):

        async def adding(request: AttemptRequest, call_next: CallNext) -> AttemptResponse:
            return await call_next(evolve(request, headers={**request.headers, **headers}))  # noqa: B023

        with pytest.raises(UsageError):
            AttemptRequest("read", "GET", "/", (), UNSET, 1, is_stream=False, headers={}).with_headers(headers)
        async with connect(server, middleware=[adding]) as client:
            with pytest.raises(UsageError, match="header"):
                await client.get_run("thread_1", "run_1")
    assert [] == server.requests


async def test_errors_of_the_connection_pass_through_and_are_tried_again(server: Loopback) -> None:
    """As errors of ours; a middleware that does not pass one on does not keep it from the others."""
    watcher = Watcher()

    async def blind(request: AttemptRequest, call_next: CallNext) -> AttemptResponse:
        try:
            return await call_next(request)
        except APIConnectionError:
            return None  # type: ignore[return-value]

    server.script.extend([drop(), answer({}, 502), answer(RUN)])
    async with connect(server, middleware=[watcher, blind]) as client:
        await client.get_run("thread_1", "run_1")
        server.default = drop()
        with pytest.raises(APIConnectionError):
            await client.create_thread()

    first, second, third, last = watcher.ends
    assert isinstance(first, APIConnectionError)
    assert isinstance(last, APIConnectionError)
    assert isinstance(second, AttemptResponse)
    assert isinstance(third, AttemptResponse)
    assert 4 == len(server.requests)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "error", [ValueError("mine"), APIConnectionError("mine"), RateLimitError("mine", status=429)], ids=repr
)
async def test_what_it_raises_reaches_the_caller(server: Loopback, error: Exception, when: str) -> None:
    """And is not tried again, whatever it looks like; the connection is free again."""

    async def raising(request: AttemptRequest, call_next: CallNext) -> AttemptResponse:
        if when == "after":
            await call_next(request)
        raise error

    async with connect(server, middleware=[raising], max_connections=1, max_streams=1) as client:
        for _ in range(2):
            with pytest.raises(type(error), match="mine") as caught:
                await client.get_run("thread_1", "run_1")
            assert caught.value is error
        server.default = EVENTS
        for _ in range(2):
            with pytest.raises(type(error), match="mine"):
                async with client.stream_run("thread_1", assistant_id="asst_1", on_cancel="leave"):
                    raise AssertionError("entered")
        assert 0 == client._sender.limiter.in_flight == pool_of(client).waiting
        assert not client._sender._streams
    assert len(server.requests) == (4 if when == "after" else 0)


async def test_streams_pass_at_their_head(server: Loopback) -> None:
    """Before their events, which then come as always."""
    watcher = Watcher()
    server.default = EVENTS
    async with connect(server, middleware=[watcher]) as client:
        async with client.stream_run("thread_1", assistant_id="asst_1") as stream:
            assert [200] == [response.status for response in watcher.responses]
            assert (await stream.until_done()).status == "completed"

    assert watcher.requests[0].is_stream
    assert "create" == watcher.requests[0].kind


async def test_call_next_is_called_once(server: Loopback) -> None:
    """Twice is refused, before a second request is sent, and the first one's connection is free again."""

    async def twice(request: AttemptRequest, call_next: CallNext) -> AttemptResponse:
        await call_next(request)
        return await call_next(request)

    async with connect(server, middleware=[twice], max_connections=1) as client:
        for _ in range(2):
            with pytest.raises(UsageError, match="call_next once"):
                await client.get_run("thread_1", "run_1")
    assert len(server.requests) == 2


async def test_call_next_is_not_called_later(server: Loopback) -> None:
    """When the attempt is over it can no longer be made."""
    kept: list[Any] = []

    async def keeping(request: AttemptRequest, call_next: CallNext) -> AttemptResponse:
        kept.append(lambda: call_next(request))
        raise ValueError("not now")

    async with connect(server, middleware=[keeping]) as client:
        with pytest.raises(ValueError, match="not now"):
            await client.get_run("thread_1", "run_1")
        with pytest.raises(UsageError, match="before it returns"):
            await kept[0]()
    assert [] == server.requests


@pytest.mark.parametrize("streams", [False, True])
async def test_an_answer_nobody_takes_is_let_go(server: Loopback, streams: bool) -> None:
    """A middleware's own task makes the attempt and is told; the call has ended, and its connection is free again."""
    ends: list[AttemptResponse | Exception] = []

    async def apart(request: AttemptRequest, call_next: CallNext) -> AttemptResponse:
        async def attempt() -> None:
            try:
                ends.append(await call_next(request))
            except UsageError as error:
                ends.append(error)

        if server.requests:
            return await call_next(request)
        group.start_soon(attempt)
        await until(lambda: server.requests)
        raise ValueError("not now")

    async def call() -> None:
        if not streams:
            await client.get_run("thread_1", "run_1")
        else:
            async with client.stream_run("thread_1", assistant_id="asst_1", on_cancel="leave") as stream:
                await stream.until_done()

    server.default = hold(EVENTS if streams else answer(RUN))
    async with connect(server, middleware=[apart], max_connections=2, max_streams=1) as client:
        async with anyio.create_task_group() as group:
            with pytest.raises(ValueError, match="not now"):
                await call()
            server.release()
        (end,) = ends
        assert isinstance(end, UsageError)
        assert "before it returns" in str(end)
        assert not client._sender._streams
        assert 0 == client._sender.limiter.in_flight
        with anyio.fail_after(5):
            await call()


async def no_answer(request: AttemptRequest, call_next: CallNext) -> Any:
    await call_next(request)


async def own_answer(request: AttemptRequest, call_next: CallNext) -> Any:
    return evolve(await call_next(request), status=200)


async def no_call(request: AttemptRequest, call_next: CallNext) -> Any:
    return None


def not_async(request: AttemptRequest, call_next: CallNext) -> Any:
    return None


async def wrong_request(request: AttemptRequest, call_next: CallNext) -> Any:
    return await call_next("GET")  # type: ignore[arg-type]


async def other_request(request: AttemptRequest, call_next: CallNext) -> Any:
    return await call_next(evolve(request, path="/other"))


@pytest.mark.parametrize(
    ("middleware", "says"),
    [
        (no_answer, "no_answer returned None"),
        (own_answer, "own_answer returned AttemptResponse"),
        (no_call, "no_call returned None"),
        (not_async, "must be an async function, not_async is not"),
        (wrong_request, "call_next takes the request that the middleware was given, got 'GET'"),
        (other_request, "it has changed its path"),
    ],
)
async def test_misuse_is_named(server: Loopback, middleware: Any, says: str) -> None:
    """By an error that says what to do."""
    async with connect(server, middleware=[middleware]) as client:
        with pytest.raises(UsageError, match=says):
            await client.get_run("thread_1", "run_1")
        assert 0 == client._sender.limiter.in_flight


async def test_a_request_is_frozen() -> None:
    """It is changed by making another."""
    request = AttemptRequest("read", "GET", "/", (), UNSET, 1, is_stream=False, headers={})
    with pytest.raises(FrozenInstanceError):
        request.path = "/other"  # type: ignore[misc]


@pytest.mark.parametrize("wrong", [5, "abc", [None], [Watcher], no_call], ids=repr)
def test_middleware_is_a_list_of_functions(wrong: Any) -> None:
    """Anything else is refused at construction."""
    with pytest.raises(UsageError, match="middleware must be"):
        AsyncClient(api_key=KEY, base_url="http://localhost", middleware=wrong)


async def test_a_cancelled_call_cannot_go_on(server: Loopback) -> None:
    """Not even where a middleware catches everything."""
    server.default = hang
    caught: list[BaseException] = []

    async def swallowing(request: AttemptRequest, call_next: CallNext) -> AttemptResponse:
        try:
            return await call_next(request)
        except BaseException as error:
            caught.append(error)
            return None  # type: ignore[return-value]

    async with connect(server, middleware=[swallowing]) as client:
        with anyio.move_on_after(0.05) as scope:
            await client.get_run("thread_1", "run_1")
        assert scope.cancelled_caught
        assert isinstance(caught[0], anyio.get_cancelled_exc_class())
        assert 0 == client._sender.limiter.in_flight


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("streams", [False, True])
async def test_a_task_cancelled_by_asyncio_itself_cannot_go_on(server: Loopback, streams: bool) -> None:
    """After the answer either, and what it holds is let go."""
    server.default = EVENTS if streams else answer(RUN)
    waits = asyncio.Event()

    async def swallowing(request: AttemptRequest, call_next: CallNext) -> AttemptResponse:
        response = await call_next(request)
        try:
            waits.set()
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return response

    async def call(client: AsyncClient) -> None:
        if not streams:
            await client.get_run("thread_1", "run_1")
        else:
            async with client.stream_run("thread_1", assistant_id="asst_1", on_cancel="leave"):
                raise AssertionError("entered")

    async with connect(server, middleware=[swallowing]) as client:
        task = asyncio.create_task(call(client))
        await asyncio.wait_for(waits.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not client._sender._streams


async def test_its_own_time_limit_is_its_own(server: Loopback) -> None:
    """It may give an attempt up by raising; without an error it has no answer to give."""
    server.default = hang

    async def hasty(request: AttemptRequest, call_next: CallNext) -> AttemptResponse:
        with anyio.move_on_after(0.05):
            return await call_next(request)
        if request.path.endswith("run_1"):
            raise ValueError("too slow")
        return None  # type: ignore[return-value]

    async with connect(server, middleware=[hasty]) as client:
        with pytest.raises(ValueError, match="too slow"):
            await client.get_run("thread_1", "run_1")
        with pytest.raises(UsageError, match="hasty returned None"):
            await client.get_run("thread_1", "run_2")


async def test_its_time_counts_into_the_total_timeout(server: Loopback) -> None:
    """And closing the client ends it."""
    entered = anyio.Event()

    async def slow(request: AttemptRequest, call_next: CallNext) -> AttemptResponse:
        response = await call_next(request)
        entered.set()
        await anyio.sleep(30)
        return response

    client = connect(server, middleware=[slow])
    with anyio.fail_after(5):
        with pytest.raises(APITimeoutError, match="total timeout") as caught:
            await client.with_options(timeout=Timeout(total=0.1)).get_run("thread_1", "run_1")
        assert caught.value.phase == "total"
        entered = anyio.Event()
        async with anyio.create_task_group() as group:

            async def call() -> None:
                with pytest.raises(ClientClosedError):
                    await client.get_run("thread_1", "run_1")

            group.start_soon(call)
            await entered.wait()
            await client.aclose()


async def test_an_answer_that_cannot_be_read_is_an_error_for_it(server: Loopback) -> None:
    """Of our tree, and not tried again."""
    watcher = Watcher()
    server.default = answer(b"x", headers={"content-encoding": "br"})
    async with connect(server, middleware=[watcher]) as client:
        with pytest.raises(DecodeError):
            await client.get_run("thread_1", "run_1")
    assert [DecodeError] == [type(end) for end in watcher.ends]


async def test_the_time_is_that_of_the_attempt(server: Loopback) -> None:
    """Without what it waited for its turn."""
    watcher = Watcher()
    server.script.append(hold())
    async with connect(server, middleware=[watcher], limits=Limits(max_in_flight=1)) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.get_run, "thread_1", "run_1")
            await until(lambda: len(server.requests) == 1)
            group.start_soon(client.get_run, "thread_1", "run_2")
            await settle()
            await anyio.sleep(0.3)
            server.release()

    first, second = watcher.responses
    assert first.seconds >= 0.3
    assert second.seconds < 0.3


async def test_server_errors_that_stay_reach_the_caller(server: Loopback) -> None:
    """With the number of attempts the middleware has seen."""
    watcher = Watcher()
    server.default = answer({}, 500)
    async with connect(server, middleware=[watcher]) as client:
        with pytest.raises(InternalServerError) as caught:
            await client.get_run("thread_1", "run_1")
    assert caught.value.attempts == len(watcher.requests) == 3
