"""Creates that are looked for have limits: of time, attempts and budget; and what is told of them in the end."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
from typing import Any

import anyio
import httpx
import pytest

from asyncassist import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    InternalServerError,
    NotFoundError,
    RateLimitError,
    RawResponse,
    RetryPolicy,
    Timeout,
    UsageError,
)
from asyncassist.testing import Fault

from .unlucky import BOTH, TAGGED, Unlucky, World, changed

pytestmark = pytest.mark.anyio


# Limits.


async def test_the_total_timeout(world: World) -> None:
    """It holds for attempts, looks and pauses together."""
    road = Unlucky(world.server, "cut")
    with pytest.raises(APIConnectionError, match="the total timeout leaves no time to look"):
        await world.create(road.client(timeout=Timeout(total=0.4)), "create_message")
    assert 1 == len(road.creates) == road.listings

    road = Unlucky(world.server, "done, hang")
    with pytest.raises(APITimeoutError, match="leaves no time") as caught:
        await world.create(road.client(timeout=Timeout(total=0.05)), "create_message")
    assert "total" == caught.value.phase

    world.server.faults.add(Fault.slow(3600), on="list_messages")
    road = Unlucky(world.server, "cut")
    with pytest.raises(APIConnectionError, match="cannot be listed: GET .* within the total timeout"):
        await world.create(road.client(timeout=Timeout(total=0.05, attempt=None)), "create_message")


async def test_what_is_left_of_the_total_timeout(world: World) -> None:
    """Each further request has what those before have left of it."""
    client = Unlucky(world.server, "cut", "done, cut").client(timeout=Timeout(total=30))
    send = client._sender.send
    totals: list[float] = []

    async def note(request: Any, options: Any) -> Any:
        totals.append(options.timeout.total)
        await anyio.sleep(0.002)
        return await send(request, options)

    client._sender.send = note  # type: ignore[method-assign]
    await world.create(client, "create_message")

    assert 6 == len(totals) == len(set(totals))
    assert sorted(totals, reverse=True) == totals


async def test_no_limit_of_time(world: World) -> None:
    """Without one nothing ends it before its time."""
    road = Unlucky(world.server, "cut", "done, 500")

    made = await world.create(road.client(timeout=None), "create_message")

    assert [made] == await world.all("create_message")


@pytest.mark.parametrize(
    ("tokens", "others", "listings", "creates"), [(0, 0, 0, 1), (1, 0, 3, 2), (1, 0.5, 1, 1), (3, 1, 3, 1)]
)
async def test_the_retry_budget(world: World, tokens: float, others: float, listings: int, creates: int) -> None:
    """A further attempt takes its share, a look that is answered none; with nothing left that is the end."""
    road = Unlucky(world.server, "cut", "cut")
    client = road.client()
    budget = client._sender._budget
    budget._tokens = tokens

    def spend(response: httpx.Response) -> httpx.Response:
        budget._tokens -= others  # as other calls do
        return response

    road.change = spend
    with pytest.raises(APIConnectionError, match="the retry budget is used up"):
        await world.create(client, "create_message")

    assert listings == road.listings
    assert creates == len(road.creates)


async def test_a_pause_the_server_asks_for(world: World) -> None:
    """It comes before the first look; one that is too long ends the call."""
    asked = Fault.status(503, headers={"retry-after": "7"})
    world.server.faults.add(asked, on="create_message")
    road = Unlucky(world.server)
    await world.create(road.client(), "create_message")
    assert [7, 0.5, 1.0] == road.naps[:3]

    world.server.faults.add(Fault.status(503, headers={"retry-after": "61"}), on="create_message")
    with pytest.raises(InternalServerError, match="the server asks for a pause of 61 s"):
        await world.create(road.client(), "create_message")
    assert 3 == road.listings


async def test_attempts_that_are_no_doubt_count(world: World) -> None:
    """A policy's attempts are those of all causes together."""
    road = Unlucky(world.server, "cut", "429", "429", "429")

    with pytest.raises(RateLimitError) as caught:
        await world.create(road.client(), "create_message")

    assert 3 == caught.value.attempts == len(road.creates)
    assert isinstance(caught.value.__cause__, APIConnectionError)


async def test_a_thread_that_is_gone(world: World) -> None:
    """What is refused after a doubt is looked for once more, and then the refusal is raised, or the doubt."""
    road = Unlucky(world.server, "cut", "404")
    with pytest.raises(NotFoundError) as caught:
        await world.create(road.client(), "create_message")
    assert isinstance(caught.value.__cause__, APIConnectionError)
    assert 6 == road.listings


# Raw answers.


@BOTH
async def test_raw_answers(world: World, operation: str) -> None:
    """What was found comes with the status and the headers of the page it was found on."""
    road = Unlucky(world.server, "done, cut")
    road.change = changed(lambda item: None)

    raw: RawResponse[Any] = await world.create(road.client().with_raw_response, operation)

    assert [raw.data.id] == [item.id for item in await world.all(operation)]
    assert (200, "req_page") == (raw.status, raw.request_id)


async def test_unknown_fields_are_kept(world: World) -> None:
    """Also of what was found on a page."""
    road = Unlucky(world.server, "done, cut")
    road.change = changed(lambda item: item.update(vendor={"a": [1, None]}))

    run = await world.create(road.client(), "create_run")

    assert {"a": [1, None]} == run.extra_fields["vendor"]


async def test_errors_keep_their_facts(world: World) -> None:
    """The error that is raised is the server's, with its facts."""
    road = Unlucky(world.server, "500", "500", "500")

    with pytest.raises(APIStatusError, match="This failed") as caught:
        await world.create(road.client(), "create_run")

    assert (500, 3, "POST") == (caught.value.status, caught.value.attempts, caught.value.method)
    assert str(caught.value) == caught.value.message


def test_the_policy_is_checked() -> None:
    """A policy for creates that is none is refused, and the usual one sends nothing again."""
    assert "never" == RetryPolicy().creates
    for wrong in ("always", None, ["reconcile"], True):
        with pytest.raises(UsageError, match="creates must be 'never', 'reconcile' or 'idempotency_key', got"):
            RetryPolicy(creates=wrong)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert "reconcile" == TAGGED.creates
    json.dumps(TAGGED.creates)
