"""What a page, a message and a run cost the server, by how much it holds already."""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from . import raw
from .api_server import PREPARED, about_the_disk, cpu_seconds, memory_mib, new_file, running
from .harness import Check, Result, Sample, in_turns, median, ratio
from .harness import measure as measure_in_process
from .prepared_server import ASSISTANT, TEXT, thread_id

if TYPE_CHECKING:
    from pathlib import Path

MEMORY, FILE = "in memory", "--db FILE"
MESSAGES, THREADS = "messages in one thread", "threads of 10 messages"
SIZES: dict[str, tuple[int, ...]] = {MESSAGES: (10, 1_000, 100_000), THREADS: (10, 100, 1_000, 10_000)}
QUICK_SIZES: dict[str, tuple[int, ...]] = {MESSAGES: (10, 1_000, 10_000), THREADS: (10, 100, 1_000)}
_MESSAGE = {"role": "user", "content": TEXT}
# The message comes with the run: without it the offline backend would quote its own last answer, longer each time.
_RUN = {"assistant_id": ASSISTANT, "additional_messages": [_MESSAGE]}
_REQUESTS: dict[str, tuple[str, str, object]] = {
    "page of messages": ("GET", "/threads/{thread}/messages?limit=10", None),
    "create_message": ("POST", "/threads/{thread}/messages", _MESSAGE),
    "run": ("POST", "/threads/{thread}/runs", _RUN),
    "page of threads": ("GET", "/threads?limit=10", None),
}
OPERATIONS = tuple(_REQUESTS)
AT_ONCE = 25
BATCHES = 20
QUICK_BATCHES = 8
SETTLED_SECONDS = 0.02
AT_MOST = 1.5


def measure(base_url: str, servers: list[dict[str, Any]], batches: int) -> Sample:
    """Repeat each operation at all servers in turns, over one connection to each, and watch their CPU time."""
    with ExitStack() as connections:
        callers = [Caller(connections.enter_context(raw.Connection(each["port"])), each) for each in servers]
        samples: list[Sample] = [{"resident_mib": memory_mib(each["pid"])[0]} for each in servers]
        for operation in OPERATIONS:
            for caller in callers:
                caller.batch(operation)
            measured = [[caller.batch(operation) for caller in callers] for _ in range(batches)]
            for sample, of_server in zip(samples, zip(*measured, strict=True), strict=True):
                sample[f"{operation}, cpu_us"] = statistics.median(cost for cost, _ in of_server) * 1e6
                sample[f"{operation}, wall_ms"] = statistics.median(wall for _, wall in of_server) * 1e3
    return {"servers": samples}


