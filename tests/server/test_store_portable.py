"""Export and import: the same lines come out of every store they were put into."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncassist import UsageError
from asyncassist._wire.converter import structure
from asyncassist._wire.json import dumps, loads
from asyncassist.models import Assistant, Message, Run, RunStep, Thread
from asyncassist.server import LocalServer, MemoryStore, PageQuery, SQLiteStore, Store
from asyncassist.server.store.portable import Imported, export_threads, import_threads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store: Store = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "store.sqlite3")
    await store.open()
    yield store
    await store.aclose()


async def exported(store: Store, thread_ids: Sequence[str] | None = None) -> bytes:
    file = io.BytesIO()
    await export_threads(store, file.write, thread_ids=thread_ids)
    return file.getvalue()


async def filled() -> MemoryStore:
    """A store two threads, two assistants and several runs were made in, by the server itself."""
    store = MemoryStore()
    async with LocalServer(store=store) as server, server.client() as client:
        one = await client.create_assistant(model="any", name="One", metadata={"a": "\ud800"})
        two = await client.create_assistant(model="any", name="Two")
        for assistant in (two, one):
            messages = [{"role": "user", "content": f"{number} \u2028 ü"} for number in range(150)]
            thread = await client.create_thread(messages=messages, metadata={"of": str(assistant.name)})
            for _ in range(2):
                await client.run_and_wait(thread.id, assistant_id=assistant.id)
    return store


def lines_of(*records: Assistant | Thread | Message | Run | RunStep) -> list[bytes]:
    return [dumps(record) for record in records]


THREAD = Thread(id="thread_1", created_at=1)
MESSAGE = Message(id="msg_1", thread_id="thread_1", role="user")
RUN = Run(id="run_1", thread_id="thread_1", status="completed")
ACTIVE = Run(id="run_2", thread_id="thread_1", status="in_progress")
STEP = RunStep(id="step_1", thread_id="thread_1", run_id="run_1")


async def test_lines_go_round(store: Store) -> None:
    """An export, imported and exported again, gives the same bytes; each thread comes with all that belongs to it."""
    lines = await exported(await filled())

    imported = await import_threads(store, io.BytesIO(lines))

    assert Imported(assistants=2, threads=2, records=316, skipped=0) == imported
    assert lines == await exported(store)
    kinds = [line["object"] for line in map(loads, lines.splitlines()) if isinstance(line, dict)]
    thread = ["thread"] + ["thread.message"] * 152 + ["thread.run", "thread.run.step"] * 2
    assert ["assistant", "assistant", *thread, *thread] == kinds


async def test_nothing_is_imported_of_nothing(store: Store) -> None:
    """An empty file is an import of nothing."""
    assert Imported() == await import_threads(store, ["", "\n"])


async def test_importing_twice_changes_nothing(store: Store) -> None:
    """What is there already, just the same, is skipped."""
    lines = await exported(await filled())
    await import_threads(store, io.BytesIO(lines))

    assert Imported(skipped=4) == await import_threads(store, io.BytesIO(lines))
    assert lines == await exported(store)


async def test_some_threads_bring_their_assistants(store: Store) -> None:
    """An export of some threads has them in the order asked for, once, and the assistants of their runs."""
    source = await filled()
    newest, oldest = [thread.id for thread in (await source.page(Thread, PageQuery())).data]

    lines = await exported(source, [newest, oldest, newest])

    await import_threads(store, io.BytesIO(lines))
    assert lines == await exported(store, [newest, oldest])
    assert ["One", "Two"] == [
        line["name"] for line in map(loads, lines.splitlines()) if isinstance(line, dict) and "name" in line
    ]
    only_newest = await exported(source, [newest])
    assert lines.startswith(only_newest)
    assert b'"name":"Two"' not in only_newest


async def test_an_assistant_that_is_gone_is_left_out(store: Store) -> None:
    """A thread whose run has no assistant any more is exported without one."""
    runs = [Run(id=f"run_{n}", thread_id="thread_1", status="completed", assistant_id="asst_1") for n in (2, 3)]
    await store.add(THREAD, *runs, RUN)

    assert b"\n".join([*lines_of(THREAD, *runs, RUN), b""]) == await exported(store, ["thread_1"])


async def test_a_thread_that_is_not_there_is_named(store: Store) -> None:
    """Nothing is written when one of the threads asked for is not there; a string is no list of them."""
    await store.add(THREAD)
    written: list[bytes] = []

    with pytest.raises(UsageError, match="there is no thread 'thread_2'"):
        await export_threads(store, written.append, thread_ids=["thread_1", "thread_2"])
    with pytest.raises(TypeError):
        await export_threads(store, written.append, thread_ids="thread_1")

    assert written == []


async def test_a_run_that_had_not_ended_holds_its_thread(store: Store) -> None:
    """An active run is imported as one, and the next server goes on with it."""
    await import_threads(store, lines_of(THREAD, MESSAGE, RUN, STEP, ACTIVE))

    assert ACTIVE == await store.active_run("thread_1")
    await store.aclose()
    async with LocalServer(store=store):
        with anyio.fail_after(10):
            while await store.active_run("thread_1") is not None:
                await anyio.sleep(0.001)
        run = await store.get(Run, "run_2")
        assert run is not None
        assert "completed" == run.status
    await store.open()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([b"{"], "line 1: the body is not JSON"),
        ([b"\xff"], "line 1: the body is not UTF-8"),
        ([b"", b" \r\n", b"[]"], 'line 3: this is no object with an "object" that is one of assistant, thread,'),
        ([b'{"object": "list"}'], "line 1: this is no object"),
        ([b'{"object": ["thread"]}'], "line 1: this is no object"),
        ([b'{"object": "thread"}'], "line 1: id: is missing"),
        (lines_of(MESSAGE), "line 1: the thread.message msg_1 does not belong to a thread above it"),
        (lines_of(Assistant(id="asst_1"), MESSAGE), "line 2: the thread.message msg_1 does not belong to the thread"),
        (lines_of(Thread(id="thread_2"), RUN), "line 2: the thread.run run_1 does not belong to the thread"),
        (lines_of(THREAD, STEP, RUN), "line 2: the thread.run.step step_1 does not belong to a run above it"),
        (lines_of(THREAD, MESSAGE, RUN, MESSAGE), "line 4: the thread.message msg_1 is there twice"),
        (
            lines_of(THREAD, ACTIVE, Run(id="run_3", thread_id="thread_1", status="queued")),
            "line 3: the thread.run run_3 is the second one of its thread that has not ended",
        ),
    ],
)
async def test_a_wrong_line_is_named(store: Store, lines: list[bytes], message: str) -> None:
    """A line that cannot be imported is named by its number, and nothing of its thread is imported."""
    with pytest.raises(UsageError) as caught:
        await import_threads(store, lines)

    assert str(caught.value).startswith(message)
    assert await store.get(Thread, "thread_1") is None


async def test_what_stood_before_a_wrong_line_is_there(store: Store) -> None:
    """Threads before the one with the wrong line are imported whole."""
    with pytest.raises(UsageError, match="^line 4: "):
        await import_threads(store, [*lines_of(THREAD, MESSAGE, Thread(id="thread_2")), b"{"])

    assert b"\n".join([*lines_of(THREAD, MESSAGE), b""]) == await exported(store)


@pytest.mark.parametrize(
    ("there", "lines", "message"),
    [
        ([Assistant(id="a")], lines_of(Assistant(id="a", name="b")), "line 1: the assistant a is there already"),
        ([THREAD], lines_of(THREAD, MESSAGE), "line 1: the thread thread_1 is there already, and differs"),
        ([THREAD, MESSAGE], lines_of(THREAD), "line 1: the thread thread_1 is there already, and differs"),
        (
            [Thread(id="thread_2"), Message(id="msg_1", thread_id="thread_2", role="user")],
            lines_of(THREAD, MESSAGE),
            "line 2: the thread.message msg_1 is there already, and belongs elsewhere",
        ),
    ],
)
async def test_what_differs_is_refused(
    store: Store, there: list[Assistant | Thread | Message], lines: list[bytes], message: str
) -> None:
    """What is there already and is not the same stays as it is."""
    await store.add(*there)
    before = await exported(store)

    with pytest.raises(UsageError, match=message):
        await import_threads(store, lines)

    assert before == await exported(store)


async def test_an_id_sqlite_cannot_write_is_named(tmp_path: Path) -> None:
    """An id that is no valid text is refused with the line, by a store that cannot keep it."""
    store = SQLiteStore(tmp_path / "store.sqlite3")
    await store.open()
    try:
        with pytest.raises(UsageError, match=r"^line 1: Thread '\\ud800': the id is no valid text"):
            await import_threads(store, ['{"object": "thread", "id": "\\ud800"}', '{"object": "assistant", "id": "ü"}'])
    finally:
        await store.aclose()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(fields=st.dictionaries(st.text(min_size=1, max_size=8), json_values, max_size=4))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_field_goes_round(tmp_path: Path, fields: dict[str, object]) -> None:
    """Fields no model declares go round as they are, whatever JSON they hold."""
    raw = fields | {"object": "thread", "id": "thread_1"}
    line = dumps(structure(raw, Thread)) + b"\n"
    file = tmp_path / "store.sqlite3"
    file.unlink(missing_ok=True)
    store = SQLiteStore(file)
    await store.open()
    try:
        await import_threads(store, [line])

        assert line == await exported(store)
        assert raw.items() <= dict(loads(line)).items()  # type: ignore[call-overload]
    finally:
        await store.aclose()
