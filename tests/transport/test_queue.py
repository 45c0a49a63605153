"""The queue before the pool: fair, with lanes, and losing no place whatever is cancelled."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import itertools
import time
from collections import deque

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncassist import APITimeoutError, Timeout
from asyncassist._transport.lanes import Admission, Lane

from .helpers import connect, pool_of, settle, until
from .loopback import RUN, Loopback, answer, hold

pytestmark = pytest.mark.anyio


_arrivals = itertools.count()


class Guest:
    """One request: queues, has its place until told to leave."""

    def __init__(self, admission: Admission, lane: Lane, number: int = 0) -> None:
        self.lane = lane
        self.number = number
        self.state = "new"
        self.came = 0
        self.has_entered = False
        self.scope = anyio.CancelScope()
        self._admission = admission
        self._may_leave = anyio.Event()

    async def visit(self) -> None:
        with self.scope:
            self.state = "waiting"
            self.came = next(_arrivals)
            try:
                await self._admission.acquire(self.lane)
            except BaseException:
                self.state = "gone"
                raise
            self.state = "in"
            self.has_entered = True
            try:
                await self._may_leave.wait()
            finally:
                self.state = "gone"
                self._admission.release(self.lane)

    def leave(self) -> None:
        self._may_leave.set()


class House:
    """An admission with its guests."""

    def __init__(self, group: anyio.abc.TaskGroup, max_connections: int, max_streams: int = 1) -> None:
        self.admission = Admission(max_connections, max_streams)
        self.guests: list[Guest] = []
        self._group = group

    async def arrive(self, *lanes: Lane) -> list[Guest]:
        new = [Guest(self.admission, lane, len(self.guests) + place) for place, lane in enumerate(lanes)]
        self.guests += new
        for guest in new:
            self._group.start_soon(guest.visit)
            await settle(2)
        return new

    async def leave(self, *guests: Guest) -> None:
        for guest in guests:
            guest.leave()
        with anyio.fail_after(10):
            while any(guest.state != "gone" for guest in guests):
                await settle(1)
        await settle(5)

    def inside(self, lane: Lane) -> list[int]:
        return [guest.number for guest in self.guests if guest.state == "in" and guest.lane is lane]


async def test_first_come_first_served_within_a_lane() -> None:
    """Places that become free go to those of a lane who have waited longest."""
    async with anyio.create_task_group() as group:
        house = House(group, 2)
        guests = await house.arrive(*[Lane.CALL] * 6)
        order: list[list[int]] = []
        for guest in guests:
            order.append(house.inside(Lane.CALL))
            await house.leave(guest)

    assert [[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [5]] == order


async def test_calls_and_polls_take_turns_by_arrival() -> None:
    """Neither calls nor polls go before the other: whoever came first is first."""
    async with anyio.create_task_group() as group:
        house = House(group, 2)
        guests = await house.arrive(Lane.CALL, Lane.CALL, Lane.POLL, Lane.CALL, Lane.POLL, Lane.CALL)

        await house.leave(guests[0], guests[1])
        assert ([3], [2]) == (house.inside(Lane.CALL), house.inside(Lane.POLL))
        await house.leave(*guests)


async def test_urgent_requests_go_first() -> None:
    """A cancel that comes last is served before all calls and polls that wait."""
    async with anyio.create_task_group() as group:
        house = House(group, 1)
        first, *_ = await house.arrive(Lane.CALL, Lane.CALL, Lane.POLL, Lane.URGENT)

        await house.leave(first)
        assert [3] == house.inside(Lane.URGENT)
        assert [] == house.inside(Lane.CALL)
        await house.leave(*house.guests)


@pytest.mark.parametrize("goes", ["is served", "is cancelled"])
async def test_calm_is_when_nothing_urgent_waits(goes: str) -> None:
    """Whoever waits for calm goes on when the last urgent request has been let in, or has gone."""
    calm: list[str] = []

    async with anyio.create_task_group() as group:
        house = House(group, 1)
        await house.admission.until_calm()  # at once

        async def wait(name: str) -> None:
            await house.admission.until_calm()
            calm.append(name)

        first, call, urgent, last = await house.arrive(Lane.CALL, Lane.CALL, Lane.URGENT, Lane.URGENT)
        group.start_soon(wait, "a")
        group.start_soon(wait, "b")
        await settle(5)
        await house.leave(first)
        assert ("in", "waiting", []) == (urgent.state, last.state, calm)

        if goes == "is served":
            await house.leave(urgent)
            assert "in" == last.state
        else:
            last.scope.cancel()
            await settle(5)
        assert ["a", "b"] == sorted(calm)
        await house.leave(*[guest for guest in (urgent, last, call) if guest.state != "gone"])


@pytest.mark.parametrize(("max_connections", "reserved"), [(1, 0), (9, 0), (10, 1), (50, 5), (100, 8), (1000, 8)])
async def test_some_places_are_kept_for_urgent_requests(max_connections: int, reserved: int) -> None:
    """Calls leave a tenth of the places, eight at most, to urgent requests, which can take all places themselves."""
    async with anyio.create_task_group() as group:
        house = House(group, max_connections)
        await house.arrive(*[Lane.CALL] * (max_connections + 1))
        assert max_connections - reserved == len(house.inside(Lane.CALL))

        await house.arrive(*[Lane.URGENT] * (reserved + 1))
        assert reserved == len(house.inside(Lane.URGENT))
        await house.leave(*house.guests)
        assert (0, 0) == (house.admission.in_use, house.admission.waiting)


@pytest.mark.parametrize(("max_connections", "most"), [(1, 1), (2, 1), (3, 1), (10, 5), (100, 50)])
async def test_polls_hold_at_most_half_of_the_places(max_connections: int, most: int) -> None:
    """However many polls are due, half of the places stay for calls."""
    async with anyio.create_task_group() as group:
        house = House(group, max_connections)
        await house.arrive(*[Lane.POLL] * (max_connections + 1))
        assert most == len(house.inside(Lane.POLL))

        if max_connections > 1:
            (call,) = await house.arrive(Lane.CALL)
            assert "in" == call.state
        await house.leave(*house.guests)


async def test_streams_have_places_of_their_own() -> None:
    """Streams neither wait for calls nor make calls wait."""
    async with anyio.create_task_group() as group:
        house = House(group, 1, max_streams=2)
        await house.arrive(Lane.CALL, Lane.CALL, Lane.STREAM, Lane.STREAM, Lane.STREAM)
        assert ([0], [2, 3]) == (house.inside(Lane.CALL), house.inside(Lane.STREAM))

        await house.leave(house.guests[2])
        assert [3, 4] == house.inside(Lane.STREAM)
        assert [0] == house.inside(Lane.CALL)
        await house.leave(*house.guests)


async def test_a_place_granted_to_somebody_just_cancelled_goes_on_to_the_next() -> None:
    """A waiter cancelled in the moment its turn comes passes it on."""
    async with anyio.create_task_group() as group:
        house = House(group, 1)
        first, second, third = await house.arrive(*[Lane.CALL] * 3)

        second.scope.cancel()
        first.leave()
        await settle()
        assert ("gone", "in") == (second.state, third.state)

        await house.leave(*house.guests)
        assert 0 == house.admission.in_use


async def test_ten_thousand_waiters_cancelled_at_once() -> None:
    """A queue of ten thousand is emptied by cancelling in a moment, and nothing is left of it."""
    async with anyio.create_task_group() as group:
        house = House(group, 1)
        (first,) = await house.arrive(Lane.CALL)
        crowd = [Guest(house.admission, lane) for lane in (Lane.CALL, Lane.POLL, Lane.URGENT) for _ in range(3_334)]
        async with anyio.create_task_group() as crowd_group:
            for guest in crowd:
                crowd_group.start_soon(guest.visit)
            await until(lambda: house.admission.waiting == len(crowd), 30)
            start = time.process_time()
            crowd_group.cancel_scope.cancel()
        seconds = time.process_time() - start

        assert seconds < 5
        assert (0, 1) == (house.admission.waiting, house.admission.in_use)
        first.leave()
    assert 0 == house.admission.in_use


ACTIONS = st.lists(
    st.one_of(
        st.sampled_from(list(Lane)),
        st.tuples(st.sampled_from(["leave", "cancel", "both"]), st.integers(0, 1000)),
    ),
    max_size=60,
)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(max_connections=st.integers(1, 25), max_streams=st.integers(1, 3), actions=ACTIONS, pause=st.booleans())
def test_no_schedule_loses_a_place(
    backend: str, max_connections: int, max_streams: int, actions: list[object], pause: bool
) -> None:
    """Whatever comes, leaves and is cancelled in whatever order: limits hold, lanes are fair, no place is lost."""

    async def main() -> None:
        async with anyio.create_task_group() as group:
            house = House(group, max_connections, max_streams)
            for action in actions:
                if isinstance(action, Lane):
                    guest = Guest(house.admission, action, len(house.guests))
                    house.guests.append(guest)
                    group.start_soon(guest.visit)
                elif house.guests:
                    assert isinstance(action, tuple)
                    what, index = action
                    guest = house.guests[index % len(house.guests)]
                    if what != "cancel":
                        guest.leave()
                    if what != "leave":
                        guest.scope.cancel()
                if pause:
                    await come_to_rest(house)
                    check(house, max_connections, max_streams)
            await come_to_rest(house)
            check(house, max_connections, max_streams)
            for guest in house.guests:
                guest.leave()
            await settle(8)
            # Places become free in several rounds.
            with anyio.fail_after(10):
                while any(guest.state != "gone" for guest in house.guests):
                    await settle(2)
            admission = house.admission
            assert (0, 0, 0, 0) == (admission.in_use, admission.streams, admission.waiting, admission._polls)

    anyio.run(main, backend=backend)


async def come_to_rest(house: House) -> None:
    """Let everybody who has been let in enter: one who leaves at once lets in the next."""
    await settle(8)
    for _ in range(500):
        inside = sum(len(house.inside(lane)) for lane in Lane)
        if inside == house.admission.in_use + house.admission.streams:
            break
        await settle(1)


def check(house: House, max_connections: int, max_streams: int) -> None:
    inside = {lane: house.inside(lane) for lane in Lane}
    waiting = {
        lane: deque(guest.number for guest in house.guests if guest.state == "waiting" and guest.lane is lane)
        for lane in Lane
    }
    admission = house.admission
    count = {lane: len(numbers) for lane, numbers in inside.items()}
    in_use = count[Lane.URGENT] + count[Lane.CALL] + count[Lane.POLL]
    most_calls = max_connections - min(8, max_connections // 10)
    most_polls = max(1, max_connections // 2)

    assert (admission.in_use, admission.streams) == (in_use, count[Lane.STREAM])
    assert admission.waiting == sum(map(len, waiting.values()))
    assert in_use <= max_connections
    assert count[Lane.STREAM] <= max_streams
    assert count[Lane.POLL] <= most_polls
    # Nobody has entered before one of its lane who came earlier and still waits.
    for lane in Lane:
        entered = [guest.came for guest in house.guests if guest.lane is lane and guest.has_entered]
        still = [guest.came for guest in house.guests if guest.lane is lane and guest.state == "waiting"]
        assert max(entered, default=-1) < min(still, default=1 << 60)
    # Nobody waits for a place that is free.
    assert not waiting[Lane.URGENT] or in_use == max_connections
    assert not waiting[Lane.CALL] or in_use >= most_calls
    assert not waiting[Lane.POLL] or in_use >= most_calls or count[Lane.POLL] == most_polls
    assert not waiting[Lane.STREAM] or count[Lane.STREAM] == max_streams


async def test_waiting_for_a_connection_is_counted_into_the_total_only(server: Loopback) -> None:
    """A call waits for a connection longer than an attempt may take, and then has the whole attempt for itself."""
    server.script.append(hold())
    async with connect(server, max_connections=1, timeout=Timeout(total=30, attempt=0.3)) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.with_options(timeout=30).get_run, "thread_1", "first")
            await until(lambda: server.requests)
            group.start_soon(client.get_run, "thread_1", "second")
            await until(lambda: pool_of(client).waiting == 1)
            await anyio.sleep(0.35)
            server.release()

        assert ["first", "second"] == [request.target.rpartition("/")[2] for request in server.requests]


async def test_the_total_timeout_ends_the_waiting(server: Loopback) -> None:
    """A call that got no connection in its total timeout says so: nothing was sent, its place in the queue is gone."""
    server.script.append(hold())
    async with connect(server, max_connections=1) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.get_run, "thread_1", "first")
            await until(lambda: server.requests)
            with pytest.raises(APITimeoutError, match="no connection was free") as caught:
                await client.with_options(timeout=0.05).create_run("thread_1", assistant_id="asst_1")
            assert 0 == pool_of(client).waiting
            server.release()

    assert ("queue", False, 1) == (caught.value.phase, caught.value.sent, caught.value.attempts)
    assert 1 == len(server.requests)


@pytest.mark.parametrize("operation", ["cancel_run", "submit_tool_outputs_to_run"])
async def test_cancels_and_tool_outputs_overtake_calls(server: Loopback, operation: str) -> None:
    """With all ordinary connections busy and calls waiting, a cancel and tool outputs go out at once."""
    server.script.extend([hold()] * 9)
    async with connect(server, max_connections=10) as client, anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(client.get_run, "thread_1", "run_1")
        await until(lambda: len(server.requests) == 9 and pool_of(client).waiting == 11)

        with anyio.fail_after(5):
            if operation == "cancel_run":
                await client.cancel_run("thread_1", "run_1")
            else:
                await client.submit_tool_outputs_to_run("thread_1", "run_1", tool_outputs=[])

        assert 11 == pool_of(client).waiting
        assert "POST" == server.requests[-1].method
        server.release()
    assert 21 == len(server.requests)


async def test_calls_overtake_polls(server: Loopback) -> None:
    """With more waits for runs than connections, half of the connections are there for calls."""
    server.default = hold(answer({**RUN, "status": "completed"}))
    async with connect(server, max_connections=4) as client, anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(client.wait_for_run, "thread_1", "run_1")
        await until(lambda: len(server.requests) == 2 and pool_of(client).waiting == 8)
        server.script.append(answer(RUN))

        with anyio.fail_after(5):
            await client.get_run("thread_1", "run_2")

        assert "/v1/threads/thread_1/runs/run_2" == server.requests[-1].target
        server.release()
    assert 11 == len(server.requests)
