"""The limiter: who waits for whom, what is learned from answers, and that nothing is lost."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Generator
from typing import Any

import anyio
import httpx
import pytest

from asyncassist import (
    APITimeoutError,
    AsyncClient,
    ClientClosedError,
    Limits,
    QuotaExceededError,
    RateLimitError,
    RetryPolicy,
    Timeout,
    UsageError,
)
from asyncassist._transport.limiter import Limiter, Ticket
from asyncassist._wire.limits import TokenBudget
from asyncassist._wire.requests import Kind, Request
from asyncassist._wire.responses import Response
from asyncassist.errors import APIStatusError

from .helpers import KEY, NOON, ONCE, Naps, connect, settle, until
from .loopback import RUN, Loopback, answer, chunked, hang, hold

pytestmark = pytest.mark.anyio

READ = Request(Kind.READ, "GET", "/threads/thread_1")
CANCEL = Request(Kind.CANCEL, "POST", "/threads/thread_1/runs/run_1/cancel")
CREATE_RUN = Request(Kind.CREATE, "POST", "/threads/thread_1/runs")


def clock() -> float:
    return NOON


def good(headers: dict[str, str] | None = None) -> Response:
    return Response(200, httpx.Headers(headers or {}), b"{}")


def refusal(
    status: int = 429,
    retry_after: float | None = None,
    headers: dict[str, str] | None = None,
    kind: type[APIStatusError] = RateLimitError,
) -> APIStatusError:
    return kind("no", status=status, retry_after=retry_after, headers=headers or {})


async def send(limiter: Limiter, request: Request = READ, sleep: Callable[[float], Any] = anyio.sleep) -> Ticket:
    """Let one request through."""
    ticket = limiter.ticket(request)
    await limiter.enter(ticket, sleep)
    assert limiter.begin(ticket)
    return ticket


def limited(limiter: Limiter, retry_after: float | None = None) -> None:
    """Let a limiter have seen a refusal."""
    ticket = limiter.ticket(READ)
    ticket.sent_at = math.inf
    limiter.refused(ticket, refusal(retry_after=retry_after), clock)


async def test_nothing_waits_without_limits() -> None:
    """A thousand requests at once, and no clock is asked how long."""
    limiter, naps = Limiter(Limits()), Naps()
    tickets = [await send(limiter, sleep=naps) for _ in range(1_000)]

    assert (1_000, 0, []) == (limiter.in_flight, limiter.waiting, naps.taken)
    for ticket in tickets:
        limiter.answered(ticket, good(), clock)
        limiter.leave(ticket)
        limiter.leave(ticket)
    assert limiter.in_flight == 0


async def test_a_fixed_rate_lets_one_after_the_other_through() -> None:
    """First come, first served; the time of the pauses passes by the limiter's own clock."""
    limiter, naps = Limiter(Limits(requests_per_minute=600, adaptive=False)), Naps()
    order: list[int] = []

    async def one(number: int) -> None:
        await send(limiter, sleep=naps)
        order.append(number)

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(one, number)
            await settle(1)

    assert list(range(20)) == order
    assert pytest.approx(1.9, abs=0.1) == sum(naps.taken)
    assert limiter.waiting == 0


async def test_urgent_requests_go_first() -> None:
    """Before all that waited longer, without waiting for the rate."""
    limiter = Limiter(Limits(requests_per_minute=60))
    await send(limiter)
    order: list[str] = []

    async def one(request: Request) -> None:
        await send(limiter, request)
        order.append(request.kind.value)

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(one, READ)
        await settle()
        group.start_soon(one, CANCEL)
        await settle()
        assert ["cancel"] == order
        assert limiter.waiting == 5
        group.cancel_scope.cancel()


async def test_urgent_requests_pass_a_pause() -> None:
    """Which the server has asked for, and which holds back all others."""
    limiter = Limiter(Limits())
    ticket = await send(limiter)
    limiter.refused(ticket, refusal(retry_after=30), clock)
    with anyio.fail_after(1):
        for _ in range(50):
            await send(limiter, CANCEL)
    with anyio.move_on_after(0.01) as scope:
        await send(limiter)

    assert scope.cancelled_caught
    assert limiter.waiting == 0


