"""Creates of messages and runs under faults: how many work, how many are done twice, and what it takes to know."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from asyncassist import AsyncClient, PollPolicy, RetryPolicy
from asyncassist.testing import FakeServer, Fault

from . import clients
from .harness import Check, Result, Sample
from .harness import Server as Place
from .harness import measure as measure_in_process
from .server import Faults

if TYPE_CHECKING:
    from collections.abc import Generator

    from starlette.types import Message, Send

    from asyncassist.testing.exchange import Exchange

CALLS = 300
CALLERS = 10
AT_LEAST = 275 / 300

NEVER, RECONCILE = "asyncassist", "asyncassist, creates=reconcile"
POLICIES = {NEVER: "never", RECONCILE: "reconcile"}
CLIENTS = (RECONCILE, NEVER, clients.SDK)

Kind = Literal["messages", "runs"]


# The measuring process.


def measure(base_url: str, client: str, kind: Kind, threads: list[str], assistant: str) -> Sample:
    """Create a message with a number of its own, or a run, on each thread, ten at once; count how they ended."""
    return asyncio.run(_measure(base_url, client, kind, threads, assistant))


async def _measure(base_url: str, name: str, kind: Kind, threads: list[str], assistant: str) -> Sample:
    if name in POLICIES:
        client = clients.connect(clients.OURS, base_url, retry=RetryPolicy(creates=POLICIES[name]))  # type: ignore[arg-type]
        create_run = client.api.create_run
    else:
        client = clients.connect(name, base_url)
        create_run = client.api.beta.threads.runs.create
    jobs = iter(enumerate(threads))
    ids: list[str] = []
    errors: dict[str, int] = {}
    waits: list[float] = []

    async def caller() -> None:
        for number, thread in jobs:
            start = time.monotonic()
            try:
                if kind == "messages":
                    made: Any = await client.create_message(thread, f"marker-{number}")
                else:
                    made = await create_run(thread, assistant_id=assistant)
                ids.append(made.id)
            except client.errors as error:
                errors[type(error).__name__] = errors.get(type(error).__name__, 0) + 1
            waits.append(time.monotonic() - start)

    start, cpu = time.monotonic(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    wall, cpu = time.monotonic() - start, time.process_time() - cpu
    await client.aclose()
    return {
        "worked": len(ids),
        "ids": ids,
        "errors": errors,
        "wall_s": wall,
        "cpu_ms": cpu * 1000 / len(threads),
        "slowest_s": max(waits),
    }


# The server, in a thread of the process that starts the others.


class Weather:
    """Goes wrong with one request after the other, as the deck says."""

    def __init__(self) -> None:
        self._deck = Faults(drop_before=10, drop_after=10, error_after=10, limited=10)
        self._drop, self._drop_after = Fault.drop(), Fault.drop(after_acting=True)
        self._limit = Fault.status(429, "Not now.", type="requests")  # one that names no limit, since there is none

    async def act(self, exchange: Exchange) -> None:
        """Have the next card of the deck."""
        match self._deck.draw():
            case "drop_before":
                await self._drop.act(exchange)
            case "drop_after":
                await self._drop_after.act(exchange)
            case "limited":
                await self._limit.act(exchange)
            case "error_after":
                await exchange.forward(_failing)
            case _:
                await exchange.forward()


def _failing(send: Send) -> Send:
    async def fail(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "status": 500}
        await send(message)

    return fail


@contextmanager
def _serving(server: FakeServer) -> Generator[Place]:
    with server.in_thread() as url:
        yield Place(urlsplit(url).port or 0, 0, "")


async def _prepare(base_url: str, kind: Kind, calls: int) -> dict[str, Any]:
    """Make an assistant and the threads: of runs each has its own, messages are all on one."""
    async with AsyncClient(base_url=base_url, api_key="any") as client:
        assistant = await client.create_assistant(model="any")
        threads = [(await client.create_thread()).id for _ in range(calls if kind == "runs" else 1)]
    return {"threads": threads if kind == "runs" else threads * calls, "assistant": assistant.id}


async def _look(base_url: str, kind: Kind, threads: list[str], known: set[str]) -> Sample:
    """Count what was made more than once, and what was made without the client's knowing."""
    async with AsyncClient(base_url=base_url, api_key="any") as client:
        made: list[tuple[str, str]] = []
        for thread in dict.fromkeys(threads):
            if kind == "messages":
                messages = await client.list_messages(thread, limit=100).collect()
                made += [(message.id, message.text) for message in messages]
            else:
                runs = await client.list_runs(thread, limit=100).collect()
                made += [(run.id, thread) for run in runs]
                for run in runs:
                    await client.wait_for_run(thread, run.id, poll=PollPolicy.every(0.01))
    times = Counter(what for _, what in made)
    ids = {id for id, _ in made}
    return {
        "duplicates": sum(count - 1 for count in times.values()),
        "unknown": len(ids - known),
        "wrong": len(known - ids),
    }


def run(*, quick: bool, repetitions: int) -> Result:
    """Let each client meet the same faults."""
    calls = 100 if quick else CALLS
    result = Result(
        scenario="creates",
        title=f"{calls} creates of messages and of runs under faults",
        quick=quick,
        method=(
            "The server of asyncassist, on a port. Of all requests, the listings among them, 10 % are dropped before "
            "the server acts, 10 % after, 10 % get a 500 after it acted, 10 % a 429. All messages go to one thread; "
            "each run has a thread of its own and ends at once, so that no lock keeps a second one off. Afterwards the "
            "server is asked what there is: what is there twice, and what no call has returned. "
            f"{CALLERS} calls at once; asyncassist with either policy for creates, the SDK with its own retries."
        ),
    )
    kinds: tuple[Kind, ...] = ("messages", "runs")
    for kind in kinds:
        for name in CLIENTS:
            server = FakeServer("Done.", ids="random")
            with _serving(server) as place:
                job = asyncio.run(_prepare(place.base_url, kind, calls))
                asked = len(server.requests)
                server.faults.add(Fault("weather", Weather().act), times=None)  # pyright: ignore[reportPrivateUsage]
                sample = measure_in_process(place, "creates", client=name, kind=kind, **job)
                server.faults.clear()
                requests = len(server.requests) - asked
                known = set(sample.pop("ids", ()))
                sample |= asyncio.run(_look(place.base_url, kind, job["threads"], known))
            sample |= {"client": name, "kind": kind, "requests": requests}
            result.samples.append(sample)
            errors = sample.get("errors", {})
            result.rows.append(
                {
                    "creates": f"{calls} {kind}",
                    "client": name,
                    "worked": sample.get("worked"),
                    "duplicates": sample["duplicates"],
                    "made, but not returned": sample["unknown"],
                    "requests": requests,
                    "wall (s)": sample.get("wall_s"),
                    "slowest (s)": sample.get("slowest_s"),
                    "errors": ", ".join(f"{count} {error}" for error, count in sorted(errors.items())) or "none",
                }
            )
    for sample in result.samples:
        if sample["client"] != RECONCILE:
            continue
        kind = sample["kind"]
        least = round(AT_LEAST * calls)
        result.checks += [
            Check(f"creates=reconcile: {kind} that worked", sample.get("worked"), least, "at least", f"of {calls}"),
            Check(f"creates=reconcile: {kind} made twice", sample["duplicates"], 0, "at most", ""),
            Check(f"creates=reconcile: {kind} returned that are not there", sample["wrong"], 0, "at most", ""),
        ]
    return result
