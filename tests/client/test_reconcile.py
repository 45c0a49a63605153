"""Creates that get no clear answer are done once: found by their tag, or else sent again."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from random import Random
from typing import Any

import anyio
import httpx
import pytest

from asyncassist import (
    ActiveRunError,
    APIConnectionError,
    AsyncAssistError,
    AsyncClient,
    BadRequestError,
    InternalServerError,
    Message,
    RetryPolicy,
    Run,
    Timeout,
    UsageError,
)
from asyncassist.testing import Fault

from .unlucky import BOTH, OPERATIONS, Unlucky, World

pytestmark = pytest.mark.anyio


# What is found, and what is sent again.


@BOTH
@pytest.mark.parametrize(
    ("fates", "sent"),
    [
        (["ok"], 1),
        (["done, cut"], 1),
        (["done, 500"], 1),
        (["done, 502"], 1),
        (["done, 408"], 1),
        (["late 1"], 1),
        (["late 2"], 1),
        (["late 3"], 1),
        (["cut"], 2),
        (["500"], 2),
        (["408"], 2),
        (["cut", "500"], 3),
        (["cut", "done, cut"], 2),
        (["500", "cut", "done, 500"], 3),
        (["429", "cut"], 3),
    ],
)
async def test_it_is_done_once(world: World, operation: str, fates: list[str], sent: int) -> None:
    """Whatever becomes of the answers: one object, which is what the call returns, and the same tag every time."""
    road = Unlucky(world.server, *fates)

    made = await world.create(road.client(), operation)

    (only,) = await world.all(operation)
    assert only.id == made.id
    assert type(made) is (Run if operation == "create_run" else Message)
    assert sent == len(road.creates)
    assert [only.metadata] * sent == [body["metadata"] for body in road.creates]
    assert [37] == [len(tag) for tag in only.metadata.values()]


@BOTH
async def test_an_answer_that_hangs(world: World, operation: str) -> None:
    """After the attempt's timeout the object is found as after a broken connection."""
    road = Unlucky(world.server, "done, hang")

    made = await world.create(road.client(timeout=Timeout(attempt=0.05)), operation)

    assert [made.id] == [item.id for item in await world.all(operation)]
    assert 1 == len(road.creates)


async def test_a_run_that_begins_behind_the_last_look(world: World) -> None:
    """The thread's lock refuses the second one, and the first is found."""
    road = Unlucky(world.server, "ahead 1")

    run = await world.create(road.client(), "create_run")

    assert [run.id] == [item.id for item in await world.all("create_run")]
    assert 2 == len(road.creates)


async def test_somebody_elses_run(world: World) -> None:
    """The thread's lock may be another's: then that is the error, with the failure it came of."""
    road = Unlucky(world.server, "cut")
    client = road.client()
    sent = client._sender.send

    async def send(request: Any, options: Any) -> Any:
        if len(road.creates) == 1 and request.method == "POST":
            other = await world.client.create_assistant(model="any")
            await world.client.create_run(world.thread_id, assistant_id=other.id)
        return await sent(request, options)

    client._sender.send = send  # type: ignore[method-assign]
    with pytest.raises(ActiveRunError) as caught:
        await world.create(client, "create_run")

    (theirs,) = await world.all("create_run")
    assert theirs.id == caught.value.run_id
    assert {} == theirs.metadata
    assert isinstance(caught.value.__cause__, APIConnectionError)
    assert 2 == caught.value.attempts


async def test_an_active_run_to_begin_with(world: World) -> None:
    """A refusal that nothing unclear came before is raised as ever, without a look."""
    await world.create(world.client, "create_run")
    road = Unlucky(world.server)

    for operation in OPERATIONS:
        with pytest.raises(ActiveRunError):
            await world.create(road.client(), operation)

    assert 0 == road.listings


