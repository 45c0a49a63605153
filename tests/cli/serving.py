"""``asyncassist serve`` for tests: as a process of its own, and inside the process of the test."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import httpx

from asyncassist import cli

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

PATIENCE = 30.0


class Served:
    """A server in a process of its own, from its start to its end."""

    def __init__(self, *arguments: str, port: int = 0, **environment: str) -> None:
        command = [sys.executable, "-W", "error", "-m", "asyncassist", "serve", "--port", str(port), *arguments]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )
        self.banner: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.banner.append(line.rstrip("\n"))
            if line.startswith("Ctrl-C"):
                break

    @property
    def url(self) -> str:
        found = re.search(r"http://\S+?/v1", "\n".join(self.banner))
        assert found, self.end()
        return found[0]

    def send(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def end(self, number: int | None = None) -> tuple[int, str, str]:
        """Wait for the end, after a signal if one is given: the exit code, what else was printed, and the errors."""
        if number is not None:
            self.send(number)
        output, errors = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, output, errors

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def serve_here(use: Callable[[str], Any], *arguments: str, number: int = signal.SIGTERM) -> int:
    """Run the command in this thread, use the server from another one, and end it by a signal: the exit code."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    failures: list[BaseException] = []
    has_ended = threading.Event()

    def talk() -> None:
        try:
            wait_for(f"http://127.0.0.1:{port}", has_ended)
            use(f"http://127.0.0.1:{port}/v1")
        except BaseException as error:
            failures.append(error)
        os.kill(os.getpid(), number)

    # Where the command has ended before, the signal must not end the tests.
    before = signal.signal(number, lambda *_: None)
    try:
        other = threading.Thread(target=talk)
        other.start()
        code = cli.main(["serve", "--port", str(port), *arguments])
        has_ended.set()
        other.join()
        kept = signal.getsignal(number)
    finally:
        signal.signal(number, before)
    for error in failures:
        raise error
    assert callable(kept)
    assert kept.__name__ == "<lambda>"
    return code


def wait_for(origin: str, has_ended: threading.Event) -> None:
    """Wait until the server answers."""
    while True:
        try:
            httpx.get(f"{origin}/health").raise_for_status()
            return
        except httpx.TransportError:
            if has_ended.wait(0.01):
                raise
