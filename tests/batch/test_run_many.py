"""Running many jobs without a ledger: results, errors, progress, laziness."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from asyncassist import (
    ActiveRunError,
    AsyncClient,
    BadRequestError,
    BatchProgress,
    Job,
    JobError,
    NotFoundError,
    ToolError,
    Toolset,
    UsageError,
    WaitTimeoutError,
    tool,
)
from asyncassist.server import Failure, FunctionCall, Rule
from asyncassist.testing import Fault
from batch.helpers import ECHO, SLOW, place, read, until

pytestmark = pytest.mark.anyio


async def test_results_come_as_they_finish() -> None:
    """A job that takes long holds up no other; each result has its job's text, run and tokens."""
    async with place(SLOW, ECHO) as p:
        jobs = [p.job("a", "slow"), *(p.job(n) for n in range(20))]
        results = p.client.run_many(jobs, concurrency=4)
        seen = [await anext(results) for _ in range(20)]
        await p.server.clock.advance(101)
        last = await anext(results)

        assert {result.job.id: result.text for result in seen} == {str(n): f"say {n}" for n in range(20)}
        assert (last.job, last.text) == (jobs[0], "at last")
        assert all(result.is_completed and result.attempts == 1 and result.error is None for result in seen)
        assert all(result.run is not None and result.usage is not None for result in seen)
        assert seen[0].duration > 0
        assert not seen[0].is_replayed
        with pytest.raises(StopAsyncIteration):
            await anext(results)
        with pytest.raises(StopAsyncIteration):
            await anext(results)


async def test_one_list_call_a_job() -> None:
    """A job on a thread of its own is one request to start it, and one for its text, beside the looks at its run."""
    async with place() as p:
        await read(p.client.run_many(p.job(n) for n in range(10)))

        counts = {request.operation for request in p.server.requests}
        assert (p.asked("create_thread_and_run"), p.asked("list_messages")) == (10, 10)
        assert counts == {"create_assistant", "create_thread_and_run", "get_run", "list_messages"}


async def test_what_is_sent() -> None:
    """Messages, parameters and metadata go where the API has them, on a job's own thread and on a caller's."""
    async with place() as p:
        thread = await p.client.create_thread()
        jobs = [
            p.job(1, params={"temperature": 0.5}, metadata={"a": "b"}),
            p.job(2, params={"additional_instructions": "Be brief.", "include": ["x"]}),
            p.job(3, thread_id=thread.id, metadata={"c": "d"}),
            {"id": "4", "assistant_id": p.assistant},
        ]
        results = await read(p.client.run_many(jobs))

        assert {result.status for result in results.values()} == {"completed"}
        both = {
            request.body.get("temperature"): request.body for request in p.server.requests_for("create_thread_and_run")
        }
        assert both[0.5]["metadata"] == {"a": "b"}
        assert both[0.5]["thread"] == {"messages": [{"role": "user", "content": "say 1"}]}
        assert both[None] == {"assistant_id": p.assistant}
        runs = {
            request.body.get("additional_instructions"): request.body for request in p.server.requests_for("create_run")
        }
        assert "additional_messages" not in runs["Be brief."]
        assert runs[None]["additional_messages"] == [{"role": "user", "content": "say 3"}]
        assert runs[None]["metadata"] == {"c": "d"}


async def test_an_error_of_one_job_stops_no_other() -> None:
    """Failed runs, refusals, wrong messages and broken tools are results; the rest goes on."""

    @tool
    def broken() -> str:
        raise RuntimeError("no")

    def refuse(call: object) -> Any:
        raise KeyError("approval")

    rules = [
        Rule("fail", fail=Failure("Not now.")),
        Rule("tool", calls=[FunctionCall("broken", {})], say="{outputs[0]}"),
        ECHO,
    ]
    async with place(*rules) as p:
        busy = await p.client.create_thread(messages=[{"role": "user", "content": "x"}])
        p.server.script(SLOW, *rules)
        await p.client.create_run(
            busy.id, assistant_id=p.assistant, additional_messages=[{"role": "user", "content": "slow"}]
        )
        jobs = [
            p.job("fails", "fail"),
            p.job("active", thread_id=busy.id),
            p.job("nowhere", thread_id="thread_none"),
            Job("wrong", p.assistant, [{"role": "user", "content": {1}}]),  # type: ignore[typeddict-item]
            p.job("model", params={"tools": [refuse]}),
            p.job("tool", "tool"),
            p.job("good"),
        ]
        results = await read(p.client.run_many(jobs, toolset=Toolset([broken], before_call=refuse)))

        errors = {id: type(result.error) for id, result in results.items()}
        assert errors == {
            "fails": type(None),
            "active": ActiveRunError,
            "nowhere": NotFoundError,
            "wrong": UsageError,
            "model": JobError,
            "tool": JobError,
            "good": type(None),
        }
        assert results["fails"].status == "failed"
        assert results["good"].text == "say good"
        assert isinstance(results["tool"].error.__cause__, KeyError)  # type: ignore[union-attr]
        assert "tool was broken off by KeyError: 'approval'" in str(results["tool"].error)
        assert results["nowhere"].run is None
        await until(lambda: p.asked("cancel_run") == 1)


