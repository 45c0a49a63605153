"""Fresh runs for failed ones: when, after which pause, how many, and what they are given."""

from __future__ import annotations

import json
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transport.helpers import paced

from asyncassist import AsyncClient, Run, UsageError, WaitTimeoutError
from asyncassist._wire.converter import structure
from asyncassist.runs.failed import pause_before_fresh_run
from asyncassist.server import FunctionCall, LocalServer, Reply, Turn
from asyncassist.server.backends.base import BackendError
from asyncassist.tools import Toolset

from .helpers import ASSISTANT, THREAD, run

pytestmark = pytest.mark.anyio


def failed(message: str | None = "Oh.", code: str = "rate_limit_exceeded", status: str = "failed") -> Run:
    return structure(run(status, last_error={"code": code, "message": message}), Run)


@pytest.mark.parametrize(
    ("message", "pause"),
    [
        ("Rate limit reached for gpt-4o. Please try again in 6s.", 6.0),
        ("Please try again in 20ms. Visit https://platform.openai.com to learn more.", 0.02),
        ("Try again in 1.5s", 1.5),
        ("please TRY AGAIN IN 12 MS", 0.012),
        ("Please try again in 1m.", 60.0),
        ("Please try again in 0m45.5s.", 45.5),
        ("Please retry after 26 seconds.", 26.0),
        ("Try again in 1 second", 1.0),
        ("Try again in 500 milliseconds.", 0.5),
        ("Please try again in 0s.", 0.001),
        ("Please try again in 1m26.4s.", None),
        ("Please try again in 7h12m0s.", None),
        ("Please try again in 2 minutes.", None),
        ("Please try again in 999999999999s.", 1.0),
        ("Please try again in a bit.", 1.0),
        ("Please try again in 6sec.", 1.0),
        ("", 1.0),
        (None, 1.0),
    ],
)
def test_the_pause_a_message_asks_for(message: str | None, pause: float | None) -> None:
    """The time the message names is waited for, up to a minute; without one a second."""
    given_ = pause_before_fresh_run(failed(message), 1, 0.0)
    assert given_ == (None if pause is None else pytest.approx(pause))


@given(st.text(), st.integers(1, 100), st.floats(0, 1, exclude_max=True))
def test_any_message_gives_a_pause_in_bounds(text: str, attempt: int, random: float) -> None:
    """No message breaks the decision or makes it wait for more than a minute and its spread."""
    pause = pause_before_fresh_run(failed(f"try again in {text}"), attempt, random)
    assert pause is None or 0 < pause <= 75


@pytest.mark.parametrize(("attempt", "pause"), [(1, 1.0), (2, 2.0), (4, 8.0), (7, 60.0), (100, 60.0)])
def test_pauses_grow(attempt: int, pause: float) -> None:
    """Without a time in the message each pause is twice the one before, up to a minute, and up to a quarter longer."""
    assert pause_before_fresh_run(failed(), attempt, 0.0) == pause
    assert pause_before_fresh_run(failed(), attempt, 1.0) == pause * 1.25


@pytest.mark.parametrize(
    "ended",
    [
        failed(code="invalid_prompt"),
        failed(code="of a later API"),
        failed(status="completed"),
        failed(status="cancelled"),
        failed(status="incomplete"),
        structure(run("failed"), Run),
    ],
)
def test_other_ends_are_final(ended: Run) -> None:
    """A failure that would come again, and an end that is none, get no fresh run."""
    assert pause_before_fresh_run(ended, 1, 0.0) is None


class Server:
    """A server whose runs fail so many times."""

    def __init__(self, failures: int, code: str = "server_error", message: str = "Oh.") -> None:
        self.failures = failures
        self.error = {"code": code, "message": message}
        self.bodies: list[Any] = []
        self.cancels: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.endswith("/runs"):
            self.bodies.append((path, json.loads(request.content)))
            return self._run("queued", f"run_{len(self.bodies)}")
        if path.endswith("/cancel"):
            self.cancels.append(path.split("/")[-2])
            return self._run("cancelled", path.split("/")[-2])
        number = int(path.rpartition("_")[2])
        return self._run("failed" if number <= self.failures else "completed", f"run_{number}")

    def _run(self, status: str, id_: str) -> httpx.Response:
        error = self.error if status == "failed" else None
        return httpx.Response(200, json=run(status, id=id_, last_error=error))

    def client(self) -> AsyncClient:
        return AsyncClient(api_key="key", base_url="http://test", transport=httpx.MockTransport(self))


@pytest.mark.parametrize(
    ("failures", "allowed", "runs", "status"), [(2, 2, 3, "completed"), (3, 2, 3, "failed"), (1, 0, 1, "failed")]
)
async def test_the_budget_of_fresh_runs(failures: int, allowed: int, runs: int, status: str) -> None:
    """So many fresh runs follow as were allowed, and the last one is returned as it ended."""
    server = Server(failures)
    client = server.client()
    naps = paced(client)
    ended = await client.run_and_wait(THREAD, assistant_id=ASSISTANT, retry_failed_runs=allowed)
    assert (ended.status, ended.id, len(server.bodies)) == (status, f"run_{runs}", runs)
    assert [nap for nap in naps.taken if nap >= 1] == [1.0, 2.0][: runs - 1]
    assert server.cancels == []


