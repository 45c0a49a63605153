"""Find, start and stop Steady, a mock server that checks every request against an OpenAPI document."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]

START_LIMIT = 60.0
STOP_LIMIT = 10.0

# The client writes lists as ``name[]=a&name[]=b`` and objects as ``name[key]=a``.
FORMATS = ("--validator-query-array-format=brackets", "--validator-query-object-format=brackets")


def find() -> str | None:
    """Give the path of the ``steady`` program, or None where it is not installed."""
    if named := os.environ.get("ASYNCASSIST_STEADY"):
        return named
    local = ROOT / "node_modules" / ".bin" / "steady"
    return str(local) if local.exists() else shutil.which("steady")


def free_port() -> int:
    """Give a loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(program: str, document: Path) -> Iterator[str]:
    """Run Steady for one OpenAPI document and give its base URL."""
    port = free_port()
    command = [program, "--host", "127.0.0.1", "-p", str(port), "--quiet", "--no-color", *FORMATS, str(document)]
    with tempfile.TemporaryFile("w+") as said:
        # The program starts another one: as a group of their own both are ended.
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            # What it prints when it is ready depends on where it runs; that it listens does not.
            deadline = time.monotonic() + START_LIMIT
            while not _listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    said.seek(0)
                    raise RuntimeError(f"{' '.join(command)} did not start:\n{said.read()}")
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}"
        finally:
            _end(process)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end(process: subprocess.Popen[bytes]) -> None:
    for signal_ in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal_)
        try:
            process.wait(STOP_LIMIT)
            return
        except subprocess.TimeoutExpired:
            continue


def complaints(headers: Mapping[str, str]) -> list[str]:
    """Say what Steady found wrong with the request these response headers answer."""
    count = headers.get("x-steady-error-count")
    if count is None:
        return ["the answer did not come from Steady"]
    return [
        ": ".join(headers.get(f"x-steady-error-{number}-{part}", "?") for part in ("code", "path", "message"))
        for number in range(1, int(count) + 1)
    ]
