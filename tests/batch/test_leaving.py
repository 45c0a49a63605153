"""Leaving a batch: nothing is left running, here or on the server."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint
from transport.cancelling import cancelled_at, styles

from asyncassist import BatchProgress, ClientClosedError, Ledger, LedgerError
from asyncassist.batch import threads, work
from asyncassist.testing import FakeServer, Fault
from batch.helpers import ECHO, SLOW, Place, place, read, until

pytestmark = pytest.mark.anyio


async def all_end(p: Place, client: Any = None) -> None:
    """Wait until no run is active on the server."""
    p = Place(p.server, client or p.client, p.assistant)
    with anyio.fail_after(20):
        while set((await p.runs()).values()) & {"queued", "in_progress", "cancelling"}:
            await checkpoint()


def slow_jobs(p: Place, count: int) -> Any:
    return (p.job(n, "slow") for n in range(count))


@pytest.mark.parametrize("is_ledger", [False, True])
async def test_a_bare_break(tmp_path: Path, is_ledger: bool) -> None:
    """The runs are cancelled in the background, and the ledger is closed."""
    path = tmp_path / "ledger"
    async with place(SLOW, ECHO) as p:
        jobs = [p.job("quick"), *slow_jobs(p, 9)]
        async for _ in p.client.run_many(jobs, ledger=path if is_ledger else None):
            await until(lambda: p.asked("get_run") >= 9)
            break
        gc.collect()
        await all_end(p)

        assert sorted((await p.runs()).values()) == ["cancelled"] * 9 + ["completed"]
        await until(lambda: not p.client._batches)
        await until(lambda: not threads._tasks)
        if is_ledger:
            async with Ledger.open(path) as ledger:
                assert (await ledger.counts())["completed"] == 1


async def test_leave_lets_runs_go_on() -> None:
    """With ``on_cancel="leave"`` nothing is cancelled."""
    async with place(SLOW, ECHO) as p:
        async for _ in p.client.run_many([p.job(1), p.job(2, "slow")], on_cancel="leave"):
            break
        gc.collect()
        await until(lambda: not p.client._batches)

        assert p.asked("cancel_run") == 0
        assert sorted((await p.runs()).values()) == ["completed", "in_progress"]


async def test_async_with_waits_for_the_cancels() -> None:
    """At the end of the block all runs are cancelled, whatever the block ends with."""
    async with place(SLOW, ECHO) as p:
        with pytest.raises(ZeroDivisionError):
            async with p.client.run_many([p.job("quick"), *slow_jobs(p, 5)]) as results:
                await anext(results)
                raise ZeroDivisionError
        assert p.asked("cancel_run") == 5
        await results.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(results)


async def test_left_before_it_began() -> None:
    """Nothing is asked, and a batch that was never read leaves nothing."""
    async with place() as p:
        results = p.client.run_many([p.job(1)])
        await results.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(results)
        p.client.run_many([p.job(2)])
        gc.collect()

        assert p.asked("create_thread_and_run") == 0
        assert not p.client._batches


async def test_left_before_its_task_has_begun() -> None:
    """It finds that there is nothing to do."""
    async with place() as p:
        results = p.client.run_many([p.job(1)])
        results._batch._start()
        await results.aclose()

        assert p.asked("create_thread_and_run") == 0
        assert not p.client._batches


@pytest.mark.parametrize("is_ledger", [False, True])
async def test_cancelling_a_thousand(tmp_path: Path, is_ledger: bool) -> None:
    """The loop that is cancelled goes on only when all runs are cancelled on the server, in bounded time."""
    async with place(SLOW) as p:
        count = 1000 if not is_ledger else 200
        ledger = tmp_path / "ledger" if is_ledger else None
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:

                async def cancel() -> None:
                    await until(lambda: p.asked("create_thread_and_run") + p.asked("create_run") >= count, 60)
                    scope.cancel()

                group.start_soon(cancel)
                await read(p.client.run_many(slow_jobs(p, count), concurrency=count, ledger=ledger))
        assert scope.cancelled_caught
        assert p.asked("cancel_run") == count
        await all_end(p)


@pytest.mark.parametrize("is_ledger", [False, True])
async def test_cancelled_at_every_await(tmp_path: Path, is_ledger: bool) -> None:
    """Wherever the reader is cancelled, no run stays active, and a ledger can be used again and knows all."""
    for style in styles():
        number = 0
        while True:
            path = tmp_path / f"{style}-{number}"
            async with place(SLOW, ECHO) as p:
                jobs = [p.job(1), p.job(2, "slow"), p.job(3)]
                first = p.client.run_many(jobs, concurrency=2, ledger=path if is_ledger else None)

                async def work(p: Place = p, first: Any = first) -> None:
                    await anext(first)
                    await anext(first)
                    await first.aclose()

                is_reached = await cancelled_at(number, work, style)
                await first.aclose()
                await until(lambda p=p: not p.client._batches)  # type: ignore[misc]
                await all_end(p)
                if is_ledger:
                    p.server.script(ECHO)
                    again = await read(p.client.run_many(jobs, ledger=path))
                    assert {result.status for result in again.values()} == {"completed"}
                    runs = sorted((await p.runs()).values())
                    assert runs.count("completed") == 3
                    assert set(runs) <= {"completed", "cancelled"}
            if not is_reached:
                break
            number += 1
        assert number > 0


async def test_the_client_is_closed_meanwhile() -> None:
    """Its runs are cancelled, and whoever reads is told, after the results that were there."""
    async with place(SLOW, ECHO) as p, p.server.client() as client:
        results = client.run_many([p.job(1), p.job(2, "slow")])
        assert (await anext(results)).is_completed
        await client.aclose()

        assert p.asked("cancel_run") == 1
        with pytest.raises(ClientClosedError, match="while its batch was under way"):
            await anext(results)
        with pytest.raises(ClientClosedError, match="create a new one"):
            await anext(client.run_many([p.job(1)]))


async def test_closed_while_somebody_reads() -> None:
    """A reader that waits is woken."""
    async with place(SLOW) as p, p.server.client() as client, anyio.create_task_group() as group:

        async def reads() -> None:
            with pytest.raises(ClientClosedError):
                await read(client.run_many([p.job(1, "slow")]))

        group.start_soon(reads)
        await until(lambda: p.asked("get_run"))
        await client.aclose()


async def test_closed_while_a_batch_ends() -> None:
    """The end of the batch is waited for, and told as the end it is."""
    async with place(SLOW, ECHO) as p, p.server.client() as client:
        results = client.run_many([p.job(1), p.job(2, "slow")])
        await anext(results)
        p.server.faults.add(Fault.slow(0.3), on="cancel_run")
        async with anyio.create_task_group() as group:
            group.start_soon(results.aclose)
            await until(lambda: p.asked("cancel_run"))
            group.start_soon(client.aclose)
            await until(lambda: client.is_closed)
        with pytest.raises(StopAsyncIteration):
            await anext(results)


async def test_closed_after_its_batches_have_ended() -> None:
    """There is nothing left to end."""
    async with place() as p, p.server.client() as client:
        results = client.run_many([p.job(1)])
        await read(results)
        await client.aclose()
        await results.aclose()
        assert not client._batches
        assert p.asked("cancel_run") == 0


async def test_a_cancel_that_fails(tmp_path: Path) -> None:
    """It takes the place of nothing, and the next batch finds the run."""
    async with place(SLOW) as p:
        p.server.faults.add(Fault.status(400), on="cancel_run")
        async with p.client.run_many([p.job(1, "slow")], ledger=tmp_path / "l") as results:
            with anyio.move_on_after(0.3):
                await anext(results)
        assert list((await p.runs()).values()) == ["in_progress"]
        await p.server.clock.advance(101)
        (result,) = (await read(p.client.run_many([p.job(1, "slow")], ledger=tmp_path / "l"))).values()

        assert (result.text, result.attempts) == ("at last", 1)


async def test_dropped_in_another_thread() -> None:
    """The garbage collector may drop a batch in any thread."""
    async with place(SLOW, ECHO) as p:
        results: list[Any] = [p.client.run_many([p.job(1), p.job(2, "slow")])]
        await anext(results[0])
        thread = threading.Thread(target=results.clear)
        thread.start()
        thread.join()
        await until(lambda: not p.client._batches)

        assert p.asked("cancel_run") == 1


def test_dropped_when_the_event_loop_is_over() -> None:
    """Neither the end of the loop nor the drop afterwards hangs or complains."""
    kept: list[Any] = []

    async def main() -> None:
        server = FakeServer(SLOW, ECHO)
        await server.__aenter__()
        client = server.client()
        assistant = await client.create_assistant(model="any")
        p = Place(server, client, assistant.id)
        results = client.run_many([p.job(1), p.job(2, "slow")])
        await anext(results)
        kept.extend([results, server])

    asyncio.run(main())
    kept.clear()
    gc.collect()


@pytest.mark.parametrize("error", [None, ZeroDivisionError])
async def test_the_ledger_is_closed_first(tmp_path: Path, error: type[Exception] | None) -> None:
    """Closing it ends its batches: their runs are cancelled, and noted as left, so that the next batch does them."""
    async with place(SLOW, ECHO) as p:
        jobs = [p.job("quick"), *slow_jobs(p, 3)]
        with suppress(ZeroDivisionError):
            async with Ledger.open(tmp_path / "l") as ledger:
                async for _ in p.client.run_many(jobs, ledger=ledger):
                    await until(lambda: p.asked("get_run") >= 4)
                    if error is not None:
                        raise error
                    break
        assert p.asked("cancel_run") == 3
        await until(lambda: not p.client._batches)
        assert not ledger.batches
        p.server.script(ECHO)
        again = await read(p.client.run_many(jobs, ledger=tmp_path / "l"))

        assert {result.status for result in again.values()} == {"completed"}


@pytest.mark.parametrize("how", ["failed", "busy"])
async def test_a_ledger_that_can_note_nothing(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The runs are cancelled all the same, and the log names them."""
    monkeypatch.setattr(work, "_ABANDON_SECONDS", 0.2)
    is_free = threading.Event()

    def stay_busy(connection: sqlite3.Connection) -> None:
        is_free.wait(10)
        if how == "failed":
            connection.execute("no SQL")

    async with place(SLOW) as p, Ledger.open(tmp_path / "l") as ledger:
        results = p.client.run_many(slow_jobs(p, 2), ledger=ledger)
        async with anyio.create_task_group() as group:
            group.start_soon(results.__anext__)
            await until(lambda: p.asked("get_run") >= 2)
            ledger._add(stay_busy)
            if how == "failed":
                is_free.set()
                await until(lambda: ledger.failure)
            group.cancel_scope.cancel()
        try:
            assert list((await p.runs()).values()) == ["cancelled"] * 2
        finally:
            is_free.set()
    reason = "took more than 0.2 s" if how == "busy" else "cannot be used"
    for number, record in enumerate(sorted(caplog.records, key=lambda record: record.getMessage()), 1):
        assert f"run run_{number} of thread thread_{number} is being cancelled" in record.getMessage()
        assert reason in record.getMessage()
    assert len(caplog.records) == 2