async def test_another_failure_is_final() -> None:
    """A failure with another code is returned at once."""
    server = Server(1, code="invalid_prompt")
    client = server.client()
    paced(client)
    assert (await client.run_and_wait(THREAD, assistant_id=ASSISTANT, retry_failed_runs=5)).status == "failed"
    assert len(server.bodies) == 1


async def test_what_was_added_to_the_thread_is_added_once() -> None:
    """A fresh run has the parameters of the first but for the messages, which are on the thread already."""
    server = Server(1)
    client = server.client()
    paced(client)
    message: Any = {"role": "user", "content": "Hi."}
    await client.run_and_wait(
        THREAD, assistant_id=ASSISTANT, retry_failed_runs=1, additional_messages=[message], instructions="Be brief."
    )
    (_, first), (_, second) = server.bodies
    assert first == {**second, "additional_messages": [message]}
    assert second == {"assistant_id": ASSISTANT, "instructions": "Be brief."}


async def test_the_thread_is_created_once() -> None:
    """A fresh run for one that came with its thread is on the same thread."""
    server = Server(1)
    client = server.client()
    paced(client)
    await client.create_thread_run_and_wait(
        assistant_id=ASSISTANT, retry_failed_runs=1, thread={"metadata": {"a": "b"}}, tool_resources={}, model="m"
    )
    (first_path, _), (path, body) = server.bodies
    assert (first_path, path) == ("/threads/runs", "/threads/thread_1/runs")
    assert body == {"assistant_id": ASSISTANT, "model": "m"}


@pytest.mark.parametrize("moment", ["pause", "fresh run"])
async def test_a_wait_cancelled_meanwhile(moment: str) -> None:
    """Cancelled in the pause there is nothing to cancel; cancelled later it is the fresh run."""
    server = Server(1, message="try again in 50s")
    client = server.client()
    with anyio.CancelScope() as scope:

        async def sleep(seconds: float) -> None:
            if (seconds >= 50) == (moment == "pause") and (moment == "pause" or len(server.bodies) == 2):
                scope.cancel()
                await anyio.lowlevel.checkpoint()

        paced(client)
        object.__setattr__(client._sender.pacing, "sleep", sleep)  # pyright: ignore[reportPrivateUsage]
        await client.run_and_wait(THREAD, assistant_id=ASSISTANT, retry_failed_runs=1)
    assert scope.cancelled_caught
    assert server.cancels == ([] if moment == "pause" else ["run_2"])


async def test_the_timeout_covers_the_fresh_runs() -> None:
    """The pause before a fresh run counts into the timeout; the run it was for has ended."""
    server = Server(1, message="try again in 50s")
    with pytest.raises(WaitTimeoutError, match="failed") as caught:
        await server.client().run_and_wait(THREAD, assistant_id=ASSISTANT, retry_failed_runs=1, timeout=0.4)
    assert caught.value.run is not None
    assert (caught.value.run.status, server.cancels) == ("failed", [])


@pytest.mark.parametrize("value", [-1, 101, 1.0, True, None])
async def test_wrong_budgets(value: Any) -> None:
    """A budget that cannot be meant starts nothing."""
    server = Server(0)
    with pytest.raises(UsageError, match="retry_failed_runs"):
        await server.client().run_and_wait(THREAD, assistant_id=ASSISTANT, retry_failed_runs=value)
    assert server.bodies == []


class FailsOnce:
    """Asks for the same call in every run, and fails the first run after it was answered."""

    def __init__(self) -> None:
        self.turns = 0

    async def answer(self, turn: Turn) -> Reply:
        self.turns += 1
        rounds = await turn.rounds()
        if not rounds:
            return Reply(tool_calls=(FunctionCall("dice", id="call_0"),))
        if self.turns == 2:
            raise BackendError("try again in 1ms", code="server_error")
        return Reply(rounds[0].outputs[0])


async def test_tools_are_called_anew_for_a_fresh_run() -> None:
    """The outputs of the failed run are not those of the fresh one, even where the calls have the same ids."""
    numbers = iter(range(1, 9))

    async def dice() -> int:
        """Roll."""
        return next(numbers)

    async with LocalServer(FailsOnce()) as server, server.client() as client:
        tools: Any = [{"type": "function", "function": {"name": "dice"}}]
        assistant = await client.create_assistant(model="m", tools=tools)
        thread = await client.create_thread(messages=[{"role": "user", "content": "Hello"}])
        ended = await client.run_and_wait(
            thread.id, assistant_id=assistant.id, toolset=Toolset([dice], max_rounds=1), retry_failed_runs=1
        )
        assert ended.status == "completed"
        assert await client.run_text(ended) == "2"
