"""What the server needs of a store. Written against the interface, so that every store can be put through it."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import anyio
import attrs
import pytest

from asyncassist._wire.converter import structure
from asyncassist._wire.json import dumps
from asyncassist.models import Assistant, Message, Run, RunStep, Thread
from asyncassist.server import Edit, MemoryStore, PageQuery, ParentMissing, SQLiteStore, Store, ThreadBusy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

ALL = PageQuery(limit=100, order="asc")


@pytest.fixture(params=["memory", "normal", "full"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    sync: Any = request.param
    store: Store = MemoryStore() if sync == "memory" else SQLiteStore(tmp_path / "store.sqlite3", sync=sync)
    await store.open()
    yield store
    await store.aclose()


def thread(id: str = "thread_1") -> Thread:
    return Thread(id=id)


def message(id: str, thread_id: str = "thread_1", run_id: str | None = None) -> Message:
    return Message(id=id, thread_id=thread_id, role="user", run_id=run_id)


def run(id: str = "run_1", thread_id: str = "thread_1", status: str = "queued", expires_at: int = 10) -> Run:
    return Run(id=id, thread_id=thread_id, status=status, expires_at=expires_at)


def step(id: str = "step_1", run_id: str = "run_1") -> RunStep:
    return RunStep(id=id, thread_id="thread_1", run_id=run_id)


def ended(record: Run) -> Run:
    return attrs.evolve(record, status="completed")


async def listed(store: Store, kind: type[Message], within: str) -> list[str]:
    return [record.id for record in (await store.page(kind, ALL, within=within)).data]


async def test_what_is_added_is_there(store: Store) -> None:
    """Each kind of object is found by its id, and only by its kind."""
    await store.add(Assistant(id="x"), thread(), message("msg_1"), run(), step())

    assert Assistant(id="x") == await store.get(Assistant, "x")
    assert await store.get(Thread, "x") is None
    assert step() == await store.get(RunStep, "step_1")


async def test_adding_is_all_or_nothing(store: Store) -> None:
    """A record that cannot be added keeps those with it out as well."""
    await store.add(thread())

    with pytest.raises(ParentMissing) as caught:
        await store.add(message("msg_1"), message("msg_2", "thread_2"))

    assert (Thread, "thread_2") == (caught.value.kind, caught.value.id)
    assert await store.get(Message, "msg_1") is None


async def test_children_need_their_parents(store: Store) -> None:
    """Messages and runs need a thread, steps a run; one in the same call counts if it comes first."""
    for orphan in (message("msg_1"), run(), step(), RunStep(id="step_2", thread_id="thread_1")):
        with pytest.raises(ParentMissing):
            await store.add(orphan)
    with pytest.raises(ParentMissing):
        await store.add(message("msg_1"), thread())

    await store.add(thread(), message("msg_1"), run(), step())

    assert await listed(store, Message, "thread_1") == ["msg_1"]


async def test_a_thread_has_one_active_run(store: Store) -> None:
    """While a run is active its thread takes no other run and no message but the run's own."""
    await store.add(thread(), thread("thread_2"), run())

    for intruder in (run("run_2"), message("msg_1"), message("msg_1", run_id="run_2")):
        with pytest.raises(ThreadBusy) as caught:
            await store.add(intruder)
        assert (caught.value.thread_id, caught.value.run_id) == ("thread_1", "run_1")
    await store.add(message("msg_1", run_id="run_1"), run("run_2", "thread_2"))

    assert run() == await store.active_run("thread_1")


async def test_what_is_added_together_keeps_to_the_rule(store: Store) -> None:
    """A run that comes earlier in the same call holds its thread against what comes after it."""
    await store.add(thread())

    for intruder in (run("run_2"), message("msg_1")):
        with pytest.raises(ThreadBusy) as caught:
            await store.add(run(), intruder)
        assert caught.value.run_id == "run_1"
    assert await store.active_run("thread_1") is None
    await store.add(message("msg_1"), run("run_0", status="completed"), run(), message("msg_2", run_id="run_1"))


