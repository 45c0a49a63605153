"""What is sent again, how often, after which pause, and within which budget."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpcore
import httpx
import pytest

from asyncassist import (
    APIConnectionError,
    APIStatusError,
    AsyncAssistError,
    AsyncClient,
    ClientClosedError,
    QuotaExceededError,
    RateLimitError,
    RetryPolicy,
)
from asyncassist._wire.retry import RetryBudget

from .helpers import KEY, paced, settle
from .loopback import RUN

pytestmark = pytest.mark.anyio

Answer = httpx.Response | Exception

OBJECT = RUN | {"deleted": True, "data": [], "has_more": False}
OPERATIONS: dict[str, Callable[[AsyncClient], Awaitable[object]]] = {
    "read": lambda client: client.get_run("thread_1", "run_1"),
    "list": lambda client: client.list_runs("thread_1"),
    "delete": lambda client: client.delete_thread("thread_1"),
    "cancel": lambda client: client.cancel_run("thread_1", "run_1"),
    "create": lambda client: client.create_run("thread_1", assistant_id="asst_1"),
    "modify": lambda client: client.modify_run("thread_1", "run_1", metadata={}),
    "submit": lambda client: client.submit_tool_outputs_to_run("thread_1", "run_1", tool_outputs=[]),
}
SAFE = ("read", "list", "delete", "cancel")
UNSAFE = ("create", "modify", "submit")


class Script:
    """A transport that gives the answers of a list, the last one again and again."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.sent: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        # A response is consumed by being read.
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def client(self, **options: Any) -> AsyncClient:
        return AsyncClient(
            api_key=KEY, base_url="http://server.example/v1", transport=httpx.MockTransport(self), **options
        )


GOOD = httpx.Response(200, json=OBJECT)


def status(number: int, headers: dict[str, str] | None = None, **error: object) -> httpx.Response:
    return httpx.Response(number, headers=headers, json={"error": {"message": "no", **error}})


NOTHING_DONE: dict[str, Answer] = {
    "429": status(429),
    "429 with a code": status(429, code="rate_limit_exceeded"),
    "said so": status(500, {"x-should-retry": "true"}),
    "said so of a 400": status(400, {"x-should-retry": " TRUE "}),
    "refused": httpx.ConnectError("refused"),
    "connect timeout": httpx.ConnectTimeout("slow"),
    "proxy": httpx.ProxyError("502"),
    "refused below httpx": httpcore.ConnectError("refused"),
}
PERHAPS_DONE: dict[str, Answer] = {
    "500": status(500),
    "502": status(502),
    "503": status(503),
    "504": status(504),
    "529": status(529),
    "408": status(408),
    "409": status(409),
    "503 with a time": status(503, {"retry-after": "1"}),
    "read error": httpx.ReadError("cut"),
    "write error": httpx.WriteError("cut"),
    "no http": httpx.RemoteProtocolError("garbage"),
    "read timeout": httpx.ReadTimeout("slow"),
    "os": ConnectionResetError("reset"),
    "cut below httpx": httpcore.ReadError("cut"),
    "below anyio": anyio.BrokenResourceError(),
}
WILL_NOT_CHANGE: dict[str, Answer] = {
    "400": status(400),
    "401": status(401),
    "403": status(403),
    "404": status(404),
    "422": status(422),
    "501": status(501),
    "505": status(505),
    "302": status(302, {"location": "/elsewhere"}),
    "said no": status(503, {"x-should-retry": "false"}),
    "said no to 429": status(429, {"x-should-retry": "false"}),
    "quota": status(429, code="insufficient_quota"),
    "quota by type": status(429, type="insufficient_quota"),
    "quota, though said so": status(429, {"x-should-retry": "true", "retry-after": "1"}, code="insufficient_quota"),
}


@pytest.mark.parametrize("failure", list(NOTHING_DONE))
@pytest.mark.parametrize("operation", list(OPERATIONS))
async def test_what_was_not_done_is_tried_again(operation: str, failure: str) -> None:
    """Every operation is sent again after an answer or a failure that shows that nothing was done."""
    script = Script(NOTHING_DONE[failure], NOTHING_DONE[failure], GOOD)
    async with script.client() as client:
        naps = paced(client)
        await OPERATIONS[operation](client)

    assert 3 == len(script.sent)
    assert [0.5, 1.0] == naps.taken


