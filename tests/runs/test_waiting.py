"""Waiting for runs: how it ends, what it survives, and what becomes of a run nobody waits for any more."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint

from asyncassist import (
    APIConnectionError,
    AsyncClient,
    InternalServerError,
    Limits,
    NotFoundError,
    PollPolicy,
    RateLimitError,
    Run,
    UsageError,
    WaitTimeoutError,
)
from asyncassist._transport.pacing import Pacing

pytestmark = pytest.mark.anyio

Answer = httpx.Response | Exception | str
"""A response, a failure of the connection, or the status of a run that is answered."""


class Server:
    """Answers polls from a script, the last entry again and again; remembers what was asked and slept."""

    def __init__(self, *script: Answer, poll_after_ms: list[str | None] | None = None) -> None:
        self.script = list(script)
        self.poll_after_ms = poll_after_ms or []
        self.asked: list[str] = []
        self.bodies: list[Any] = []
        self.slept: list[float] = []
        self.cancel_answer: Answer = "cancelling"
        self.on_sleep: Callable[[], object] = lambda: None

    def client(self, random: float = 0.5, **options: Any) -> AsyncClient:
        # The pauses are those of waits alone: the limiter's clock would not see these sleeps.
        options = {"limits": Limits(adaptive=False), **options}
        client = AsyncClient(
            api_key="key", base_url="http://test", transport=httpx.MockTransport(self.answer), **options
        )
        client._sender.pacing = Pacing(sleep=self.sleep, random=lambda: random)
        return client

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.on_sleep()
        await checkpoint()

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.path}")
        self.bodies.append(json.loads(request.content) if request.content else None)
        if request.url.path.endswith("/messages"):
            return httpx.Response(200, json=MESSAGES)
        if request.url.path.endswith("/cancel"):
            return self.respond(self.cancel_answer)
        if request.method == "POST":
            return self.respond("queued")
        return self.respond(self.script.pop(0) if len(self.script) > 1 else self.script[0])

    def respond(self, answer: Answer) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, httpx.Response):
            return answer
        header = self.poll_after_ms.pop(0) if self.poll_after_ms else None
        headers = {} if header is None else {"openai-poll-after-ms": header}
        return httpx.Response(200, json={"id": "run_1", "thread_id": "thread_1", "status": answer}, headers=headers)

    @property
    def cancels(self) -> int:
        return self.asked.count("POST /threads/thread_1/runs/run_1/cancel")


MESSAGES = {
    "object": "list",
    "data": [
        {"id": "msg_1", "thread_id": "thread_1", "role": "user", "run_id": None, "content": []},
        {
            "id": "msg_2",
            "thread_id": "thread_1",
            "role": "assistant",
            "run_id": "run_1",
            "content": [{"type": "text", "text": {"value": "First.", "annotations": []}}],
        },
        {"id": "msg_3", "thread_id": "thread_1", "role": "assistant", "run_id": "run_0", "content": []},
        {
            "id": "msg_4",
            "thread_id": "thread_1",
            "role": "assistant",
            "run_id": "run_1",
            "content": [{"type": "text", "text": {"value": "Second.", "annotations": []}}],
        },
    ],
    "has_more": False,
}


@pytest.mark.parametrize("end", ["completed", "failed", "cancelled", "incomplete", "expired", "requires_action"])
async def test_a_wait_returns_the_run_at_its_end(end: str) -> None:
    """Every terminal status, and a run that waits for tool outputs, ends the wait; nothing is cancelled."""
    server = Server("queued", "in_progress", "cancelling", end)
    seen: list[str] = []
    async with server.client() as client:
        run = await client.wait_for_run("thread_1", "run_1", on_status=lambda run: seen.append(run.status))

    assert run.status == end
    assert seen == ["queued", "in_progress", "cancelling", end]
    assert server.asked == ["GET /threads/thread_1/runs/run_1"] * 4


@pytest.mark.parametrize(("random", "pauses"), [(0.0, [0.5, 1.5, 3, 3, 3]), (0.5, [1, 2, 4, 4, 4])])
async def test_a_wait_looks_at_once_then_out_of_phase(random: float, pauses: list[float]) -> None:
    """The first look comes at once and the first pause is spread most; then pauses grow to the longest."""
    server = Server(*["queued"] * 5, "completed")
    async with server.client(random) as client:
        await client.wait_for_run("thread_1", "run_1", poll=PollPolicy(shortest=1, longest=4, growth=2))

    assert server.slept == pauses


async def test_the_servers_pace_is_followed_as_last_sent() -> None:
    """The header of each answer sets the next pause, and our own pace returns when it stops coming."""
    server = Server(*["queued"] * 4, "completed", poll_after_ms=["50", "50", "600", None])
    async with server.client() as client:
        await client.wait_for_run("thread_1", "run_1", poll=PollPolicy.every(9))

    assert server.slept == [0.05, 0.05, 0.6, 9.0]


async def test_run_and_wait_pauses_before_its_first_look() -> None:
    """A run just created is not looked at before a random share of the first pause."""
    server = Server("completed")
    seen: list[str] = []

    async def on_status(run: Run) -> None:
        await checkpoint()
        seen.append(run.status)

    async with server.client() as client:
        run = await client.run_and_wait(
            "thread_1", assistant_id="asst_1", poll=PollPolicy.every(2), on_status=on_status, instructions="Be brief."
        )

    assert (run.status, seen, server.slept) == ("completed", ["queued", "completed"], [1.0])
    assert server.asked == ["POST /threads/thread_1/runs", "GET /threads/thread_1/runs/run_1"]
    assert server.bodies[0] == {"assistant_id": "asst_1", "instructions": "Be brief."}


async def test_a_thread_is_created_with_its_run() -> None:
    """The thread, the run and the wait are one call."""
    server = Server("completed")
    async with server.client() as client:
        run = await client.create_thread_run_and_wait(assistant_id="asst_1", thread={"metadata": {"a": "b"}})

    assert run.thread_id == "thread_1"
    assert server.bodies[0] == {"assistant_id": "asst_1", "thread": {"metadata": {"a": "b"}}}


async def test_a_run_that_ends_at_once_is_not_looked_at() -> None:
    """A server that answers the creation with an ended run is not polled."""
    server = Server("completed")
    server.respond = lambda answer: Server.respond(server, "completed")  # type: ignore[method-assign]
    async with server.client() as client:
        await client.run_and_wait("thread_1", assistant_id="asst_1")

    assert server.asked == ["POST /threads/thread_1/runs"]


async def test_polling_survives_failures() -> None:
    """Cut connections, 5xx and 429 between good answers cost a pause each, at least the one the server names."""
    slow_down = httpx.Response(429, headers={"retry-after": "7"})
    server = Server(httpx.ReadError("cut"), httpx.Response(503), slow_down, "queued", httpx.Response(500), "completed")
    async with server.client() as client:
        run = await client.wait_for_run("thread_1", "run_1", poll=PollPolicy.every(1))

    assert run.status == "completed"
    assert server.slept == [1.0, 1.0, 7 * 1.125, 1.0, 1.0]
    assert server.cancels == 0


@pytest.mark.parametrize("random", [0.0, 0.999])
async def test_a_failing_server_is_not_asked_before_its_time(random: float) -> None:
    """The pause a server names with a failure is never shortened, not even the first one."""
    server = Server(httpx.Response(503, headers={"retry-after": "60"}), "completed")
    async with server.client(random) as client:
        await client.wait_for_run("thread_1", "run_1")

    assert server.slept == [60 * (1 + 0.25 * random)]


async def test_a_pause_too_long_is_not_waited_for() -> None:
    """A server that asks for more than a minute ends the wait with its error; the run is left alone."""
    server = Server("queued", httpx.Response(429, headers={"retry-after": "61"}))
    async with server.client() as client:
        with pytest.raises(RateLimitError) as caught:
            await client.wait_for_run("thread_1", "run_1")

    assert caught.value.retry_after == 61
    assert (len(server.slept), server.cancels) == (1, 0)


async def test_failures_in_a_row_are_bounded() -> None:
    """After so many failed looks in a row the last error is raised, and the run is left alone."""
    server = Server("queued", httpx.Response(500))
    async with server.client() as client:
        with pytest.raises(InternalServerError):
            await client.wait_for_run("thread_1", "run_1", poll=PollPolicy(max_failures=3))

    assert len(server.asked) == 5
    assert server.cancels == 0


@pytest.mark.parametrize(
    ("answer", "error"), [(httpx.Response(404), NotFoundError), (httpx.Response(200, text="<html>"), Exception)]
)
async def test_an_answer_that_cannot_change_ends_the_wait(answer: httpx.Response, error: type[Exception]) -> None:
    """A missing run, or something that is no run, is an error at once."""
    server = Server(answer)
    async with server.client() as client:
        with pytest.raises(error):
            await client.wait_for_run("thread_1", "run_1")

    assert len(server.asked) == 1


async def test_an_unknown_status_is_waited_out(caplog: pytest.LogCaptureFixture) -> None:
    """A status of a later API counts as pending and is warned about once."""
    server = Server("paused_for_review", "paused_for_review", "in_progress", "paused_for_review", "completed")
    async with server.client() as client:
        with caplog.at_level(logging.WARNING, "asyncassist"):
            run = await client.wait_for_run("thread_1", "run_1")

    assert run.status == "completed"
    assert sum("paused_for_review" in record.message for record in caplog.records) == 1


async def test_an_unknown_status_is_not_waited_out_for_ever() -> None:
    """A status nobody knows ends the wait, and the run, after a time even when the wait has no timeout."""
    server = Server("paused_for_review")
    async with server.client() as client:
        with pytest.raises(WaitTimeoutError, match="unknown status 'paused_for_review'") as caught:
            await client.wait_for_run("thread_1", "run_1", poll=PollPolicy(max_unknown=1e-9))

    assert caught.value.run is not None
    assert caught.value.run.status == "paused_for_review"
    assert server.cancels == 1


@pytest.mark.parametrize(("on_cancel", "cancels"), [("cancel", 1), ("leave", 0)])
async def test_a_timeout_has_the_last_run(on_cancel: Any, cancels: int) -> None:
    """A wait that takes too long raises with the run as last seen and cancels it on the server, unless told not to."""
    server = Server("in_progress")
    async with server.client() as client:
        with pytest.raises(WaitTimeoutError, match="in_progress") as caught:
            await client.wait_for_run("thread_1", "run_1", timeout=0.02, on_cancel=on_cancel)

    assert caught.value.run is not None
    assert caught.value.run.id == "run_1"
    assert isinstance(caught.value, TimeoutError)
    assert server.cancels == cancels


async def test_a_timeout_before_the_first_answer_has_no_run() -> None:
    """A wait whose first look is never answered raises without a run, and the run is cancelled all the same."""
    asked: list[str] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        if request.method == "GET":
            await anyio.sleep_forever()
        return httpx.Response(200, json={"id": "run_1", "thread_id": "thread_1", "status": "cancelling"})

    async with AsyncClient(api_key="key", base_url="http://test", transport=httpx.MockTransport(answer)) as client:
        with pytest.raises(WaitTimeoutError, match="never seen") as caught:
            await client.wait_for_run("thread_1", "run_1", timeout=0.01)

    assert caught.value.run is None
    assert asked == ["GET", "POST"]


@pytest.mark.parametrize(("on_cancel", "cancels"), [("cancel", 1), ("leave", 0)])
async def test_a_cancelled_wait_cancels_the_run(on_cancel: Any, cancels: int) -> None:
    """The run is cancelled on the server although the task that waited is being cancelled itself."""
    server = Server("in_progress")
    async with server.client() as client:
        with anyio.CancelScope() as scope:
            server.on_sleep = scope.cancel
            await client.wait_for_run("thread_1", "run_1", on_cancel=on_cancel)

    assert scope.cancelled_caught
    assert server.cancels == cancels


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_natively_cancelled_wait_cancels_the_run() -> None:
    """asyncio's own cancellation does the same, and goes on afterwards."""
    server = Server("in_progress")
    async with server.client() as client:
        task = asyncio.ensure_future(client.wait_for_run("thread_1", "run_1"))
        server.on_sleep = task.cancel
        with pytest.raises(asyncio.CancelledError):
            await task

    assert server.cancels == 1


