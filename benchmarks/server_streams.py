"""Many runs streamed at once by the server, offline backend, to our client and to the SDK."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from . import clients
from .api_server import PREPARED, about_the_disk, cpu_seconds, memory_mib, new_file, running
from .first_delta import quantile
from .harness import Check, Result, Sample, in_turns, median
from .harness import measure as measure_in_process
from .prepared_server import ASSISTANT, thread_id

MEMORY, FILE = "in memory", "--db FILE"
CASES = ((MEMORY, clients.OURS), (FILE, clients.OURS), (MEMORY, clients.SDK), (FILE, clients.SDK))
STREAMS = 200
QUICK_STREAMS = 50
WORDS = 100
PAUSE = 0.05
PATIENCE = 60.0
QUESTION = " ".join(f"word{number}" for number in range(WORDS))
ANSWER = f"This is the offline backend: no model was asked. The last message was: {QUESTION}"
FIGURES = (
    "complete",
    "together",
    "events",
    "first_p50_ms",
    "first_p99_ms",
    "wall_s",
    "late_s",
    "server_s",
    "event_us",
    "stream_kib",
    "peak_mib",
    "client_s",
)


def measure(base_url: str, client: str, pid: int, streams: int) -> Sample:
    """Stream a run in each of as many threads at once."""
    return asyncio.run(_measure(base_url, client, pid, streams))


async def _measure(base_url: str, name: str, pid: int, streams: int) -> Sample:
    client = clients.connect(name, base_url)
    read = _read_sdk if name == clients.SDK else _read_ours
    await read(client.api, thread_id(streams), lambda: None)
    firsts: list[float] = []
    failures: dict[str, int] = {}
    complete = events = open_now = together = 0

    async def follow(number: int) -> None:
        nonlocal complete, events, open_now, together

        def begun() -> None:
            nonlocal open_now, together
            open_now += 1
            together = max(together, open_now)
            firsts.append((time.monotonic() - start) * 1000)

        try:
            text, count = await read(client.api, thread_id(number), begun)
            events += count
            complete += text == ANSWER
        except Exception as error:
            failures[f"{type(error).__name__}: {error}"[:200]] = failures.get(type(error).__name__, 0) + 1
        finally:
            open_now -= 1

    resident, _ = memory_mib(pid)
    server, cpu, start = cpu_seconds(pid), time.process_time(), time.monotonic()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*[follow(number) for number in range(streams)])
    wall, cpu, server = time.monotonic() - start, time.process_time() - cpu, cpu_seconds(pid) - server
    _, peak = memory_mib(pid)
    await client.aclose()
    return {
        "complete": complete,
        "failures": failures,
        "together": together,
        "events": events,
        "first_p50_ms": quantile(firsts, 0.5) if firsts else None,
        "first_p99_ms": quantile(firsts, 0.99) if firsts else None,
        "wall_s": wall,
        "late_s": wall - (len(ANSWER.split()) - 1) * PAUSE,
        "server_s": server,
        "event_us": server / max(events, 1) * 1e6,
        "stream_kib": (peak - resident) * 1024 / streams,
        "peak_mib": peak,
        "client_s": cpu,
    }


async def _read_ours(api: Any, thread: str, begun: Any) -> tuple[str, int]:
    text, events = "", 0
    message = {"role": "user", "content": QUESTION}
    async with api.stream_run(thread, assistant_id=ASSISTANT, additional_messages=[message]) as stream:
        async for event in stream:
            events += 1
            if event.event == "thread.message.delta":
                if not text:
                    begun()
                text += event.data.text
        if stream.run.status != "completed":
            raise RuntimeError(f"the run is {stream.run.status}")
    return text, events


async def _read_sdk(api: Any, thread: str, begun: Any) -> tuple[str, int]:
    text, events, status = "", 0, ""
    message = {"role": "user", "content": QUESTION}
    runs = api.beta.threads.runs
    body = {"assistant_id": ASSISTANT, "additional_messages": [message]}
    async for event in await runs.create(thread, stream=True, **body):
        events += 1
        status = event.event
        if event.event == "thread.message.delta":
            if not text:
                begun()
            text += event.data.delta.content[0].text.value
    if status != "thread.run.completed":
        raise RuntimeError(f"the last event was {status}")
    return text, events


def run(*, quick: bool, repetitions: int) -> Result:
    """Stream from both kinds of store to both clients."""
    streams = QUICK_STREAMS if quick else STREAMS
    repetitions = min(repetitions, 3)
    result = Result(
        scenario="server_streams",
        title=f"{streams} runs streamed at once by the server",
        quick=quick,
        method=(
            f"The server on a port, in a process of its own; {streams} runs, each in a thread of its own, are created "
            "and streamed from one client process at the same moment. The offline backend gives a word every "
            f"{PAUSE * 1000:g} ms, {len(ANSWER.split())} in all. Late is the time beyond those pauses until the last "
            "stream has ended. Memory is what the server's peak has above its resident memory after a first stream, "
            f"divided by the streams. The file is on {about_the_disk()}. Medians of {repetitions} servers, in turns."
        ),
    )
    for kept, name in in_turns(list(CASES), repetitions):
        with new_file() as path:
            options = ["--threads", str(streams + 1), "--pause", str(PAUSE), *(["--db", path] if kept == FILE else [])]
            with running(*options, program=PREPARED) as server:
                sample = measure_in_process(server, "server_streams", client=name, pid=server.pid, streams=streams)
                result.samples.append({"kept": kept, "client": name} | sample)
    for kept, name in CASES:
        samples = [sample for sample in result.samples if (sample["kept"], sample["client"]) == (kept, name)]
        mine = {figure: median(samples, figure) for figure in FIGURES}
        least = min(sample.get("complete", 0) for sample in samples)
        result.rows.append(
            {
                "kept": kept,
                "client": name,
                "complete": least,
                "at the same time": mine["together"],
                "events": mine["events"],
                "first piece p50 (ms)": mine["first_p50_ms"],
                "p99 (ms)": mine["first_p99_ms"],
                "all ended after (s)": mine["wall_s"],
                "late (s)": mine["late_s"],
                "server CPU (s)": mine["server_s"],
                "of an event (µs)": mine["event_us"],
                "server memory of a stream (KiB)": mine["stream_kib"],
                "server peak memory (MiB)": mine["peak_mib"],
                "client CPU (s)": mine["client_s"],
            }
        )
        what = f"{streams} streamed runs, {kept}, {name}: without an error"
        result.checks.append(Check(what, least, streams, "at least", "runs"))
    return result
