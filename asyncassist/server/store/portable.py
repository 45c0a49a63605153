"""Export and import of what a store keeps: the API's objects as JSON lines.

A line is one object as the API gives it, told apart by its ``object``. First come the assistants, then each thread with
its messages, its runs and their steps, every kind in the order of its listing. So the lines of a thread stand together,
and an import of them in any store, exported again, gives the same lines, byte for byte.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from anyio.lowlevel import checkpoint
from attrs import define, evolve, frozen

from asyncassist._wire.converter import structure
from asyncassist._wire.json import dumps, loads
from asyncassist.errors import DecodeError, UsageError
from asyncassist.models import Assistant, Message, Run, RunStep, Thread
from asyncassist.server.store.base import PageQuery

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Mapping

    from asyncassist.server.store.base import R, Record, Store

__all__ = ["Imported", "export_threads", "import_threads"]

_KINDS: Mapping[str, type[Record]] = {
    "assistant": Assistant,
    "thread": Thread,
    "thread.message": Message,
    "thread.run": Run,
    "thread.run.step": RunStep,
}


@frozen
class Imported:
    """What an import did."""

    assistants: int = 0
    """Assistants that were added."""
    threads: int = 0
    """Threads that were added, with all that belongs to them."""
    records: int = 0
    """Objects of all kinds that were added."""
    skipped: int = 0
    """Assistants and threads that were there already, the same to the last byte."""


# --- out -------------------------------------------------------------------------------------------------------------


async def export_threads(
    store: Store, write: Callable[[bytes], object], *, thread_ids: Iterable[str] | None = None
) -> int:
    """Write the objects of a store as JSON lines.

    Not more than a page of them is in memory at a time. What changes meanwhile may be written in part.

    Args:
        store: an open store.
        write: takes one line, its end included, as the method ``write`` of a binary file does.
        thread_ids: which threads to write, in this order, each after the assistants of its runs; None for all
            assistants and all threads.

    Returns:
        How many threads were written.

    Raises:
        UsageError: one of the threads is not there. Nothing was written.
    """
    if isinstance(thread_ids, str):
        raise TypeError("thread_ids must be a list of ids, not a string")
    count = 0

    async def put(record: Record) -> None:
        write(_line(record))

    async def put_thread(thread: Thread) -> None:
        nonlocal count
        await _visit_thread(store, thread, put)
        count += 1

    if thread_ids is None:
        await _visit(store, Assistant, None, put)
        await _visit(store, Thread, None, put_thread)
        return count

    threads = {thread_id: await store.get(Thread, thread_id) for thread_id in thread_ids}
    for thread_id, thread in threads.items():
        if thread is None:
            raise UsageError(f"there is no thread {thread_id!r}")
    seen: set[str] = set()

    async def put_assistant(run: Run) -> None:
        if run.assistant_id is not None and run.assistant_id not in seen:
            seen.add(run.assistant_id)
            assistant = await store.get(Assistant, run.assistant_id)
            if assistant is not None:
                write(_line(assistant))

    for thread in filter(None, threads.values()):
        await _visit(store, Run, thread.id, put_assistant)
        await put_thread(thread)
    return count


async def _visit_thread(store: Store, thread: Thread, visit: Callable[[Record], Awaitable[None]]) -> None:
    """Visit a thread and all that belongs to it, so that nothing comes before what it needs."""

    async def visit_run(run: Run) -> None:
        await visit(run)
        await _visit(store, RunStep, run.id, visit)

    await visit(thread)
    await _visit(store, Message, thread.id, visit)
    await _visit(store, Run, thread.id, visit_run)


async def _visit(store: Store, kind: type[R], within: str | None, visit: Callable[[R], Awaitable[None]]) -> None:
    query: PageQuery | None = PageQuery(limit=100, order="asc")
    while query is not None:
        page = await store.page(kind, query, within=within)
        await checkpoint()
        for record in page.data:
            await visit(record)
        query = evolve(query, after=page.last_id) if page.has_more else None


def _line(record: Record) -> bytes:
    return dumps(record) + b"\n"


# --- in --------------------------------------------------------------------------------------------------------------


@define
class _Block:
    """What is added together: an assistant, or a thread with all that belongs to it."""

    head: Assistant | Thread
    records: dict[int, Record]
    """By the numbers of their lines."""
    ids: set[tuple[type[Record], str]]
    has_active_run: bool = False

    def add(self, number: int, record: Message | Run | RunStep) -> None:
        """Add what belongs to the thread.

        Raises:
            UsageError: it does not.
        """
        if isinstance(record, RunStep):
            if (Run, record.run_id) not in self.ids:
                raise UsageError(f"{_described(record)} does not belong to a run above it")
        elif isinstance(self.head, Assistant) or record.thread_id != self.head.id:
            raise UsageError(f"{_described(record)} does not belong to the thread above it")
        if (type(record), record.id) in self.ids:
            raise UsageError(f"{_described(record)} is there twice")
        if isinstance(record, Run) and not record.is_terminal:
            if self.has_active_run:
                raise UsageError(f"{_described(record)} is the second one of its thread that has not ended")
            self.has_active_run = True
        self.ids.add((type(record), record.id))
        self.records[number] = record


async def import_threads(store: Store, lines: Iterable[bytes | str]) -> Imported:
    """Add the objects of JSON lines, as `export_threads` writes them, to a store.

    A thread is added with all that belongs to it, or not at all; one of them at a time is in memory. An assistant or a
    thread that is there already is skipped when its lines are those an export of it would give, and refused otherwise.
    A run that had not ended goes on when the store is served.

    Args:
        store: an open store, which nobody else changes meanwhile.
        lines: such as a binary file. Empty lines are skipped.

    Raises:
        UsageError: a line is no such object, does not belong where it stands, or is there already and differs; the
            message has its number. What stood before that assistant or thread was added.
    """
    imported = Imported()
    for block in _blocks(lines):
        imported = await _import_block(store, block, imported)
        await checkpoint()
    return imported


def _blocks(lines: Iterable[bytes | str]) -> Iterator[_Block]:
    block: _Block | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        with _at(number):
            record = _read(line)
        if isinstance(record, Assistant | Thread):
            if block is not None:
                yield block
            block = _Block(record, {number: record}, {(type(record), record.id)})
        else:
            with _at(number):
                if block is None:
                    raise UsageError(f"{_described(record)} does not belong to a thread above it")
                block.add(number, record)
    if block is not None:
        yield block


@contextmanager
def _at(number: int) -> Generator[None, None, None]:
    try:
        yield
    except (DecodeError, UsageError) as error:
        raise UsageError(f"line {number}: {error}") from error


def _read(line: bytes | str) -> Record:
    value = loads(line)
    name = cast("dict[str, object]", value).get("object") if isinstance(value, dict) else None
    kind = _KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise UsageError(f'this is no object with an "object" that is one of {", ".join(_KINDS)}')
    return structure(cast("dict[str, object]", value), kind)


async def _stored(store: Store, record: Record) -> Record | None:
    """What the store has of this record's kind under its id."""
    kind = cast("type[Thread]", type(record))  # whichever of them it is
    return await store.get(kind, record.id)