@pytest.mark.parametrize("place", [0, 1, 3])
async def test_one_that_is_cancelled_keeps_nobody_back(place: int) -> None:
    """Whether it is the first that waits, one in the middle, or the last."""
    limiter = Limiter(Limits(max_in_flight=1))
    first = await send(limiter)
    scopes = [anyio.CancelScope() for _ in range(4)]
    through: list[int] = []

    async def one(number: int) -> None:
        with scopes[number]:
            ticket = await send(limiter)
            through.append(number)
            await settle()
            limiter.leave(ticket)

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(one, number)
            await settle(1)
        await settle()
        scopes[place].cancel()
        await settle()
        assert limiter.waiting == 3
        limiter.leave(first)

    assert [number for number in range(4) if number != place] == through
    assert (0, 0) == (limiter.in_flight, limiter.waiting)


async def test_one_that_is_cancelled_as_it_is_let_through_keeps_nobody_back() -> None:
    """At the same moment as its turn comes."""
    limiter = Limiter(Limits(max_in_flight=1))
    first = await send(limiter)
    scope = anyio.CancelScope()
    through: list[str] = []

    async def given_up() -> None:
        with scope:
            limiter.leave(await send(limiter))  # asyncio may let it through

    async def waiting() -> None:
        await send(limiter)
        through.append("waiting")

    async with anyio.create_task_group() as group:
        group.start_soon(given_up)
        await settle()
        group.start_soon(waiting)
        await settle()
        limiter.leave(first)
        scope.cancel()

    assert ["waiting"] == through
    assert (1, 0) == (limiter.in_flight, limiter.waiting)


async def test_chaos_leaves_nothing() -> None:
    """Hundreds of tasks, of which every third is cancelled at some point, and refusals meanwhile."""
    limiter = Limiter(Limits(max_in_flight=7, requests_per_minute=600_000, tokens_per_minute=1e9), TokenBudget(1e9))
    ended = 0
    naps = Naps()

    async def one(number: int) -> None:
        nonlocal ended
        request = (READ, CREATE_RUN, CANCEL)[number % 3]
        ticket = limiter.ticket(request)
        with anyio.move_on_after(0.0005 * (number % 17) if number % 3 == 1 else 30) as scope:
            try:
                for _ in range(2):
                    await limiter.enter(ticket, naps)
                    if limiter.begin(ticket):
                        await anyio.sleep(0.0003 * (number % 5))
                        if number % 100 == 0:
                            limiter.refused(ticket, refusal(retry_after=0.001), clock)
                        else:
                            limiter.answered(ticket, good(), clock)
                    limiter.leave(ticket)
            finally:
                limiter.leave(ticket)
                limiter.end(ticket)
        assert number % 3 == 1 or not scope.cancelled_caught
        ended += 1

    async with anyio.create_task_group() as group:
        for number in range(600):
            group.start_soon(one, number)

    assert (600, 0, 0) == (ended, limiter.in_flight, limiter.waiting)
    assert not limiter._line._places
    assert not limiter._runs._places


async def test_no_more_are_under_way_than_allowed() -> None:
    """Whatever ends lets the next one through; urgent ones are not counted against the limit."""
    limiter = Limiter(Limits(max_in_flight=3))
    most = 0

    async def one() -> None:
        nonlocal most
        ticket = await send(limiter)
        most = max(most, limiter.in_flight)
        await settle(3)
        limiter.leave(ticket)

    async with anyio.create_task_group() as group:
        for _ in range(30):
            group.start_soon(one)
    held = [await send(limiter) for _ in range(3)]
    await send(limiter, CANCEL)

    assert (3, 4) == (most, limiter.in_flight)
    del held