@pytest.mark.parametrize("failure", list(PERHAPS_DONE))
@pytest.mark.parametrize("operation", SAFE)
async def test_what_may_be_done_twice_is_tried_again(operation: str, failure: str) -> None:
    """Reads, deletes and cancels are sent again after any failure that may pass."""
    script = Script(PERHAPS_DONE[failure], GOOD)
    async with script.client() as client:
        paced(client)
        await OPERATIONS[operation](client)

    assert 2 == len(script.sent)


@pytest.mark.parametrize("failure", list(PERHAPS_DONE))
@pytest.mark.parametrize("operation", UNSAFE)
async def test_what_was_perhaps_done_is_not_done_twice(operation: str, failure: str) -> None:
    """Creates, modifications and tool outputs are sent once when nobody knows whether they were done."""
    script = Script(PERHAPS_DONE[failure], GOOD)
    async with script.client() as client:
        naps = paced(client)
        with pytest.raises((APIStatusError, APIConnectionError)) as caught:
            await OPERATIONS[operation](client)

    assert 1 == len(script.sent)
    assert [] == naps.taken
    assert getattr(caught.value, "sent", True)


@pytest.mark.parametrize("failure", list(WILL_NOT_CHANGE))
@pytest.mark.parametrize("operation", ["read", "cancel", "create", "submit"])
async def test_what_will_not_change_is_not_tried_again(operation: str, failure: str) -> None:
    """No operation is sent again after an answer that would only be repeated."""
    script = Script(WILL_NOT_CHANGE[failure], GOOD)
    async with script.client() as client:
        with pytest.raises(APIStatusError) as caught:
            await OPERATIONS[operation](client)

    assert 1 == len(script.sent)
    assert failure.startswith("quota") == isinstance(caught.value, QuotaExceededError)


async def test_the_last_error_is_raised() -> None:
    """When the attempts are used up the last error is raised; it knows how often the request was sent."""
    script = Script(status(500), status(502), httpx.ReadError("cut"), status(503))
    async with script.client(retry=RetryPolicy(attempts=4)) as client:
        paced(client)
        with pytest.raises(APIStatusError) as caught:
            await client.get_run("thread_1", "run_1")

    assert (503, 4) == (caught.value.status, caught.value.attempts)
    assert 4 == len(script.sent)


async def test_retries_off() -> None:
    """With one attempt nothing is sent again."""
    script = Script(status(503), GOOD)
    async with script.client(retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(APIStatusError):
            await client.get_run("thread_1", "run_1")

    assert 1 == len(script.sent)


async def test_pauses_grow_up_to_a_limit_and_are_only_ever_lengthened() -> None:
    """Pauses double up to ``max_pause``; chance adds up to a quarter and never takes anything away."""
    script = Script(status(500))
    policy = RetryPolicy(attempts=7, base_pause=1, max_pause=10)
    async with script.client(retry=policy) as client:
        naps = paced(client, dice=(0.0, 0.999, 0.0, 0.5, 0.0, 0.999))
        with pytest.raises(APIStatusError):
            await client.get_run("thread_1", "run_1")

    assert pytest.approx([1, 2 * 1.24975, 4, 8 * 1.125, 10, 10 * 1.24975]) == naps.taken


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "60"}, 60.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:09 GMT"}, 9.0),
        ({"retry-after": "Fri, 15 Jan 2027 07:59:00 GMT"}, 0.5),
        ({"retry-after": "soon"}, 0.5),
        ({"retry-after": "nan"}, 0.5),
        ({"retry-after": "inf"}, 0.5),
        ({"retry-after": "-7"}, 0.5),
        ({"retry-after": "9" * 400}, 0.5),
        ({"retry-after": ""}, 0.5),
    ],
    ids=repr,
)
@pytest.mark.parametrize("dice", [0.0, 0.999])
async def test_the_servers_time_is_obeyed(headers: dict[str, str], seconds: float, dice: float) -> None:
    """Retry-After in milliseconds, seconds or as a date sets the pause, which is never shorter; nonsense is ignored."""
    script = Script(status(429, headers), GOOD)
    async with script.client() as client:
        naps = paced(client, dice=(dice,))
        await client.create_run("thread_1", assistant_id="asst_1")

    (pause,) = naps.taken
    assert seconds <= pause <= seconds * 1.25 + 0.05


