"""Clients that do harm, and what somebody else's calls take meanwhile."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time

from . import clients
from .api_server import cpu_seconds, memory_mib, running
from .attacks import AT_ONCE, ATTACKS, GIVEN_UP, GUESSING, OPEN, WORDS
from .first_delta import quantile
from .harness import HERE, Check, Result, Sample
from .harness import measure as measure_in_process

EVERY = 0.02
QUIET_SECONDS = 1.0
PATIENCE = 120.0
P99_AT_MOST_MS = 1_000.0
GROWTH_AT_MOST = 150.0
QUIET = "nobody else"


def measure(base_url: str, port: int, pid: int, attack: str) -> Sample:
    """Call get_run steadily, over our client, while another process attacks."""
    return asyncio.run(_measure(base_url, port, pid, attack))


async def _measure(base_url: str, port: int, pid: int, attack: str) -> Sample:
    client = clients.connect(clients.OURS, base_url).api
    assistant = await client.create_assistant(model="any")
    thread = await client.create_thread()
    run = await client.create_run(thread.id, assistant_id=assistant.id)
    delays: list[float] = []
    failures: dict[str, int] = {}

    async def call() -> None:
        begin = time.perf_counter()
        try:
            await client.get_run(thread.id, run.id)
            delays.append((time.perf_counter() - begin) * 1000)
        except Exception as error:
            failures[type(error).__name__] = failures.get(type(error).__name__, 0) + 1

    async def call_steadily() -> None:
        due = time.monotonic()
        async with asyncio.TaskGroup() as calls:
            while True:
                calls.create_task(call())
                due += EVERY
                await asyncio.sleep(due - time.monotonic())

    steady = asyncio.create_task(call_steadily())
    await asyncio.sleep(QUIET_SECONDS)
    delays.clear()
    resident, _ = memory_mib(pid)
    cpu = cpu_seconds(pid)
    outcome: Sample = {"endings": {}, "seconds": QUIET_SECONDS}
    if attack == QUIET:
        await asyncio.sleep(QUIET_SECONDS)
    else:
        command = ("-m", "benchmarks.attacks", attack, str(port), clients.KEY)
        attacker = await asyncio.create_subprocess_exec(
            sys.executable, *command, cwd=HERE.parent, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await asyncio.wait_for(attacker.communicate(), PATIENCE)
        outcome = json.loads(output)
    cpu = cpu_seconds(pid) - cpu
    await asyncio.sleep(QUIET_SECONDS)
    after, peak = memory_mib(pid)
    steady.cancel()
    await asyncio.gather(steady, return_exceptions=True)
    await client.aclose()
    return outcome | {
        "calls": len(delays),
        "failures": failures,
        "p50_ms": quantile(delays, 0.5),
        "p99_ms": quantile(delays, 0.99),
        "worst_ms": max(delays),
        "growth_mib": peak - resident,
        "kept_mib": after - resident,
        "server_s": cpu,
    }


def run(*, quick: bool, repetitions: int) -> Result:
    """Attack in every way. Measured once: what a server lets happen, it lets happen always."""
    result = Result(
        scenario="server_hostile",
        title="Clients that do harm to the server",
        quick=quick,
        method=(
            "`asyncassist serve --api-key ...`, a new one for each attack. One process attacks; in another our client "
            f"calls get_run every {EVERY * 1000:g} ms. Bodies come over {AT_ONCE} connections at once; slow is a byte "
            f"a second; the answers nobody reads have {WORDS:,} words; the keys are guessed over {GUESSING} "
            "connections. Memory is what the server's peak has above its resident memory before the attack, and what "
            f"is left of that {QUIET_SECONDS:g} s after it. An attack that is not over after {GIVEN_UP:g} s is left."
        ),
    )
    for attack in (QUIET, *ATTACKS):
        with running("--api-key", clients.KEY) as server:
            job = {"port": server.port, "pid": server.pid, "attack": attack}
            sample = measure_in_process(server, "server_hostile", patience=2 * PATIENCE, **job)
            result.samples.append({"attack": attack} | sample | {"log": server.logged()[-500:]})
    for sample in result.samples:
        endings = sample.get("endings", {sample.get("failed"): 1})
        told = ", ".join(f"{count:,} {ending}" for ending, count in sorted(endings.items()))
        result.rows.append(
            {
                "attack": sample["attack"],
                "how it ended": told or "-",
                "after (s)": sample.get("seconds"),
                "server CPU (s)": sample.get("server_s"),
                "more memory (MiB)": sample.get("growth_mib"),
                "of that kept (MiB)": sample.get("kept_mib"),
                "get_run p50 (ms)": sample.get("p50_ms"),
                "p99 (ms)": sample.get("p99_ms"),
                "worst (ms)": sample.get("worst_ms"),
                "failed": sum(sample["failures"].values()) if "failures" in sample else None,
            }
        )
    _compare(result)
    return result


def _compare(result: Result) -> None:
    attacks = [sample for sample in result.samples if sample["attack"] != QUIET]
    failed = [sample["attack"] for sample in attacks if "failed" in sample]
    endings = [(ending, count) for sample in attacks for ending, count in sample.get("endings", {}).items()]
    unended = len(failed) + sum(count for ending, count in endings if ending == OPEN)
    # 503 says that the server has enough for now, in so many words; any other 5xx that it failed.
    wrong = sum(count for ending, count in endings if re.match("5(?!03 )|.* in no form", ending))
    result.checks = [
        Check("attacks: neither answered nor cut in time", unended, 0, "at most", ""),
        Check("attacks: answers of a server that failed, or in no form", wrong, 0, "at most", ""),
        Check(
            "attacks: calls of others that failed",
            sum(sum(sample.get("failures", {"all": 1}).values()) for sample in attacks),
            0,
            "at most",
            "",
        ),
    ]
    worst = max(attacks, key=lambda sample: sample.get("p99_ms", float("inf")))
    what = f"attacks: p99 of others' get_run, worst case ({worst['attack']})"
    result.checks.append(Check(what, worst.get("p99_ms"), P99_AT_MOST_MS, "at most", "ms"))
    worst = max(attacks, key=lambda sample: sample.get("growth_mib", float("inf")))
    what = f"attacks: growth of the server's memory, worst case ({worst['attack']})"
    result.checks.append(Check(what, worst.get("growth_mib"), GROWTH_AT_MOST, "at most", "MiB"))