async def test_a_callback_that_raises_ends_wait_and_run() -> None:
    """What on_status raises, an error of this library included, comes through, and the run is cancelled."""
    server = Server("in_progress")

    for error in (LookupError("their own"), UsageError("their own"), NotFoundError("their own", status=404)):

        def on_status(run: Run, error: Exception = error) -> None:
            raise error

        async def on_status_later(run: Run, error: Exception = error) -> None:
            await checkpoint()
            raise error

        for callback in (on_status, on_status_later):
            server.asked.clear()
            async with server.client() as client:
                with pytest.raises(type(error), match="their own"):
                    await client.wait_for_run("thread_1", "run_1", on_status=callback)

            assert server.cancels == 1


async def test_a_run_that_has_ended_is_not_cancelled() -> None:
    """A callback that raises at the run's end leaves nothing to cancel."""
    server = Server("completed")

    def on_status(run: Run) -> None:
        raise LookupError(run.status)

    async with server.client() as client:
        with pytest.raises(LookupError, match="completed"):
            await client.wait_for_run("thread_1", "run_1", on_status=on_status)

    assert server.cancels == 0


@pytest.mark.parametrize("answer", [httpx.Response(400), httpx.ConnectError("refused"), ZeroDivisionError("theirs")])
async def test_a_cancel_that_fails_hides_nothing(answer: Answer) -> None:
    """When the cancel is refused or lost, the wait still ends with its own error."""
    server = Server("in_progress")
    server.cancel_answer = answer
    async with server.client() as client:
        with pytest.raises(WaitTimeoutError):
            await client.wait_for_run("thread_1", "run_1", timeout=0.02)

    assert server.cancels >= 1


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": -1},
        {"timeout": float("nan")},
        {"timeout": 10**400},
        {"timeout": True},
        {"timeout": "9"},
        {"on_cancel": "stop"},
        {"on_status": 5},
        {"poll": 5},
    ],
)
async def test_wrong_settings_start_nothing(options: Any) -> None:
    """A wait with settings that cannot be meant is refused before the run is started."""
    server = Server("completed")
    async with server.client() as client:
        with pytest.raises(UsageError):
            await client.run_and_wait("thread_1", assistant_id="asst_1", **options)
        with pytest.raises(UsageError):
            await client.create_thread_run_and_wait(assistant_id="asst_1", **options)
        with pytest.raises(UsageError):
            await client.wait_for_run("thread_1", "run_1", **options)

    assert server.asked == []


