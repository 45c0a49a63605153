"""Where the server keeps its objects: what a store has to do.

A store keeps the API's own objects (assistants, threads, messages, runs, run steps) in the order they came. Each method
is one transaction: what it checks still holds when it writes. Changes are given as pure functions of the stored object,
so that reading, deciding and writing cannot be separated by another request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar

from attrs import frozen

from asyncassist.models import Assistant, Message, Page, Run, RunStep, Thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = [
    "CHILDREN",
    "Edit",
    "PageQuery",
    "ParentMissing",
    "Record",
    "Store",
    "StoreError",
    "StoreFailed",
    "ThreadBusy",
    "check_additions",
    "owners",
]

Record: TypeAlias = Assistant | Thread | Message | Run | RunStep
R = TypeVar("R", Assistant, Thread, Message, Run, RunStep)


class StoreError(Exception):
    """A store did not do what it was asked to."""


class StoreFailed(StoreError):
    """A store could not read or write, because its disk is full, for example. Nothing was written."""


class ThreadBusy(StoreError):
    """The thread has an active run."""

    def __init__(self, thread_id: str, run_id: str) -> None:
        super().__init__(f"thread {thread_id} has the active run {run_id}")
        self.thread_id = thread_id
        self.run_id = run_id


class ParentMissing(StoreError):
    """The thread of a message or a run, or the run of a step, is not there (any more)."""

    def __init__(self, kind: type[Record], id: str) -> None:
        super().__init__(f"there is no {kind.__name__} {id}")
        self.kind = kind
        self.id = id


@frozen
class PageQuery:
    """Which part of a listing is wanted."""

    limit: int = 20
    order: Literal["asc", "desc"] = "desc"
    """By age: ``asc`` gives the oldest first."""
    after: str | None = None
    """Only what follows this id in the listing's order. The page starts there."""
    before: str | None = None
    """Only what precedes this id in the listing's order. Without ``after``, the page ends there."""


@frozen
class Edit:
    """A change to one object, to be made together with others."""

    kind: type[Record]
    id: str
    change: Callable[[Any], Record]
    """Makes the new object of the stored one; a pure function, which a store may call more than once."""


class Store(Protocol):
    """What the server needs of a store. It is used between `open` and `aclose`, in one event loop."""

    async def open(self) -> None:
        """Make ready for use. What was kept when the store was last closed is there again.

        Raises:
            UsageError: it cannot be opened, or is open already; the message says why, and what helps.
        """
        ...

    async def aclose(self) -> None:
        """Finish what is being written, and let go of everything. The store can be opened again."""
        ...

    async def add(self, *records: Record) -> None:
        """Add all of the records, or none.

        A message enters a thread with an active run only as that run's own; a run enters a thread without one only.
        The records before it in the same call count as being there.

        Raises:
            ThreadBusy: the thread has an active run.
            ParentMissing: the thread or run it belongs to is not there.
        """
        ...

    async def get(self, kind: type[R], id: str) -> R | None:
        """The object, None when it is not there."""
        ...

    async def update(
        self,
        kind: type[R],
        id: str,
        change: Callable[[R], R],
        *,
        also: Sequence[Edit] = (),
        add: Sequence[Record] = (),
    ) -> R | None:
        """Replace an object with what ``change`` makes of it, edit others, and add records, all in one transaction.

        Nothing is written when the object is not there, or when a change raises; its exception passes through.

        Args:
            kind, id: the object.
            change: makes the new object of the stored one; a pure function, called before those of ``also``.
            also: changes of other objects, in this order. One whose object is not there is skipped.
            add: new records, as `add` takes them.

        Returns:
            The new object, None when it is not there.
        """
        ...

    async def delete(self, kind: type[Record], id: str) -> bool:
        """Delete an object with all that belongs to it. False when it is not there."""
        ...

    async def page(self, kind: type[R], query: PageQuery, *, within: str | None = None) -> Page[R]:
        """One page of a listing, empty when a cursor is unknown.

        Args:
            kind: what to list.
            query: which part of it.
            within: the id of the thread (messages, runs) or of the run (run steps, messages); None for all
                assistants or threads.
        """
        ...

    async def active_run(self, thread_id: str) -> Run | None:
        """The thread's run that has not ended, None when there is none."""
        ...

    async def active_runs(self) -> Sequence[Run]:
        """All runs that have not ended, those first that expire first."""
        ...


#: What goes with an object when it is deleted.
CHILDREN: dict[type[Record], tuple[type[Record], ...]] = {Thread: (Run, Message), Run: (RunStep,)}


def owners(record: Record) -> tuple[str | None, ...]:
    """The ids under which a record is listed."""
    if isinstance(record, Message):
        return (record.thread_id,) if record.run_id is None else (record.thread_id, record.run_id)
    if isinstance(record, Run):
        return (record.thread_id,)
    if isinstance(record, RunStep):
        return (record.run_id,)
    return (None,)


def check_additions(
    records: Iterable[Record], *, has: Callable[[type[Record], str], bool], active: Mapping[str, str]
) -> None:
    """Decide whether records may be added.

    Args:
        records: those to be added, in their order.
        has: tells whether an object is there.
        active: the ids of the active runs by the ids of their threads.

    Raises:
        ThreadBusy: the thread of one of them has an active run.
        ParentMissing: the thread or run one of them belongs to is not there.
    """
    added: set[tuple[type[Record], str]] = set()
    starting: dict[str, str] = {}
    for record in records:
        added.add((type(record), record.id))
        parent: type[Record]
        if isinstance(record, Message | Run):
            parent, parent_id = Thread, record.thread_id
        elif isinstance(record, RunStep):
            parent, parent_id = Run, record.run_id or ""
        else:
            continue
        if (parent, parent_id) not in added and not has(parent, parent_id):
            raise ParentMissing(parent, parent_id)
        if isinstance(record, RunStep):
            continue
        run_id = starting.get(record.thread_id) or active.get(record.thread_id)
        if run_id is not None and (isinstance(record, Run) or record.run_id != run_id):
            raise ThreadBusy(record.thread_id, run_id)
        if isinstance(record, Run) and not record.is_terminal:
            starting[record.thread_id] = record.id
