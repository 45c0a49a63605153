"""Creates that are looked for on threads that cannot be listed, keep no metadata, or are long."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from asyncassist import (
    APIConnectionError,
)
from asyncassist.testing import Fault

from .helpers import OBJECT, Server
from .unlucky import BOTH, TAGGED, Unlucky, World, changed

pytestmark = pytest.mark.anyio


# Threads that do not say.


@BOTH
@pytest.mark.parametrize(
    ("fault", "tries"),
    [
        (Fault.status(500), 9),
        (Fault.drop(), 9),
        (Fault.status(404), 1),
        (Fault.invalid_json(), 1),
        (Fault.rate_limit(0.01), 3),
        (Fault.rate_limit(90), 1),
    ],
)
async def test_a_thread_that_cannot_be_listed(world: World, operation: str, fault: Fault, tries: int) -> None:
    """Each look is tried as reads are, and followed by the next; then the original error says that nobody knows."""
    planned = world.server.faults.add(fault, on=operation.replace("create", "list") + "s", times=None)
    road = Unlucky(world.server, "done, cut")

    with pytest.raises(APIConnectionError, match="unknown, because the thread cannot be listed") as caught:
        await world.create(road.client(), operation)

    assert "POST" == caught.value.method
    assert isinstance(caught.value.__cause__, httpx.ReadError)
    assert tries == len(planned.hits)
    assert 1 == len(road.creates)
    world.server.faults.clear()
    assert (await world.all(operation))[0].metadata["asyncassist"] in str(caught.value)


@BOTH
async def test_looks_that_fail(world: World, operation: str) -> None:
    """What a look shows counts whatever became of those before; that the last one fails leaves it open."""
    listing = operation.replace("create", "list") + "s"
    world.server.faults.add(Fault.status(500), on=listing, times=6)
    made = await world.create(Unlucky(world.server, "done, cut").client(), operation)
    assert [made.id] == [item.id for item in await world.all(operation)]

    await world.end_all()
    world.server.faults.add(Fault.status(500), on=listing, times=None, skip=2)
    with pytest.raises(APIConnectionError, match="cannot be listed"):
        await world.create(Unlucky(world.server, "cut").client(), operation)


@BOTH
async def test_a_listing_that_fails_once(world: World, operation: str) -> None:
    """It is asked for again."""
    world.server.faults.add(Fault.status(503), on=operation.replace("create", "list") + "s")
    road = Unlucky(world.server, "done, cut")

    made = await world.create(road.client(), operation)

    assert [made.id] == [item.id for item in await world.all(operation)]


@BOTH
async def test_a_server_that_keeps_no_metadata(world: World, operation: str) -> None:
    """What may be the object is not adopted, and nothing is sent again: the error names it."""
    road = Unlucky(world.server, "done, cut")
    road.change = changed(lambda item: item.pop("metadata"))

    with pytest.raises(APIConnectionError, match="may be what it has made, but has no metadata") as caught:
        await world.create(road.client(), operation)

    (made,) = await world.all(operation)
    assert made.id in str(caught.value)
    assert 1 == len(road.creates)
    assert 3 == road.listings


OTHERS: list[dict[str, Any]] = [
    {"role": "assistant"},
    {"content": [{"type": "text", "text": {"value": "bye", "annotations": []}}]},
    {"created_at": 0},
    {"metadata": {"a": "b"}},
]


@pytest.mark.parametrize("other", OTHERS)
async def test_what_cannot_be_the_object(world: World, other: dict[str, Any]) -> None:
    """Of another role or text, older, or on a thread where metadata is kept: it stands in nobody's way."""
    await world.create(world.client, "create_message")
    road = Unlucky(world.server, "cut")
    road.change = changed(lambda item: item.update(other))

    made = await world.create(road.client(), "create_message")

    assert 2 == len(road.creates) == len(await world.all("create_message"))
    assert made.id in [message.id for message in await world.all("create_message")]


async def test_a_message_of_parts_without_metadata(world: World) -> None:
    """Its content is not compared, and neither is a time that is not told."""
    content = [{"type": "text", "text": "hi"}]
    road = Unlucky(world.server, "done, cut")
    road.change = changed(lambda item: item.update(metadata={}, created_at=None))

    with pytest.raises(APIConnectionError, match="may be what it has made"):
        await road.client().create_message(world.thread_id, role="user", content=content)


async def test_a_run_of_another_assistant(world: World) -> None:
    """It is not taken for the one that was asked for."""
    await world.create(world.client, "create_run")
    await world.end_all()
    road = Unlucky(world.server, "cut")
    road.change = changed(lambda item: item.update(assistant_id="asst_other"))

    run = await world.create(road.client(), "create_run")

    assert run.id == (await world.all("create_run"))[0].id
    assert 2 == len(road.creates)


# Long threads.


async def test_long_threads(world: World) -> None:
    """The listing is followed beyond its first page, and not beyond what is older than the create by minutes."""
    for _ in range(250):
        await world.client.create_message(world.thread_id, role="user", content="earlier")
    await world.server.clock.advance(10)
    road = Unlucky(world.server, "cut")
    await world.create(road.client(), "create_message")
    assert 9 == road.listings

    await world.server.clock.advance(400)
    road = Unlucky(world.server, "cut")
    await world.create(road.client(), "create_message")
    assert 3 == road.listings


async def test_a_server_that_lists_the_oldest_first() -> None:
    """What is on its first page is old, and says nothing of the next."""
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            sent.append(json.loads(request.content)["metadata"]["asyncassist"])
            raise httpx.ReadError("cut")
        is_first = "after" not in request.url.params
        times = range(100) if is_first else (2_000_000_000,)
        data: list[dict[str, Any]] = [
            {**OBJECT, "id": f"msg_{time}", "created_at": time, "metadata": {}} for time in times
        ]
        if not is_first:
            data[0]["metadata"] = {"asyncassist": sent[0]}
        return httpx.Response(200, json={"data": data, "has_more": is_first})

    async with Server(answer).client(retry=TAGGED) as client:
        message = await client.create_message("thread_1", role="user", content="hi")
    assert "msg_2000000000" == message.id
    assert 1 == len(sent)


@pytest.mark.parametrize("date", ["Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:00", "no date"])
async def test_the_servers_clock(world: World, date: str) -> None:
    """Where the server tells its time, ages are measured by that: here the message is from its future."""
    await world.create(world.client, "create_message")
    await world.server.clock.advance(400)
    road = Unlucky(world.server, "cut")

    def dated(response: httpx.Response) -> httpx.Response:
        response.headers["date"] = date
        return response

    road.change = dated
    client = road.client()
    if date == "no date":
        await world.create(client, "create_message")
    else:
        with pytest.raises(APIConnectionError, match="may be what it has made"):
            await world.create(client, "create_message")