async def test_one_that_waited_for_its_connection_lines_up_again_after_a_refusal() -> None:
    """In its old place, before those who came later; an urgent one goes."""
    limiter, naps = Limiter(Limits()), Naps()
    early, urgent, other = limiter.ticket(READ), limiter.ticket(CANCEL), limiter.ticket(READ)
    for ticket in (early, urgent, other):
        await limiter.enter(ticket, naps)
    assert limiter.begin(other)
    limiter.refused(other, refusal(retry_after=0.05), clock)
    assert limiter.begin(urgent)
    assert not limiter.begin(early)
    assert limiter.in_flight == 2
    order: list[str] = []

    async def again(ticket: Ticket, name: str) -> None:
        await limiter.enter(ticket, anyio.sleep)
        order.append(name)

    async with anyio.create_task_group() as group:
        group.start_soon(again, limiter.ticket(READ), "late")
        await settle()
        group.start_soon(again, early, "early")
        await settle()
        assert [] == order

    assert ["early", "late"] == order


async def test_a_refusal_that_never_passes_holds_nobody_back() -> None:
    """A quota that is used up is the account's matter; so is a 404."""
    limiter = Limiter(Limits())
    for error in (refusal(kind=QuotaExceededError, retry_after=30), refusal(404, retry_after=30), refusal(503)):
        ticket = await send(limiter)
        limiter.refused(ticket, error, clock)
        limiter.leave(ticket)

    assert limiter._rate is not None
    assert limiter._rate.is_idle


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (refusal(503, 20), 20),
        (refusal(529, 20), 20),
        (refusal(429, 20), 20),
        (refusal(429, headers={"x-ratelimit-remaining": "0", "x-ratelimit-reset": "20s"}), 20),
        (refusal(429, headers={"x-ratelimit-remaining": "5", "x-ratelimit-reset": "20s"}), 0.1),
        (refusal(429, headers={"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9" * 29}), 0.0),
        (refusal(429, headers={"x-ratelimit-remaining": "nan", "x-ratelimit-reset": "nan"}), 0.1),
        (refusal(429), 0.1),
    ],
    ids=str,
)
async def test_what_the_server_asks_holds_all_back(error: APIStatusError, seconds: float) -> None:
    """In ``Retry-After``, or else in its headers about limits."""
    limiter, naps = Limiter(Limits()), Naps()
    ticket = await send(limiter)
    limiter.refused(ticket, error, clock)
    await send(limiter, sleep=naps)

    assert pytest.approx(seconds, abs=0.05) == sum(naps.taken)


async def test_each_for_itself_where_the_limiter_does_not_adapt() -> None:
    """`Limits(adaptive=False)`."""
    limiter = Limiter(Limits(adaptive=False))
    ticket = await send(limiter)
    limiter.refused(ticket, refusal(retry_after=30), clock)
    limiter.answered(ticket, good({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "30s"}), clock)
    with anyio.fail_after(1):
        await send(limiter)


async def test_headers_are_obeyed_before_anything_is_refused() -> None:
    """Nothing left: the next request waits; plenty left: it does not, and the headers are looked at now and then."""
    limiter, naps = Limiter(Limits()), Naps()
    plenty = {"x-ratelimit-remaining-requests": "9000", "x-ratelimit-limit-requests": "10000"}
    ticket = await send(limiter, sleep=naps)
    limiter.answered(ticket, good(plenty | {"x-ratelimit-reset-requests": "60s"}), clock)
    none_left = good({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "0.75"})
    for _ in range(15):
        limiter.answered(ticket, none_left, clock)
        await send(limiter, sleep=naps)
    assert [] == naps.taken
    limiter.answered(ticket, none_left, clock)
    await send(limiter, sleep=naps)

    assert pytest.approx(0.75, abs=0.01) == sum(naps.taken)


async def test_new_runs_wait_for_tokens_and_nothing_else_does() -> None:
    """Until what was used has been paid off."""
    budget = TokenBudget(6_000)
    limiter, naps = Limiter(Limits(tokens_per_minute=6_000), budget), Naps()
    await send(limiter, CREATE_RUN, naps)
    budget.ended(12_000)
    await send(limiter, READ, naps)
    await send(limiter, CANCEL, naps)
    assert [] == naps.taken
    ticket = await send(limiter, CREATE_RUN, naps)

    assert pytest.approx(60, abs=0.5) == sum(naps.taken)
    balance = budget._balance
    limiter.leave(ticket)
    await limiter.enter(ticket, naps)  # another attempt of the same call
    assert balance == budget._balance
    limiter.end(ticket)
    assert balance + 12_000 == budget._balance
    ticket.is_done = True
    limiter.end(ticket)
    assert balance + 12_000 == budget._balance