async def test_an_ended_run_frees_its_thread(store: Store) -> None:
    """After the run has ended the thread takes messages and runs again."""
    await store.add(thread(), run())

    await store.update(Run, "run_1", ended)
    await store.update(Run, "run_1", ended)

    assert await store.active_run("thread_1") is None
    await store.add(message("msg_1"), run("run_2"))
    await store.update(Run, "run_1", ended)
    assert run("run_2") == await store.active_run("thread_1")


async def test_an_update_gives_what_was_written(store: Store) -> None:
    """The change is made of what is stored, and stored."""
    await store.add(thread())

    changed = await store.update(Thread, "thread_1", lambda old: attrs.evolve(old, metadata={"a": "b"}))

    assert Thread(id="thread_1", metadata={"a": "b"}) == changed == await store.get(Thread, "thread_1")
    assert await store.update(Thread, "thread_2", lambda old: old) is None


async def test_an_update_and_its_additions_are_one(store: Store) -> None:
    """Records added with a change are written with it, or with a change that raises not at all."""
    await store.add(thread(), run())

    def refuse(old: Run) -> Run:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await store.update(Run, "run_1", refuse, add=[message("msg_1", run_id="run_1")])
    with pytest.raises(ParentMissing):
        await store.update(Run, "run_1", ended, add=[message("msg_1", "thread_2")])

    assert run() == await store.get(Run, "run_1")
    assert await listed(store, Message, "thread_1") == []
    await store.update(Run, "run_1", ended, add=[message("msg_1", run_id="run_1"), step()])
    assert await listed(store, Message, "thread_1") == ["msg_1"]


async def test_messages_are_listed_by_thread_and_by_run(store: Store) -> None:
    """A run's messages are its own listing, in which deletions show as well."""
    own = [message(f"msg_{number}", run_id="run_1") for number in (2, 3)]
    await store.add(thread(), message("msg_1"), run(), *own)

    assert await listed(store, Message, "thread_1") == ["msg_1", "msg_2", "msg_3"]
    assert await listed(store, Message, "run_1") == ["msg_2", "msg_3"]
    assert await store.delete(Message, "msg_2")
    assert not await store.delete(Message, "msg_2")
    assert await listed(store, Message, "thread_1") == ["msg_1", "msg_3"]
    assert await listed(store, Message, "run_1") == ["msg_3"]


async def test_a_changed_record_keeps_its_place(store: Store) -> None:
    """An update does not move a record in its listings."""
    await store.add(thread(), message("msg_1"), message("msg_2"))

    await store.update(Message, "msg_1", lambda old: attrs.evolve(old, metadata={"a": "b"}))

    assert await listed(store, Message, "thread_1") == ["msg_1", "msg_2"]


async def test_a_deleted_thread_takes_all_with_it(store: Store) -> None:
    """Messages, runs, steps and the lock go with the thread; other threads stay."""
    await store.add(thread(), message("msg_1"), run(), message("msg_2", run_id="run_1"), step())
    await store.add(thread("thread_2"), message("msg_3", "thread_2"))

    assert await store.delete(Thread, "thread_1")

    assert await store.get(Message, "msg_1") is None
    assert await store.get(Message, "msg_2") is None
    assert await store.get(Run, "run_1") is None
    assert await store.get(RunStep, "step_1") is None
    assert await listed(store, Message, "thread_1") == []
    assert await listed(store, Message, "run_1") == []
    assert await store.active_run("thread_1") is None
    assert await listed(store, Message, "thread_2") == ["msg_3"]


async def test_active_runs_come_in_the_order_they_expire(store: Store) -> None:
    """All runs that have not ended are found, those first that expire first."""
    for number, expires_at in enumerate((30, 10, 20)):
        await store.add(thread(f"thread_{number}"), run(f"run_{number}", f"thread_{number}", expires_at=expires_at))
    await store.update(Run, "run_2", ended)

    assert [active.id for active in await store.active_runs()] == ["run_1", "run_0"]


