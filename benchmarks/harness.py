"""Start the server, measure each client in a process of its own, in turns, and keep the results."""

from __future__ import annotations

import http.client
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import urllib.parse
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
RESULTS = HERE / "results"
PACKAGES = (
    "asyncassist",
    "openai",
    "httpx",
    "httpcore",
    "httpx2",
    "aiohttp",
    "anyio",
    "attrs",
    "cattrs",
    "msgspec",
    "pydantic",
    "starlette",
    "uvicorn",
    "h11",
    "httptools",
)

Sample = dict[str, Any]
"""What one measuring process reports."""


def control(port: int, route: str, **query: object) -> Sample:
    """Call a control route of the server."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", f"/{route}?{urllib.parse.urlencode(query)}")
    answer: Sample = json.load(connection.getresponse())
    connection.close()
    return answer


@dataclass(frozen=True)
class Server:
    """The running server, as its clients and the scenarios see it."""

    port: int
    control_port: int
    ca_file: str

    @property
    def base_url(self) -> str:
        """The API's base URL."""
        return f"{'https' if self.ca_file else 'http'}://127.0.0.1:{self.port}/v1"

    def control(self, route: str, **query: object) -> Sample:
        """Call a control route."""
        return control(self.control_port, route, **query)


@contextmanager
def serving(*, tls: bool = False) -> Iterator[Server]:
    """Run the server in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.server", *(["--tls"] if tls else [])]
    with subprocess.Popen(
        command, cwd=HERE.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Server(**json.loads(process.stdout.readline()))
        finally:
            process.stdin.close()
            process.wait(10)


def measure(server: Server, scenario: str, *, patience: float = 600.0, **job: object) -> Sample:
    """Run ``scenario``'s ``measure`` in a fresh process and give what it reports.

    A process that dies or outlives ``patience`` seconds gives ``{"failed": why}``.
    """
    environment = os.environ | {"NO_PROXY": "127.0.0.1", "PYTHONWARNINGS": "ignore"}
    if server.ca_file:
        environment["SSL_CERT_FILE"] = server.ca_file
        environment.pop("SSL_CERT_DIR", None)
    command = [sys.executable, "-m", "benchmarks.measure", scenario]
    work = json.dumps({"base_url": server.base_url, **job})
    try:
        done = subprocess.run(
            command, cwd=HERE.parent, env=environment, input=work, capture_output=True, text=True, timeout=patience
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"no result within {patience:.0f} s"}
    if done.returncode != 0:
        print(done.stderr[-2000:], file=sys.stderr)
        last = done.stderr.strip().rpartition("\n")[2][:200]
        return {"failed": last or f"the process ended with code {done.returncode}"}
    sample: Sample = json.loads(done.stdout.splitlines()[-1])
    return sample


def in_turns(variants: list[Any], repetitions: int) -> Iterator[Any]:
    """Give every variant ``repetitions`` times, each round starting with another one."""
    for turn in range(repetitions):
        first = turn % len(variants)
        yield from variants[first:] + variants[:first]


def median(samples: list[Sample], name: str) -> float | None:
    """Give the median of one figure over the samples that have it."""
    values = [sample[name] for sample in samples if sample.get(name) is not None]
    return statistics.median(values) if values else None


@dataclass(frozen=True)
class Check:
    """One target and what was reached."""

    what: str
    reached: float | None
    bound: float
    kind: Literal["at least", "at most"]
    unit: str = "x"

    @property
    def met(self) -> bool | None:
        """Whether the target was reached; None when there is nothing to compare."""
        if self.reached is None:
            return None
        return self.reached >= self.bound if self.kind == "at least" else self.reached <= self.bound


@dataclass
class Result:
    """A scenario's figures."""

    scenario: str
    title: str
    quick: bool
    method: str
    """How it was measured, in a sentence or two."""

    rows: list[Sample] = field(default_factory=list)
    """One dict per client and size, columns in the order to show."""

    checks: list[Check] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    """Every single measurement."""

    def save(self, directory: Path = RESULTS) -> Path:
        """Write the result beside the others."""
        directory.mkdir(exist_ok=True, parents=True)
        path = directory / f"{self.scenario}.json"
        content = asdict(self)
        for written, check in zip(content["checks"], self.checks, strict=True):
            written["met"] = check.met
        content["environment"] = environment()
        path.write_text(json.dumps(content, indent=1) + "\n")
        return path


def environment() -> dict[str, object]:
    """Give what the figures depend on."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "packages": versions,
    }


def ratio(above: float | None, below: float | None) -> float | None:
    """Divide, if there is something to divide and to divide by."""
    return None if above is None or not below else above / below
