"""Creates with an idempotency key, for servers that honour it; and runs that are found by a tag later."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from asyncassist import APIConnectionError, RetryPolicy
from asyncassist._operations.reconcile import find_tagged_run
from asyncassist._wire.retry import look_pause
from asyncassist.errors import APIStatusError

from .helpers import CREATES, OPERATIONS, Server, reply

pytestmark = pytest.mark.anyio

KEYED = RetryPolicy(creates="idempotency_key")


def keys(server: Server) -> list[str | None]:
    """Return the keys the server was sent."""
    return [request.headers.get("idempotency-key") for request in server.requests]


@pytest.mark.parametrize("failure", [httpx.ReadError("cut"), httpx.ReadTimeout("slow"), reply({}, 500), reply({}, 409)])
@pytest.mark.parametrize("operation", CREATES)
async def test_a_create_with_a_key(operation: str, failure: Any) -> None:
    """It is tried again as a read is, each time with the same key; the next create has another."""
    server = Server(failure, reply())
    async with server.client(retry=KEYED) as client:
        await OPERATIONS[operation](client)
        await OPERATIONS[operation](client)

    first, again, second = keys(server)
    assert first is not None
    assert second is not None
    assert (32, True, True) == (len(first), first == again, first != second)
    assert [0.5] == server.naps


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name not in CREATES])
async def test_nothing_else_has_a_key(operation: str) -> None:
    """Modifications and tool outputs are not sent again, and reads need none."""
    server = Server()
    async with server.client(retry=KEYED) as client:
        await OPERATIONS[operation](client)
    assert [None] == keys(server)


async def test_a_key_of_ones_own() -> None:
    """It goes out as it is; that alone sends nothing again."""
    server = Server(httpx.ReadError("cut"), reply())
    async with server.client(retry=KEYED) as client:
        await client.with_options(headers={"idempotency-KEY": "order-17"}).create_thread()
    assert ["order-17"] * 2 == keys(server)

    server = Server(httpx.ReadError("cut"), reply())
    async with server.client() as client:
        with pytest.raises(APIConnectionError, match="not sent again"):
            await client.with_options(headers={"Idempotency-Key": "order-17"}).create_thread()
    assert ["order-17"] == keys(server)


async def test_a_copy_has_a_policy_of_its_own() -> None:
    """A policy is for the client or the copy it was given to."""
    server = Server()
    async with server.client() as client:
        await client.with_options(retry=KEYED).create_thread()
        await client.create_thread()
        await client.with_options(retry=KEYED).with_options(retry=RetryPolicy()).create_thread()
        await client.with_options(retry=KEYED).with_raw_response.create_thread()
    assert [True, False, False, True] == [key is not None for key in keys(server)]


def _thread_of_runs(request: httpx.Request) -> httpx.Response:
    """Answer with pages of 100 runs, the newest first, two of them with the same tag."""
    assert {"limit": "100", "order": "desc"}.items() <= dict(request.url.params).items()
    if "none" in request.url.path:
        return httpx.Response(404)
    first = int(request.url.params.get("after", "run_0").removeprefix("run_"))
    tags = {130: "old", 140: "old"}
    data = [
        {
            "id": f"run_{n}",
            "thread_id": "thread_1",
            "status": "completed",
            "metadata": {"asyncassist": tags.get(n, "t")},
        }
        for n in range(first + 1, min(first + 101, 151))
    ]
    return httpx.Response(200, json={"data": data, "has_more": first < 100})


async def test_finding_a_tagged_run() -> None:
    """The newest with the tag, however many there are; None where there is none."""
    server = Server(_thread_of_runs)
    async with server.client() as client:
        send = client._send  # pyright: ignore[reportPrivateUsage]
        found = await find_tagged_run(send, "thread_1", "old")

        assert found is not None
        assert "run_130" == found.id
        assert 2 == len(server.requests)
        assert await find_tagged_run(send, "thread_1", "none") is None
        with pytest.raises(APIStatusError):
            await find_tagged_run(send, "thread_none", "none")


POLICY = RetryPolicy(base_pause=0.5, max_pause=8, creates="reconcile")
CUT = APIConnectionError("cut")


@pytest.mark.parametrize(
    ("taken", "pauses"),
    [
        (0.01, [0, 0.5, 1.0]),
        (1.5, [0, 0.5, 1.0]),
        (3.0, [0, 0.5, 1.0, 2.0]),
        (7.0, [0, 1.0, 2.0, 4.0]),
        (60.0, [0, 60 / 7, 120 / 7, 240 / 7]),
        (900.0, [0, 60 / 7, 120 / 7, 240 / 7]),
    ],
)
def test_how_long_it_is_looked_for(taken: float, pauses: list[float]) -> None:
    """At once, then after growing pauses, as long as the request had taken, a minute at most."""
    looks = range(len(pauses))
    assert pauses == [pytest.approx(look_pause(POLICY, count, taken, CUT, 0.0)) for count in looks]
    assert look_pause(POLICY, len(pauses), taken, CUT, 0.0) is None
    spread = [look_pause(POLICY, count, taken, CUT, 1.0) for count in looks]
    assert [pytest.approx(1.25 * pause) for pause in pauses] == spread


def test_pauses_have_a_limit_and_follow_the_server() -> None:
    """The policy's longest pause is for looks too, and a server's Retry-After comes first."""
    policy = RetryPolicy(base_pause=5, max_pause=6)
    assert 6 == look_pause(policy, 2, 0.0, CUT, 0.0)
    assert 3 == look_pause(policy, 0, 0.0, APIStatusError("busy", status=503, retry_after=3), 0.0)
    assert 0 == look_pause(policy, 0, 0.0, APIStatusError("busy", status=503), 0.0)
