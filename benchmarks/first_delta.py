"""How long a piece of text is under way: from the server's send to the caller's hands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from . import clients, stream_payloads
from .harness import Check, Result, Sample, in_turns, median, serving
from .harness import measure as measure_in_process
from .stream_clients import ASSISTANT

STREAMS = 300
DELTAS = 3
PAUSE_MS = 10
AT_MOST_MS = 5.0


async def _text(api: Any) -> AsyncIterator[str]:
    async with api.stream_run(stream_payloads.THREAD, assistant_id=ASSISTANT) as stream:
        async for piece in stream.text():
            yield piece


async def _raw(api: Any) -> AsyncIterator[str]:
    runs = api.beta.threads.runs
    async for event in await runs.create(stream_payloads.THREAD, assistant_id=ASSISTANT, stream=True):
        if event.event == "thread.message.delta":
            yield event.data.delta.content[0].text.value


async def _handled(api: Any) -> AsyncIterator[str]:
    runs = api.beta.threads.runs
    async with runs.stream(thread_id=stream_payloads.THREAD, assistant_id=ASSISTANT) as stream:
        async for piece in stream.text_deltas:
            yield piece


READS = {
    "asyncassist: text()": (clients.OURS, _text),
    "asyncassist[aiohttp]: text()": (clients.OURS_AIOHTTP, _text),
    "openai: stream=True": (clients.SDK, _raw),
    "openai: handler, text_deltas": (clients.SDK, _handled),
}


def measure(base_url: str, read: str, streams: int) -> Sample:
    """Read streams whose text is the time of its sending."""
    return asyncio.run(_measure(base_url, read, streams))


async def _measure(base_url: str, read: str, streams: int) -> Sample:
    name, pieces = READS[read]
    client = clients.connect(name, base_url)
    first: list[float] = []
    others: list[float] = []
    for number in range(streams + 5):
        delays: list[float] = []
        async for piece in pieces(client.api):
            # The monotonic clock is the same for all processes of a machine.
            delays.append((time.monotonic() - float(piece)) * 1000)
        if number >= 5:  # the first ones warm up
            first.append(delays[0])
            others += delays[1:]
    await client.aclose()
    return {
        "streams": len(first),
        "p50_ms": quantile(first, 0.5),
        "p99_ms": quantile(first, 0.99),
        "worst_ms": max(first),
        "others_p50_ms": quantile(others, 0.5),
        "others_p99_ms": quantile(others, 0.99),
    }


def quantile(values: list[float], share: float) -> float:
    """Give the value that a share of all do not exceed."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def run(*, quick: bool, repetitions: int) -> Result:
    """Compare how soon text is seen."""
    streams = 50 if quick else STREAMS
    result = Result(
        scenario="first_delta",
        title="From the server's send of a piece of text to its reader",
        quick=quick,
        method=(
            f"{streams} streams one after the other, each with {DELTAS} pieces of text {PAUSE_MS} ms apart. The text "
            "of a piece is the time of its sending, on the clock that all processes of the machine share. A client "
            "that holds anything back until more has come would be late by the whole pause. Medians over "
            f"{repetitions} processes, in turns, of each process's p50, p99 and worst."
        ),
    )
    with serving() as server:
        for read in in_turns(list(READS), repetitions):
            server.control("reset")
            server.control("streams", deltas=DELTAS, pause_ms=PAUSE_MS, stamped=1)
            sample = measure_in_process(server, "first_delta", read=read, streams=streams)
            result.samples.append({"read": read} | sample)
    for read, (name, _) in READS.items():
        samples = [sample for sample in result.samples if sample["read"] == read]
        p50, p99 = median(samples, "p50_ms"), median(samples, "p99_ms")
        result.rows.append(
            {
                "stream": read,
                "first p50 (ms)": p50,
                "first p99 (ms)": p99,
                "first, worst (ms)": median(samples, "worst_ms"),
                "others p50 (ms)": median(samples, "others_p50_ms"),
                "others p99 (ms)": median(samples, "others_p99_ms"),
            }
        )
        if name != clients.SDK:
            result.checks += [
                Check(f"first text delta, {name}: median", p50, AT_MOST_MS, "at most", "ms"),
                Check(f"first text delta, {name}: p99", p99, AT_MOST_MS, "at most", "ms"),
            ]
    return result
