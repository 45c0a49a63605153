"""Find, start and stop Steady, a mock server that checks every request against an OpenAPI document."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    limit = threading.Timer(START_LIMIT, process.kill)
    limit.start()
    try:
        said: list[str] = []
        for line in process.stdout:
            said.append(line)
            if "Ready to accept requests" in line:
                break
        else:
            raise RuntimeError(f"{' '.join(command)} did not start:\n{''.join(said)}")
        limit.cancel()
        yield f"http://127.0.0.1:{port}"
    finally:
        limit.cancel()
        process.terminate()
        try:
            process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def complaints(headers: Mapping[str, str]) -> list[str]:
    """Say what Steady found wrong with the request these response headers answer."""
    count = headers.get("x-steady-error-count")
    if count is None:
        return ["the answer did not come from Steady"]
    return [
        ": ".join(headers.get(f"x-steady-error-{number}-{part}", "?") for part in ("code", "path", "message"))
        for number in range(1, int(count) + 1)
    ]
