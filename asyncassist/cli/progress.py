"""How far a batch has come, on stderr: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Protocol

from asyncassist.cli.output import note

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from rich.progress import Progress, TaskID

    from asyncassist import BatchProgress

__all__ = ["Bar", "Lines", "Reporter", "make_reporter", "shown_seconds", "told", "told_at_the_end"]

#: Seconds between two lines.
_INTERVAL = 5.0


class Reporter(Protocol):
    """Tells of progress while it is entered."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None: ...

    def update(self, progress: BatchProgress) -> None:
        """Take note of how far it has come."""
        ...


def make_reporter(total: int) -> Reporter:
    """Return a bar where stderr is a terminal that can show one, and else what prints lines.

    Args:
        total: how many jobs there are.
    """
    if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return Lines(total)
    try:
        return Bar(total)
    except ModuleNotFoundError as error:
        if error.name != "rich":
            raise
        note("a progress bar needs rich: pip install 'asyncassist[cli]'")
        return Lines(total)


def told(progress: BatchProgress, total: int, seconds: float) -> str:
    """Say in one line how far it has come.

    Args:
        seconds: how long it has taken.
    """
    rate = _rate(progress, seconds)
    parts = [
        f"{progress.finished}/{total} jobs",
        f"{progress.failed} failed",
        f"{progress.running} running",
        f"{rate:.1f}/s",
    ]
    if (left := _left(progress, total, rate)) is not None:
        parts.append(f"{shown_seconds(left)} left")
    parts.append(f"{progress.total_tokens:,} tokens")
    return ", ".join(parts)


def told_at_the_end(progress: BatchProgress, seconds: float) -> str:
    """Say in one line what has come of all jobs."""
    before = f" ({progress.replayed} of them from before)" if progress.replayed else ""
    rate = f"{_rate(progress, seconds):.1f}/s, {progress.total_tokens:,} tokens"
    took = f"done in {shown_seconds(seconds)}"
    return f"{took}: {progress.completed} completed, {progress.failed} failed{before}; {rate}"


def shown_seconds(seconds: float) -> str:
    """Write a length of time: 59s, 12m 03s, 5h 02m, 3d 4h."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600}h"


def _rate(progress: BatchProgress, seconds: float) -> float:
    # What the ledger knew took no time.
    return max(0, progress.finished - progress.replayed) / seconds if seconds > 0 else 0.0


def _left(progress: BatchProgress, total: int, rate: float) -> float | None:
    return max(0, total - progress.finished) / rate if rate > 0 else None


class Lines:
    """Prints a line every few seconds."""

    def __init__(self, total: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._total = total
        self._clock = clock
        self._started = self._told = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        pass

    def update(self, progress: BatchProgress) -> None:
        now = self._clock()
        if now - self._told >= _INTERVAL:
            self._told = now
            note(told(progress, self._total, now - self._started))


class Bar:
    """A bar of rich."""

    def __init__(self, total: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._total = total
        self._clock = clock
        self._started = clock()
        self._progress: Progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]}"),
            TextColumn("{task.fields[rate]:.1f}/s"),
            TextColumn("{task.fields[left]} left"),
            TextColumn("{task.fields[tokens]:,} tokens"),
            console=Console(stderr=True),
            refresh_per_second=4,
        )
        self._task: TaskID = self._progress.add_task("", total=total, failed="0 failed", rate=0.0, left="?", tokens=0)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, progress: BatchProgress) -> None:
        rate = _rate(progress, self._clock() - self._started)
        left = _left(progress, self._total, rate)
        self._progress.update(
            self._task,
            completed=progress.finished,
            failed=f"[red]{progress.failed} failed" if progress.failed else "0 failed",
            rate=rate,
            left="?" if left is None else shown_seconds(left),
            tokens=progress.total_tokens,
        )