def test_one_event_loop_after_the_other(anyio_backend_name: str) -> None:
    """Who waited in the first is gone; what was learned stays, on the same clock."""
    limiter = Limiter(Limits(max_in_flight=1))
    held: list[Ticket] = []

    async def first() -> None:
        held.append(await send(limiter))
        with anyio.move_on_after(0.01):
            await send(limiter)
        async with anyio.create_task_group() as group:
            group.start_soon(send, limiter)
            await settle()
            group.cancel_scope.cancel()
        limiter.refused(held[0], refusal(retry_after=20), clock)

    async def second() -> None:
        naps = Naps()
        ticket = await send(limiter, sleep=naps)
        assert pytest.approx(20, abs=1) == sum(naps.taken)
        limiter.leave(held[0])
        assert limiter.in_flight == 1
        limiter.leave(ticket)
        assert limiter.in_flight == 0

    anyio.run(first, backend=anyio_backend_name)
    anyio.run(second, backend=anyio_backend_name)


@contextlib.contextmanager
def refusing(server: Loopback, milliseconds: int, times: int = 1) -> Generator[None]:
    error = {"error": {"message": "too many", "type": "requests", "code": "rate_limit_exceeded"}}
    server.script.extend([answer(error, 429, {"retry-after-ms": str(milliseconds)})] * times)
    yield
    assert not server.script


async def test_a_429_is_felt_once(server: Loopback) -> None:
    """Many calls at once meet it; those that had not been sent wait with the one that was refused."""
    async with AsyncClient(api_key=KEY, base_url=server.url, max_connections=1) as client:
        with refusing(server, 200):
            start = anyio.current_time()
            async with anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(client.get_run, "thread_1", "run_1")
            took = anyio.current_time() - start

    assert len(server.requests) == 21
    assert 0.2 <= took < 5


async def test_every_kind_of_request_passes_the_limiter(server: Loopback) -> None:
    """Calls, polls, pages and streams; copies made by `with_options` share it."""
    server.script.append(answer(RUN | {"status": "queued"}))
    server.script.append(answer(RUN))
    server.script.append(
        answer(
            {"data": [{"id": "msg_1", "role": "user", "thread_id": "thread_1"}], "has_more": True, "last_id": "msg_1"}
        )
    )
    server.script.append(answer({"data": [], "has_more": False}))
    server.script.append(chunked(b"event: done\ndata: [DONE]\n\n", headers={"content-type": "text/event-stream"}))
    server.script.append(answer(RUN))
    client = connect(server, limits=Limits(max_in_flight=1))
    entered = 0
    enter = client._sender.limiter.enter

    async def counting(ticket: Ticket, sleep: Any) -> None:
        nonlocal entered
        entered += 1
        await enter(ticket, sleep)

    client._sender.limiter.enter = counting  # type: ignore[method-assign]
    async with client:
        await client.wait_for_run("thread_1", "run_1")
        assert 2 == entered
        await client.list_messages("thread_1").collect()
        assert 4 == entered
        with contextlib.suppress(Exception):
            async with client.stream_run("thread_1", assistant_id="asst_1", on_cancel="leave") as stream:
                async for _ in stream:
                    pass
        assert entered >= 5
        entered = 0
        await client.with_options(timeout=5).get_run("thread_1", "run_1")
        assert 1 == entered
        assert client._sender.limiter.in_flight == 0


async def test_waiting_counts_into_the_total_timeout_alone(server: Loopback) -> None:
    """Not into that of the attempt; it ends with what it was that the call has waited for."""
    server.default = hold()
    limits = Limits(max_in_flight=1)
    async with AsyncClient(api_key=KEY, base_url=server.url, limits=limits, retry=ONCE) as client:
        patient = client.with_options(timeout=Timeout(total=10, attempt=0.3))
        hasty = client.with_options(timeout=Timeout(total=0.05))
        async with anyio.create_task_group() as group:
            group.start_soon(client.get_run, "thread_1", "run_1")
            await until(lambda: len(server.requests) == 1)
            with pytest.raises(APITimeoutError, match="held back within the total timeout by the limits") as caught:
                await hasty.get_run("thread_1", "run_2")
            assert ("queue", False) == (caught.value.phase, caught.value.sent)
            group.start_soon(patient.get_run, "thread_1", "run_3")
            await anyio.sleep(0.4)
            server.release()
        assert client._sender.limiter.in_flight == 0
    assert len(server.requests) == 2


