"""Taking jobs from where the caller has them: lazily, a few at a time."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import TYPE_CHECKING, TypeAlias, cast

import anyio
from anyio.lowlevel import checkpoint

from asyncassist.batch.jobs import Job
from asyncassist.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from anyio.abc import TaskGroup

__all__ = ["Intake", "Jobs", "checked_jobs"]

Jobs: TypeAlias = (
    "Iterable[Job] | Iterable[Mapping[str, object]] | AsyncIterable[Job] | AsyncIterable[Mapping[str, object]]"
)

_LONGEST_STRETCH = 0.01
"""Seconds for which an iterable that does not wait may keep the event loop."""
_LOOKS = 4
"""So many jobs are read between two looks at the clock."""


def checked_jobs(jobs: object) -> None:
    """Refuse what jobs cannot be taken from.

    Raises:
        TypeError: it is no iterable of jobs.
    """
    kind = type(jobs)
    if issubclass(kind, Mapping | str | bytes | Job) or not issubclass(kind, Iterable | AsyncIterable):
        hint = ""
        if issubclass(kind, Mapping | Job):
            hint = "; put a single job into a list"
        elif isinstance(jobs, str | os.PathLike):
            hint = "; read_jobs(path) reads those of a file"
        raise TypeError(f"jobs must be an iterable or async iterable of Job, got {kind.__name__}{hint}")


class Intake:
    """Gives the jobs of an iterable, one after the other, some at a time.

    Args:
        jobs: an iterable, or an async one.
        ahead: how many jobs of an async iterable may wait here.

    Attributes:
        error: what the iterable has raised; nothing comes after it.
    """

    def __init__(self, jobs: Jobs, ahead: int) -> None:
        self.error: Exception | None = None
        self._ahead = ahead
        self._count = 0
        self._is_over = False
        self._iterator: Iterator[object] | None = None
        self._async_iterator: AsyncIterator[object] | None = None
        self._waiting: deque[Job] = deque()
        self._changed = anyio.Event()
        self._scope = anyio.CancelScope()
        try:
            if isinstance(jobs, AsyncIterable):
                self._async_iterator = aiter(cast("AsyncIterable[object]", jobs))
            else:
                self._iterator = iter(jobs)
        except Exception as error:
            self._end(error)

    def start(self, group: TaskGroup) -> None:
        """Begin to read. Jobs of an async iterable come when they come, so a task waits for them."""
        if self._async_iterator is not None:
            group.start_soon(self._read_on, self._async_iterator)

    async def take(self, most: int) -> list[Job]:
        """Return the next jobs, at least one and at most so many; none means that there are no more."""
        if self._iterator is not None:
            await checkpoint()
            if self._is_over:
                return []
            return self._read(self._iterator, most)
        while not self._waiting and not self._is_over:
            await self._wait()
        taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        self._notify()
        return taken

    def _read(self, iterator: Iterator[object], most: int) -> list[Job]:
        taken: list[Job] = []
        until = time.monotonic() + _LONGEST_STRETCH
        try:
            for item in iterator:
                self._count += 1
                taken.append(item if type(item) is Job else self._made(item))
                if len(taken) >= most or (not self._count % _LOOKS and time.monotonic() > until):
                    return taken
            self._end(None)
        except Exception as error:
            self._end(error)
        return taken

    def stop(self, error: Exception) -> None:
        """Read no more, because of an error elsewhere."""
        self._end(error)
        self._scope.cancel()

    async def _read_on(self, iterator: AsyncIterator[object]) -> None:
        with self._scope:
            while not self._is_over:
                try:
                    item = await anext(iterator)
                    self._count += 1
                    self._waiting.append(self._made(item))
                except StopAsyncIteration:
                    self._end(None)
                except Exception as error:
                    self._end(error)
                self._notify()
                await checkpoint()  # an iterator need not wait
                while len(self._waiting) >= self._ahead:
                    await self._wait()

    async def _wait(self) -> None:
        await self._changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    def _end(self, error: Exception | None) -> None:
        self._is_over = True
        self.error = error

    def _made(self, item: object) -> Job:
        if isinstance(item, Job):
            return item
        try:
            return Job.from_dict(cast("Mapping[str, object]", item))
        except UsageError as error:
            raise UsageError(f"job number {self._count}: {error.message}") from None
