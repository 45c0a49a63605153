"""Error statuses, and connections that drop, break off or are slow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from asyncassist import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncClient,
    ConflictError,
    InternalServerError,
    NotFoundError,
    QuotaExceededError,
    RateLimitError,
    RetryPolicy,
    ServiceRetiredError,
    StreamInterruptedError,
    UnprocessableEntityError,
)
from asyncassist.testing import FakeServer, Fault

from ..helpers import place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

ONCE = RetryPolicy(attempts=1)


# Error statuses


@pytest.mark.parametrize(
    "status, error",
    [(418, APIStatusError), (409, ConflictError), (422, UnprocessableEntityError), (500, InternalServerError)],
)
async def test_an_error_status(
    server: FakeServer, client: AsyncClient, status: int, error: type[APIStatusError]
) -> None:
    """The status is answered in the API's form, with a request id, and the server has not acted."""
    planned = server.faults.add(
        Fault.status(status, "Not now.", code="c", param="p", headers={"x-more": "yes"}), on="create_thread"
    )
    with pytest.raises(error, match="Not now") as raised:
        await client.create_thread()
    thread = await client.create_thread()

    facts = raised.value
    assert (facts.status, facts.code, facts.param) == (status, "c", "p")
    assert facts.type == ("server_error" if status == 500 else "invalid_request_error")
    assert facts.request_id
    assert facts.headers["x-more"] == "yes"
    assert thread.id == "thread_1"
    assert [request.status for request in planned.hits] == [status]


async def test_a_rate_limit(server: FakeServer, client: AsyncClient) -> None:
    """A client that is asked to wait is told how long, to the millisecond, and comes through in the end."""
    server.faults.add(Fault.rate_limit(0.0105, limit=3), on="create_thread", times=2)
    thread = await client.create_thread()
    server.faults.add(Fault.rate_limit(90), on="create_thread")
    with pytest.raises(RateLimitError, match="Limit 60 requests") as raised:
        await client.create_thread()
    server.faults.add(Fault.rate_limit(None), on="create_thread")
    with pytest.raises(RateLimitError) as silent:
        await client.with_options(retry=ONCE).create_thread()

    assert thread.id == "thread_1"
    assert [request.status for request in server.requests] == [429, 429, 200, 429, 429]
    assert (raised.value.code, raised.value.retry_after) == ("rate_limit_exceeded", 90)
    headers = raised.value.headers
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("90", "90000")
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert headers["x-ratelimit-reset-requests"] == "90000ms"
    assert silent.value.retry_after is None


async def test_a_quota_that_is_used_up(server: FakeServer, client: AsyncClient) -> None:
    """A 429 with the code of a used up quota is not tried again."""
    server.faults.add(Fault.status(429, code="insufficient_quota"), times=None)
    with pytest.raises(QuotaExceededError):
        await client.create_thread()

    assert len(server.requests) == 1


async def test_a_retired_host(server: FakeServer, client: AsyncClient) -> None:
    """Every path is answered 404."""
    server.faults.add(Fault.retired(), times=None)
    with pytest.raises(NotFoundError, match=r"Invalid URL \(POST /assistants\)"):
        await client.create_assistant(model="m")
    with pytest.raises(NotFoundError):
        await client.create_thread()


async def test_the_host_that_was_retired(server: FakeServer) -> None:
    """With the base URL of the host that retired the API, the client says what happened to it."""
    server.faults.add(Fault.retired(), times=None)
    with pytest.raises(ServiceRetiredError):
        await server.client(base_url="https://api.openai.com/v1").create_thread()


# The connection


async def test_a_connection_that_drops(server: FakeServer, client: AsyncClient) -> None:
    """The server has not acted, or it has, which the client cannot tell; so it does not send a creation again."""
    before = server.faults.add(Fault.drop(), on="create_thread")
    with pytest.raises(APIConnectionError, match="may have acted"):
        await client.create_thread()
    with pytest.raises(NotFoundError):
        await client.get_thread("thread_1")
    server.faults.add(Fault.drop(after_acting=True), on="create_thread")
    with pytest.raises(APIConnectionError, match="may have acted"):
        await client.create_thread()

    assert (await client.get_thread("thread_1")).id == "thread_1"
    assert [request.status for request in before.hits] == [None]


async def test_a_read_comes_through_a_drop(server: FakeServer, client: AsyncClient) -> None:
    """What is safe to repeat is repeated, after the pause that takes."""
    thread = await client.create_thread()
    server.faults.add(Fault.drop(), on="get_thread")

    assert await client.with_options(retry=RetryPolicy(base_pause=0.01)).get_thread(thread.id) == thread
    assert len(server.requests_for("get_thread")) == 2


async def test_a_stream_that_drops_after_acting(server: FakeServer, client: AsyncClient) -> None:
    """The run goes on without its stream."""
    here = await place(client)
    server.faults.add(Fault.drop(after_acting=True), on="create_run")
    with pytest.raises(APIConnectionError):
        async with client.stream_run(here.thread_id, assistant_id=here.assistant_id) as stream:
            await stream.until_done()
    run = await client.wait_for_run(here.thread_id, "run_1")

    assert run.status == "completed"