async def test_tools_are_answered() -> None:
    """With a toolset; without one the run is cancelled, since nobody would answer."""

    @tool
    def add(a: int, b: int) -> int:
        return a + b

    async with place(Rule(calls=[FunctionCall("add", {"a": 1, "b": 2})], say="{outputs[0]}")) as p:
        with_tools = await read(p.client.run_many([p.job(1)], toolset=Toolset([add])))
        without = await read(p.client.run_many([p.job(1)]))

        assert with_tools["1"].text == "3"
        assert isinstance(without["1"].error, ToolError)
        assert without["1"].run is not None
        assert sorted((await p.runs()).values()) == ["cancelled", "completed"]


async def test_a_job_that_takes_too_long() -> None:
    """Its run is cancelled, or left, and the others are not concerned."""
    async with place(SLOW, ECHO) as p:
        cancelled = await read(p.client.run_many([p.job(1, "slow"), p.job(2)], timeout=0.2))
        left = await read(p.client.run_many([p.job(1, "slow")], timeout=0.2, on_cancel="leave"))

        assert isinstance(cancelled["1"].error, WaitTimeoutError)
        assert cancelled["2"].is_completed
        assert isinstance(left["1"].error, WaitTimeoutError)
        assert sorted((await p.runs()).values()) == ["cancelled", "completed", "in_progress"]


async def test_fresh_runs_follow_failed_ones() -> None:
    """As often as allowed; the attempts are counted, and the messages are not added again."""
    async with place(ECHO) as p:
        p.server.replies(Rule(fail=Failure("no", code="rate_limit_exceeded")), Rule(fail=Failure("no")))
        results = await read(p.client.run_many([p.job(1, "hello")], retry_failed_runs=2))

        assert (results["1"].status, results["1"].attempts, results["1"].text) == ("completed", 3, "hello")
        assert [request.body.get("additional_messages") for request in p.server.requests_for("create_run")] == [
            None
        ] * 2


async def test_the_text_is_asked_for_again() -> None:
    """A run that has completed is not lost because its messages could not be read at once."""
    async with place() as p:
        p.server.faults.add(Fault.status(500), on="list_messages", times=5)
        results = await read(p.client.run_many([p.job(1)]))

        assert results["1"].text == "say 1"


async def test_jobs_are_read_lazily() -> None:
    """None is read before the first result is asked for, and then few more than run."""
    taken: list[int] = []

    def jobs(assistant: str) -> Iterator[dict[str, object]]:
        for number in range(200):
            taken.append(number)
            yield {"id": str(number), "assistant_id": assistant}

    async with place(SLOW, ECHO) as p:
        results = p.client.run_many(jobs(p.assistant), concurrency=5)
        assert not taken
        await anext(results)
        await until(lambda: p.asked("list_messages") >= 7)
        for _ in range(2000):
            await checkpoint()

        # One result was taken; 7 are kept, and nothing more is begun.
        assert len(taken) <= 8
        assert len([result async for result in results]) == 199


async def test_a_slow_consumer() -> None:
    """All results come, though at no time more than about as many wait as run at once."""
    waiting = 0

    def progress(counts: BatchProgress) -> None:
        nonlocal waiting
        waiting = max(waiting, counts.finished - given)

    given = 0
    async with place() as p:
        async for _ in p.client.run_many((p.job(n) for n in range(100)), concurrency=4, on_progress=progress):
            for _ in range(50):
                await checkpoint()
            given += 1

    assert given == 100
    assert waiting <= 7