async def test_an_attempt_that_lines_up_again_has_all_its_time(server: Loopback) -> None:
    """What it waited after its connection was free, because another was refused, is none of the attempt's."""
    error = answer({"error": {"message": "too many"}}, 429, {"retry-after-ms": "400"})
    server.script.append(hold(error))
    async with AsyncClient(api_key=KEY, base_url=server.url, max_connections=1, retry=ONCE) as client:
        quick = client.with_options(timeout=Timeout(total=10, attempt=0.3))
        start = anyio.current_time()
        async with anyio.create_task_group() as group:

            async def refused() -> None:
                with pytest.raises(RateLimitError):
                    await client.get_run("thread_1", "run_1")

            group.start_soon(refused)
            await until(lambda: len(server.requests) == 1)
            group.start_soon(quick.get_run, "thread_1", "run_2")
            await settle()
            server.release()
        assert anyio.current_time() - start > 0.3
    assert len(server.requests) == 2


async def test_closing_ends_those_who_wait(server: Loopback) -> None:
    """With an error that says so, at once."""
    client = AsyncClient(api_key=KEY, base_url=server.url, limits=Limits(requests_per_minute=1))
    failed = 0

    async def call() -> None:
        nonlocal failed
        with pytest.raises(ClientClosedError):
            await client.get_run("thread_1", "run_1")
        failed += 1

    await client.get_run("thread_1", "run_1")
    with anyio.fail_after(2):
        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(call)
            await settle()
            await client.aclose()

    assert 10 == failed
    assert (0, 0) == (client._sender.limiter.waiting, client._sender.limiter.in_flight)


async def test_a_cancel_does_not_wait_behind_a_pause(server: Loopback) -> None:
    """Of half a minute, which holds back everything else."""
    server.script.append(answer({"error": {"message": "too many"}}, 429, {"retry-after": "30"}))
    async with AsyncClient(api_key=KEY, base_url=server.url, retry=ONCE) as client:
        with pytest.raises(RateLimitError):
            await client.get_run("thread_1", "run_1")
        with anyio.fail_after(2):
            await client.cancel_run("thread_1", "run_1")
            await client.submit_tool_outputs_to_run("thread_1", "run_1", tool_outputs=[])
        with anyio.move_on_after(0.05) as scope:
            await client.get_run("thread_1", "run_1")
        assert scope.cancelled_caught


async def test_a_used_up_quota_lets_each_call_find_out(server: Loopback) -> None:
    """At once, one after the other."""
    server.default = answer({"error": {"message": "no money", "code": "insufficient_quota"}}, 429)
    async with AsyncClient(api_key=KEY, base_url=server.url, retry=RetryPolicy(attempts=5)) as client:
        with anyio.fail_after(5):
            for _ in range(50):
                with pytest.raises(QuotaExceededError):
                    await client.get_run("thread_1", "run_1")
    assert len(server.requests) == 50


async def test_a_request_that_is_given_up_half_way_is_no_longer_under_way(server: Loopback) -> None:
    """Cancelled, or refused its connection."""
    server.default = hang
    async with AsyncClient(api_key=KEY, base_url=server.url, limits=Limits(max_in_flight=2), retry=ONCE) as client:
        for _ in range(4):
            with anyio.move_on_after(0.02):
                await client.get_run("thread_1", "run_1")
        assert client._sender.limiter.in_flight == 0
        server.default = answer(RUN)
        await client.get_run("thread_1", "run_1")


async def test_what_runs_have_used_is_noticed(server: Loopback) -> None:
    """By whoever waits for them, once for each, whatever the server says."""
    usage: list[Any] = [{"total_tokens": 500}, None, {"total_tokens": None}, {"total_tokens": 700}]
    async with AsyncClient(api_key=KEY, base_url=server.url, limits=Limits(tokens_per_minute=1e6)) as client:
        tokens = client._pacing.tokens
        assert tokens is not None
        used: list[float] = []
        tokens.ended = used.append  # type: ignore[method-assign]
        for number, one in enumerate(usage):
            server.default = answer(RUN | {"id": f"run_{number}", "usage": one})
            await client.wait_for_run("thread_1", f"run_{number}")

    assert [500, 0, 0, 700] == used


