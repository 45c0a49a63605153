"""A store in memory."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, cast

from asyncassist.models import Assistant, Message, Page, Run, RunStep, Thread
from asyncassist.server.store.base import CHILDREN, check_additions, owners

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from asyncassist.server.store.base import Edit, PageQuery, R, Record

__all__ = ["MemoryStore"]


class MemoryStore:
    """Keeps everything in this process until it ends. A page costs its length, however long the listing is."""

    def __init__(self) -> None:
        kinds: tuple[type[Record], ...] = (Assistant, Thread, Message, Run, RunStep)
        self._records: dict[type[Record], dict[str, Record]] = {kind: {} for kind in kinds}
        self._indexes: dict[tuple[type[Record], str | None], _Index] = {}
        self._active: dict[str, str] = {}  # thread id -> run id

    async def open(self) -> None:
        """Do nothing: there is nothing to open."""

    async def aclose(self) -> None:
        """Do nothing: what is kept stays."""

    async def add(self, *records: Record) -> None:
        self._check(records)
        for record in records:
            self._write(record)

    async def get(self, kind: type[R], id: str) -> R | None:
        return cast("R | None", self._records[kind].get(id))

    async def update(
        self,
        kind: type[R],
        id: str,
        change: Callable[[R], R],
        *,
        also: Sequence[Edit] = (),
        add: Sequence[Record] = (),
    ) -> R | None:
        old = cast("R | None", self._records[kind].get(id))
        if old is None:
            return None
        new = change(old)
        edited: list[Record] = []
        for edit in also:
            other = self._records[edit.kind].get(edit.id)
            if other is not None:
                edited.append(edit.change(other))
        self._check(add)
        for record in (new, *edited, *add):
            self._write(record)
        return new

    async def delete(self, kind: type[Record], id: str) -> bool:
        record = self._records[kind].pop(id, None)
        if record is None:
            return False
        for owner in owners(record):
            index = self._indexes[kind, owner]
            index.remove(id)
            if index.is_empty:
                del self._indexes[kind, owner]
        for child_kind in CHILDREN.get(kind, ()):
            if (children := self._indexes.get((child_kind, id))) is not None:
                for child in children.newest_first():
                    await self.delete(child_kind, child)
        if isinstance(record, Run) and self._active.get(record.thread_id) == id:
            del self._active[record.thread_id]
        return True

    async def page(self, kind: type[R], query: PageQuery, *, within: str | None = None) -> Page[R]:
        index = self._indexes.get((kind, within))
        ids, has_more = index.page(query) if index is not None else ([], False)
        records = cast("dict[str, R]", self._records[kind])
        return Page(
            data=tuple([records[id] for id in ids]),
            first_id=ids[0] if ids else None,
            last_id=ids[-1] if ids else None,
            has_more=has_more,
        )

    async def active_run(self, thread_id: str) -> Run | None:
        run_id = self._active.get(thread_id)
        return None if run_id is None else cast("Run", self._records[Run][run_id])

    async def active_runs(self) -> Sequence[Run]:
        runs = [cast("Run", self._records[Run][run_id]) for run_id in self._active.values()]
        return sorted(runs, key=lambda run: run.expires_at or 0)

    def _check(self, records: Iterable[Record]) -> None:
        check_additions(records, has=lambda kind, id: id in self._records[kind], active=self._active)

    def _write(self, record: Record) -> None:
        kind = type(record)
        records = self._records[kind]
        if record.id not in records:
            for owner in owners(record):
                self._indexes.setdefault((kind, owner), _Index()).add(record.id)
        records[record.id] = record
        if isinstance(record, Run):
            if not record.is_terminal:
                self._active[record.thread_id] = record.id
            elif self._active.get(record.thread_id) == record.id:
                del self._active[record.thread_id]


class _Index:
    """Ids in the order they came. Finding a place in it is a bisection."""

    __slots__ = ("_ids", "_last", "_numbers", "_order")

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._order: list[int] = []  # the numbers, ascending
        self._ids: list[str] = []  # the ids in the same order
        self._last = 0

    def add(self, id: str) -> None:
        self._last += 1
        self._numbers[id] = self._last
        self._order.append(self._last)
        self._ids.append(id)

    def remove(self, id: str) -> None:
        place = bisect_left(self._order, self._numbers.pop(id))
        del self._order[place]
        del self._ids[place]

    @property
    def is_empty(self) -> bool:
        return not self._ids

    def newest_first(self) -> list[str]:
        return self._ids[::-1]

    def page(self, query: PageQuery) -> tuple[list[str], bool]:
        """The ids of a page in the listing's order, and whether there are more in its direction."""
        low, high = 0, len(self._ids)
        ascending = query.order == "asc"
        for cursor, is_lower_bound in ((query.after, ascending), (query.before, not ascending)):
            if cursor is None:
                continue
            number = self._numbers.get(cursor)
            if number is None:
                return [], False
            place = bisect_left(self._order, number)
            if is_lower_bound:
                low = max(low, place + 1)
            else:
                high = min(high, place)
        length = max(0, high - low)
        backwards = query.before is not None and query.after is None
        if length > query.limit:
            if ascending != backwards:
                high = low + query.limit
            else:
                low = high - query.limit
        ids = self._ids[low:high]
        if not ascending:
            ids.reverse()
        return ids, length > query.limit > 0
