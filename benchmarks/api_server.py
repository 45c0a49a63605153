"""``asyncassist serve`` in a process of its own, and what that process uses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from .harness import HERE, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = HERE / ".databases"
"""Where database files are kept while they are needed: on the disk the checkout is on."""

SERVE = ("asyncassist", "serve", "--port", "0")
PREPARED = ("benchmarks.prepared_server",)
_URL = re.compile(r"http://127\.0\.0\.1:(\d+)/v1")


@dataclass(frozen=True)
class ApiServer(Server):
    """A server that is running, or was."""

    process: subprocess.Popen[str]
    log: IO[str]
    """What it wrote on stderr."""

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def logged(self) -> str:
        """Give what it wrote on stderr."""
        self.log.seek(0)
        return self.log.read()

    def end(self, *, kill: bool = False) -> None:
        """End the process and wait for that."""
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def start(*arguments: str, program: tuple[str, ...] = SERVE) -> ApiServer:
    """Start a server, and wait until it says where it is."""
    log = tempfile.TemporaryFile("w+")  # noqa: SIM115
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    process = subprocess.Popen(
        [sys.executable, "-m", *program, *arguments],
        cwd=HERE.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if found := _URL.search(line):
            return ApiServer(int(found[1]), 0, "", process, log)
    process.wait(10)
    log.seek(0)
    raise RuntimeError(f"the server did not start: {log.read()[-2000:]}")


@contextmanager
def running(*arguments: str, program: tuple[str, ...] = SERVE) -> Iterator[ApiServer]:
    """Run a server. What it logs as a warning or worse is shown."""
    server = start(*arguments, program=program)
    try:
        yield server
    finally:
        server.end()
        if logged := server.logged():
            print(f"the server's log:\n{logged[-2000:]}", file=sys.stderr)
        server.log.close()


@contextmanager
def new_file(name: str = "assistants.sqlite3") -> Iterator[str]:
    """Give the path of a database file that is not there yet, in a directory of its own."""
    FILES.mkdir(exist_ok=True)
    (FILES / ".gitignore").write_text("*\n")
    with tempfile.TemporaryDirectory(dir=FILES) as directory:
        yield str(Path(directory) / name)


def about_the_disk() -> str:
    """Say what kind of place `FILES` is: its file system, and how long a small write takes to get to the disk."""
    FILES.mkdir(exist_ok=True)
    place = str(FILES.resolve())
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    holding = [(mount[1], mount[2]) for mount in mounts if f"{place}/".startswith(mount[1].rstrip("/") + "/")]
    kind = max(holding, key=lambda mount: len(mount[0]))[1]
    seconds: list[float] = []
    with tempfile.TemporaryFile(dir=FILES, buffering=0) as file:
        for _ in range(50):
            file.write(bytes(4096))
            start = time.perf_counter()
            os.fsync(file.fileno())
            seconds.append(time.perf_counter() - start)
    milliseconds = sorted(seconds)[25] * 1000
    return f"{kind}, where 4 KiB take {milliseconds:.2g} ms to be synced"


def cpu_seconds(pid: int) -> float:
    """Give the CPU time of a process's threads so far, to the microsecond where it sleeps; `times` counts in 10 ms."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError):
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def memory_mib(pid: int) -> tuple[float, float]:
    """Give the resident memory of a process, and its peak."""
    status = Path(f"/proc/{pid}/status").read_text()
    now, peak = (int(status.partition(f"{name}:")[2].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return now, peak


def dumps(value: object) -> bytes:
    """Encode a body."""
    return json.dumps(value).encode()
