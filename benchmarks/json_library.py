"""Compare JSON libraries on what the client reads and writes: ``python -m benchmarks.json_library``.

Prints a markdown table of medians of CPU time in microseconds. The libraries take turns, so that a busy machine slows
all of them alike. ``pip install orjson`` first; msgspec and the standard library are there anyway.
"""

from __future__ import annotations

import json
import re
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
import orjson

from asyncassist._wire.converter import structure
from asyncassist.models import Message, Page, Run
from benchmarks.payloads import RUN, THREAD, encode, message_pages, run

ROUNDS = 31

LONG_NUMBER = re.compile(rb"[0-9]{19}")


def orjson_exact(data: bytes) -> Any:
    """Read with orjson unless an integer might be longer than 64 bits, which orjson turns into a float."""
    return json.loads(data) if LONG_NUMBER.search(data) else orjson.loads(data)


LOADS: dict[str, Callable[[bytes], Any]] = {
    "orjson": orjson.loads,
    "orjson, long integers kept": orjson_exact,
    "msgspec": msgspec.json.Decoder().decode,
    "json": json.loads,
}

DUMPS: dict[str, Callable[[Any], bytes | str]] = {
    "orjson": orjson.dumps,
    "msgspec": msgspec.json.Encoder().encode,
    "json": json.JSONEncoder(separators=(",", ":")).encode,
}


def decode(loads: Callable[[bytes], Any], data: bytes, type_: type[Any]) -> object:
    """Read JSON and make models of it."""
    return structure(loads(data), type_)


def medians(calls: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Time every call in turn, in microseconds of CPU."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = time.process_time_ns()
            for _ in range(repetitions):
                call()
            times[name].append((time.process_time_ns() - start) / repetitions / 1000)
    return {name: statistics.median(taken) for name, taken in times.items()}


def columns() -> dict[str, dict[str, float]]:
    """Measure everything; one entry per column of the table."""
    result: dict[str, dict[str, float]] = {}
    for title, body, type_, repetitions in (
        ("run", encode(run(RUN, THREAD, "in_progress")), Run, 300),
        ("page of 100 messages", message_pages(100)[""], Page[Message], 10),
    ):
        # Ids are letters and digits mixed; the rows of zeros in the prepared ones would look like long integers.
        data = body.replace(b"0000", b"aZ4k")
        plain = json.loads(data)
        reading = {name: partial(loads, data) for name, loads in LOADS.items()}
        decoding = {name: partial(decode, loads, data, type_) for name, loads in LOADS.items()}
        writing = {name: partial(dumps, plain) for name, dumps in DUMPS.items()}
        result[f"{title}: loads"] = medians(reading, repetitions)
        result[f"{title}: loads + structure"] = medians(decoding, repetitions)
        result[f"{title}: dumps"] = medians(writing, repetitions)
    return result


def main() -> None:
    """Print the table."""
    table = columns()
    print("| library |", " | ".join(table), "|")
    print("|---" * (len(table) + 1) + "|")
    for name in LOADS:
        cells = [f"{column[name]:.1f}" if name in column else "" for column in table.values()]
        print(f"| {name} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
