"""A batch that is started again with its ledger goes on where the one before has stopped."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from attrs import evolve

from asyncassist import (
    ActiveRunError,
    APIConnectionError,
    BatchProgress,
    Job,
    Ledger,
    LedgerError,
    NotFoundError,
    UsageError,
)
from asyncassist.batch import work
from asyncassist.batch.ledger import content_of
from asyncassist.server import Failure, Rule
from asyncassist.testing import Fault
from batch.helpers import BASE, ECHO, SLOW, Place, place, read, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.ledger"


async def stand(path: Path, job: Job, *, status: str, age: float = 60.0, **facts: Any) -> None:
    """Leave a job in the ledger as a process that was killed would have left it."""
    async with Ledger.open(path) as ledger:
        session = await ledger.begin_session(BASE)
        await ledger.begin(job.id, content_of(job), session)
        facts = {"status": status, **facts}
        names = ", ".join(f"{name} = ?" for name in facts)
        await ledger._write(
            f"UPDATE jobs SET {names}, changed_at = changed_at - ? WHERE id = ?", *facts.values(), age, job.id
        )


async def tag_of(path: Path, job: Job, attempt: int = 1) -> str:
    from hashlib import blake2b

    async with Ledger.open(path) as ledger:
        return f"{ledger.id}:{blake2b(job.id.encode(), digest_size=16).hexdigest()}:{attempt}"


async def one(p: Place, path: Path, job: Job, **options: Any) -> Any:
    (result,) = (await read(p.client.run_many([job], ledger=path, **options))).values()
    return result


async def test_finished_jobs_are_not_run_again(path: Path) -> None:
    """Their results are given again as they were, or left out; nothing is asked of the server."""
    async with place(Rule("3", fail=Failure("no")), ECHO) as p:
        jobs = [p.job(n, metadata={"a": "b"}) for n in range(10)]
        first = await read(p.client.run_many(jobs, ledger=path))
        asked = len(p.server.requests)
        told: list[BatchProgress] = []
        again = await read(p.client.run_many(jobs, concurrency=2, ledger=path, on_progress=told.append))
        left_out = await read(p.client.run_many([*jobs, p.job("new")], ledger=path, replay=False))

        assert {id: evolve(result, is_replayed=True, run=result.run) for id, result in first.items()} == {
            id: evolve(result, run=result.run) for id, result in again.items()
        }
        assert first["3"].status == "failed"
        assert len(p.server.requests) > asked
        assert list(left_out) == ["new"]
        assert (told[-1].replayed, told[-1].completed, told[-1].failed, told[-1].total_tokens) == (10, 9, 1, 0)
        assert p.asked("create_run") == 11
        body = p.server.requests_for("create_run")[0].body
        assert body["metadata"]["a"] == "b"
        assert len(body["metadata"]["asyncassist"]) < 100


@pytest.mark.parametrize("order", ["same", "other", "some"])
async def test_the_order_of_jobs_does_not_matter(path: Path, order: str) -> None:
    """All results are given again, each once and to its own job, also those that stand elsewhere in the ledger."""
    async with place(ECHO) as p:
        jobs = [p.job(number) for number in range(200)]
        before = await read(p.client.run_many(jobs, concurrency=20, ledger=path))
        wanted = jobs[:]
        if order == "other":
            random.Random(1).shuffle(wanted)
        elif order == "some":
            wanted = [job for number, job in enumerate(jobs) if number % 7]
            wanted[40:40] = [p.job("new")]
        asked = p.asked("create_run")
        results = await read(p.client.run_many(wanted, concurrency=20, ledger=path))

        assert {job.id for job in wanted} == set(results)
        assert [job.id for job in wanted if not results[job.id].is_replayed] == ["new"] * (order == "some")
        assert p.asked("create_run") - asked == (order == "some")
        for id in results.keys() - {"new"}:
            assert (results[id].text, results[id].run) == (before[id].text, before[id].run)


async def test_a_finished_job_that_cannot_be_sent_any_more(path: Path) -> None:
    """It is refused, as it would be if it were new."""
    async with place(ECHO) as p:
        await one(p, path, p.job(1))
        result = await one(p, path, p.job(1, params={"temperature": float("nan")}))

        assert result.status == "error"
        assert isinstance(result.error, UsageError)


async def test_a_running_job_is_followed(path: Path) -> None:
    """Its run is found on the server and waited for, and none is started."""
    async with place(SLOW) as p:
        job = p.job(1, "slow")
        run = await p.client.create_thread_and_run(
            assistant_id=p.assistant, thread={"messages": [{"role": "user", "content": "slow"}]}
        )
        await stand(path, job, status="running", attempt=1, thread_id=run.thread_id, run_id=run.id)
        told: list[BatchProgress] = []
        results = p.client.run_many([job], ledger=path, on_progress=told.append)

        async def end() -> None:
            await until(lambda: p.asked("get_run"))
            await p.server.clock.advance(101)

        async with anyio.create_task_group() as group:
            group.start_soon(end)
            result = await anext(results)
        await read(results)
        assert (result.text, result.attempts, result.is_replayed) == ("at last", 1, False)
        assert result.run is not None
        assert result.run.id == run.id
        assert p.asked("create_run") == 0
        assert told[-1].resumed == 1


async def test_a_run_that_was_intended_is_found_by_its_tag(path: Path) -> None:
    """Whoever was killed before the answer came, the run is adopted."""
    async with place(ECHO) as p:
        job = p.job(1)
        thread = await p.client.create_thread(messages=job.messages)
        await stand(path, job, status="starting", attempt=1, thread_id=thread.id)
        tag = await tag_of(path, job)
        run = await p.client.create_run(thread.id, assistant_id=p.assistant, metadata={"asyncassist": tag})
        result = await one(p, path, job)

        assert result.run.id == run.id
        assert p.asked("create_run") == 1


async def test_a_run_that_was_intended_and_never_made(path: Path) -> None:
    """It is made now, with the same tag, on the same thread."""
    async with place(ECHO) as p:
        job = p.job(1)
        thread = await p.client.create_thread(messages=job.messages)
        await stand(path, job, status="starting", attempt=1, thread_id=thread.id)
        result = await one(p, path, job)

        assert result.run.thread_id == thread.id
        assert result.run.metadata == {"asyncassist": await tag_of(path, job)}
        assert (result.text, p.asked("create_run"), p.asked("list_runs")) == ("say 1", 1, 1)


async def test_a_request_that_is_answered_late(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run intended a moment ago is looked for as long as the server may be about to make it."""
    monkeypatch.setattr(work, "_SETTLE_SECONDS", 5.0)
    async with place(ECHO) as p:
        job = p.job(1)
        thread = await p.client.create_thread(messages=job.messages)
        await stand(path, job, status="starting", attempt=1, thread_id=thread.id, age=0)
        tag = await tag_of(path, job)
        results = p.client.run_many([job], ledger=path)

        async def late() -> None:
            await until(lambda: p.asked("list_runs") >= 2)
            await p.client.create_run(thread.id, assistant_id=p.assistant, metadata={"asyncassist": tag})

        async with anyio.create_task_group() as group:
            group.start_soon(late)
            result = await anext(results)
        assert result.is_completed
        assert p.asked("create_run") == 1