async def test_a_deleted_run_takes_its_steps_and_its_lock(store: Store) -> None:
    """Steps and the lock go with a run; its thread and its messages stay."""
    await store.add(thread(), run(), message("msg_1", run_id="run_1"), step())

    assert await store.delete(Run, "run_1")
    assert not await store.delete(Run, "run_1")

    assert await store.get(RunStep, "step_1") is None
    assert await store.active_run("thread_1") is None
    assert await store.active_runs() == []
    assert await listed(store, Message, "thread_1") == await listed(store, Message, "run_1") == ["msg_1"]
    await store.add(run("run_2"))


async def test_an_ended_run_that_is_deleted_leaves_the_lock_to_the_next(store: Store) -> None:
    """Deleting a run that has ended does not free a thread that another one holds."""
    await store.add(thread(), run("run_1", status="completed"), run("run_2"))

    assert await store.delete(Run, "run_1")

    with pytest.raises(ThreadBusy):
        await store.add(message("msg_1"))


async def test_edits_see_what_was_stored(store: Store) -> None:
    """The objects changed along with one are given as they are stored; those that are missing are skipped."""
    await store.add(thread(), run(), message("msg_1", run_id="run_1"), step())

    def touch(old: Message | RunStep) -> Message | RunStep:
        return attrs.evolve(old, status="completed")

    edits = [Edit(Message, "msg_1", touch), Edit(Message, "msg_2", touch), Edit(RunStep, "step_1", touch)]
    await store.update(Run, "run_1", ended, also=edits)

    assert {"completed"} == {
        getattr(await store.get(kind, id), "status", None)
        for kind, id in ((Run, "run_1"), (Message, "msg_1"), (RunStep, "step_1"))
    }
    assert await store.get(Message, "msg_2") is None


async def test_a_record_that_comes_again_is_the_newest(store: Store) -> None:
    """A record added after it was deleted stands at the end of its listing."""
    await store.add(thread(), message("msg_1"), message("msg_2"))

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(store.delete, Message, "msg_1")
        task_group.start_soon(store.get, Message, "msg_2")
    await store.add(message("msg_1"))

    assert ["msg_2", "msg_1"] == await listed(store, Message, "thread_1")


async def test_all_that_came_is_kept(store: Store) -> None:
    """Fields no model declares, nulls, and text of any kind come back as they were written."""
    raw = {
        "id": "msg_1",
        "object": "thread.message",
        "created_at": 2**70,
        "thread_id": "thread_1",
        "role": "user",
        "status": None,
        "content": [{"type": "text", "text": {"value": "\0 \ud800 \u2028 \U0001f600 '; DROP", "annotations": []}}],
        "metadata": {"a": "b"},
        "vendor": {"deep": [1, 2.5, None, {"x": True}]},
    }
    record = structure(raw, Message)
    await store.add(thread(), record)

    kept = await store.get(Message, "msg_1")

    assert record == kept
    assert dumps(record) == dumps(kept)


@pytest.mark.parametrize("id", ["ü\U0001f600", "\0", "a'b", "%", "x" * 1000])
async def test_ids_may_be_any_text(store: Store, id: str) -> None:
    """An id is found as it is, and nothing else is."""
    await store.add(thread(id), message(id, id), run(id, id), step(id, id))

    assert [id] == await listed(store, Message, id)
    assert run(id, id) == await store.active_run(id)
    assert await store.get(Thread, id[:-1]) is None