@BOTH
async def test_all_attempts_lost(world: World, operation: str) -> None:
    """After the last one it is looked for too; nothing there, the error says so, and how often it was sent."""
    road = Unlucky(world.server, *["cut"] * 9)

    with pytest.raises(APIConnectionError, match="it was sent 3 times, and the thread shows nothing with the tag") as e:
        await world.create(road.client(), operation)

    assert 3 == e.value.attempts == len(road.creates)
    assert "not sent again" not in str(e.value)
    assert [] == await world.all(operation)
    assert road.naps[2:4] == [0.5, 1.0]
    assert 9 == road.listings


@BOTH
async def test_one_attempt(world: World, operation: str) -> None:
    """Nothing is sent again then, but what was done is found."""
    policy = RetryPolicy(attempts=1, creates="reconcile")
    made = await world.create(Unlucky(world.server, "done, 500").client(policy), operation)
    assert [made.id] == [item.id for item in await world.all(operation)]
    await world.end_all()

    with pytest.raises(InternalServerError, match="sent once"):
        await world.create(Unlucky(world.server, "500").client(policy), operation)
    assert [made.id] == [item.id for item in await world.all(operation)]


async def test_what_may_not_be_sent_again(world: World) -> None:
    """A server that says x-should-retry: false is believed; 501 is no doubt at all."""
    road = Unlucky(world.server, "501")
    with pytest.raises(InternalServerError) as caught:
        await world.create(road.client(), "create_message")
    assert 1 == caught.value.attempts
    assert 0 == road.listings

    def refuse(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(500, headers={"x-should-retry": "false"})
        return httpx.Response(200, json={"data": [], "has_more": False})

    async with AsyncClient(
        api_key="k", base_url="http://test/v1", retry=QUICK, transport=httpx.MockTransport(refuse)
    ) as client:
        with pytest.raises(InternalServerError, match="sent once"):
            await world.create(client, "create_message")


QUICK = RetryPolicy(base_pause=0, creates="reconcile")


@BOTH
async def test_many_at_once_on_one_thread(world: World, operation: str) -> None:
    """Each finds its own."""
    if operation == "create_run":
        threads = [(await world.client.create_thread()).id for _ in range(20)]
    else:
        threads = [world.thread_id] * 20
    weather = ["done, cut", "cut", "done, 500", "ok", "500"] * 4
    road = Unlucky(world.server, *weather)
    client = road.client()
    made: list[str] = []

    async def create(thread_id: str) -> None:
        made.append((await OPERATIONS[operation](client, thread_id, world.assistant_id)).id)

    async with anyio.create_task_group() as group:
        for thread_id in threads:
            group.start_soon(create, thread_id)

    assert 20 == len(set(made))
    if operation == "create_message":
        assert set(made) == {message.id for message in await world.all(operation)}


@BOTH
@pytest.mark.parametrize("seed", range(15))
async def test_any_weather(world: World, operation: str, seed: int) -> None:
    """Whatever happens to creates and listings, there is one object at most, and what is said of it is true."""
    chance = Random(seed)
    fates = ["ok", "cut", "500", "429", "done, cut", "done, 500", "late 1", "late 3", "400"]
    for _ in range(12):
        thread_id = (await world.client.create_thread()).id
        road = Unlucky(world.server, *(chance.choice(fates) for _ in range(3)))
        world.server.faults.clear()
        world.server.faults.add(
            Fault.status(500),
            on=operation.replace("create", "list") + "s",
            when=lambda _: chance.random() < 0.4,
            times=9,
        )
        made = failure = None
        try:
            made = await OPERATIONS[operation](road.client(), thread_id, world.assistant_id)
        except AsyncAssistError as error:
            failure = error
        world.server.faults.clear()
        kind = world.client.list_runs if operation == "create_run" else world.client.list_messages
        there = [item.id for item in await kind(thread_id).collect()]
        assert len(there) <= 1
        if made is not None:
            assert [made.id] == there
        elif there:
            assert "whether the server has acted is unknown" in str(failure)


# Tags.


async def test_the_callers_own_tag(world: World) -> None:
    """It is used as it is, beside the caller's other pairs."""
    road = Unlucky(world.server, "done, cut")
    pairs = {"asyncassist": "job-17", "customer": "7"}

    run = await road.client().create_run(world.thread_id, assistant_id=world.assistant_id, metadata=pairs)

    assert pairs == run.metadata
    assert [pairs] == [body["metadata"] for body in road.creates]


async def test_room_for_the_tag(world: World) -> None:
    """15 pairs leave room, and so do 16 with a tag; 16 without one are refused before anything is sent."""
    road = Unlucky(world.server)
    client = road.client()
    pairs = {f"k{number}": "v" for number in range(15)}

    for full in ({**pairs, "one": "more"}, {**pairs, "one": "more", "two": "more"}):
        with pytest.raises(UsageError, match="no room for the key 'asyncassist'"):
            await client.create_message(world.thread_id, role="user", content="hi", metadata=full)
        with pytest.raises(UsageError, match="no room"):
            client.stream_run(world.thread_id, assistant_id=world.assistant_id, metadata=full)
    assert [] == road.creates

    message = await client.create_message(world.thread_id, role="user", content="hi", metadata=pairs)
    assert {*pairs, "asyncassist"} == set(message.metadata)
    own = {**pairs, "asyncassist": "t"}
    assert own == (await client.create_message(world.thread_id, role="user", content="hi", metadata=own)).metadata
    message = await client.create_message(world.thread_id, role="user", content="hi", metadata=None)
    assert ["asyncassist"] == list(message.metadata)


@pytest.mark.parametrize("metadata", ["text", ["a"], {"asyncassist": ""}, {"asyncassist": 5}, {"asyncassist": None}])
async def test_metadata_that_takes_no_tag(world: World, metadata: Any) -> None:
    """It is refused before anything is sent."""
    road = Unlucky(world.server)

    with pytest.raises(UsageError, match=r"tag|mapping"):
        await road.client().create_message(world.thread_id, role="user", content="hi", metadata=metadata)
    assert [] == road.creates


async def test_extra_metadata_of_a_vendor(world: World) -> None:
    """What extra_body puts in the place of the metadata gets the tag, too."""
    road = Unlucky(world.server, "done, cut")
    client = road.client().with_options(extra_body={"metadata": {"a": "b"}, "vendor": 1})

    message = await world.create(client, "create_message")

    assert [message] == await world.all("create_message")
    assert {"a": "b", "asyncassist": message.metadata["asyncassist"]} == message.metadata
    assert 1 == road.creates[0]["vendor"]


async def test_other_requests_stay_as_they_are(world: World) -> None:
    """Nothing else is tagged, and without the policy nothing is."""
    road = Unlucky(world.server, "ok", "done, cut")
    client = road.client()
    assistant = await client.create_assistant(model="any")
    thread = await client.create_thread()
    run = await client.create_thread_and_run(assistant_id=assistant.id)
    await client.modify_run(run.thread_id, run.id, metadata={"a": "b"})

    assert [{}, {}, {}] == [assistant.metadata, thread.metadata, run.metadata]
    plain = client.with_options(retry=RetryPolicy())
    assert {} == (await world.create(plain, "create_message")).metadata
    with pytest.raises(APIConnectionError, match="not sent again"):
        await world.create(plain, "create_message")
    assert 2 == len(road.creates)
    assert 0 == road.listings
    assert {"role": "user", "content": "hi"} == road.creates[0]


async def test_a_server_that_refuses_the_tag(world: World) -> None:
    """Its error says where the key comes from; an error about something else does not."""
    fault = Fault.status(400, "Unknown key.", param="metadata.asyncassist")
    world.server.faults.add(fault, on="create_message")
    world.server.faults.add(Fault.status(400, "No.", param="content"), on="create_message")
    client = Unlucky(world.server).client()

    with pytest.raises(BadRequestError, match="reconcile' adds the key 'asyncassist' to the metadata$"):
        await world.create(client, "create_message")
    with pytest.raises(BadRequestError, match="No[.]") as caught:
        await world.create(client, "create_message")
    assert "reconcile" not in str(caught.value)
