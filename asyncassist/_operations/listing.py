"""Listings: nothing is asked before the first item, page or await."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Never, TypeAlias, TypeVar

from asyncassist._wire.pages import HasId, PageWalk
from asyncassist.errors import UsageError, shown

if TYPE_CHECKING:
    from asyncassist.models import Page

__all__ = ["Listing"]

T = TypeVar("T", bound=HasId)

Fetch: TypeAlias = "Callable[[Mapping[str, object]], Awaitable[Page[T]]]"


class Listing(Generic[T]):
    """All objects of a listing, page by page as they are needed.

    ``async for`` follows the server's cursor to the end; ``await`` gives the first page only. Every loop starts at the
    beginning again. A server whose cursors do not move or which repeats objects ends the loop with PaginationError.

    With ``before=`` and without ``after=`` the walk is backward: from the object before that id towards the start of
    the listing.
    """

    __slots__ = ("_fetch", "_query")

    def __init__(self, fetch: Fetch[T], query: Mapping[str, object]) -> None:
        self._fetch = fetch
        self._query = query

    def __repr__(self) -> str:
        return f"<Listing {dict(self._query)}>"

    def __await__(self) -> Generator[object, None, Page[T]]:
        return self._first().__await__()

    async def _first(self) -> Page[T]:
        return await self._fetch(self._query)

    def __aiter__(self) -> AsyncGenerator[T, None]:
        return _Items(_Pages(self._fetch, self._query))

    def pages(self) -> AsyncIterator[Page[T]]:
        """Iterate over whole pages, each as the server sent it."""
        return _Pages(self._fetch, self._query)

    async def collect(self, max_items: int | None = None) -> list[T]:
        """Return the objects in a list.

        Args:
            max_items: how many at most; None means all. No page is asked for beyond it.
        """
        if max_items is not None and (isinstance(max_items, bool) or not isinstance(max_items, int) or max_items < 0):
            raise UsageError(f"max_items must be an int, 0 or more, or None, got {shown(max_items)}")
        items: list[T] = []
        pages = _Pages(self._fetch, self._query)
        while max_items is None or len(items) < max_items:
            try:
                await pages.__anext__()
            except StopAsyncIteration:
                break
            items.extend(pages.items)
        return items if max_items is None else items[:max_items]

    # Hidden from type checkers, which report the mistake themselves.
    if not TYPE_CHECKING:  # pragma: no branch

        def __iter__(self) -> Never:
            raise TypeError(_NO_LIST)

        def __getitem__(self, index: object) -> Never:
            raise TypeError(_NO_LIST)

        def __len__(self) -> Never:
            raise TypeError(_NO_LIST)

        def __bool__(self) -> bool:
            return True  # whatever is in it: nothing has been asked, and len() would be


_NO_LIST = (
    "a Listing asks the server page by page: loop over it with `async for`, get all as a list with "
    "`await listing.collect()`, or the first page alone with `await listing`"
)


class _Pages(Generic[T]):
    """The pages of one walk. A plain object, no generator: left early, there is nothing to clean up."""

    def __init__(self, fetch: Fetch[T], query: Mapping[str, object]) -> None:
        self._fetch = fetch
        self._walk: PageWalk[T] = PageWalk(query)
        self._is_busy = False
        self.items: Sequence[T] = ()
        """The items of the current page in walking order."""

    if not TYPE_CHECKING:  # pragma: no branch

        def __iter__(self) -> Never:
            raise TypeError("pages are asked for one by one: `async for page in listing.pages()`")

    def __aiter__(self) -> AsyncIterator[Page[T]]:
        return self

    async def __anext__(self) -> Page[T]:
        if self._walk.is_finished:
            raise StopAsyncIteration
        if self._is_busy:
            raise RuntimeError("a listing's iterator is already being advanced by another task")
        self._is_busy = True
        try:
            page = await self._fetch(self._walk.query)
            self.items = self._walk.take(page)
        except BaseException:
            self._walk.is_finished = True
            raise
        finally:
            self._is_busy = False
        if not self.items:
            raise StopAsyncIteration
        return page


class _Items(AsyncGenerator[T, None]):
    """The objects of one walk, with the interface of an async generator."""

    def __init__(self, pages: _Pages[T]) -> None:
        self._pages = pages
        self._next = 0
        self._is_closed = False

    async def __anext__(self) -> T:
        if self._is_closed:
            raise StopAsyncIteration
        while self._next >= len(self._pages.items):
            await self._pages.__anext__()
            self._next = 0
        item = self._pages.items[self._next]
        self._next += 1
        return item

    async def asend(self, value: None) -> T:
        return await self.__anext__()

    async def athrow(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
    ) -> T:
        self._is_closed = True
        if isinstance(typ, BaseException):
            error = typ
        elif isinstance(val, BaseException):
            error = val
        else:
            error = typ() if val is None else typ(val)
        raise error if tb is None else error.with_traceback(tb)

    async def aclose(self) -> None:
        self._is_closed = True
