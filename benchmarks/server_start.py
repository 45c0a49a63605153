"""From the start of ``asyncassist serve`` to its first answer."""

from __future__ import annotations

import subprocess
import sys
import time

from . import raw
from .api_server import PREPARED, cpu_seconds, memory_mib, new_file, running
from .harness import HERE, Check, Result, Sample, in_turns, median

MEMORY, EMPTY, FULL = "in memory", "a new file", "a file of {threads:,} threads"
THREADS = 10_000
QUICK_THREADS = 1_000
MESSAGES = 10
AT_MOST_SECONDS = 1.0


def first_answer(*options: str) -> Sample:
    """Start the server, ask it for the assistants as soon as it says where it is, and end it."""
    begin = time.perf_counter()
    with running(*options) as server:
        said = time.perf_counter() - begin
        with raw.Connection(server.port) as connection:
            connection.get("GET", "/assistants")
        wall = time.perf_counter() - begin
        _, peak = memory_mib(server.pid)
        return {"said_s": said, "wall_s": wall, "cpu_s": cpu_seconds(server.pid), "peak_mib": peak}


def run(*, quick: bool, repetitions: int) -> Result:
    """Start the server again and again, in memory, with a new file and with one that holds much."""
    repetitions = max(repetitions, 3 if quick else 15)
    threads = QUICK_THREADS if quick else THREADS
    full = FULL.format(threads=threads)
    result = Result(
        scenario="server_start",
        title="From the start of asyncassist serve to its first answer",
        quick=quick,
        method=(
            "From the start of the process to the answer of list_assistants, asked for as soon as the server says "
            f"where it is. Byte-compiled, files in the disk's cache; the full file has {MESSAGES} messages in each "
            f"thread. CPU and peak memory are the process's own. Medians of {repetitions} starts, in turns."
        ),
    )
    with new_file() as path:
        options = ["--threads", str(threads), "--messages", str(MESSAGES), "--only-fill", "--db", path]
        subprocess.run([sys.executable, "-m", *PREPARED, *options], cwd=HERE.parent, check=True, timeout=300)
        first_answer("--db", path)
        for kept in in_turns([MEMORY, EMPTY, full], repetitions):
            with new_file() as empty:
                given = {MEMORY: (), EMPTY: ("--db", empty), full: ("--db", path)}[kept]
                result.samples.append({"kept": kept} | first_answer(*given))
    for kept in (MEMORY, EMPTY, full):
        samples = [sample for sample in result.samples if sample["kept"] == kept]
        wall = median(samples, "wall_s")
        result.rows.append(
            {
                "kept": kept,
                "first answer after (s)": wall,
                "the slowest (s)": max(sample["wall_s"] for sample in samples),
                "CPU (s)": median(samples, "cpu_s"),
                "peak memory (MiB)": median(samples, "peak_mib"),
            }
        )
        result.checks.append(
            Check(f"start of the server to its first answer, {kept}", wall, AT_MOST_SECONDS, "at most", "s")
        )
    return result
