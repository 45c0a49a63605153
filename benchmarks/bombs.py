"""Answers no client should swallow: what is raised, and how much memory it took."""

from __future__ import annotations

import asyncio
import resource
import time
from pathlib import Path

from . import clients, payloads
from .harness import Check, Result, Sample, serving
from .harness import measure as measure_in_process

CLIENTS = (clients.OURS, clients.OURS_AIOHTTP, clients.SDK)
KINDS = {
    "gzip": "1 GiB in gzip",
    "br": "1 GiB in brotli",
    "zstd": "1 GiB in zstd",
    "body": "body of 10 GB",
    "headers": "headers of 100 MB",
}
MEMORY_LIMIT = 3 << 30
"""Address space a measured client may use: enough to show what it takes, too little to harm the machine."""

PATIENCE = 60.0
GROWTH_AT_MOST = 100.0


def measure(base_url: str, client: str, kind: str) -> Sample:
    """Ask for one bomb and report how it ended."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    return asyncio.run(_measure(base_url, client, kind))


async def _measure(base_url: str, name: str, kind: str) -> Sample:
    options = {"max_retries": 0} if name == clients.SDK else {}
    client = clients.connect(name, base_url, **options)
    await client.get_run(payloads.THREAD, payloads.RUN)
    before, start = _peak(), time.monotonic()
    outcome, message, clear = "swallowed", "", False
    try:
        async with asyncio.timeout(PATIENCE):
            await client.get_run("thread_bomb", kind)
    except Exception as error:
        outcome, message, clear = type(error).__name__, str(error)[:200], isinstance(error, client.errors)
    seconds, growth = time.monotonic() - start, _peak() - before
    return {"outcome": outcome, "message": message, "clear": clear, "growth_mib": growth, "wall_s": seconds}


def _peak() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def run(*, quick: bool, repetitions: int) -> Result:
    """Offer every bomb to both clients."""
    result = Result(
        scenario="bombs",
        title="Answers no client should swallow",
        quick=quick,
        method=(
            "Growth of the process's peak resident memory over a first small call. Each process may use 3 GiB of "
            f"address space and {PATIENCE:.0f} s; the SDK without retries, so that it meets each bomb once. The "
            "decoders for brotli and zstd are installed."
        ),
    )
    with serving() as server:
        for kind, label in KINDS.items():
            if kind in {"gzip", "br", "zstd"}:
                server.control("bomb", kind=kind)
            for name in CLIENTS:
                sample = measure_in_process(server, "bombs", patience=2 * PATIENCE, client=name, kind=kind)
                result.samples.append(sample | {"client": name, "kind": kind})
                result.rows.append(
                    {
                        "answer": label,
                        "client": name,
                        "ended with": sample.get("outcome", sample.get("failed")),
                        "error of its own tree": sample.get("clear"),
                        "more memory (MiB)": sample.get("growth_mib"),
                        "after (s)": sample.get("wall_s"),
                    }
                )
    ours = [sample for sample in result.samples if sample["client"] == clients.OURS]
    growth = None if any("failed" in sample for sample in ours) else max(sample["growth_mib"] for sample in ours)
    clear = sum(bool(sample.get("clear")) for sample in ours)
    result.checks = [
        Check("bombs: clear errors", clear, len(KINDS), "at least", f"of {len(KINDS)}"),
        Check("bombs: most additional memory", growth, GROWTH_AT_MOST, "at most", "MiB"),
    ]
    return result