@pytest.mark.parametrize("is_ours", [True, False])
async def test_a_run_in_the_way(path: Path, is_ours: bool) -> None:
    """Refused because a run is active, the thread is looked at once more: it may be the job's own."""
    async with place(SLOW, ECHO) as p:
        job = p.job(1)
        thread = await p.client.create_thread(messages=[{"role": "user", "content": "slow"}])
        await stand(path, job, status="starting", attempt=1, thread_id=thread.id)
        tag = await tag_of(path, job) if is_ours else "another"
        # The first look comes too early.
        p.server.faults.add(Fault.change(data=[], has_more=False), on="list_runs")
        run = await p.client.create_run(thread.id, assistant_id=p.assistant, metadata={"asyncassist": tag})
        results = p.client.run_many([job], ledger=path)

        async def end() -> None:
            await until(lambda: p.asked("get_run") or p.asked("list_runs") > 1)
            await p.server.clock.advance(101)

        async with anyio.create_task_group() as group:
            group.start_soon(end)
            result = await anext(results)
        if is_ours:
            assert result.run.id == run.id
        else:
            assert isinstance(result.error, ActiveRunError)


async def test_a_thread_whose_creation_was_lost(path: Path) -> None:
    """Another is made; the old one, if there is one, has no run."""
    async with place(ECHO) as p:
        job = p.job(1)
        await stand(path, job, status="begun")
        p.server.faults.add(Fault.drop(after_acting=True), on="create_thread")
        result = await one(p, path, job)

        assert result.is_completed
        assert p.asked("create_thread") == 2
        assert list((await p.runs()).values()) == ["completed"]