@pytest.mark.parametrize("count", [0, 1, 4])
async def test_a_stream_that_is_cut(server: FakeServer, client: AsyncClient, count: int) -> None:
    """So many events come, then the connection is gone; the run goes on."""
    here = await place(client)
    server.faults.add(Fault.cut(count), on="create_run")
    names: list[str] = []
    with pytest.raises(StreamInterruptedError):
        async with client.stream_run(
            here.thread_id, assistant_id=here.assistant_id, reconcile=False, on_cancel="leave"
        ) as stream:
            async for event in stream:
                names.append(event.event)
    run = await client.wait_for_run(here.thread_id, "run_1")

    everything = ["thread.run.created", "thread.run.queued", "thread.run.in_progress", "thread.run.step.created"]
    assert names == everything[:count]
    assert run.status == "completed"


async def test_a_stream_that_is_cut_is_reconciled(server: FakeServer, client: AsyncClient) -> None:
    """Our client finds out what it missed, with one run only."""
    here = await place(client)
    server.faults.add(Fault.cut(3), on="create_run")
    async with client.stream_run(here.thread_id, assistant_id=here.assistant_id) as stream:
        text = "".join([piece async for piece in stream.text()])

    assert text == "one two three"
    assert len(server.requests_for("create_run")) == 1


async def test_a_stream_shorter_than_the_cut(server: FakeServer, client: AsyncClient) -> None:
    """A cut behind the last event changes nothing."""
    here = await place(client)
    server.faults.add(Fault.cut(1000), on="create_run")
    async with client.stream_run(here.thread_id, assistant_id=here.assistant_id) as stream:
        run = await stream.until_done()

    assert run.status == "completed"
    assert (await client.get_thread(here.thread_id)).id == here.thread_id


async def test_an_answer_that_is_cut(server: FakeServer, client: AsyncClient) -> None:
    """An answer that is no stream breaks off half-way, after the server has acted."""
    server.faults.add(Fault.cut(), on="create_thread")
    with pytest.raises(APIConnectionError, match="broke"):
        await client.create_thread()

    assert (await client.get_thread("thread_1")).id == "thread_1"


async def test_an_answer_in_pieces_is_cut_once(server: FakeServer) -> None:
    """What an app sends behind the cut goes nowhere."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"abcd", "more_body": True})
        await send({"type": "http.response.body", "body": b"efgh"})

    server.app.middleware_stack._app = app  # type: ignore[union-attr]
    server.faults.add(Fault.cut(), times=None)
    async with httpx.AsyncClient(transport=server.transport, base_url="http://local") as http:
        async with http.stream("GET", "/") as response:
            chunks = aiter(response.aiter_raw())
            assert await anext(chunks) == b"ab"
            with pytest.raises(httpx.RemoteProtocolError):
                await anext(chunks)


async def test_a_slow_answer(server: FakeServer, client: AsyncClient) -> None:
    """It comes when the clock has been moved so far, and not before."""
    server.faults.add(Fault.slow(30), on="create_thread")
    ids: list[str] = []

    async def create() -> None:
        ids.append((await client.create_thread()).id)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(create)
        while not server.requests:
            await anyio.sleep(0.001)
        await server.clock.advance(29)
        assert not ids
        await server.clock.advance(1)

    assert ids == ["thread_1"]


async def test_a_slow_answer_nobody_waits_for(server: FakeServer, client: AsyncClient) -> None:
    """A client whose patience ends sooner gets its timeout, and nothing is done for it later."""
    server.faults.add(Fault.slow(30), on="create_thread")
    with pytest.raises(APITimeoutError):
        await client.with_options(timeout=0.05).create_thread()
    await anyio.sleep(0.01)
    await server.clock.advance(60)
    with pytest.raises(NotFoundError):
        await client.get_thread("thread_1")


async def test_a_slow_stream(server: FakeServer, client: AsyncClient) -> None:
    """A stream that begins late is complete, and leaves nobody who listens for its client."""
    here = await place(client)
    server.faults.add(Fault.slow(30), on="create_run")
    pieces: list[str] = []

    async def read() -> None:
        async with client.stream_run(here.thread_id, assistant_id=here.assistant_id) as stream:
            async for piece in stream.text():
                pieces.append(piece)

    before = len(anyio.get_running_tasks())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        while not server.requests_for("create_run"):
            await anyio.sleep(0.001)
        await server.clock.advance(30)
    with anyio.fail_after(10):
        while len(anyio.get_running_tasks()) > before:
            await anyio.sleep(0.001)

    assert "".join(pieces) == "one two three"


async def test_a_client_that_leaves_in_its_request(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow answer ends with its client, also where there is more of a body than an app would read."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * 1000

    monkeypatch.setattr("asyncassist.testing.exchange.MAX_BODY", 1000)
    server.faults.add(Fault.slow(30))
    async with httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http:
        with anyio.move_on_after(0.05) as scope:
            await http.post("/threads", content=pieces())

    assert scope.cancelled_caught
    assert [request.status for request in server.requests] == [None]
