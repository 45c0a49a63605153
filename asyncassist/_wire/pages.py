"""Walking a listing: which page to ask for next, and noticing a server whose cursors do not move."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from asyncassist.errors import PaginationError, shown

if TYPE_CHECKING:
    from asyncassist.models import Page

__all__ = ["HasId", "PageWalk"]


class HasId(Protocol):
    """What a listing lists."""

    @property
    def id(self) -> str: ...


T = TypeVar("T", bound=HasId)

# Beyond so many ids only cursors and the page before are compared, so that the longest listing stays small in memory.
_REMEMBERED = 100_000


class PageWalk(Generic[T]):
    """The way through a listing, forward by ``after`` or backward by ``before``.

    Backward, items come in reverse: the one next to the starting point first.
    """

    def __init__(self, query: Mapping[str, object]) -> None:
        self._query = dict(query)
        self._backward = bool(query.get("before")) and not query.get("after")
        self._direction = "before" if self._backward else "after"
        self._cursors: set[str] = set()
        self._seen: set[str] = set()
        self.is_finished = False

    @property
    def query(self) -> Mapping[str, object]:
        """The query of the page to ask for now."""
        return self._query

    def take(self, page: Page[T]) -> Sequence[T]:
        """Note a received page; return its items in walking order.

        Raises:
            PaginationError: the page repeats items, or its cursor has been followed before.
        """
        items = page.data
        if not items:
            self.is_finished = True
            return ()
        ids = [item.id for item in items]
        new = set(ids)
        if len(new) < len(ids) or not new.isdisjoint(self._seen):
            times = Counter(ids)
            repeated = next(id_ for id_ in ids if id_ in self._seen or times[id_] > 1)
            raise PaginationError(
                f"the server repeats {shown(repeated)}: following its cursors would never end or miss items",
                field="data",
            )
        if len(self._seen) + len(ids) > _REMEMBERED:
            self._seen.clear()
        self._seen |= new
        if page.has_more is False:
            self.is_finished = True
        else:
            # A page's own cursor is first_id or last_id; servers that leave them out mean the item at that end.
            cursor = (page.first_id or ids[0]) if self._backward else (page.last_id or ids[-1])
            if cursor in self._cursors or cursor == self._query.get(self._direction):
                field = "first_id" if self._backward else "last_id"
                raise PaginationError(f"the server's cursor {shown(cursor)} does not move", field=field)
            self._cursors.add(cursor)
            self._query[self._direction] = cursor
        return items[::-1] if self._backward else items