async def test_a_job_on_the_callers_thread(path: Path) -> None:
    """Its messages come with its run, in one request, so that they are never there twice."""
    async with place(ECHO) as p:
        thread = await p.client.create_thread()
        job = p.job(1, thread_id=thread.id)
        await stand(path, job, status="starting", attempt=1, thread_id=thread.id)
        result = await one(p, path, job)

        assert result.text == "say 1"
        messages = await p.client.list_messages(thread.id).collect()
        assert [message.role for message in messages] == ["assistant", "user"]


@pytest.mark.parametrize("is_own_thread", [True, False])
async def test_a_job_that_was_cancelled_by_us(path: Path, is_own_thread: bool) -> None:
    """A run that a batch of before has cancelled is not how the job ends: another follows, without the messages."""
    async with place(SLOW) as p:
        thread = None if is_own_thread else (await p.client.create_thread()).id
        job = p.job(1, "slow", thread_id=thread)
        async with p.client.run_many([job], ledger=path) as results:
            with anyio.move_on_after(0.3):
                await anext(results)
        assert list((await p.runs()).values()) == ["cancelled"]
        p.server.script(ECHO)
        result = await one(p, path, job)

        assert (result.status, result.text, result.attempts) == ("completed", "slow", 2)
        assert result.run.metadata == {"asyncassist": await tag_of(path, job, 2)}
        assert sorted((await p.runs()).values()) == ["cancelled", "completed"]
        messages = await p.client.list_messages(result.run.thread_id).collect()
        assert [message.role for message in messages if message.role == "user"] == ["user"]


async def test_a_cancel_that_was_never_sent(path: Path) -> None:
    """The run goes on, and is how the job ends; or it is cancelled when this batch is ended too."""
    async with place(SLOW) as p:
        job = p.job(1, "slow")
        run = await p.client.create_thread_and_run(
            assistant_id=p.assistant, thread={"messages": [{"role": "user", "content": "slow"}]}
        )
        await stand(path, job, status="running", attempt=1, thread_id=run.thread_id, run_id=run.id, abandoned=1)
        async with p.client.run_many([job], ledger=path) as results, anyio.create_task_group() as group:
            group.start_soon(results.__anext__)
            await until(lambda: p.asked("get_run"))
            group.cancel_scope.cancel()
        assert (await p.client.get_run(run.thread_id, run.id)).status in ("cancelling", "cancelled")

    async with place(SLOW) as p:
        path = path.with_name("other")
        run = await p.client.create_thread_and_run(
            assistant_id=p.assistant, thread={"messages": [{"role": "user", "content": "slow"}]}
        )
        await stand(path, job, status="running", attempt=1, thread_id=run.thread_id, run_id=run.id, abandoned=1)
        await p.server.clock.advance(101)
        result = await one(p, path, job)
        assert (result.text, result.attempts, p.asked("create_run")) == ("at last", 1, 0)