@pytest.mark.parametrize("is_ledger", [False, True])
async def test_jobs_of_an_async_iterable(tmp_path: Any, is_ledger: bool) -> None:
    """A job is begun when it comes, though the next is not there yet."""
    sender, receiver = anyio.create_memory_object_stream[Any](10)
    async with place() as p, sender:
        results = p.client.run_many(receiver, concurrency=2, ledger=tmp_path / "l" if is_ledger else None)
        await sender.send(p.job(1))
        first = await anext(results)
        for n in range(2, 7):
            await sender.send(p.job(n))
        sender.close()

        assert first.job.id == "1"
        assert sorted(await read(results)) == ["2", "3", "4", "5", "6"]
    receiver.close()


async def test_an_async_iterable_that_never_waits() -> None:
    """It is read no further than needed, and others get their turns."""
    taken = 0

    async def jobs(assistant: str) -> AsyncIterator[Job]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield Job(str(number), assistant)

    async with place() as p:
        results = p.client.run_many(jobs(p.assistant), concurrency=3)
        await anext(results)

        assert taken < 20
        assert len(await read(results)) == 99


async def test_an_error_of_the_iterable() -> None:
    """The jobs before it are finished and given; then it is raised. Likewise what is no job."""

    def jobs(assistant: str, *, odd: object = None) -> Iterator[Any]:
        for number in range(5):
            yield {"id": str(number), "assistant_id": assistant}
        if odd is not None:
            yield odd
        raise OSError("the disk is gone")

    async def async_jobs(assistant: str) -> AsyncIterator[Any]:
        for one in jobs(assistant, odd=7):
            yield one

    class Broken:
        def __iter__(self) -> Iterator[Any]:
            raise OSError("no iterator")

    async with place() as p:
        for iterable, error, message, count in (
            (jobs(p.assistant), OSError, "the disk is gone", 5),
            (jobs(p.assistant, odd={"id": "x"}), UsageError, "job number 6: assistant_id is missing", 5),
            (async_jobs(p.assistant), UsageError, "job number 6: a job must be an object", 5),
            (Broken(), OSError, "no iterator", 0),
        ):
            results = p.client.run_many(iterable)
            given: list[str] = []
            with pytest.raises(error, match=message):
                async for result in results:
                    given.append(result.job.id)
            assert len(given) == count
            with pytest.raises(StopAsyncIteration):
                await anext(results)


@pytest.mark.parametrize("is_ledger", [False, True])
async def test_an_iterable_that_raises_a_group(tmp_path: Path, is_ledger: bool) -> None:
    """It is raised as it is, and not one of its errors in its place."""
    group = ExceptionGroup("two", [ValueError("a"), KeyError("b")])

    def jobs(assistant: str) -> Iterator[Job]:
        yield Job("1", assistant)
        raise group

    async with place() as p:
        results = p.client.run_many(jobs(p.assistant), ledger=tmp_path / "l" if is_ledger else None)
        assert (await anext(results)).is_completed
        with pytest.raises(ExceptionGroup) as caught:
            await anext(results)
        assert caught.value is group


async def test_a_second_job_with_an_id() -> None:
    """It is refused while the first is under way, and the first is not concerned."""
    async with place() as p:
        found = [result async for result in p.client.run_many([p.job(1, "a"), p.job(1, "b"), p.job(2)])]

        assert sorted((result.job.id, result.status) for result in found) == [
            ("1", "completed"),
            ("1", "error"),
            ("2", "completed"),
        ]
        (error,) = (result.error for result in found if result.error)
        assert isinstance(error, UsageError)
        assert "another job with this id" in str(error)


@pytest.mark.parametrize("is_async", [False, True])
async def test_progress(is_async: bool) -> None:
    """The counts go up to what there was, and are told whenever they change."""
    told: list[BatchProgress] = []

    async def tell(counts: BatchProgress) -> None:
        await checkpoint()
        told.append(counts)

    async with place(Rule("3", fail=Failure("no")), ECHO) as p:
        results = p.client.run_many(
            (p.job(n) for n in range(10)), concurrency=3, on_progress=tell if is_async else told.append
        )
        found = await read(results)
        await until(lambda: told[-1].finished == 10)

    tokens = sum(result.usage.total_tokens or 0 for result in found.values() if result.usage)
    last = max(told, key=lambda counts: counts.finished)
    assert (last.seen, last.started, last.completed, last.failed, last.running) == (10, 10, 9, 1, 0)
    assert (last.replayed, last.resumed, last.total_tokens) == (0, 0, tokens)
    assert last.prompt_tokens + last.completion_tokens == tokens > 0
    assert max(counts.running for counts in told) == 3


