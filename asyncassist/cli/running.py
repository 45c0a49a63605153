"""How a command ends: its exit code, and what is said of a failure on stderr."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from asyncassist.errors import APIConnectionError, AsyncAssistError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from types import FrameType

__all__ = [
    "LOCAL_SERVER",
    "NOT_COMPLETED",
    "CommandError",
    "OutputError",
    "carry_out",
    "carry_out_blocking",
    "drop_output",
    "hint_for",
    "tell_failure",
]

#: The exit code of a command that did what it was asked for, where a run or a job has not completed.
NOT_COMPLETED = 3
#: The hint where there is no server to ask.
LOCAL_SERVER = """\
A server on this machine, which needs no model and no key (pip install 'asyncassist[server]'):
  asyncassist serve
and in another terminal:
  export ASYNCASSIST_BASE_URL=http://127.0.0.1:8080/v1 ASYNCASSIST_API_KEY=any"""

#: Seconds in which a second signal counts as the first: keyboards bounce, and a signal may come by two ways.
_BOUNCE = 0.5
#: Modules of the extras, which a program without them may lack.
_EXTRAS = {"starlette": "server", "uvicorn": "server", "yaml": "server", "click": "cli", "rich": "cli"}


class CommandError(AsyncAssistError):
    """What keeps a command from being carried out.

    Attributes:
        hint: lines that tell what to do about it.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class OutputError(AsyncAssistError):
    """What is to be printed cannot be: the disk is full, or there is no standard output."""


def carry_out(load: Callable[[], Callable[[], Awaitable[int | None]]]) -> int:
    """Carry out a command and return its exit code.

    Args:
        load: imports what the command needs, and gives the function that does it; that may return an exit code.
    """

    def load_blocking() -> Callable[[], int | None]:
        work = load()

        def act() -> int | None:
            import anyio

            code = anyio.run(_interruptible, work)
            if _signals.first is not None:
                raise KeyboardInterrupt
            return code

        return act

    return carry_out_blocking(load_blocking)


def carry_out_blocking(load: Callable[[], Callable[[], int | None]]) -> int:
    """Carry out a command that is no coroutine function; see `carry_out`."""
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="replace")  # a reply may hold what this terminal cannot show
    try:
        with _sigterm_as_interrupt():
            return load()() or 0
    except KeyboardInterrupt:
        return 143 if is_terminating() else 130
    except BrokenPipeError:
        drop_output()
        return 1
    except OutputError as error:
        drop_output()
        return _fail(str(error))
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get(error.name or "")
        return _fail(f"{error}: pip install 'asyncassist[{extra}]'" if extra else str(error))
    except (AsyncAssistError, ImportError) as error:
        return _fail(str(error), hint_for(error))


async def _interruptible(work: Callable[[], Awaitable[int | None]]) -> int | None:
    """Do a command's work; a signal cancels it, so that it cleans up, and one more ends the program at once."""
    if not _is_main_thread():
        return await work()
    import asyncio

    import anyio

    loop = asyncio.get_running_loop()
    with anyio.CancelScope() as scope:

        def handle(number: int, frame: FrameType | None) -> None:
            if _signals.first is None:
                _signals.first, _signals.since = number, time.monotonic()
                loop.call_soon_threadsafe(scope.cancel)
            elif time.monotonic() - _signals.since > _BOUNCE:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)

        with _handling(handle, signal.SIGINT, signal.SIGTERM):
            return await work()
    return None


class _Signals:
    """What has come, of signals, since the command began.

    Attributes:
        first: the number of the first.
        since: when it came, on the monotonic clock.
    """

    first: int | None = None
    since = 0.0


_signals = _Signals()


def is_terminating() -> bool:
    """Tell whether an interrupt is a SIGTERM, which ends the program, and not Ctrl-C."""
    return _signals.first == signal.SIGTERM


@contextmanager
def _sigterm_as_interrupt() -> Generator[None, None, None]:
    """Let SIGTERM end a command as Ctrl-C does, so that its runs are cancelled. Only the main thread gets signals."""
    _signals.first = None
    if not _is_main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        _signals.first = number
        signal.raise_signal(signal.SIGINT)

    with _handling(handle, signal.SIGTERM):
        yield


@contextmanager
def _handling(handle: Callable[[int, FrameType | None], None], *numbers: signal.Signals) -> Generator[None, None, None]:
    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def drop_output() -> None:
    """Print into nothing from here on: whoever read the output has gone, and the flush at exit must not fail either."""
    if sys.stdout is not None:  # it is where the program was started without
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell_failure(message: str) -> None:
    """Say on stderr, in one line, what has failed."""
    if sys.stderr is not None:
        print("error:", " ".join(message.split()), file=sys.stderr, flush=True)


def hint_for(error: BaseException) -> str:
    """Return the lines that tell what to do about an error; none where nobody knows."""
    if isinstance(error, APIConnectionError) and not error.sent:
        from ssl import SSLError

        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, SSLError):
            cause = cause.__cause__
        return LOCAL_SERVER if cause is None else ""  # a server whose certificate is refused is there
    return getattr(error, "hint", "")


def _fail(message: str, hint: str = "") -> int:
    tell_failure(message)
    if hint and sys.stderr is not None:
        print(hint, file=sys.stderr)
    return 1
