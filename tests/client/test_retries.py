"""Which failed requests are sent again, how often and after how long; no time passes here."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from email.utils import formatdate

import anyio
import httpx
import pytest
from transport.helpers import connect, paced, pool_of, until
from transport.loopback import RUN, Loopback, answer, drop, hold

from asyncassist import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncAssistError,
    ConflictError,
    InternalServerError,
    RateLimitError,
    RetryPolicy,
    Timeout,
)

from .helpers import NOON, OBJECT, OPERATIONS, SAFE, UNSAFE, Reply, Server, reply

pytestmark = pytest.mark.anyio

FAILURES: dict[str, Reply | Exception] = {
    "connect error": httpx.ConnectError("refused"),
    "connect timeout": httpx.ConnectTimeout("slow"),
    "read error": httpx.ReadError("cut"),
    "read timeout": httpx.ReadTimeout("slow"),
    "write error": httpx.WriteError("cut"),
    "protocol error": httpx.RemoteProtocolError("no HTTP"),
    "system error": ConnectionResetError("reset"),
    **{str(status): reply({}, status) for status in (302, 400, 401, 404, 408, 409, 422, 429, 500, 501, 502, 503, 505)},
    "400, retry": reply({}, 400, {"x-should-retry": "true"}),
    "500, retry": reply({}, 500, {"X-Should-Retry": " TRUE "}),
    "429, do not": reply({}, 429, {"x-should-retry": "false"}),
    "500, do not": reply({}, 500, {"x-should-retry": "false"}),
    "500, perhaps": reply({}, 500, {"x-should-retry": "perhaps"}),
}
FOR_ALL = {"connect error", "connect timeout", "429", "400, retry", "500, retry"}
FOR_SAFE = {
    "read error",
    "read timeout",
    "write error",
    "protocol error",
    "system error",
    "408",
    "409",
    "500",
    "502",
    "503",
    "500, perhaps",
}


@pytest.mark.parametrize("failure", list(FAILURES))
@pytest.mark.parametrize("operation", list(OPERATIONS))
async def test_what_is_sent_again(operation: str, failure: str) -> None:
    """Reads, deletes and cancels are sent again after what may pass; the rest only where nothing can be done twice."""
    is_resent = failure in FOR_ALL or (failure in FOR_SAFE and operation in SAFE)
    server = Server(FAILURES[failure], reply())
    async with server.client() as client:
        if is_resent:
            await OPERATIONS[operation](client)
        else:
            with pytest.raises(AsyncAssistError) as caught:
                await OPERATIONS[operation](client)
            assert 1 == vars(caught.value)["attempts"]
    assert 1 + is_resent == len(server.requests)
    assert ([0.5] if is_resent else []) == server.naps
    assert 1 == len({(request.method, request.url, request.content) for request in server.requests})


def test_every_operation_is_safe_or_not() -> None:
    """Seven operations create or send, four change; the others may be repeated."""
    assert set(OPERATIONS) == {*SAFE, *UNSAFE}
    assert (13, 10) == (len(SAFE), len(UNSAFE))


@pytest.mark.parametrize("attempts, naps", [(1, []), (2, [0.5]), (3, [0.5, 1.0]), (7, [0.5, 1, 2, 4, 8, 8])])
async def test_attempts_end(attempts: int, naps: list[float]) -> None:
    """After the last attempt the error is raised, with their number; pauses double up to the longest."""
    server = Server(reply({}, 503))
    async with server.client(retry=RetryPolicy(attempts=attempts)) as client:
        with pytest.raises(InternalServerError) as caught:
            await client.get_thread("t")
        assert (503, attempts) == (caught.value.status, caught.value.attempts)
        server.script = [httpx.ConnectError("refused")]
        with pytest.raises(APIConnectionError, match="cannot connect to http://test/v1: refused") as refused:
            await client.create_thread()
    assert (attempts, False) == (refused.value.attempts, refused.value.sent)
    assert naps * 2 == server.naps
    assert 2 * attempts == len(server.requests)


async def test_failures_of_different_kinds() -> None:
    """Every failure is judged by itself."""
    server = Server(httpx.ConnectError("refused"), reply({}, 429), httpx.ReadError("cut"), reply())
    async with server.client(retry=RetryPolicy(attempts=4)) as client:
        with pytest.raises(APIConnectionError, match="may have acted, so the request was not sent again") as caught:
            await client.create_thread()
    assert (3, True) == (caught.value.attempts, caught.value.sent)
    assert "ReadError" == type(caught.value.__cause__).__name__


@pytest.mark.parametrize("dice, pause", [(0.0, 0.5), (0.5, 0.5625), (0.999, 0.624875)])
async def test_pauses_are_spread(dice: float, pause: float) -> None:
    """Chance only makes a pause longer."""
    server = Server(reply({}, 500), reply())
    async with server.client(dice=dice) as client:
        await client.get_thread("t")
    assert [pytest.approx(pause)] == server.naps


RETRY_AFTER = [
    ({"retry-after-ms": "1500"}, 1.5),
    ({"retry-after": "7"}, 7.0),
    ({"Retry-After": "0"}, 0.0),
    ({"retry-after": formatdate(NOON + 30, usegmt=True)}, 30.0),
    ({"retry-after": "7", "retry-after-ms": "20"}, 0.02),
    ({"retry-after": "60"}, 60.0),
]


@pytest.mark.parametrize("headers, pause", RETRY_AFTER)
@pytest.mark.parametrize("status, operation", [(429, "get_thread"), (429, "create_thread"), (503, "get_thread")])
async def test_the_server_says_when(status: int, operation: str, headers: dict[str, str], pause: float) -> None:
    """A Retry-After in milliseconds, seconds or as a date is obeyed."""
    server = Server(reply({}, status, headers), reply())
    async with server.client() as client:
        await OPERATIONS[operation](client)
    assert [pause] == server.naps


async def test_never_earlier_than_the_server_says() -> None:
    """Chance makes the pause a server asked for longer too."""
    server = Server(reply({}, 429, {"retry-after": "10"}), reply())
    async with server.client(dice=0.5) as client:
        await client.get_thread("t")
    assert [pytest.approx(10.525)] == server.naps


@pytest.mark.parametrize(
    "header", ["", "soon", "-5", "nan", "1e3", formatdate(NOON - 30, usegmt=True), "9" * 400, "Mon, 99 Foo"]
)
async def test_a_useless_retry_after_counts_as_none(header: str) -> None:
    """What names no time to come leaves the pause to the policy."""
    server = Server(reply({}, 429, {"retry-after": header}), reply())
    async with server.client() as client:
        await client.get_thread("t")
    assert [0.5] == server.naps


@pytest.mark.parametrize(
    "headers, asked",
    [({"retry-after": "61"}, 61.0), ({"retry-after-ms": "3600000"}, 3600.0), ({"retry-after": "9" * 20}, 1e20)],
)
async def test_asked_for_too_long_a_pause(headers: dict[str, str], asked: float) -> None:
    """Above the cap the error is raised at once, with the time the server named."""
    server = Server(reply({}, 429, headers), reply())
    async with server.client() as client:
        with pytest.raises(RateLimitError) as caught:
            await client.get_thread("t")
    assert (asked, 1) == (caught.value.retry_after, caught.value.attempts)
    assert [] == server.naps


async def test_the_cap_is_configurable() -> None:
    """A longer pause may be allowed."""
    server = Server(reply({}, 429, {"retry-after": "100"}), reply())
    async with server.client(retry=RetryPolicy(max_retry_after=100.0)) as client:
        await client.get_thread("t")
    assert [100.0] == server.naps


@pytest.mark.parametrize("failure", [reply({}, 429, {"retry-after": "5"}), httpx.ConnectError("refused")])
async def test_a_pause_beyond_the_total_timeout(failure: Reply | Exception) -> None:
    """A call whose pause would outlast its total timeout raises at once instead of waiting for nothing."""
    server = Server(failure)
    async with server.client(timeout=Timeout(total=4.0), retry=RetryPolicy(base_pause=5.0)) as client:
        with pytest.raises(AsyncAssistError) as caught:
            await client.get_thread("t")
    assert not isinstance(caught.value, APITimeoutError)
    assert 1 == vars(caught.value)["attempts"]
    assert [] == server.naps


async def test_no_total_timeout() -> None:
    """Without one, any pause is waited for."""
    server = Server(reply({}, 429, {"retry-after": "50"}), reply())
    async with server.client(timeout=None) as client:
        await client.get_thread("t")
    assert [50.0] == server.naps


async def never(request: httpx.Request) -> httpx.Response:
    await anyio.sleep_forever()
    raise NotImplementedError


async def test_a_slow_answer_is_given_up_and_asked_for_again() -> None:
    """An attempt that takes too long is ended, and a read tried again."""
    server = Server(never, reply())
    async with server.client(timeout=Timeout(attempt=0.02)) as client:
        await client.get_thread("t")
        server.script = [never, reply()]
        with pytest.raises(APITimeoutError, match="no complete answer within the attempt timeout") as caught:
            await client.create_thread()
    assert ("attempt", True, 1) == (caught.value.phase, caught.value.sent, caught.value.attempts)
    assert 3 == len(server.requests)


async def test_the_total_timeout_ends_all() -> None:
    """When the total is used up nothing is sent again, and the error says how often it was."""
    server = Server(reply({}, 500), never)
    async with server.client(timeout=Timeout(total=0.05), retry=RetryPolicy(base_pause=0)) as client:
        with pytest.raises(APITimeoutError, match="no complete answer within the total timeout") as caught:
            await client.get_thread("t")
    assert ("total", 2) == (caught.value.phase, caught.value.attempts)


# The budget


@pytest.mark.parametrize("failure", [httpx.ConnectError("refused"), httpx.ReadError("cut"), reply({}, 500)])
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_dead_server_is_not_flooded(failure: Reply | Exception, at_once: bool) -> None:
    """In 100 calls a dead server sees at most 160 requests, and every call ends with its error."""
    server = Server(failure)
    ended: list[Exception] = []
    async with server.client(max_connections=100) as client:

        async def call() -> None:
            try:
                await client.get_thread("t")
            except (APIConnectionError, APIStatusError) as error:
                ended.append(error)

        if at_once:
            async with anyio.create_task_group() as group:
                for _ in range(100):
                    group.start_soon(call)
        else:
            for _ in range(100):
                await call()
    assert 100 == len(ended)
    assert 100 < len(server.requests) <= 160


async def test_copies_share_the_budget() -> None:
    """A copy for each call does not get around it."""
    server = Server(reply({}, 500))
    async with server.client() as client:
        for _ in range(100):
            with pytest.raises(InternalServerError):
                await client.with_options(timeout=5).get_thread("t")
    assert len(server.requests) <= 160


async def test_good_answers_bring_retries_back() -> None:
    """A used up budget is refilled by good answers, half a retry each, and by every call a little."""
    server = Server(reply({}, 500))
    async with server.client() as client:
        for _ in range(100):
            with pytest.raises(InternalServerError):
                await client.get_thread("t")
        server.requests.clear()
        for _ in range(20):
            with pytest.raises(InternalServerError):
                await client.get_thread("t")
        assert len(server.requests) <= 22

        server.script = [reply()]
        for _ in range(4):
            await client.get_thread("t")
        server.requests.clear()
        server.script = [reply({}, 500)]
        with pytest.raises(InternalServerError):
            await client.get_thread("t")
    assert 3 == len(server.requests)


async def test_a_server_that_fails_now_and_then_is_always_asked_again() -> None:
    """Every third request fails for a long time, and no call does."""
    server = Server()
    async with server.client() as client:
        for _ in range(300):
            server.script = [reply({}, 500), reply()]
            await client.get_thread("t")
            await client.get_thread("t")
    assert 900 == len(server.requests)


async def test_retries_the_server_asks_for_are_free() -> None:
    """A server that names a time for the next attempt gets it, whatever the budget."""
    server = Server(reply({}, 429, {"retry-after": "1"}))
    async with server.client() as client:
        for _ in range(100):
            with pytest.raises(RateLimitError):
                await client.get_thread("t")
    assert 300 == len(server.requests)


async def test_conflicts_name_their_attempts() -> None:
    """The last of several answers is the one that is raised."""
    server = Server(reply({}, 500), reply({}, 409), reply({"error": {"message": "busy"}}, 409))
    async with server.client() as client:
        with pytest.raises(ConflictError, match="busy") as caught:
            await client.cancel_run("t", "r")
    assert 3 == caught.value.attempts


# Connections the server drops just when they are used again


@pytest.mark.parametrize(
    "operation", ["get_run", "list_runs", "delete_thread", "cancel_run", "wait_for_run", "get_run_step"]
)
async def test_a_dropped_connection_is_replaced_at_once(server: Loopback, operation: str) -> None:
    """What is safe to repeat goes out again at once on a new connection, even without any retries."""
    server.default = answer(OBJECT)
    async with connect(server, retry=RetryPolicy(attempts=1)) as client:
        naps = paced(client)
        await client.get_run("thread_1", "run_1")
        server.script.append(drop(acts=False))
        if operation == "wait_for_run":
            await client.wait_for_run("thread_1", "run_1", on_cancel="leave")
        else:
            await OPERATIONS[operation](client)
    assert [1, 1, 2] == [request.connection for request in server.requests]
    assert [] == naps.taken


async def test_other_idle_connections_are_not_tried(server: Loopback) -> None:
    """The second request goes over a new connection although others are unused: they are likely to be as dead."""
    server.script.extend([hold(), hold()])
    async with connect(server) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.get_run, "thread_1", "run_1")
            group.start_soon(client.get_run, "thread_1", "run_1")
            await until(lambda: len(server.requests) == 2)
            server.release()
        assert 2 == pool_of(client).idle
        server.script.append(drop())
        await client.get_run("thread_1", "run_1")
    assert 3 == server.requests[-1].connection


async def test_once_only(server: Loopback) -> None:
    """When the new connection breaks as well, it is a failure as any other; all requests are counted in the error."""
    async with connect(server, retry=RetryPolicy(attempts=2)) as client:
        naps = paced(client)
        await client.get_run("thread_1", "run_1")
        server.default = drop()
        with pytest.raises(APIConnectionError) as caught:
            await client.get_run("thread_1", "run_1")
    assert [0.5] == naps.taken
    assert 4 == len(server.requests)
    assert (3, False) == (caught.value.attempts, caught.value.stale)


async def test_a_break_on_a_fresh_connection_takes_an_attempt(server: Loopback) -> None:
    """A connection that breaks at its first request is no sign of an idle one being dropped."""
    server.script.append(drop())
    async with connect(server) as client:
        naps = paced(client)
        await client.get_run("thread_1", "run_1")
    assert [0.5] == naps.taken
    assert 2 == len(server.requests)


async def test_a_break_within_the_answer_takes_an_attempt(server: Loopback) -> None:
    """Once the answer has begun, the server was not just closing an idle connection."""
    server.script.extend([answer(RUN), answer(RUN, length=1000, keep=False)])
    async with connect(server) as client:
        naps = paced(client)
        await client.get_run("thread_1", "run_1")
        await client.get_run("thread_1", "run_1")
    assert [0.5] == naps.taken
    assert 3 == len(server.requests)


@pytest.mark.parametrize(
    "operation", ["create_run", "create_thread_and_run", "modify_run", "submit_tool_outputs_to_run"]
)
async def test_what_may_have_acted_is_not_repeated(server: Loopback, operation: str) -> None:
    """A create, a change or tool outputs lost on a dropped connection are an error, marked as stale."""
    async with connect(server) as client:
        naps = paced(client)
        await client.get_run("thread_1", "run_1")
        server.script.append(drop())
        with pytest.raises(APIConnectionError, match="may have acted") as caught:
            await OPERATIONS[operation](client)
    assert (True, True, 1) == (caught.value.stale, caught.value.sent, caught.value.attempts)
    assert [] == naps.taken
    assert 2 == len(server.requests)