@pytest.mark.parametrize("id", ["\ud800", "", "\0", "x" * 100_000, "' OR 1=1 --", "%"])
async def test_an_id_nobody_has_is_nobodys(store: Store, id: str) -> None:
    """Whatever is asked for, what is not there is not found."""
    await store.add(thread(), run(), message("msg_1", run_id="run_1"), step())

    assert [None] * 5 == [await store.get(kind, id) for kind in (Assistant, Thread, Message, Run, RunStep)]
    assert await store.update(Message, id, lambda old: old) is None
    assert not await store.delete(Thread, id)
    assert await store.active_run(id) is None
    with pytest.raises(ParentMissing):
        await store.add(message("msg_2", id))
    page = await store.page(Message, PageQuery(after=id), within="thread_1")
    assert ((), False) == (page.data, page.has_more)


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_a_page_is_what_lies_between_its_cursors(store: Store, order: Literal["asc", "desc"]) -> None:
    """A page is what lies between its cursors, cut where the listing goes on, whichever way it is read."""
    ids = [f"msg_{number}" for number in range(5)]
    in_order = ids if order == "asc" else ids[::-1]
    await store.add(thread(), thread("thread_2"), *[message(id) for id in ids], message("msg_9", "thread_2"))

    cursors = (None, "msg_0", "msg_2", "msg_4", "msg_9", "msg_10")
    for limit, after, before in product((0, 1, 2, 5, 100), cursors, cursors):
        page = await store.page(Message, PageQuery(limit, order, after, before), within="thread_1")

        expected = in_order
        if before is not None:
            expected = in_order[: in_order.index(before)] if before in ids else []
        if after is not None:
            beyond = in_order[in_order.index(after) + 1 :] if after in ids else []
            expected = [id for id in expected if id in beyond]
        has_more = len(expected) > limit > 0
        backwards = before is not None and after is None
        expected = expected[max(0, len(expected) - limit) :] if backwards else expected[:limit]
        assert (expected, has_more) == ([record.id for record in page.data], page.has_more)
        assert (expected[:1] or [None], expected[-1:] or [None]) == ([page.first_id], [page.last_id])


async def test_listings_of_all(store: Store) -> None:
    """Assistants and threads have one listing each, all else one per thread or run; others are empty."""
    await store.add(Assistant(id="asst_1"), thread(), thread("thread_2"), run(), step())

    assert ["thread_2", "thread_1"] == [record.id for record in (await store.page(Thread, PageQuery())).data]
    assert ["asst_1"] == [record.id for record in (await store.page(Assistant, PageQuery())).data]
    assert ["step_1"] == [record.id for record in (await store.page(RunStep, ALL, within="run_1")).data]
    assert () == (await store.page(Run, ALL)).data == (await store.page(Thread, ALL, within="thread_1")).data


async def test_many_at_once(store: Store) -> None:
    """Of a thousand runs that are started in a thread at the same time one gets in, and all messages keep an order."""
    started: list[str] = []
    refused_for: set[str] = set()

    async def start(number: int) -> None:
        try:
            await store.add(run(f"run_{number}"))
        except ThreadBusy as error:
            refused_for.add(error.run_id)
        else:
            started.append(f"run_{number}")

    async def write(number: int) -> None:
        await store.add(message(f"msg_{number}", "thread_2"))
        assert await store.get(Message, f"msg_{number}") is not None

    await store.add(thread(), thread("thread_2"))
    async with anyio.create_task_group() as task_group:
        for number in range(1000):
            task_group.start_soon(start, number)
            task_group.start_soon(write, number)

    assert len(started) == 1
    assert refused_for == set(started)
    assert started == [active.id for active in await store.active_runs()]
    ids: list[str] = []
    query: PageQuery | None = ALL
    while query is not None:
        page = await store.page(Message, query, within="thread_2")
        ids += [record.id for record in page.data]
        query = attrs.evolve(ALL, after=page.last_id) if page.has_more else None
    assert len(ids) == len(set(ids)) == 1000


async def test_changes_made_at_once_are_made_one_after_the_other(store: Store) -> None:
    """Concurrent changes of one object lose nothing; one that raises harms no other."""
    await store.add(thread())

    def count(old: Thread) -> Thread:
        return attrs.evolve(old, metadata={"n": str(int((old.metadata or {}).get("n", "0")) + 1)})

    def refuse(old: Thread) -> Thread:
        raise ValueError("no")

    async def refused() -> None:
        with pytest.raises(ValueError, match="no"):
            await store.update(Thread, "thread_1", refuse)

    async with anyio.create_task_group() as task_group:
        for _ in range(200):
            task_group.start_soon(store.update, Thread, "thread_1", count)
            task_group.start_soon(refused)

    kept = await store.get(Thread, "thread_1")
    assert kept is not None
    assert {"n": "200"} == kept.metadata


