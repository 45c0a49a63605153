"""Streams whose answer is lost before they have said which run they are of: the run is found by its tag."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
import pytest
from attrs import evolve

from asyncassist import APIConnectionError, AsyncClient, InternalServerError, StreamInterruptedError
from asyncassist.runs import watch
from asyncassist.server import Rule
from asyncassist.testing import FakeServer, Fault

from .unlucky import TAGGED, Unlucky

pytestmark = pytest.mark.anyio


@pytest.fixture
async def server() -> AsyncGenerator[FakeServer, None]:
    """Give a server that answers."""
    async with FakeServer("All is well.") as server:
        yield server


async def _begin(server: FakeServer) -> tuple[str, str]:
    client = server.client()
    return (await client.create_thread()).id, (await client.create_assistant(model="any")).id


async def _told(client: AsyncClient, thread_id: str, assistant_id: str, *, reconcile: bool = True) -> tuple[str, str]:
    async with client.stream_run(thread_id, assistant_id=assistant_id, reconcile=reconcile) as stream:
        text = "".join([piece async for piece in stream.text()])
        return text, (await stream.until_done()).id


@pytest.mark.parametrize(
    ("fates", "sent", "listed"),
    [
        (["ok"], 1, 0),
        # The last time for the messages of the run that was found.
        (["done, cut"], 1, 2),
        (["done, 500"], 1, 2),
        (["late 2"], 1, 3),
        (["cut"], 2, 3),
        (["500"], 2, 3),
    ],
)
async def test_a_stream_that_is_not_answered(server: FakeServer, fates: list[str], sent: int, listed: int) -> None:
    """One run, and all of its text."""
    server.script(Rule(say="All is well.", delay=0.05))
    thread_id, assistant_id = await _begin(server)
    road = Unlucky(server, *fates)

    text, run_id = await _told(road.client(), thread_id, assistant_id)

    assert "All is well." == text
    (run,) = await server.client().list_runs(thread_id)
    assert run.id == run_id
    assert (sent, listed) == (len(road.creates), road.listings)
    assert all(body["stream"] is True for body in road.creates)


async def test_a_stream_cut_before_its_first_event(server: FakeServer) -> None:
    """The run is found by its tag, and what was missed follows."""
    thread_id, assistant_id = await _begin(server)
    server.faults.add(Fault.cut(), on="create_run")

    assert "All is well." == (await _told(server.client(retry=TAGGED), thread_id, assistant_id))[0]

    # Where there is nothing to find it by, it is lost, on its way or as it begins.
    for client, reconcile in ((server.client(), True), (server.client(retry=TAGGED), False)):
        server.faults.add(Fault.cut(), on="create_run")
        with pytest.raises((StreamInterruptedError, APIConnectionError), match="id had not come yet|not sent again"):
            await _told(client, thread_id, assistant_id, reconcile=reconcile)


async def test_a_run_that_is_not_there(server: FakeServer) -> None:
    """A stream that breaks and has made no run is interrupted; it is not begun again."""
    thread_id, assistant_id = await _begin(server)
    other, _ = await _begin(server)
    server.faults.add(Fault.cut(), on="create_run")
    road = Unlucky(server)
    stream = road.client().stream_run(thread_id, assistant_id=assistant_id)
    creation = stream._source.creation
    assert creation is not None
    async with stream:
        creation._request = evolve(creation._request, path=f"/threads/{other}/runs")  # as if nothing had been done
        with pytest.raises(StreamInterruptedError):
            await stream.until_done()
    assert [0.5, 1.0] == road.naps  # not once more when the block was left
    assert 1 == len(road.creates)


async def test_a_thread_that_cannot_be_listed(server: FakeServer) -> None:
    """Then nobody knows, which the error says."""
    thread_id, assistant_id = await _begin(server)
    server.faults.add(Fault.cut(), on="create_run")
    server.faults.add(Fault.status(404), on="list_runs")
    client = server.client(retry=TAGGED)

    with pytest.raises(StreamInterruptedError, match="cannot be listed"):
        await _told(client, thread_id, assistant_id)

    server.faults.add(Fault.status(404), on="list_runs")
    with pytest.raises(InternalServerError, match="cannot be listed"):
        await _told(Unlucky(server, "500").client(), thread_id, assistant_id)


async def test_without_reconciling_the_stream(server: FakeServer) -> None:
    """reconcile=False leaves the run untagged, and the error as it is."""
    thread_id, assistant_id = await _begin(server)
    road = Unlucky(server, "done, cut")

    with pytest.raises(APIConnectionError, match="not sent again"):
        await _told(road.client(), thread_id, assistant_id, reconcile=False)

    assert "metadata" not in road.creates[0]


async def test_a_thread_made_with_its_run(server: FakeServer) -> None:
    """It is on no listing: as without the policy."""
    _, assistant_id = await _begin(server)
    server.faults.add(Fault.cut(), on="create_thread_and_run")

    with pytest.raises((StreamInterruptedError, APIConnectionError)):
        async with server.client(retry=TAGGED).stream_thread_and_run(assistant_id=assistant_id) as stream:
            await stream.until_done()
    assert not server.requests_for("list_runs")


@pytest.mark.parametrize("is_cut", [True, False])
async def test_a_block_left_before_the_run_is_known(
    server: FakeServer, is_cut: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is found, and cancelled."""
    monkeypatch.setattr(watch, "_FINISH_SECONDS", 0.1)
    server.script(Rule(say="Well.", delay=3600))
    thread_id, assistant_id = await _begin(server)
    road = Unlucky(server, *([] if is_cut else ["done, hang"]))
    if is_cut:
        server.faults.add(Fault.cut(), on="create_run")
    client = server.client(retry=TAGGED) if is_cut else road.client()

    with anyio.fail_after(10):
        if is_cut:
            async with client.stream_run(thread_id, assistant_id=assistant_id):
                pass
        else:
            with anyio.move_on_after(0.1):
                async with client.stream_run(thread_id, assistant_id=assistant_id):
                    pass

    (run,) = await server.client().list_runs(thread_id)
    assert run.status in ("cancelling", "cancelled")


async def test_a_stream_that_breaks_late(server: FakeServer) -> None:
    """The time of the call is over when the stream has begun."""
    thread_id, assistant_id = await _begin(server)
    server.faults.add(Fault.cut(), on="create_run")

    async with server.client(retry=TAGGED, timeout=0.3).stream_run(thread_id, assistant_id=assistant_id) as stream:
        await anyio.sleep(0.35)
        assert "completed" == (await stream.until_done()).status


async def test_a_block_entered_late(server: FakeServer) -> None:
    """The time of the call begins when it is sent."""
    thread_id, assistant_id = await _begin(server)
    client = Unlucky(server, "done, cut").client(timeout=0.3)
    stream = client.stream_run(thread_id, assistant_id=assistant_id)
    await anyio.sleep(0.35)

    async with stream:
        assert "completed" == (await stream.until_done()).status
