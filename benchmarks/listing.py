"""CPU and memory of a typed listing of 10,000 messages in pages of 100."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import time
import tracemalloc
from pathlib import Path
from typing import Literal

from . import clients, payloads
from .harness import Check, Result, Sample, in_turns, median, ratio, serving
from .harness import measure as measure_in_process

CLIENTS = (clients.OURS, clients.OURS_AIOHTTP, clients.SDK)
MESSAGES = 10_000
CPU_AT_LEAST = 5.0
MEMORY_AT_MOST = 0.45

Figure = Literal["cpu", "resident", "traced"]


def measure(base_url: str, client: str, figure: Figure) -> Sample:
    """List all messages, keep them, and report one figure."""
    return asyncio.run(_measure(base_url, client, figure))


async def _measure(base_url: str, name: str, figure: Figure) -> Sample:
    client = clients.connect(name, base_url)
    async for _ in client.messages(payloads.THREAD):
        break  # the first page warms up what is built on first use
    gc.collect()
    sample: Sample = {}
    if figure == "traced":
        tracemalloc.start()
    resident, cpu = resident_bytes(), time.process_time()
    kept = [message async for message in client.messages(payloads.THREAD)]
    sample["cpu_s"] = time.process_time() - cpu
    gc.collect()
    if figure == "traced":
        sample["traced_mib"] = tracemalloc.get_traced_memory()[0] / 2**20
        tracemalloc.stop()
    else:
        sample["resident_mib"] = (resident_bytes() - resident) / 2**20
    sample["messages"] = len(kept)
    await client.aclose()
    return sample


def resident_bytes() -> int:
    """Give the resident bytes, after handing freed memory back to the system where that can be asked for."""
    with contextlib.suppress(AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def run(*, quick: bool, repetitions: int) -> Result:
    """Compare the clients' CPU and memory."""
    result = Result(
        scenario="listing",
        title="Listing 10,000 messages in pages of 100, typed",
        quick=quick,
        method=(
            "CPU time of the client's process from the first page to the last. Memory with all messages kept: growth "
            "of the resident set, and in processes of their own what tracemalloc counts (it cannot see what a Rust "
            f"extension allocates for itself). Medians of {repetitions} processes per figure, in turns."
        ),
    )
    figures: tuple[Figure, ...] = ("cpu", "traced")
    with serving() as server:
        for name, figure in in_turns([(name, figure) for name in CLIENTS for figure in figures], repetitions):
            sample = measure_in_process(server, "listing", client=name, figure=figure)
            if figure == "traced":
                sample.pop("cpu_s", None)
            result.samples.append(sample | {"client": name, "figure": figure})
    medians: dict[str, dict[str, float | None]] = {}
    for name in CLIENTS:
        samples = [sample for sample in result.samples if sample["client"] == name]
        medians[name] = {figure: median(samples, figure) for figure in ("cpu_s", "resident_mib", "traced_mib")}
        result.rows.append(
            {"client": name}
            | dict(zip(("CPU (s)", "resident (MiB)", "tracemalloc (MiB)"), medians[name].values(), strict=True))
        )
    ours, sdk = medians[clients.OURS], medians[clients.SDK]
    resident = ratio(ours["resident_mib"], sdk["resident_mib"])
    traced = ratio(ours["traced_mib"], sdk["traced_mib"])
    result.checks = [
        Check("listing: CPU of the SDK over ours", ratio(sdk["cpu_s"], ours["cpu_s"]), CPU_AT_LEAST, "at least"),
        Check(
            "listing: resident memory, ours over the SDK's",
            resident,
            MEMORY_AT_MOST,
            "at most",
        ),
        Check(
            "listing: tracemalloc, ours over the SDK's",
            traced,
            MEMORY_AT_MOST,
            "at most",
        ),
    ]
    return result
