"""What the server needs of a store. Written against the interface, so that every store can be put through it."""

from __future__ import annotations

import attrs
import pytest

from asyncassist.models import Assistant, Message, Run, RunStep, Thread
from asyncassist.server import MemoryStore, PageQuery, ParentMissing, Store, ThreadBusy

pytestmark = pytest.mark.anyio

ALL = PageQuery(limit=100, order="asc")


@pytest.fixture
def store() -> Store:
    return MemoryStore()


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