async def test_deleting_while_others_write(store: Store) -> None:
    """A thread deleted among writes to it is gone with all of them, and the writes after it are told."""
    outcomes: list[str] = []

    async def write(number: int) -> None:
        try:
            await store.add(
                message(f"msg_{number}"), run(f"run_{number}", status="completed"), step(f"s{number}", f"run_{number}")
            )
            outcomes.append("written")
        except ParentMissing:
            outcomes.append("missing")

    await store.add(thread())
    async with anyio.create_task_group() as task_group:
        for number in range(50):
            task_group.start_soon(write, number)
        task_group.start_soon(store.delete, Thread, "thread_1")
        for number in range(50, 100):
            task_group.start_soon(write, number)

    assert len(outcomes) == 100
    assert await listed(store, Message, "thread_1") == []
    assert [None] * 200 == [
        await store.get(kind, id) for n in range(100) for kind, id in ((Run, f"run_{n}"), (RunStep, f"s{n}"))
    ]
    await store.add(thread())
    assert await listed(store, Message, "thread_1") == []


async def test_an_object_is_deleted_once(store: Store) -> None:
    """Of those who delete an object at the same time one is told that it did."""
    await store.add(thread(), thread("thread_2"), run(), step(), message("msg_1", run_id="run_1"))
    told: dict[tuple[type[Thread | Run | Message | RunStep], str], list[bool]] = {}

    async def delete(kind: type[Thread | Run | Message | RunStep], id: str) -> None:
        told.setdefault((kind, id), []).append(await store.delete(kind, id))

    async with anyio.create_task_group() as task_group:
        for _ in range(3):
            task_group.start_soon(delete, RunStep, "step_1")
            task_group.start_soon(delete, Message, "msg_1")
            task_group.start_soon(delete, Run, "run_1")
            task_group.start_soon(delete, Thread, "thread_2")

    assert 4 == len(told)
    assert all([False, False, True] == sorted(answers) or kind is RunStep for (kind, _), answers in told.items())
    assert await store.get(RunStep, "step_1") is None


async def test_a_cancelled_write_harms_nobody(store: Store) -> None:
    """Who stops waiting for a write stops alone: the writes of others are made, and its own wholly or not at all."""
    await store.add(thread())
    scopes = [anyio.CancelScope() for _ in range(100)]

    async def write(number: int) -> None:
        with scopes[number]:
            if number % 10 == 0:
                scopes[number].cancel()
            await store.add(message(f"a_{number}"), message(f"b_{number}"))

    async with anyio.create_task_group() as task_group:
        for number in range(100):
            task_group.start_soon(write, number)
        for number in range(0, 100, 3):
            scopes[number].cancel()

    ids = set(
        await listed(store, Message, "thread_1")
        + [record.id for record in (await store.page(Message, PageQuery(limit=100), within="thread_1")).data]
    )
    assert {id[2:] for id in ids if id[0] == "a"} == {id[2:] for id in ids if id[0] == "b"}
    for number in range(100):
        if number % 3 and number % 10:
            assert await store.get(Message, f"a_{number}") is not None
    await store.add(message("msg_1"))


async def test_what_is_kept_is_there_after_opening_again(store: Store) -> None:
    """A store that was closed can be opened again, and has what it had."""
    await store.add(thread(), message("msg_1"), run())

    await store.aclose()
    await store.open()

    assert await listed(store, Message, "thread_1") == ["msg_1"]
    assert run() == await store.active_run("thread_1")
    with pytest.raises(ThreadBusy):
        await store.add(message("msg_2"))