async def test_progress_that_raises() -> None:
    """It ends the batch, and its runs are cancelled."""

    def fail(counts: BatchProgress) -> None:
        if counts.finished:
            raise RuntimeError("the terminal is gone")

    async with place(SLOW, ECHO) as p:
        with pytest.raises(RuntimeError, match="the terminal is gone"):
            await read(p.client.run_many([p.job(1, "slow"), p.job(2)], on_progress=fail))

        assert sorted((await p.runs()).values()) == ["cancelled", "completed"]


async def test_a_thousand_jobs() -> None:
    """They all run, as many at once as allowed."""
    async with place() as p:
        results = await read(p.client.run_many((p.job(n) for n in range(1000)), concurrency=100))

        assert {id: result.text for id, result in results.items()} == {str(n): f"say {n}" for n in range(1000)}


async def test_what_is_ended_from_inside() -> None:
    """What is no error to go on after, such as a tool that ends the program, ends the batch and is raised."""

    class Enough(BaseException):
        pass

    @tool
    async def end() -> str:
        raise Enough

    async with place(Rule("tool", calls=[FunctionCall("end", {})], say="x"), SLOW, ECHO) as p:
        with pytest.raises(BaseException) as caught:
            await read(p.client.run_many([p.job(1, "tool"), p.job(2, "slow")], toolset=Toolset([end])))
        error: BaseException = caught.value
        while isinstance(error, BaseExceptionGroup):
            (error,) = error.exceptions
        assert isinstance(error, Enough)
        del error, caught
        gc.collect()


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"jobs": "jobs"}, TypeError, "jobs must be an iterable or async iterable of Job, got str; read_jobs"),
        ({"jobs": Path("jobs")}, TypeError, r"got PosixPath; read_jobs\(path\) reads those of a file"),
        ({"jobs": {"id": "1"}}, TypeError, "got dict; put a single job into a list"),
        ({"jobs": Job("1", "a")}, TypeError, "got Job; put a single job into a list"),
        ({"jobs": 7}, TypeError, "got int"),
        ({"concurrency": 0}, UsageError, "concurrency must be an int from 1 to 100,000, got 0"),
        ({"concurrency": True}, UsageError, "concurrency"),
        ({"concurrency": 1.5}, UsageError, "concurrency"),
        ({"timeout": -1}, UsageError, "timeout"),
        ({"poll": 1}, UsageError, "poll"),
        ({"on_cancel": "keep"}, UsageError, "on_cancel"),
        ({"on_progress": 1}, UsageError, "on_progress must be a function"),
        ({"retry_failed_runs": 101}, UsageError, "retry_failed_runs"),
        ({"toolset": [1]}, TypeError, "toolset must be a Toolset"),
        ({"ledger": 7}, TypeError, "a ledger's path must be"),
        ({"ledger": b"x"}, TypeError, "a ledger's path must be"),
    ],
)
async def test_wrong_values(options: dict[str, Any], error: type[Exception], message: str) -> None:
    """They are refused at once."""
    client = AsyncClient(api_key="x", base_url="http://nowhere.invalid/v1")
    with pytest.raises(error, match=message):
        client.run_many(**({"jobs": []} | options))


async def test_other_ways_to_read() -> None:
    """They are told how it is done, and two readers at once are refused."""
    async with place(SLOW) as p:
        results: Any = p.client.run_many([p.job(1, "slow")])
        with pytest.raises(TypeError, match="async for result in"):
            await results
        with pytest.raises(TypeError, match="async for result in"):
            iter(results)
        with pytest.raises(TypeError, match="async for result in"):
            with results:
                pass
        async with anyio.create_task_group() as group:
            group.start_soon(read, results)
            await until(lambda: p.asked("get_run"))
            with pytest.raises(RuntimeError, match="already being read"):
                await anext(results)
            group.cancel_scope.cancel()


async def test_bad_request_is_named() -> None:
    """What the server refuses is in the result, with the server's own words."""
    async with place() as p:
        p.server.faults.add(Fault.status(400, "no such model", code="x"), on="create_thread_and_run")
        (result,) = (await read(p.client.run_many([p.job(1)]))).values()

        assert isinstance(result.error, BadRequestError)
        assert result.error.code == "x"
        assert result.attempts == 1
