"""The limiter and what goes first: cancels wait for nothing, tool outputs for their like alone."""

from __future__ import annotations

import math

import anyio
import pytest

from asyncassist import Limits, RateLimitError
from asyncassist._transport.limiter import Limiter, Ticket
from asyncassist._wire.requests import Kind, Request

from .helpers import NOON, Naps, settle

pytestmark = pytest.mark.anyio

READ = Request(Kind.READ, "GET", "/threads/thread_1")
CANCEL = Request(Kind.CANCEL, "POST", "/threads/thread_1/runs/run_1/cancel")
SUBMIT = Request(Kind.SUBMIT, "POST", "/threads/thread_1/runs/run_1/submit_tool_outputs")


async def send(limiter: Limiter, request: Request, naps: Naps) -> Ticket:
    """Let one request through."""
    ticket = limiter.ticket(request)
    await limiter.enter(ticket, naps)
    assert limiter.begin(ticket)
    return ticket


def refuse(limiter: Limiter, retry_after: float) -> None:
    """Let a limiter have seen a refusal."""
    ticket = limiter.ticket(READ)
    ticket.sent_at = math.inf
    limiter.refused(ticket, RateLimitError("no", status=429, retry_after=retry_after, headers={}), lambda: NOON)


async def test_cancels_do_not_wait_for_a_fixed_rate() -> None:
    """However many runs are left at once; all others pay for them."""
    limiter, naps = Limiter(Limits(requests_per_minute=60)), Naps()
    for _ in range(200):
        await send(limiter, CANCEL, naps)
    assert [] == naps.taken

    await send(limiter, READ, naps)
    assert pytest.approx(200, abs=1) == sum(naps.taken)


async def test_cancels_do_not_wait_for_what_the_server_takes() -> None:
    """Nor for the time it has asked for."""
    limiter, naps = Limiter(Limits()), Naps()
    refuse(limiter, 30)
    for _ in range(200):
        await send(limiter, CANCEL, naps)
    assert [] == naps.taken

    await send(limiter, READ, naps)
    assert sum(naps.taken) >= 30


async def test_cancels_pass_tool_outputs_that_wait() -> None:
    """And take none of their turns, which come ten times a second at least."""
    limiter, naps = Limiter(Limits(requests_per_minute=60, adaptive=False)), Naps()
    for _ in range(11):
        await send(limiter, SUBMIT, naps)
    assert [] == naps.taken
    async with anyio.create_task_group() as group:
        group.start_soon(limiter.enter, limiter.ticket(SUBMIT), anyio.sleep)
        await settle()
        assert limiter.waiting == 1
        for _ in range(200):
            await send(limiter, CANCEL, naps)
        assert [] == naps.taken
        group.cancel_scope.cancel()
    await send(limiter, SUBMIT, naps)

    assert 0 < sum(naps.taken) <= 0.11
