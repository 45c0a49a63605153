"""Creates that are to be found again, and whoever waits for them goes away, or closes the client."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import AsyncGenerator
from functools import partial

import anyio
import pytest
from transport.cancelling import cancelled_at, styles
from transport.helpers import connect, pool_of
from transport.loopback import RUN, Behaviour, Connection, Loopback, answer, drop, hold

from asyncassist import ClientClosedError, Timeout
from asyncassist.server import Rule
from asyncassist.testing import FakeServer

from .unlucky import OPERATIONS, TAGGED, Unlucky

pytestmark = pytest.mark.anyio


@pytest.fixture
async def fake() -> AsyncGenerator[FakeServer, None]:
    """Give a server whose runs go on until they are cancelled."""
    async with FakeServer(Rule(say="Well.", delay=3600)) as server:
        yield server


@pytest.mark.parametrize("operation", list(OPERATIONS))
@pytest.mark.parametrize("fates", [["done, cut"], ["cut"], ["late 2"], ["500", "done, 500"]])
async def test_cancelled_at_every_step(fake: FakeServer, operation: str, fates: list[str]) -> None:
    """The call ends at once, and there is one object at most."""
    plain = fake.client()
    assistant = await plain.create_assistant(model="any")
    for style in styles():
        number, is_reached = 0, True
        while is_reached:
            thread = await plain.create_thread()
            road = Unlucky(fake, *fates)
            client = road.client()
            with anyio.fail_after(5):
                work = partial(OPERATIONS[operation], client, thread.id, assistant.id)
                is_reached = await cancelled_at(number, work, style)
            kind = plain.list_runs if operation == "create_run" else plain.list_messages
            objects = await kind(thread.id).collect()
            assert len(objects) <= 1 if is_reached else len(objects) == 1
            number += 7 if number > 40 else 1
        assert number > 2


@pytest.mark.parametrize("fates", [["done, cut"], ["late 2"], ["500", "done, 500"]])
async def test_a_wait_that_is_given_up(fake: FakeServer, fates: list[str]) -> None:
    """A run that is being looked for is found all the same, and cancelled."""
    plain = fake.client()
    assistant = await plain.create_assistant(model="any")
    for number in range(0, 60, 3):
        thread = await plain.create_thread()
        road = Unlucky(fake, *fates)
        client = road.client()

        work = partial(client.run_and_wait, thread.id, assistant_id=assistant.id)
        with anyio.fail_after(8):
            assert await cancelled_at(number, work, "scope")
        runs = await plain.list_runs(thread.id).collect()
        assert len(runs) <= 1
        assert all(run.status in ("cancelling", "cancelled") for run in runs)


async def test_the_client_is_closed_meanwhile(fake: FakeServer) -> None:
    """A pause before a look ends with the client."""
    plain = fake.client()
    thread = await plain.create_thread()
    road = Unlucky(fake, "cut")
    client = road.client()
    is_napping = anyio.Event()

    async def nap(seconds: float) -> None:
        is_napping.set()
        await anyio.sleep_forever()

    road._nap = nap  # type: ignore[method-assign]
    client = road.client()

    async def close() -> None:
        await is_napping.wait()
        await client.aclose()

    async with anyio.create_task_group() as group:
        group.start_soon(close)
        with pytest.raises(ClientClosedError), anyio.fail_after(5):
            await client.create_message(thread.id, role="user", content="hi")
    assert 1 == len(road.creates)


async def listing(connection: Connection) -> bool:
    """Show a run with the tag of the create that came first."""
    (create, *_) = [request for request in connection.server.requests if request.method == "POST"]
    page = {"data": [{**RUN, "id": "run_found", "metadata": create.json["metadata"]}], "has_more": False}
    return await answer(page)(connection)


@pytest.mark.parametrize("fate", [drop(), hold()], ids=["dropped", "held"])
async def test_over_connections(server: Loopback, fate: Behaviour) -> None:
    """A connection that breaks, or does not answer in time, is replaced by one that tells."""
    server.script.extend([answer(RUN), fate, listing])
    async with connect(server, retry=TAGGED, timeout=Timeout(attempt=0.3)) as client:
        await client.get_run("thread_1", "run_1")
        run = await client.create_run("thread_1", assistant_id="asst_1")

        assert "run_found" == run.id
        assert ["GET", "POST", "GET"] == [request.method for request in server.requests]
        assert (1, 1) == (pool_of(client).connections, pool_of(client).idle)