async def test_a_run_cancelled_by_others(path: Path) -> None:
    """That is how the job has ended."""
    async with place(SLOW) as p:
        job = p.job(1, "slow")
        run = await p.client.create_thread_and_run(
            assistant_id=p.assistant, thread={"messages": [{"role": "user", "content": "slow"}]}
        )
        await stand(path, job, status="running", attempt=1, thread_id=run.thread_id, run_id=run.id)
        await p.client.cancel_run(run.thread_id, run.id)
        result = await one(p, path, job)
        again = await one(p, path, job)

        assert (result.status, result.is_replayed) == ("cancelled", False)
        assert (again.status, again.is_replayed) == ("cancelled", True)


async def test_jobs_that_were_given_up_are_taken_up_again(path: Path) -> None:
    """One that took too long, one whose thread was gone, and one the server refused."""
    async with place(SLOW, ECHO) as p:
        p.server.faults.add(Fault.status(400), on="create_run", when=lambda request: True)
        refused = await one(p, path, p.job("refused"))
        late = await one(p, path, p.job("late", "slow"), timeout=0.2)
        gone = await one(p, path, p.job("gone", thread_id="thread_none"))
        async with Ledger.open(path) as ledger:
            assert await ledger.counts() == {"error": 3}
            entries = {entry.id: entry async for entry in ledger.entries()}
        assert (entries["gone"].error or "").startswith("NotFoundError: ")
        p.server.script(ECHO)
        again = {
            id: await one(p, path, job)
            for id, job in {
                "refused": p.job("refused"),
                "late": p.job("late", "slow"),
                "gone": p.job("gone", thread_id="thread_none"),
            }.items()
        }

        assert {refused.status, late.status, gone.status} == {"error"}
        assert (again["refused"].status, again["refused"].attempts) == ("completed", 1)
        assert (again["late"].status, again["late"].attempts) == ("completed", 2)
        assert isinstance(again["gone"].error, NotFoundError)


async def test_fresh_runs_are_tagged_too(path: Path) -> None:
    """Each attempt has a tag of its own, and is written down before it is made."""
    async with place(ECHO) as p:
        p.server.replies(Rule(fail=Failure("no")))
        job = p.job(1)
        result = await one(p, path, job, retry_failed_runs=1)

        assert (result.status, result.attempts) == ("completed", 2)
        tags = [request.body["metadata"]["asyncassist"] for request in p.server.requests_for("create_run")]
        assert tags == [await tag_of(path, job, 1), await tag_of(path, job, 2)]


async def test_a_changed_job_is_refused(path: Path) -> None:
    """By name, before anything is done for it; the others go on."""
    async with place(ECHO) as p:
        await read(p.client.run_many([p.job(1), p.job(2)], ledger=path))
        results = await read(p.client.run_many([p.job(1, "other"), p.job(2), p.job(3)], ledger=path))

        assert isinstance(results["1"].error, LedgerError)
        assert "job 1 is known to" in str(results["1"].error)
        assert (results["2"].is_replayed, results["3"].is_completed) == (True, True)


async def test_a_second_job_with_an_id(path: Path) -> None:
    """It is refused, also when the first has ended; the next batch gives its result for both."""
    async with place(ECHO) as p:
        jobs = [p.job(1), p.job(2), p.job(1), *(p.job(n) for n in range(3, 9)), p.job(1), p.job(1, "other")]
        found = [result async for result in p.client.run_many(jobs, concurrency=1, ledger=path)]

        assert sorted(result.job.id for result in found if result.error is None) == list("12345678")
        errors = [result.error for result in found if result.error is not None]
        assert len(errors) == 3
        assert sum(isinstance(error, UsageError) for error in errors) == 2


async def test_a_second_job_under_way(path: Path) -> None:
    """It is refused, whether it comes at once or in a later portion."""
    async with place(SLOW, ECHO) as p:
        jobs = [p.job("slow", "slow"), p.job("slow", "slow"), p.job(1), p.job(2), p.job("slow", "slow")]
        results = p.client.run_many(jobs, concurrency=2, ledger=path)
        found = [await anext(results) for _ in range(4)]
        await p.server.clock.advance(101)
        found.append(await anext(results))

        assert [result.job.id for result in found if result.error is not None] == ["slow", "slow"]
        assert found[-1].text == "at last"