@pytest.mark.parametrize("what", ["results", "client", "ledger"])
async def test_closed_by_its_own_function(tmp_path: Path, what: str) -> None:
    """The batch is ended, and does not wait for itself."""
    async with place(SLOW) as p, p.server.client() as client, Ledger.open(tmp_path / "l") as ledger:
        closing: dict[str, Any] = {"client": client, "ledger": ledger}

        async def close(progress: BatchProgress) -> None:
            await until(lambda: p.asked("get_run"))
            await closing[what].aclose()

        results = closing["results"] = client.run_many([p.job(1, "slow")], ledger=ledger, on_progress=close)
        with anyio.fail_after(10):
            if what == "results":
                assert await read(results) == {}
            else:
                with pytest.raises(ClientClosedError if what == "client" else LedgerError):
                    await read(results)
            await until(lambda: not client._batches)
        assert p.asked("cancel_run") == 1


async def test_left_while_it_begins() -> None:
    """Ended by another task right after the first result was asked for, it ends without an error."""
    async with place() as p:
        results = p.client.run_many([p.job(1)])
        async with anyio.create_task_group() as group:
            found: list[Any] = []

            async def reads() -> None:
                found.append(await read(results))

            group.start_soon(reads)
            await until(lambda: p.client._batches)
            await results.aclose()
        assert found == [{}]


async def test_a_ledger_is_closed_whatever_happens(tmp_path: Path) -> None:
    """A batch that ends early leaves no lock behind."""
    path = tmp_path / "ledger"
    async with place(SLOW, ECHO) as p:
        async with p.client.run_many([p.job(1), p.job(2, "slow")], ledger=path) as results:
            await anext(results)
            with pytest.raises(LedgerError, match="in use by another batch"):
                await anext(p.client.run_many([p.job(1)], ledger=path))
        async with Ledger.open(path) as ledger:
            assert (await ledger.counts()) == {"completed": 1, "running": 1}
