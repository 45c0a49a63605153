"""What a broken stream had missed is asked for as patiently as its run is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from transport.helpers import ONCE, paced

from asyncassist import (
    APIConnectionError,
    APIStatusError,
    Limits,
    PollPolicy,
    RetryPolicy,
    StreamInterruptedError,
    WaitTimeoutError,
)

from .helpers import ASSISTANT, ONE_MESSAGE, ONE_TEXT, THREAD, InProcess, Recorded, cut_at, read

pytestmark = pytest.mark.anyio


class Failing(InProcess):
    """Tells a run whose stream breaks, and fails when asked for one of the listings.

    Args:
        what: the end of the listing's path.
        failures: a status, or an error of the connection, for each time it is asked for; the last one for ever
            if ``always``.
    """

    def __init__(self, recorded: Recorded, what: str, failures: Sequence[Any], *, always: bool = False) -> None:
        super().__init__(recorded)
        self._what = what
        self.failures = list(failures)
        self._always = always
        self.asked = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        if request.method != "GET" or not request.url.path.endswith(self._what):
            return response
        self.asked += 1
        if not self.failures:
            return response
        failure = self.failures[0] if self._always else self.failures.pop(0)
        if isinstance(failure, Exception):
            raise failure
        status, headers = failure
        return httpx.Response(status, headers=headers, json={"error": {"message": "no"}})


def failing(what: str, *failures: Any, always: bool = False) -> Failing:
    return Failing(cut_at(ONE_MESSAGE, ONE_MESSAGE.known_after), what, failures, always=always)


LISTINGS = pytest.mark.parametrize("what", ["/messages", "/steps"])


@LISTINGS
async def test_failures_that_pass_are_waited_out(what: str) -> None:
    """A failing server, one that is overloaded and a lost connection cost some pauses, no event and no second run."""
    wire = failing(what, (500, {}), (503, {"retry-after": "7"}), httpx.ReadError("cut"), (429, {}), (502, {}))
    client = wire.client(retry=ONCE, limits=Limits(adaptive=False))  # whose clock would not see these naps
    naps = paced(client)

    async with client.stream_run(THREAD, assistant_id=ASSISTANT, poll=PollPolicy(shortest=1, growth=2)) as stream:
        told = await read(stream)

    assert told.text == ONE_TEXT
    assert {step.status for step in stream.steps} == {"completed"}
    assert (wire.recorded.created, wire.recorded.cancels, wire.asked) == (1, 0, 6)
    # With the least of dice, pauses are a quarter shorter; what a server asks for is not.
    assert naps.taken == [0.75, 7.0, 3.0, 3.75, 3.75]


@LISTINGS
@pytest.mark.parametrize(
    ("failure", "asked", "cause"),
    [
        ((500, {}), 4, APIStatusError),
        (httpx.ReadError("cut"), 4, APIConnectionError),
        ((503, {"retry-after": "61"}), 1, APIStatusError),
        ((403, {}), 1, APIStatusError),
    ],
)
async def test_failures_that_stay_end_it(what: str, failure: Any, asked: int, cause: type[Exception]) -> None:
    """After as many failures as polls may have, or one that waiting does not cure, the error says why."""
    wire = failing(what, failure, always=True)
    client = wire.client(retry=ONCE)
    paced(client)

    with pytest.raises(StreamInterruptedError, match="run run_1") as caught:
        async with client.stream_run(THREAD, assistant_id=ASSISTANT, poll=PollPolicy(max_failures=3)) as stream:
            await read(stream)

    assert isinstance(caught.value.__cause__, cause)
    assert wire.asked == asked


@LISTINGS
async def test_the_timeout_bounds_it(what: str) -> None:
    """A server that goes on failing is given up when the time of the stream is over."""
    wire = failing(what, (500, {}), always=True)

    with pytest.raises(WaitTimeoutError):
        async with wire.client(retry=RetryPolicy(base_pause=0.01)).stream_run(
            THREAD, assistant_id=ASSISTANT, poll=PollPolicy.every(0.01), timeout=0.1
        ) as stream:
            await read(stream)