def _described(record: Record) -> str:
    return f"the {record.object} {record.id}"


async def _import_block(store: Store, block: _Block, imported: Imported) -> Imported:
    head = block.head
    first = next(iter(block.records))
    there = await _stored(store, head)
    if there is not None:
        if not await _is_same(store, there, block):
            raise UsageError(f"line {first}: {_described(head)} is there already, and differs")
        return evolve(imported, skipped=imported.skipped + 1)
    for number, record in block.records.items():
        if await _stored(store, record) is not None:
            raise UsageError(f"line {number}: {_described(record)} is there already, and belongs elsewhere")
    with _at(first):
        await store.add(*block.records.values())
    return Imported(
        assistants=imported.assistants + isinstance(head, Assistant),
        threads=imported.threads + isinstance(head, Thread),
        records=imported.records + len(block.records),
        skipped=imported.skipped,
    )


async def _is_same(store: Store, there: Record, block: _Block) -> bool:
    """Whether an export of an assistant or a thread that is there gives the block's lines."""
    expected = map(_line, block.records.values())
    is_same = True

    async def compare(record: Record) -> None:
        nonlocal is_same
        is_same = is_same and _line(record) == next(expected, None)

    if isinstance(there, Thread):
        await _visit_thread(store, there, compare)
    else:
        await compare(there)
    return is_same and next(expected, None) is None
