"""Asking for what belongs to a run, with the patience its polls have."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from asyncassist._wire.polls import LONGEST_ASKED, SPREAD, next_pause
from asyncassist._wire.requests import Kind
from asyncassist._wire.retry import is_retriable
from asyncassist.errors import APIConnectionError, APIStatusError

if TYPE_CHECKING:
    from asyncassist._transport.pacing import Pacing
    from asyncassist._wire.polls import PollPolicy

__all__ = ["patiently"]

logger = logging.getLogger("asyncassist")

T = TypeVar("T")


async def patiently(ask: Callable[[], Awaitable[T]], poll: PollPolicy, pacing: Pacing) -> T:
    """Read something, again after each failure that may pass.

    Args:
        ask: reads it.
        poll: how long to pause, and after how many failures to give up.

    Raises:
        APIConnectionError, APIStatusError: too many readings have failed, or one that cannot be repeated.
    """
    failures = 0
    while True:
        try:
            return await ask()
        except (APIConnectionError, APIStatusError) as error:
            failures += 1
            least = (isinstance(error, APIStatusError) and error.retry_after) or 0.0
            if failures > poll.max_failures or least > LONGEST_ASKED or not is_retriable(error, Kind.READ):
                raise
            logger.debug("a reading failed: %s", error)
        pause = next_pause(poll, failures, None, pacing.random())
        # Never before the time a server named that is overloaded.
        await pacing.sleep(max(pause, least * (1 + SPREAD * pacing.random())) if least else pause)