async def test_new_runs_of_a_client_wait_for_tokens(server: Loopback) -> None:
    """Those that are streamed too; reads do not."""
    server.default = answer(RUN | {"usage": {"total_tokens": 10_000}})
    async with AsyncClient(api_key=KEY, base_url=server.url, limits=Limits(tokens_per_minute=100)) as client:
        await client.run_and_wait("thread_1", assistant_id="asst_1")
        before = len(server.requests)
        await client.get_run("thread_1", "run_1")
        for create in (client.create_run, client.run_and_wait):
            with anyio.move_on_after(0.02) as scope:
                await create("thread_1", assistant_id="asst_1")
            assert scope.cancelled_caught
        with anyio.move_on_after(0.02) as scope:
            await client.create_thread_and_run(assistant_id="asst_1")
        assert scope.cancelled_caught
        with anyio.move_on_after(0.02) as scope:
            async with client.stream_run("thread_1", assistant_id="asst_1"):
                pass
        assert scope.cancelled_caught

    assert before + 1 == len(server.requests)


async def test_hostile_headers_of_refusals(server: Loopback) -> None:
    """None of them makes the client wait for ever, or fail with anything but its own errors."""
    hostile = [
        {"retry-after": "nan"},
        {"retry-after": "-1"},
        {"retry-after": "9" * 400},
        {"retry-after": "inf"},
        {"retry-after-ms": "1e309"},
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "-1"},
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "9" * 30},
        {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "999999999d"},
        {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "\x00"},
    ]
    async with AsyncClient(api_key=KEY, base_url=server.url, retry=ONCE) as client:
        for headers in hostile:
            server.script.append(answer(json.loads('{"error": {"message": "too many"}}'), 429, headers))
            with anyio.fail_after(5), contextlib.suppress(RateLimitError):
                await client.get_run("thread_1", "run_1")
            client._sender.limiter._rate.__init__()  # type: ignore[union-attr, misc]
        with anyio.fail_after(5):
            await client.get_run("thread_1", "run_1")


@pytest.mark.parametrize("wrong", [None, 5, {"max_in_flight": 3}, Limits])
def test_limits_are_limits(wrong: Any) -> None:
    """Anything else is refused at construction."""
    with pytest.raises(UsageError, match="^limits must be a Limits"):
        AsyncClient(api_key=KEY, base_url="http://localhost", limits=wrong)


async def test_a_pause_that_gets_shorter_is_noticed() -> None:
    """Whoever waits out a long pause goes on as soon as an answer has ended it."""
    limiter = Limiter(Limits())
    naps = Naps()
    for _ in range(8):  # in vain, each after a pause twice as long
        ticket = await send(limiter, sleep=naps)
        limiter.leave(ticket)
        limiter.refused(ticket, refusal(), clock)
    probe = await send(limiter, sleep=naps)
    taken = len(naps.taken)

    async def sleep(seconds: float) -> None:
        await naps(seconds)
        if len(naps.taken) == taken + 1:
            limiter.leave(probe)
            limiter.answered(probe, good(), clock)

    await send(limiter, sleep=sleep)
    assert sum(naps.taken[taken:]) < 1


@pytest.mark.parametrize(("asked", "longest"), [(1.0, 1.0), (3.0, 3.0), (0.05, 1.0), (None, 8.0)])
async def test_a_named_time_is_not_outgrown(asked: float | None, longest: float) -> None:
    """A server that refuses again and again is asked at the pace it names; where it names none, ever more seldom."""
    limiter = Limiter(Limits())
    pauses: list[float] = []
    for _ in range(12):
        naps = Naps()
        ticket = await send(limiter, sleep=naps)
        pauses.append(sum(naps.taken))
        limiter.leave(ticket)
        limiter.refused(ticket, refusal(retry_after=asked), clock)
    assert pytest.approx(longest, abs=0.3) == max(pauses)
