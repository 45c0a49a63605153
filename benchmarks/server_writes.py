"""Messages a second that the server creates through a port, by where it keeps them."""

from __future__ import annotations

import time

from . import raw
from .api_server import about_the_disk, cpu_seconds, new_file, running
from .harness import Check, Result, Sample, in_turns, median
from .harness import measure as measure_in_process

MEMORY, FILE, SYNCED = "in memory", "--db FILE", "--db FILE --sync full"
AT_LEAST = {MEMORY: 2_000, FILE: 1_500, SYNCED: 800}
CONNECTIONS = 64
SECONDS = 5.0
WARM_UP_SECONDS = 1.0
TEXT = "What is the weather like in Paris today, and will it rain tomorrow?"


def measure(base_url: str, port: int, pid: int, seconds: float) -> Sample:
    """Create messages in as many threads as there are connections, as fast as they are answered."""
    with raw.Connection(port) as connection:
        threads = [connection.get("POST", "/threads", {})["id"] for _ in range(CONNECTIONS)]
    body = {"role": "user", "content": TEXT}
    load = raw.Load(port, [raw.request("POST", f"/threads/{thread}/messages", body) for thread in threads])
    load.go(WARM_UP_SECONDS)
    load.statuses.clear()
    server, cpu = cpu_seconds(pid), time.process_time()
    wall = load.go(seconds)
    server, cpu = cpu_seconds(pid) - server, time.process_time() - cpu
    load.close()
    done = load.statuses.pop(200, 0)
    return {
        "a_second": done / wall,
        "failed": sum(load.statuses.values()) or None,
        "statuses": load.statuses,
        "server_us": server / max(done, 1) * 1e6,
        "server_share": server / wall,
        "load_us": cpu / max(done, 1) * 1e6,
    }


def run(*, quick: bool, repetitions: int) -> Result:
    """Measure each place to keep messages in."""
    seconds = 2.0 if quick else SECONDS
    result = Result(
        scenario="server_writes",
        title="create_message a second through a port",
        quick=quick,
        method=(
            f"`asyncassist serve` in a process of its own; from another one {CONNECTIONS} kept connections over plain "
            f"sockets, each to a thread of its own, send the same bytes again as soon as they are answered, for "
            f"{seconds:g} s after {WARM_UP_SECONDS:g} s to warm up. Only answers with status 200 count. The server's "
            f"CPU is that of all its threads. The file is new each time, on {about_the_disk()}. Medians of "
            f"{repetitions} servers, in turns."
        ),
    )
    for place in in_turns(list(AT_LEAST), repetitions):
        with new_file() as path:
            options = {MEMORY: (), FILE: ("--db", path), SYNCED: ("--db", path, "--sync", "full")}[place]
            with running(*options) as server:
                sample = measure_in_process(server, "server_writes", port=server.port, pid=server.pid, seconds=seconds)
                result.samples.append({"kept": place} | sample)
    for place, bound in AT_LEAST.items():
        samples = [sample for sample in result.samples if sample["kept"] == place]
        reached = median(samples, "a_second")
        result.rows.append(
            {
                "kept": place,
                "messages a second": reached,
                "server CPU of one (µs)": median(samples, "server_us"),
                "cores the server used": median(samples, "server_share"),
                "load CPU of one (µs)": median(samples, "load_us"),
                "not created": sum(sample.get("failed") or 0 for sample in samples),
            }
        )
        result.checks.append(Check(f"create_message a second, {place}", reached, bound, "at least", ""))
    return result
