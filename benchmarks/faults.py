"""Creates and GETs against a server that drops, fails and refuses: duplicates, errors, successes."""

from __future__ import annotations

import asyncio
import time
from typing import Literal

from . import clients, payloads
from .harness import Check, Result, Sample, serving
from .harness import measure as measure_in_process

CLIENTS = (clients.OURS, clients.OURS_AIOHTTP, clients.SDK)
CALLS = 300
CALLERS = 10
CHAOS = {"drop_before": 10, "drop_after": 10, "error_after": 10, "limited": 10}
LIMITED = {"limited": 10, "hang_up": 1}
FLAP = {"closed": 0.03, "opened": 0.27}
GETS_AT_LEAST = 275 / 300
CREATES_AT_LEAST = 270 / 300

Kind = Literal["creates", "gets"]


def measure(base_url: str, client: str, kind: Kind, calls: int) -> Sample:
    """Make the calls, ten at once, and count how they ended."""
    return asyncio.run(_measure(base_url, client, kind, calls))


async def _measure(base_url: str, name: str, kind: Kind, calls: int) -> Sample:
    client = clients.connect(name, base_url)
    numbers = iter(range(calls))
    worked, unclear = 0, 0
    errors: dict[str, int] = {}

    async def caller() -> None:
        nonlocal worked, unclear
        for number in numbers:
            try:
                if kind == "creates":
                    await client.create_message(payloads.THREAD, f"marker-{number}")
                else:
                    await client.get_run(payloads.THREAD, payloads.RUN)
                worked += 1
            except Exception as error:
                errors[type(error).__name__] = errors.get(type(error).__name__, 0) + 1
                unclear += not isinstance(error, client.errors)

    start = time.monotonic()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    await client.aclose()
    return {"worked": worked, "errors": errors, "unclear": unclear, "wall_s": time.monotonic() - start}


def run(*, quick: bool, repetitions: int) -> Result:
    """Let both clients meet the same faults."""
    calls = 100 if quick else CALLS
    result = Result(
        scenario="faults",
        title=f"{calls} creates and {calls} GETs under faults",
        quick=quick,
        method=(
            "Chaos: of all requests 10 % are dropped before the server acts, 10 % after, 10 % get a 500 after it "
            "acted, 10 % a 429. Limits: 10 % get a 429, every answer ends its connection, and new ones are refused for "
            "30 ms of every 300. Each create carries a number of its own; the server counts those it acted on twice. "
            f"{CALLERS} calls at once, each client with its own retries."
        ),
    )
    cases: tuple[tuple[str, Kind], ...] = (("chaos", "creates"), ("chaos", "gets"), ("limits", "creates"))
    with serving() as server:
        for weather, kind in cases:
            for name in CLIENTS:
                server.control("reset")
                server.control("faults", **(CHAOS if weather == "chaos" else LIMITED))
                if weather == "limits":
                    server.control("flap", **FLAP)
                sample = measure_in_process(server, "faults", client=name, kind=kind, calls=calls)
                stats = server.control("stats")
                server.control("reset")
                sample |= {"client": name, "weather": weather, "kind": kind, **stats}
                result.samples.append(sample)
                errors = sample.get("errors", {})
                result.rows.append(
                    {
                        "faults": weather,
                        "calls": f"{calls} {kind}",
                        "client": name,
                        "worked": sample.get("worked"),
                        "duplicates": stats["duplicates"],
                        "requests": stats["requests"],
                        "errors": ", ".join(f"{count} {error}" for error, count in sorted(errors.items())) or "none",
                        "not of its own tree": sample.get("unclear"),
                    }
                )
    ours = {(s["weather"], s["kind"]): s for s in result.samples if s["client"] == clients.OURS}
    chaos, gets, limits = (ours[case] for case in cases)
    unclear = sum(sample.get("unclear", calls) for sample in ours.values())
    result.checks = [
        Check("faults: duplicates", max(sample["duplicates"] for sample in ours.values()), 0, "at most", ""),
        Check("faults: errors that are not of the tree", unclear, 0, "at most", ""),
        Check("chaos: GETs that worked", gets.get("worked"), round(GETS_AT_LEAST * calls), "at least", f"of {calls}"),
        Check(
            "limits: creates that worked",
            limits.get("worked"),
            round(CREATES_AT_LEAST * calls),
            "at least",
            f"of {calls}",
        ),
    ]
    assert chaos["kind"] == "creates"
    return result