async def test_an_unknown_parameter_starts_nothing() -> None:
    """A parameter no run has is a wrong call, as for create_run."""
    server = Server("completed")
    async with server.client() as client:
        with pytest.raises(TypeError, match="modle"):
            await client.run_and_wait("thread_1", assistant_id="asst_1", modle="m")  # type: ignore[call-arg]

    assert server.asked == []


async def test_a_failed_creation_is_raised() -> None:
    """When the run cannot be created there is nothing to wait for or to cancel."""
    server = Server("completed")
    server.respond = lambda answer: Server.respond(server, httpx.ReadError("cut"))  # type: ignore[method-assign]
    async with server.client() as client:
        with pytest.raises(APIConnectionError):
            await client.run_and_wait("thread_1", assistant_id="asst_1")

    assert server.asked == ["POST /threads/thread_1/runs"]


async def test_the_text_of_a_run_is_that_of_its_messages() -> None:
    """The run's own messages in order, without those of others a server may send along."""
    server = Server("completed")
    async with server.client() as client:
        run = await client.get_run("thread_1", "run_1")
        assert await client.run_text(run) == "First.\n\nSecond."


class SlowToCreate:
    """Answers the creation of a run only when it is let, and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_asked = anyio.Event()
        self.may_answer = anyio.Event()

    async def answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if request.url.path == "/threads/thread_1/runs":
            self.is_asked.set()
            await self.may_answer.wait()
        return httpx.Response(200, json={"id": "run_1", "thread_id": "thread_1", "status": "queued"})

    def client(self) -> AsyncClient:
        return AsyncClient(api_key="key", base_url="http://test", transport=httpx.MockTransport(self.answer))


@pytest.mark.parametrize(("on_cancel", "cancels"), [("cancel", 1), ("leave", 0)])
async def test_a_run_that_is_being_created_is_cancelled_too(on_cancel: Any, cancels: int) -> None:
    """A wait cancelled during the creation lets it finish, since only then the run can be named and cancelled."""
    server = SlowToCreate()
    async with server.client() as client, anyio.create_task_group() as group:
        scope = anyio.CancelScope()

        async def wait() -> None:
            with scope:
                await client.run_and_wait("thread_1", assistant_id="asst_1", on_cancel=on_cancel)

        group.start_soon(wait)
        await server.is_asked.wait()
        scope.cancel()
        await checkpoint()
        server.may_answer.set()

    assert scope.cancelled_caught
    assert server.asked == ["/threads/thread_1/runs", *["/threads/thread_1/runs/run_1/cancel"] * cancels]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_natively_cancelled_creation_is_cancelled_too() -> None:
    """asyncio's own cancellation during the creation comes out as it is, after the run was cancelled."""
    server = SlowToCreate()
    async with server.client() as client:
        task = asyncio.ensure_future(client.run_and_wait("thread_1", assistant_id="asst_1"))
        await server.is_asked.wait()
        task.cancel()
        await checkpoint()
        server.may_answer.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert server.asked[-1].endswith("/cancel")


async def test_the_timeout_covers_the_creation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A creation that is never answered ends the wait at its timeout, after a grace that is bounded."""
    monkeypatch.setattr("asyncassist.runs.watch._FINISH_SECONDS", 0.01)
    server = SlowToCreate()
    async with server.client() as client:
        with pytest.raises(WaitTimeoutError, match="a run did not end in the 0.01 s allowed; it was never seen"):
            await client.run_and_wait("thread_1", assistant_id="asst_1", timeout=0.01)

    assert server.asked == ["/threads/thread_1/runs"]


async def test_an_object_is_no_id() -> None:
    """An assistant in the place of its id is a wrong call; nothing is started."""
    server = Server("completed")
    async with server.client() as client:
        run = await client.get_run("thread_1", "run_1")
        with pytest.raises(TypeError, match="assistant_id must be a str, got a Run"):
            await client.run_and_wait("thread_1", assistant_id=run)  # type: ignore[arg-type]

    assert len(server.asked) == 1
