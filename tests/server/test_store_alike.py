"""A store in a file does what one in memory does, also when it is told them all at once."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeAlias

import anyio
import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncassist.models import Assistant, Message, Run, RunStep, Thread
from asyncassist.server import Edit, MemoryStore, PageQuery, SQLiteStore, Store
from asyncassist.server.store.base import Record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from asyncassist.server.store.batches import Batch

pytestmark = pytest.mark.anyio

Step: TypeAlias = "Callable[[Store], Awaitable[object]]"

RECORDS: list[Record] = [
    Assistant(id="a1"),
    Thread(id="t1"),
    Thread(id="t2"),
    Message(id="m1", thread_id="t1", role="user"),
    Message(id="m2", thread_id="t1", role="assistant", run_id="r1"),
    Message(id="m3", thread_id="t2", role="user"),
    Run(id="r1", thread_id="t1", status="queued", expires_at=3),
    Run(id="r2", thread_id="t1", status="completed"),
    Run(id="r2", thread_id="t1", status="in_progress", expires_at=2),
    Run(id="r3", thread_id="t2", status="queued", expires_at=1),
    RunStep(id="s1", thread_id="t1", run_id="r1"),
    RunStep(id="s2", thread_id="t2", run_id="r3"),
]
KEYS: list[tuple[Any, str]] = sorted({(type(record), record.id) for record in RECORDS}, key=lambda key: key[1])
LISTINGS: list[tuple[Any, str | None]] = [(Assistant, None), (Thread, None), (RunStep, "r1"), (RunStep, "r3")] + [
    (kind, within) for kind in (Message, Run) for within in ("t1", "t2", "r1")
]


class Refused(Exception):
    pass


def change(label: str) -> Callable[[Any], Any]:
    def change(old: Any) -> Any:
        if label == "refuse":
            raise Refused
        if label == "end" and isinstance(old, Run):
            return attrs.evolve(old, status="completed")
        return old if label == "keep" else attrs.evolve(old, metadata={"label": label})

    return change


some_records = st.lists(st.sampled_from(RECORDS), min_size=1, max_size=3)
changes = st.sampled_from(["refuse", "end", "end", "keep", "x", "y"]).map(change)
edits = st.builds(lambda key, change: Edit(*key, change), st.sampled_from(KEYS), changes)


def adding(records: list[Record]) -> Step:
    return lambda store: store.add(*records)


def updating(key: Any, change: Any, also: list[Edit], add: list[Record]) -> Step:
    return lambda store: store.update(*key, change, also=also, add=add)


def deleting(key: Any) -> Step:
    return lambda store: store.delete(*key)


steps = (
    st.builds(adding, some_records)
    | st.builds(adding, some_records)
    | st.builds(
        updating,
        st.sampled_from(KEYS),
        changes,
        st.lists(edits, max_size=2),
        st.lists(st.sampled_from(RECORDS), max_size=2),
    )
    | st.builds(deleting, st.sampled_from(KEYS))
)


async def outcome(step: Step, store: Store) -> object:
    try:
        return await step(store)
    except Exception as error:
        return type(error), vars(error)


async def state(store: Store) -> object:
    pages = [await store.page(kind, PageQuery(order="asc"), within=within) for kind, within in LISTINGS]
    found = [await store.get(kind, id) for kind, id in KEYS]
    active = [await store.active_run(id) for id in ("t1", "t2")]
    return pages, found, active, await store.active_runs()


async def fill(store: Store) -> None:
    await store.add(*RECORDS[:7], RECORDS[10], RECORDS[9])


class Noting(SQLiteStore):
    """Notes in which order writes were decided: those made at the same time have no other."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self.order: list[int] = []

    async def _write(self, decide: Callable[[Batch], Any], **settings: Any) -> Any:
        number = current.get()

        def noting(batch: Batch) -> object:
            self.order.append(number)
            return decide(batch)

        return await super()._write(noting, **settings)


current: ContextVar[int] = ContextVar("current")


async def outcomes_at_once(group: list[Step], store: Store) -> dict[int, object]:
    outcomes: dict[int, object] = {}

    async def note(number: int, step: Step) -> None:
        current.set(number)
        outcomes[number] = await outcome(step, store)

    async with anyio.create_task_group() as task_group:
        for number, step in enumerate(group):
            task_group.start_soon(note, number, step)
    return outcomes


@given(groups=st.lists(st.lists(steps, min_size=1, max_size=8), max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_stores_are_alike(tmp_path: Path, groups: list[list[Step]]) -> None:
    """Writes made at once have the outcomes, and leave the content, they have in memory one after the other."""
    file = tmp_path / "store.sqlite3"
    file.unlink(missing_ok=True)
    memory, sqlite = MemoryStore(), Noting(file)
    await sqlite.open()
    try:
        current.set(-1)
        await fill(memory)
        await fill(sqlite)
        for group in groups:
            sqlite.order.clear()
            outcomes = await outcomes_at_once(group, sqlite)
            assert sorted(sqlite.order) == list(range(len(group)))
            for number in sqlite.order:
                assert await outcome(group[number], memory) == outcomes[number]
            assert await state(memory) == await state(sqlite)
        await sqlite.aclose()
        await sqlite.open()
        assert await state(memory) == await state(sqlite)
    finally:
        await sqlite.aclose()
