"""Which requests a fault is for, and what cannot be planned."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from asyncassist import APIStatusError, AsyncClient, InternalServerError, NotFoundError, RetryPolicy, UsageError
from asyncassist.testing import FakeServer, Fault

from ..helpers import ask

pytestmark = pytest.mark.anyio

ONCE = RetryPolicy(attempts=1)


async def test_faults_are_met_in_their_order(server: FakeServer, client: AsyncClient) -> None:
    """Each counts for itself, the first that takes a request has it, and then there is none."""
    client = client.with_options(retry=ONCE)
    first = server.faults.add(Fault.status(500), times=2, skip=1)
    second = server.faults.add(Fault.status(503), times=1)
    for _ in range(5):
        with pytest.raises((InternalServerError, NotFoundError)):
            await client.get_thread("thread_0")

    assert [request.status for request in server.requests] == [503, 500, 500, 404, 404]
    assert (len(first.hits), len(second.hits)) == (2, 1)
    assert repr(first).startswith("PlannedFault(fault=Fault(name='status 500'), hits=[")


async def test_which_requests_a_fault_is_for(server: FakeServer, client: AsyncClient) -> None:
    """By operation, method, path or anything else about the request; all that is named must fit."""
    faults, failing = server.faults, Fault.status(418)

    async def meets(**wanted: Any) -> list[str]:
        faults.clear()
        faults.add(failing, times=None, **wanted)
        seen = len(server.requests)
        for work in (
            client.create_thread(),
            client.get_thread("thread_1"),
            client.create_message("thread_1", role="user", content="tea"),
            client.list_messages("thread_1").collect(),
        ):
            try:
                await work
            except APIStatusError:
                pass
        return [str(request.operation) for request in server.requests[seen:] if request.status == 418]

    everything = ["create_thread", "get_thread", "create_message", "list_messages"]
    assert await meets() == everything
    assert await meets(on="get_thread") == ["get_thread"]
    assert await meets(on=["get_thread", "list_messages"]) == ["get_thread", "list_messages"]
    assert await meets(method="post") == ["create_thread", "create_message"]
    assert await meets(method="GET", path="/threads/*") == ["get_thread", "list_messages"]
    assert await meets(path=re.compile("/threads(/[^/]+)?")) == ["create_thread", "get_thread"]
    assert await meets(when=lambda request: request.body and "tea" in str(request.body)) == ["create_message"]
    assert await meets(on="get_thread", method="POST") == []


async def test_faults_that_cannot_be_planned(server: FakeServer) -> None:
    """Names that are none and numbers that cannot be meant are refused before anything is planned."""
    for wrong in ({"on": "make_run"}, {"times": 0}, {"times": True}, {"skip": -1}, {"times": 1.5}):
        with pytest.raises(UsageError, match="make_run|times|skip"):
            server.faults.add(Fault.drop(), **wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="'expire' does nothing to get_run, only to create_run, create_thread_and_run"):
        server.faults.add(Fault.expire(), on=["create_run", "get_run"])
    with pytest.raises(TypeError, match="made by a method of Fault"):
        server.faults.add(500)  # type: ignore[arg-type]

    assert await ask(server.client()) == "one two three"


def test_faults_that_cannot_be_meant() -> None:
    """Wrong values are refused when a fault is made."""
    for status in (200, 600, True, 404.0):
        with pytest.raises(UsageError, match="300 to 599"):
            Fault.status(status)  # type: ignore[arg-type]
    for seconds in (-1, math.inf, math.nan, True, "1"):
        with pytest.raises(UsageError, match="seconds"):
            Fault.slow(seconds)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="retry_after"):
            Fault.rate_limit(seconds)  # type: ignore[arg-type]
    for events in (-1, True, 1.5):
        with pytest.raises(UsageError, match="events"):
            Fault.cut(events)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a function or fields"):
        Fault.change()