class Caller:
    """Calls one server, going round its threads."""

    def __init__(self, connection: raw.Connection, server: dict[str, Any]) -> None:
        threads: int = server["threads"]
        self._connection = connection
        self._pid: int = server["pid"]
        self._threads = [thread_id(number * max(1, threads // 1_000)) for number in range(min(threads, 1_000))]
        self._turn = 0

    def batch(self, operation: str) -> tuple[float, float]:
        """Do an operation some times; give the server's CPU seconds, and the median of the seconds to the answer."""
        before = cpu_seconds(self._pid)
        walls = [self._once(operation) for _ in range(AT_ONCE)]
        time.sleep(SETTLED_SECONDS)
        return (cpu_seconds(self._pid) - before) / AT_ONCE, statistics.median(walls)

    def _once(self, operation: str) -> float:
        self._turn += 7
        thread = self._threads[self._turn % len(self._threads)]
        method, path, body = _REQUESTS[operation]
        data = raw.request(method, path.format(thread=thread), body)
        while True:
            start = time.perf_counter()
            status, answer = self._connection.send(data)
            wall = time.perf_counter() - start
            if operation == "run":
                time.sleep(SETTLED_SECONDS)  # it ends meanwhile, and its thread takes the next one
            if status == 200:
                return wall
            if b"while a run" not in answer and b"active run" not in answer:
                raise RuntimeError(f"{operation}: {status} {answer[:500]!r}")


def run(*, quick: bool, repetitions: int) -> Result:
    """Measure stores of all sizes."""
    repetitions = 1 if quick else min(repetitions, 3)
    sizes = QUICK_SIZES if quick else SIZES
    batches = QUICK_BATCHES if quick else BATCHES
    result = Result(
        scenario="server_growth",
        title="What operations cost the server as it fills",
        quick=quick,
        method=(
            f"CPU time of the server's process, in batches of {AT_ONCE} requests, one at a time, going round the "
            f"threads: the median of {batches} batches after one to warm up, and of {repetitions} rounds. The servers "
            "of one kind, one of each size, run side by side and take turns batch by batch. A page is the newest 10, "
            "which the smallest size has too. A run is create_run with a message, not streamed, and everything until "
            "it has ended: the offline backend, its step and its answer; its time is that to the answer of "
            "create_run. The operations themselves add some hundred messages. The file is on "
            f"{about_the_disk()}."
        ),
    )
    for kind, kept in in_turns([(kind, kept) for kind in sizes for kept in (MEMORY, FILE)], repetitions):
        with ExitStack() as stack:
            servers: list[dict[str, Any]] = []
            for size in sizes[kind]:
                threads, messages = (1, size) if kind == MESSAGES else (size, 10)
                options = ["--threads", str(threads), "--messages", str(messages)]
                options += ["--db", stack.enter_context(new_file())] if kept == FILE else []
                server = stack.enter_context(running(*options, program=PREPARED))
                servers.append({"port": server.port, "pid": server.pid, "threads": threads})
            measured = measure_in_process(server, "server_growth", servers=servers, batches=batches)
        for size, sample in zip(sizes[kind], measured.get("servers", [measured] * len(servers)), strict=True):
            result.samples.append({"kind": kind, "size": size, "kept": kept} | sample)
    _summarize(result, sizes)
    return result


def _summarize(result: Result, sizes: dict[str, tuple[int, ...]]) -> None:
    cost: dict[tuple[str, int, str, str], float | None] = {}
    for kind, of_kind in sizes.items():
        for kept in (MEMORY, FILE):
            for size in of_kind:
                samples = [s for s in result.samples if (s["kind"], s["size"], s["kept"]) == (kind, size, kept)]
                row: Sample = {"kept": kept, "holding": f"{size:,} {kind}"}
                for operation in OPERATIONS:
                    cost[kind, size, kept, operation] = median(samples, f"{operation}, cpu_us")
                    row[f"{operation}, CPU (µs)"] = cost[kind, size, kept, operation]
                row |= {f"{operation} (ms)": median(samples, f"{operation}, wall_ms") for operation in OPERATIONS}
                row["resident memory (MiB)"] = median(samples, "resident_mib")
                result.rows.append(row)
    for kind, of_kind in sizes.items():
        for operation in OPERATIONS:
            if operation == "page of threads" and kind == MESSAGES:
                continue  # there is one thread
            for kept in (MEMORY, FILE):
                grown = ratio(cost[kind, of_kind[-1], kept, operation], cost[kind, of_kind[0], kept, operation])
                what = f"{operation}, {kept}: {of_kind[-1]:,} over {of_kind[0]} {kind}"
                result.checks.append(Check(what, grown, AT_MOST, "at most"))


def plot(result: dict[str, Any], path: Path) -> None:
    """Draw the server's CPU per operation over what it holds."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    kinds = list(dict.fromkeys(sample["kind"] for sample in result["samples"]))
    figure, panels = plt.subplots(1, len(kinds), figsize=(11, 5), sharey=True)
    for axes, kind in zip(panels, kinds, strict=True):
        for color, operation in enumerate(OPERATIONS):
            for kept, line in ((MEMORY, "--"), (FILE, "-")):
                costs: dict[int, list[float]] = {}
                for sample in result["samples"]:
                    if (sample["kind"], sample["kept"]) == (kind, kept) and f"{operation}, cpu_us" in sample:
                        costs.setdefault(sample["size"], []).append(sample[f"{operation}, cpu_us"] / 1000)
                sizes = sorted(costs)
                axes.plot(
                    sizes,
                    [statistics.median(costs[size]) for size in sizes],
                    line,
                    marker="o",
                    color=f"C{color}",
                    label=f"{operation}, {kept}",
                )
                axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.set(xscale="log", xlabel=kind)
        axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
        axes.grid(visible=True, alpha=0.3)
    panels[0].set(ylabel="server CPU of one operation (ms)", ylim=(0, None))
    figure.suptitle("What operations cost the server as it fills")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="lower center", ncols=len(OPERATIONS), fontsize="small")
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)
