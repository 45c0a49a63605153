"""Commands as processes: through pipes, and on a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Self

PATIENCE = 30.0
PROGRAM = (sys.executable, "-W", "error", "-m", "asyncassist")


def run(*arguments: str, input: bytes | None = None, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Carry out a command and wait for its end. Without an input there is nothing to be read."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        input=b"" if input is None else input,
        capture_output=True,
        env={**os.environ, **environment},
        timeout=PATIENCE,
    )


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until something is true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@contextmanager
def signalled_when(condition: Callable[[], object], number: int) -> Iterator[None]:
    """Send a signal to this process, whose main thread is at work in the block, as soon as something is true."""

    def wait() -> None:
        wait_until(condition)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        thread.join()


class Terminal:
    """A command on a terminal of its own, as a person uses it."""

    def __init__(self, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        import pty

        self._master, slave = pty.openpty()
        self.shown = ""
        env = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "NO_COLOR")}
        env |= {"TERM": "xterm", **(environment or {})}
        self.process = subprocess.Popen(
            [*PROGRAM, *arguments], stdin=slave, stdout=slave, stderr=slave, env=env, start_new_session=True
        )
        os.close(slave)
        os.set_blocking(self._master, False)

    def until(self, text: str, times: int = 1) -> None:
        """Wait until a text has been shown so many times."""
        wait_until(lambda: self._read() or self.shown.count(text) >= times)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Wait for the end: the exit code."""
        wait_until(lambda: self._read() or self.process.poll() is not None)
        self._read()
        return self.process.wait()

    def _read(self) -> None:
        try:
            while data := os.read(self._master, 65_536):
                self.shown += data.decode("utf-8", "replace")
        except OSError:
            pass  # nothing is there yet, or the other side has ended

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)