async def test_a_time_too_long_is_not_waited_for() -> None:
    """A server that asks for a longer pause than the policy allows gets no second request; the error has the time."""
    script = Script(status(429, {"retry-after": "61"}), GOOD)
    async with script.client() as client:
        naps = paced(client)
        with pytest.raises(RateLimitError) as caught:
            await client.get_run("thread_1", "run_1")
        assert ([], 61.0) == (naps.taken, caught.value.retry_after)

        script.answers = [status(429, {"retry-after": "61"}), GOOD]
        await client.with_options(retry=RetryPolicy(max_retry_after=61)).get_run("thread_1", "run_1")
        assert [61.0] == naps.taken


async def test_a_dead_server_is_spared() -> None:
    """Over a hundred calls a server that is down sees at most 1.6 requests a call, and each call fails as it should."""
    script = Script(status(503))
    async with script.client() as client:
        paced(client)
        for _ in range(100):
            with pytest.raises(APIStatusError):
                await client.get_run("thread_1", "run_1")
        assert 110 <= len(script.sent) <= 160

        # And when it is back, retries come back.
        script.answers = [GOOD]
        for _ in range(20):
            await client.get_run("thread_1", "run_1")
        script.sent.clear()
        script.answers = [status(503), GOOD]
        await client.get_run("thread_1", "run_1")
        assert 2 == len(script.sent)


async def test_copies_share_the_budget() -> None:
    """A copy made with other options draws on the same budget."""
    script = Script(status(503))
    async with script.client() as client:
        paced(client)
        client._sender._budget._tokens = 1.0
        copy = client.with_options(timeout=5)
        for one in (client, copy):
            with pytest.raises(APIStatusError):
                await one.get_run("thread_1", "run_1")

    assert 3 == len(script.sent)


async def test_what_the_server_asks_for_costs_nothing() -> None:
    """A retry at the time the server named is not taken from the budget."""
    script = Script(*[status(429, {"retry-after": "1"}), GOOD] * 100)
    async with script.client() as client:
        paced(client)
        client._sender._budget._tokens = 0.0
        for _ in range(50):
            await client.get_run("thread_1", "run_1")

    assert 100 == len(script.sent)
    assert RetryBudget.CAPACITY >= client._sender._budget._tokens


async def test_each_attempt_asks_for_its_key() -> None:
    """A request sent again carries the key of that moment."""
    keys = iter(("key-of-1", "key-of-2"))
    script = Script(status(500), GOOD)
    client = AsyncClient(
        api_key=lambda: next(keys), base_url="http://server.example", transport=httpx.MockTransport(script)
    )
    async with client:
        paced(client)
        await client.get_run("thread_1", "run_1")

    assert ["Bearer key-of-1", "Bearer key-of-2"] == [request.headers["authorization"] for request in script.sent]


async def test_a_retry_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A request that is sent again leaves a line with the reason and the pause."""
    caplog.set_level(logging.DEBUG, "asyncassist")
    script = Script(status(500), GOOD)
    async with script.client() as client:
        paced(client)
        await client.get_run("thread_1", "run_1")

    assert any("500" in line and "trying again in 0.50 s" in line for line in caplog.messages)


async def test_closing_ends_a_pause() -> None:
    """A call that pauses before its next attempt ends when the client is closed."""
    script = Script(status(500))
    client = script.client(retry=RetryPolicy(base_pause=1000, max_pause=1000), timeout=None)
    ended: list[AsyncAssistError] = []

    async def call() -> None:
        with pytest.raises(ClientClosedError, match="before the next attempt") as caught:
            await client.get_run("thread_1", "run_1")
        ended.append(caught.value)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await settle()
            await client.aclose()

    assert 1 == len(ended)


async def test_a_cancelled_pause_leaves_nothing() -> None:
    """A call cancelled while it pauses is gone."""
    script = Script(status(500))
    async with script.client(retry=RetryPolicy(base_pause=1000, max_pause=1000), timeout=None) as client:
        with anyio.move_on_after(0.05) as scope:
            await client.get_run("thread_1", "run_1")
        assert scope.cancelled_caught
        assert {} == client._sender._guards._open

    assert 1 == len(script.sent)
