"""Creates answered by what cannot be read, listings without an end, and tags that came with copied metadata."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from asyncassist import APIConnectionError, DecodeError, PaginationError, RawResponse
from asyncassist._operations.reconcile import find_tagged_run
from asyncassist.testing import Fault

from .helpers import OBJECT, Server
from .unlucky import BOTH, TAGGED, Unlucky, World, changed

pytestmark = pytest.mark.anyio

GARBLED = {"content-encoding": "gzip"}


class Unreadable(httpx.AsyncBaseTransport):
    """Puts something else in the place of the answers to creates, which are done or not."""

    def __init__(self, road: Unlucky, answer: httpx.Response, *, is_done: bool = True) -> None:
        self.road = road
        self._answer = answer
        self._is_done = is_done

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return await self.road.handle_async_request(request)
        if self._is_done:
            await (await self.road.handle_async_request(request)).aclose()
        return self._answer


def answers() -> dict[str, httpx.Response]:
    """Give answers that say 200 and nothing else."""
    return {
        "no JSON": httpx.Response(200, content=b"{"),
        "empty": httpx.Response(200, content=b""),
        "no object": httpx.Response(200, json=["made"]),
        "no id": httpx.Response(200, json={"object": "made"}),
        "no gzip": httpx.Response(200, stream=httpx.ByteStream(b"plain"), headers=GARBLED),
    }


# Answers that cannot be read.


@BOTH
@pytest.mark.parametrize("kind", list(answers()))
async def test_an_answer_that_cannot_be_read(world: World, operation: str, kind: str) -> None:
    """What was made is found by one look, and nothing is sent again."""
    road = Unlucky(world.server)
    client = world.server.client(transport=Unreadable(road, answers()[kind]), retry=TAGGED)

    made = await world.create(client, operation)

    assert [made.id] == [item.id for item in await world.all(operation)]
    assert (1, 1) == (len(road.creates), road.listings)


@BOTH
async def test_an_unreadable_answer_to_a_raw_call(world: World, operation: str) -> None:
    """It is settled likewise."""
    world.server.faults.add(Fault.invalid_json(), on=operation)

    raw: RawResponse[Any] = await world.create(world.server.client(retry=TAGGED).with_raw_response, operation)

    assert [raw.data.id] == [item.id for item in await world.all(operation)]


@BOTH
async def test_an_unreadable_answer_to_what_was_not_done(world: World, operation: str) -> None:
    """The error is the one of the answer, and says what the one look has shown."""
    road = Unlucky(world.server)
    client = world.server.client(transport=Unreadable(road, answers()["no JSON"], is_done=False), retry=TAGGED)

    with pytest.raises(DecodeError, match="POST .* the thread shows nothing with the tag 'call-") as caught:
        await world.create(client, operation)

    assert (200, "POST") == (caught.value.status, caught.value.method)
    assert str(caught.value) == caught.value.message
    assert 1 == road.listings
    assert [] == await world.all(operation)


@BOTH
async def test_an_unreadable_answer_and_a_thread_that_cannot_be_listed(world: World, operation: str) -> None:
    """Nobody knows, which the error of the answer says."""
    world.server.faults.add(Fault.invalid_json(), on=operation)
    planned = world.server.faults.add(Fault.status(404), on=operation.replace("create", "list") + "s", times=1)
    road = Unlucky(world.server)

    with pytest.raises(DecodeError, match="POST .* unknown, because the thread cannot be listed: GET .* 404"):
        await world.create(road.client(), operation)

    assert 1 == len(planned.hits) == len(road.creates)


@BOTH
async def test_an_unreadable_answer_of_a_server_that_keeps_no_metadata(world: World, operation: str) -> None:
    """What may be the object is named."""
    world.server.faults.add(Fault.invalid_json(), on=operation)
    road = Unlucky(world.server)
    road.change = changed(lambda item: item.pop("metadata"))

    with pytest.raises(DecodeError, match="may be what it has made") as caught:
        await world.create(road.client(), operation)

    assert (await world.all(operation))[0].id in str(caught.value)


async def test_an_unreadable_answer_after_a_doubt(world: World) -> None:
    """The second attempt is looked for as the first is."""
    world.server.faults.add(Fault.invalid_json(), on="create_run")
    road = Unlucky(world.server, "cut")

    run = await world.create(road.client(), "create_run")

    assert [run.id] == [item.id for item in await world.all("create_run")]
    assert (2, 4) == (len(road.creates), road.listings)


async def test_an_unreadable_answer_to_a_stream(world: World) -> None:
    """The run is found, and followed without its stream."""
    road = Unlucky(world.server)
    client = world.server.client(transport=Unreadable(road, answers()["no gzip"]), retry=TAGGED)

    async with client.stream_run(world.thread_id, assistant_id=world.assistant_id):
        (run,) = await world.all("create_run")
        assert "call-" in run.metadata["asyncassist"]
    assert 1 == len(road.creates)


# Listings without an end.


class Endless:
    """A thread whose listing always goes on."""

    def __init__(self) -> None:
        self.pages = 0
        self.creates = 0
        self.server = Server(self._answer)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.creates += 1
            raise httpx.ReadError("cut")
        self.pages += 1
        assert self.pages <= 150  # else this would have no end either
        data: list[dict[str, Any]] = [
            {**OBJECT, "id": f"run_{self.pages}", "created_at": 4_000_000_000 - self.pages, "metadata": {}}
        ]
        return httpx.Response(200, json={"data": data, "has_more": True})


async def test_a_listing_without_an_end() -> None:
    """It is left after 100 pages, and as the object may be on those that follow, nothing is sent again."""
    endless = Endless()
    async with endless.server.client(retry=TAGGED, timeout=None) as client:
        with pytest.raises(APIConnectionError, match="unknown, because .* the listing goes on after 100 pages"):
            await client.create_run("thread_1", assistant_id="asst_1")

    assert (1, 100) == (endless.creates, endless.pages)


async def test_a_search_without_an_end() -> None:
    """A search for the run of a tag ends there, too; it does not say that there is none."""
    endless = Endless()
    async with endless.server.client() as client:
        with pytest.raises(PaginationError, match="GET /threads/thread_1/runs: the listing goes on") as caught:
            await find_tagged_run(client._send, "thread_1", "tag")  # pyright: ignore[reportPrivateUsage]

    assert ("has_more", "GET", 100) == (caught.value.field, caught.value.method, endless.pages)


# Copied tags.


@BOTH
async def test_metadata_copied_from_another_object(world: World, operation: str) -> None:
    """The tag in it gives way to a new one, so that the other object is not taken for the new one."""
    old = await world.create(world.server.client(retry=TAGGED), operation)
    await world.end_all()
    road = Unlucky(world.server, "cut")
    client = road.client().with_options(extra_body={"metadata": {**old.metadata, "customer": "7"}})

    made = await world.create(client, operation)

    assert {old.id, made.id} == {item.id for item in await world.all(operation)}
    assert 2 == len({old.id, made.id}) == len(road.creates)
    assert "7" == made.metadata["customer"]
    assert made.metadata["asyncassist"] != old.metadata["asyncassist"]
    assert [made.metadata] * 2 == [body["metadata"] for body in road.creates]