async def test_a_second_job_that_comes_while_the_first_is_begun(path: Path) -> None:
    """It is refused also where the first has ended before it is its turn, and the ledger was asked before that."""

    async def jobs(p: Place) -> AsyncIterator[Job]:
        for id in ("a", "b", "a", "c"):
            yield p.job(id)

    async with place(ECHO) as p:
        found = [result async for result in p.client.run_many(jobs(p), concurrency=2, ledger=path)]

        assert sorted(result.job.id for result in found if result.error is None) == ["a", "b", "c"]
        assert [result.job.id for result in found if isinstance(result.error, UsageError)] == ["a"]
        assert p.asked("create_run") == 3


async def test_metadata_for_all_calls_of_the_client(path: Path) -> None:
    """With a ledger it is refused before anything is done: it would take the place of the tags."""
    async with place(ECHO) as p:
        client = p.client.with_options(extra_body={"metadata": {"team": "a"}})
        with pytest.raises(UsageError, match="would take the place of the tags"):
            client.run_many([p.job(1)], ledger=path)
        assert p.asked("create_thread") == 0

        results = await read(client.run_many([p.job(1)]))
        more = await read(p.client.with_options(extra_body={"user": "a"}).run_many([p.job(1)], ledger=path))
        assert results["1"].is_completed
        assert more["1"].is_completed


async def test_a_ledger_of_another_server(path: Path) -> None:
    """It is refused: its runs are not there."""
    async with place(ECHO) as p:
        await read(p.client.run_many([p.job(1)], ledger=path))
        other = p.server.client(base_url="http://elsewhere/v1")
        with pytest.raises(LedgerError, match="is the ledger of http://local/v1, and this client talks to http://else"):
            await read(other.run_many([p.job(1)], ledger=path))


async def test_an_open_ledger(path: Path) -> None:
    """It is used as it is and stays open, for one batch after the other."""
    async with place(ECHO) as p, Ledger.open(path) as ledger:
        first = await read(p.client.run_many([p.job(1)], ledger=ledger))
        second = await read(p.client.run_many([p.job(1), p.job(2)], ledger=ledger))

        assert not first["1"].is_replayed
        assert (second["1"].is_replayed, second["2"].is_replayed) == (True, False)
        assert await ledger.counts() == {"completed": 2}


async def test_metadata_without_room_for_the_tag(path: Path) -> None:
    """It is refused before anything is sent; and what cannot be sent at all likewise."""
    async with place(ECHO) as p:
        full = await one(p, path, p.job(1, metadata={str(n): "" for n in range(16)}))
        wrong = await one(p, path, Job("2", p.assistant, [{"role": "user", "content": {1}}]))  # type: ignore[typeddict-item]

        assert "the run's tag needs the place of one" in str(full.error)
        assert isinstance(wrong.error, UsageError)
        assert p.asked("create_thread") == 0


async def test_lost_answers_start_nothing_twice(path: Path) -> None:
    """Creates whose answers are lost are settled by their tags, in the same batch."""
    async with place(ECHO) as p:
        p.server.faults.add(Fault.drop(after_acting=True), on="create_run", times=10)
        p.server.faults.add(Fault.drop(), on="create_run", times=10)
        results = await read(p.client.run_many((p.job(n) for n in range(40)), concurrency=8, ledger=path))

        assert {result.status for result in results.values()} == {"completed"}
        assert list((await p.runs()).values()) == ["completed"] * 40


async def test_a_server_that_goes_away(path: Path) -> None:
    """What cannot be settled is given up as an error, and settled by the next batch."""
    async with place(ECHO) as p:
        p.server.faults.add(Fault.drop(after_acting=True), on="create_run")
        fault = p.server.faults.add(Fault.drop(), on="list_runs", times=None)
        first = await one(p, path, p.job(1))
        del fault
        p.server.faults.clear()
        second = await one(p, path, p.job(1))

        assert isinstance(first.error, APIConnectionError)
        assert second.is_completed
        assert list((await p.runs()).values()) == ["completed"]
