"""Model servers of others, started as processes of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

__all__ = ["command", "free_port", "running"]


def command(name: str) -> str:
    """The path of a command: beside those that ``ASYNCASSIST_MOCKS`` names, beside Python, or on the PATH."""
    folders = [os.environ.get("ASYNCASSIST_MOCKS", ""), str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    found = shutil.which(name, path=os.pathsep.join(filter(None, folders)))
    if found is None:
        pytest.skip(f"{name} is not installed: pip install {name}, best into an environment of its own")
    return found


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


@contextmanager
def running(arguments: Sequence[str], ready: str, log: Path, *, seconds: float = 60) -> Iterator[None]:
    """Run a program until the block is left.

    Args:
        arguments: its command line.
        ready: a URL it answers with 200 once it is ready.
        log: takes what it prints.
        seconds: how long it may take to be ready.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(arguments, stdout=output, stderr=subprocess.STDOUT)
        try:
            deadline = time.monotonic() + seconds
            while not _answers(ready):
                if process.poll() == -signal.SIGILL:
                    pytest.skip(f"{arguments[0]} was built for another kind of CPU")
                assert process.poll() is None, log.read_text("utf-8", "replace")
                assert time.monotonic() < deadline, log.read_text("utf-8", "replace")
                time.sleep(0.05)
            yield
        finally:
            process.terminate()
            process.wait(10)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
