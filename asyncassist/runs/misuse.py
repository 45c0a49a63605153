"""What those are told who use a stream in another way than ``async with``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Never

__all__ = ["OnlyAsyncWith"]


class OnlyAsyncWith:
    """The base of what is used as ``async with`` only. Other ways are a `TypeError` that says how it is used."""

    _usage = "async with ..."

    # Hidden from type checkers, which report the mistake themselves.
    if not TYPE_CHECKING:  # pragma: no branch

        def __await__(self) -> Never:
            raise TypeError(f"a {type(self).__name__} is entered, not awaited: {self._usage}")

        def __enter__(self) -> Never:
            raise TypeError(f"a {type(self).__name__} is entered with `async with`, not `with`: {self._usage}")

        __exit__ = __enter__  # `with` looks for it before it enters

        def __iter__(self) -> Never:
            raise TypeError(f"a {type(self).__name__} is read with `async for`, not `for`, inside of: {self._usage}")
