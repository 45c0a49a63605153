"""The results of a batch, as its caller reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Never, Self

if TYPE_CHECKING:
    from types import TracebackType

    from asyncassist.batch.batch import Batch
    from asyncassist.batch.jobs import JobResult

__all__ = ["JobResults"]


class JobResults:
    """The results of `run_many`, as they come: read it with ``async for``.

    Nothing is begun before the first is asked for. Leaving the loop ends the batch, and cancels its runs: at once and
    in the background after a ``break``; before going on, where the loop is cancelled, at `aclose`, and at the end of
    ``async with client.run_many(...) as results``.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._is_busy = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> JobResult:
        if self._is_busy:
            raise RuntimeError("the results of a batch are already being read by another task")
        if (result := self._batch.ready()) is not None:
            return result
        self._is_busy = True
        try:
            return await self._batch.next()
        except StopAsyncIteration:
            raise
        except BaseException:
            await self._batch.aclose()
            raise
        finally:
            self._is_busy = False

    async def aclose(self) -> None:
        """End the batch: its runs are cancelled on the server, unless ``on_cancel="leave"``, in bounded time.

        Harmless when called again, or after the last result.
        """
        await self._batch.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, cls: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self._batch.drop()

    # Hidden from type checkers, which report the mistake themselves.
    if not TYPE_CHECKING:  # pragma: no branch

        def __await__(self) -> Never:
            raise TypeError(_USAGE)

        def __iter__(self) -> Never:
            raise TypeError(_USAGE)

        def __enter__(self) -> Never:
            raise TypeError(_USAGE)

        __exit__ = __enter__  # `with` looks for it before it enters


_USAGE = "the results of a batch come one by one: `async for result in client.run_many(jobs)`"
