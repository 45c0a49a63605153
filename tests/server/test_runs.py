"""Runs that are driven: how they begin, wait, end, and are ended."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest

from asyncassist.models import (
    Assistant,
    Run,
    RunCompletionUsage,
    RunStep,
    RunStepDetailsToolCalls,
    RunStepDetailsToolCallsFunction,
    RunStepFunction,
    RunToolCall,
    Thread,
)
from asyncassist.server import BackendError, LocalServer, MemoryStore, OfflineBackend, Reply, Turn, states
from asyncassist.server.engine import Engine

from .helpers import NOON, Api, Clock, Json, SteeredBackend, counted_ids, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


def path_of(run: Json) -> str:
    return f"/threads/{run['thread_id']}/runs/{run['id']}"


async def test_a_run_goes_through_its_states(steered: Api, backend: SteeredBackend, clock: Clock) -> None:
    """A run is queued when it is made, in progress while its backend works, and completed with the answer."""
    run = await steered.run()
    await clock.advance(3)
    working = await steered.get(path_of(run))
    backend.may_answer.set()
    await clock.advance(4)
    done = await steered.get(path_of(run))

    assert [run["status"], working["status"], done["status"]] == ["queued", "in_progress", "completed"]
    assert (done["started_at"], done["completed_at"] + 4) == (NOON, NOON + 7)


async def test_a_thread_is_locked_by_its_active_run(steered: Api, backend: SteeredBackend) -> None:
    """While a run is active its thread refuses runs and messages in the API's words, and afterwards it does not."""
    run = await steered.run()
    thread_id = run["thread_id"]
    body = {"assistant_id": run["assistant_id"]}
    message = {"role": "user", "content": "hi"}

    second = await steered.refused("POST", f"/threads/{thread_id}/runs", json=body)
    more = {**body, "additional_messages": [message]}
    third = await steered.refused("POST", f"/threads/{thread_id}/runs", json=more)
    added = await steered.refused("POST", f"/threads/{thread_id}/messages", json=message)

    assert f"Thread {thread_id} already has an active run {run['id']}." == second["message"] == third["message"]
    assert f"Can't add messages to {thread_id} while a run {run['id']} is active." == added["message"]
    backend.may_answer.set()
    await steered.until(run, "completed")
    await steered.post(f"/threads/{thread_id}/messages", message)
    await steered.post(f"/threads/{thread_id}/runs", body)


async def test_a_cancelled_run_is_cancelling_first(steered: Api, backend: SteeredBackend, clock: Clock) -> None:
    """Cancelling stops the backend; the run is cancelled when it has, without a message."""
    run = await steered.run()
    await steered.until(run, "in_progress")

    cancelling = await steered.post(path_of(run) + "/cancel")
    await clock.advance(1)
    cancelled = await steered.get(path_of(run))

    assert (cancelling["status"], cancelled["status"]) == ("cancelling", "cancelled")
    assert (cancelled["cancelled_at"], cancelled["expires_at"]) == (NOON, None)
    assert backend.cancelled == 1
    assert len((await steered.get(f"/threads/{run['thread_id']}/messages"))["data"]) == 1
    await steered.post(f"/threads/{run['thread_id']}/messages", role="user", content="free again")


async def test_a_run_can_be_cancelled_before_it_starts(backend: SteeredBackend, clock: Clock) -> None:
    """A run that is cancelled in the queue never reaches its backend."""
    store = MemoryStore()
    engine = Engine(store, backend, clock=clock, sleep=clock.sleep, new_id=counted_ids())
    async with anyio.create_task_group() as task_group:
        await engine.open(task_group)
        await engine.submit(Run(id="run_1", thread_id="thread_1", status="queued"), Thread(id="thread_1"))
        await engine.cancel("run_1")
        await settle()
        task_group.cancel_scope.cancel()

    run = await store.get(Run, "run_1")
    assert run is not None
    assert (run.status, backend.turns) == ("cancelled", [])


@pytest.mark.parametrize("status", ["completed", "cancelled"])
async def test_an_ended_run_cannot_be_cancelled(steered: Api, backend: SteeredBackend, status: str) -> None:
    """Cancelling a run that has ended is a 400 that names its status."""
    run = await steered.run()
    if status == "completed":
        backend.may_answer.set()
    else:
        await steered.post(path_of(run) + "/cancel")
    await steered.until(run, status)

    error = await steered.refused("POST", path_of(run) + "/cancel")

    assert f"Cannot cancel run with status '{status}'." == error["message"]


async def test_a_run_expires(steered: Api, backend: SteeredBackend, clock: Clock) -> None:
    """A run whose time is up is expired, its backend is stopped, and its thread is free."""
    run = await steered.run()
    await steered.until(run, "in_progress")

    await clock.advance(599)
    before = await steered.get(path_of(run))
    await clock.advance(1)
    after = await steered.get(path_of(run))

    assert (before["status"], after["status"], after["expires_at"]) == ("in_progress", "expired", NOON + 600)
    assert backend.cancelled == 1
    await steered.run(run["thread_id"])


async def test_runs_expire_one_after_the_other(steered: Api, backend: SteeredBackend, clock: Clock) -> None:
    """Each run has its own time, also those made while another's is running out."""
    first = await steered.run()
    await clock.advance(100)
    second = await steered.run()
    ended = await steered.run()
    await steered.post(path_of(ended) + "/cancel")

    await clock.advance(500)
    statuses = [(await steered.get(path_of(run)))["status"] for run in (first, second, ended)]
    await clock.advance(100)
    third = await steered.run()

    assert statuses == ["expired", "in_progress", "cancelled"]
    assert (await steered.get(path_of(second)))["status"] == "expired"
    await clock.advance(600)
    assert (await steered.get(path_of(third)))["status"] == "expired"


async def test_a_backend_may_say_why_it_cannot_answer(steered: Api, backend: SteeredBackend) -> None:
    """A BackendError fails the run with its own code and message."""
    backend.error = BackendError("slow down", code="rate_limit_exceeded")
    backend.may_answer.set()

    run = await steered.until(await steered.run(), "failed")

    assert run["last_error"] == {"code": "rate_limit_exceeded", "message": "slow down"}
    assert (run["failed_at"], run["expires_at"]) == (NOON, None)


async def test_a_broken_backend_fails_its_run_only(
    steered: Api, backend: SteeredBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """Any other exception fails the run without telling its users what it says; the log does."""
    backend.error = ValueError("internal")
    backend.may_answer.set()

    run = await steered.until(await steered.run(), "failed")

    assert run["last_error"] == {"code": "server_error", "message": "The backend failed. The server's log says how."}
    assert "ValueError: internal" in caplog.text
    backend.error = None
    await steered.until(await steered.run(), "completed")


@pytest.mark.parametrize("answer", [None, "text", 3])
async def test_a_backend_must_answer_with_a_reply(
    steered: Api, backend: SteeredBackend, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A backend that returns anything else fails its run at once, and the log says what it returned."""
    backend.reply = answer
    backend.may_answer.set()

    run = await steered.until(await steered.run(), "failed")

    assert run["last_error"]["code"] == "server_error"
    assert f"a backend must answer with a Reply, not {type(answer).__name__}" in caplog.text


async def test_an_answer_can_be_cut_short(steered: Api, backend: SteeredBackend) -> None:
    """A reply that ran into a limit leaves an incomplete run with an incomplete message."""
    usage = RunCompletionUsage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
    backend.reply = Reply("half an ans", usage, stopped_by="max_completion_tokens")
    backend.may_answer.set()

    run = await steered.until(await steered.run(), "incomplete")
    message = (await steered.get(f"/threads/{run['thread_id']}/messages"))["data"][0]

    assert run["incomplete_details"] == {"reason": "max_completion_tokens"}
    assert run["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    expected = ("incomplete", {"reason": "max_tokens"}, NOON, None)
    names = ("status", "incomplete_details", "incomplete_at", "completed_at")
    assert expected == tuple(message[name] for name in names)


async def test_a_reply_without_usage_counts_nothing(steered: Api, backend: SteeredBackend) -> None:
    """A backend that does not count leaves zeros, as the API has no null there."""
    backend.may_answer.set()

    run = await steered.until(await steered.run(), "completed")

    assert run["usage"] == {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


async def test_a_backend_that_ignores_being_cancelled(clock: Clock) -> None:
    """An answer that comes after the run was cancelled is dropped."""

    class Stubborn:
        async def answer(self, turn: Turn) -> Reply:
            with anyio.CancelScope(shield=True):
                await clock.sleep(5)
            return Reply("too late")

    async with (
        LocalServer(Stubborn(), clock=clock, sleep=clock.sleep) as server,
        httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http,
    ):
        api = Api(http)
        run = await api.until(await api.run(), "in_progress")
        await api.post(path_of(run) + "/cancel")
        await clock.advance(4)
        waiting = await api.get(path_of(run))
        await clock.advance(1)
        ended = await api.get(path_of(run))
        messages = await api.get(f"/threads/{run['thread_id']}/messages")

    assert (waiting["status"], ended["status"]) == ("cancelling", "cancelled")
    assert len(messages["data"]) == 1


async def test_deleting_a_thread_stops_its_run(steered: Api, backend: SteeredBackend, clock: Clock) -> None:
    """The backend of an active run is stopped when its thread goes; nothing expires later."""
    run = await steered.run()
    await steered.until(run, "in_progress")

    await steered.delete(f"/threads/{run['thread_id']}")
    await clock.advance(1000)

    assert backend.cancelled == 1


async def test_a_deleted_thread_has_nothing_to_start(steered: Api, backend: SteeredBackend) -> None:
    """A run whose thread is deleted before it starts never reaches its backend."""
    run = await steered.run()
    # The run's task and this request start at the same time; the request is the first to look.
    await steered.delete(f"/threads/{run['thread_id']}")
    await settle()

    assert len(backend.turns) == backend.cancelled


async def test_the_offline_backend_can_take_its_time(clock: Clock) -> None:
    """A delay keeps the run in progress for so long."""
    backend = OfflineBackend(delay=2, sleep=clock.sleep)
    async with (
        LocalServer(backend, clock=clock, sleep=clock.sleep) as server,
        httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http,
    ):
        api = Api(http)
        run = await api.run()
        await clock.advance(1)
        working = await api.get(path_of(run))
        await clock.advance(1)
        done = await api.get(path_of(run))

    assert (working["status"], done["status"]) == ("in_progress", "completed")


@pytest.mark.parametrize(
    ("strategy", "last", "expected"),
    [
        ({"type": "auto"}, None, range(1, 251)),
        ({"type": "auto"}, 2, range(249, 251)),
        ({"type": "auto"}, 120, range(131, 251)),
        ({"type": "last_messages", "last_messages": 3}, None, range(248, 251)),
        ({"type": "last_messages", "last_messages": 3}, 2, range(249, 251)),
        ({"type": "last_messages", "last_messages": 3}, 5, range(248, 251)),
    ],
)
async def test_a_backend_sees_the_thread(
    steered: Api, backend: SteeredBackend, strategy: Json, last: int | None, expected: range
) -> None:
    """A turn gives the newest messages, oldest first, as far as asked for and as the truncation strategy allows."""
    thread_id = await steered.thread(*map(str, range(1, 251)))
    await steered.run(thread_id, truncation_strategy=strategy)
    await settle()

    messages = await backend.turns[0].messages(last)

    assert [str(number) for number in expected] == [message.text for message in messages]


async def test_a_turn_of_a_run_without_strategy() -> None:
    """A run that has no truncation strategy lets the whole thread be seen."""
    asked: list[int | None] = []

    async def history(last: int | None) -> list[Any]:
        asked.append(last)
        return []

    turn = Turn(Run(id="run_1", thread_id="thread_1", status="queued"), history)

    assert await turn.messages() == []
    assert asked == [None]


# Tool outputs, for a run the tests put into that state while its backend is still at work.


class Waiting:
    """A server with a run that waits for the outputs of some calls."""

    def __init__(self, api: Api, store: MemoryStore, run: Json) -> None:
        self.api = api
        self.store = store
        self.run = run
        self.path = path_of(run) + "/submit_tool_outputs"

    async def ask_for(self, *ids: str) -> None:
        calls = [RunToolCall(id=id) for id in ids]
        details = RunStepDetailsToolCalls(
            tool_calls=tuple(RunStepDetailsToolCallsFunction(id=id, function=RunStepFunction(name="f")) for id in ids)
        )
        step = RunStep(
            id="step_tools",
            created_at=self.run["created_at"],
            assistant_id=self.run["assistant_id"],
            thread_id=self.run["thread_id"],
            run_id=self.run["id"],
            type="tool_calls",
            status="in_progress",
            step_details=details,
        )
        require = partial(states.require_outputs, calls=calls)
        await self.store.update(Run, self.run["id"], require, add=[step])


@pytest.fixture
async def waiting(clock: Clock, backend: SteeredBackend) -> AsyncIterator[Waiting]:
    store = MemoryStore()
    async with (
        LocalServer(backend, store, clock=clock, sleep=clock.sleep, new_id=counted_ids()) as server,
        httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http,
    ):
        api = Api(http)
        run = await api.until(await api.run(), "in_progress")
        yield Waiting(api, store, run)


async def test_submitted_outputs_let_a_run_go_on(waiting: Waiting, backend: SteeredBackend) -> None:
    """With all outputs the run is queued again, its step has them, and it is driven to its end."""
    await waiting.ask_for("call_1", "call_2")
    asking = await waiting.api.get(path_of(waiting.run))
    outputs = [{"tool_call_id": "call_2", "output": "two"}, {"tool_call_id": "call_1"}]

    queued = await waiting.api.post(waiting.path, tool_outputs=outputs)
    await waiting.api.until(queued, "in_progress")
    backend.may_answer.set()
    done = await waiting.api.until(queued, "completed")

    calls = asking["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert (asking["status"], [call["id"] for call in calls]) == ("requires_action", ["call_1", "call_2"])
    assert (queued["status"], queued["required_action"], done["status"]) == ("queued", None, "completed")
    step = await waiting.api.get(path_of(waiting.run) + "/steps/step_tools")
    assert step["status"] == "completed"
    assert [call["function"]["output"] for call in step["step_details"]["tool_calls"]] == ["", "two"]


async def test_one_output_needs_no_id(waiting: Waiting) -> None:
    """Where exactly one call waits, an output without an id is its."""
    await waiting.ask_for("call_1")

    await waiting.api.post(waiting.path, tool_outputs=[{"output": "one"}])

    step = await waiting.api.get(path_of(waiting.run) + "/steps/step_tools")
    assert step["step_details"]["tool_calls"][0]["function"]["output"] == "one"


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ([], "Expected tool outputs for call_ids ['call_1', 'call_2'], got []"),
        (
            [{"tool_call_id": "call_1", "output": ""}],
            "Expected tool outputs for call_ids ['call_1', 'call_2'], got ['call_1']",
        ),
        (
            [{"tool_call_id": id, "output": ""} for id in ("call_1", "call_2", "call_3")],
            "Expected tool outputs for call_ids ['call_1', 'call_2'], got ['call_1', 'call_2', 'call_3']",
        ),
        ([{"output": ""}], "Missing required parameter: 'tool_outputs[0].tool_call_id'."),
    ],
)
async def test_outputs_must_fit_the_calls(waiting: Waiting, outputs: list[Json], message: str) -> None:
    """Missing, unknown and unnamed outputs are a 400, and the run goes on waiting."""
    await waiting.ask_for("call_1", "call_2")

    error = await waiting.api.refused("POST", waiting.path, json={"tool_outputs": outputs})

    assert message == error["message"]
    assert (await waiting.api.get(path_of(waiting.run)))["status"] == "requires_action"


async def test_a_run_that_asks_for_nothing_takes_no_outputs(waiting: Waiting) -> None:
    """Outputs for a run in any other state are a 400 that names it."""
    error = await waiting.api.refused("POST", waiting.path, json={"tool_outputs": []})

    assert error["message"] == 'Runs in status "in_progress" do not accept tool outputs.'


async def test_a_waiting_run_can_be_cancelled(waiting: Waiting, backend: SteeredBackend) -> None:
    """A run nobody drives at the moment is cancelled all the same."""
    backend.may_answer.set()
    await waiting.ask_for("call_1")
    await settle()

    cancelling = await waiting.api.post(path_of(waiting.run) + "/cancel")
    await waiting.api.until(cancelling, "cancelled")

    assert (cancelling["status"], cancelling["required_action"]) == ("cancelling", None)


async def test_a_waiting_run_goes_with_its_thread(waiting: Waiting, backend: SteeredBackend, clock: Clock) -> None:
    """A thread can be deleted while its run waits; nothing is left to expire."""
    backend.may_answer.set()
    await waiting.ask_for("call_1")
    await settle()

    await waiting.api.delete(f"/threads/{waiting.run['thread_id']}")
    await clock.advance(600)

    assert await waiting.store.active_runs() == []


async def test_a_waiting_run_expires(waiting: Waiting, clock: Clock) -> None:
    """Outputs that do not come in time end the run, and are refused afterwards."""
    await waiting.ask_for("call_1")

    await clock.advance(600)
    error = await waiting.api.refused("POST", waiting.path, json={"tool_outputs": [{"output": ""}]})

    assert error["message"] == 'Runs in status "expired" do not accept tool outputs.'


async def test_a_run_that_goes_on_early_has_two_tasks(waiting: Waiting, backend: SteeredBackend) -> None:
    """Outputs that come before the task that asked for them has ended start another; the run ends once."""
    await waiting.ask_for("call_1")
    await waiting.api.post(waiting.path, tool_outputs=[{"output": "one"}])
    await waiting.api.until(waiting.run, "in_progress")

    backend.error = BackendError("over")
    backend.may_answer.set()
    await settle()

    assert (await waiting.api.get(path_of(waiting.run)))["status"] == "failed"
    assert len(backend.turns) == 2


async def test_a_run_that_is_not_there(backend: SteeredBackend, clock: Clock) -> None:
    """A run that is gone by the time the engine looks is None, and nothing is driven."""
    engine = Engine(MemoryStore(), backend, clock=clock, sleep=clock.sleep, new_id=counted_ids())
    async with anyio.create_task_group() as task_group:
        await engine.open(task_group)
        assert await engine.cancel("run_1") is None
        assert await engine.accept_outputs("run_1", lambda run: {}) is None
        await settle()
        task_group.cancel_scope.cancel()

    assert backend.turns == []


async def test_a_thread_deleted_while_its_run_is_made(clock: Clock, backend: SteeredBackend) -> None:
    """A run whose thread goes between two looks at the store is refused as if it had never been there."""

    class Slow(MemoryStore):
        async def get(self, kind: Any, id: str) -> Any:
            if kind is Assistant:
                await self.delete(Thread, "thread_1")
            return await super().get(kind, id)

    async with (
        LocalServer(backend, Slow(), clock=clock, sleep=clock.sleep, new_id=counted_ids()) as server,
        httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http,
    ):
        api = Api(http)
        body = {"assistant_id": await api.assistant()}
        error = await api.refused("POST", f"/threads/{await api.thread()}/runs", 404, json=body)

    assert error["message"] == "No thread found with id 'thread_1'."


# A store that outlives its server.


async def test_a_new_server_goes_on_with_the_runs_of_an_old_one(clock: Clock) -> None:
    """Runs in every active state are taken up again: driven, confirmed, or waited for."""
    store = MemoryStore()
    old_backend = SteeredBackend()
    async with (
        LocalServer(old_backend, store, clock=clock, sleep=clock.sleep) as server,
        httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http,
    ):
        api = Api(http)
        runs = [await api.run() for _ in range(4)]
        for run in runs:
            await api.until(run, "in_progress")
    _, queued, asking, cancelling = runs
    await store.update(Run, queued["id"], states.requeue)
    await store.update(Run, asking["id"], partial(states.require_outputs, calls=[RunToolCall(id="call_1")]))
    await store.update(Run, cancelling["id"], states.cancel)

    async with (
        LocalServer(OfflineBackend(), store, clock=clock, sleep=clock.sleep) as server,
        httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http,
    ):
        api = Api(http)
        await clock.advance(1)
        seen = [(await api.get(path_of(run)))["status"] for run in runs]
        await clock.advance(600)
        expired = await api.get(path_of(asking))

    assert seen == ["completed", "completed", "requires_action", "cancelled"]
    assert expired["status"] == "expired"


class Unreliable(MemoryStore):
    """A store that fails at the updates it is told to."""

    broken = False

    async def update(self, *args: Any, **options: Any) -> Any:
        if self.broken:
            raise OSError("disk full")
        return await super().update(*args, **options)


async def test_a_failing_store_ends_no_server(
    clock: Clock, backend: SteeredBackend, caplog: pytest.LogCaptureFixture
) -> None:
    """When the store fails under a run this is logged, and the server goes on."""
    store = Unreliable()
    async with (
        LocalServer(backend, store, clock=clock, sleep=clock.sleep) as server,
        httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http,
    ):
        api = Api(http)
        run = await api.until(await api.run(), "in_progress")
        waiting = await api.until(await api.run(), "in_progress")
        store.broken = True
        backend.may_answer.set()
        await clock.advance(600)
        store.broken = False
        await api.run()

    assert f"run {run['id']} could not be driven" in caplog.text
    assert f"run {waiting['id']} could not be ended at its expiry" in caplog.text


async def test_clients_are_told_to_poll_more_slowly_when_there_is_much_to_poll(
    steered: Api, backend: SteeredBackend
) -> None:
    """Every active run adds a millisecond to the pause between two looks at one."""
    runs = [await steered.run() for _ in range(10)]

    response = await steered.http.get(path_of(runs[0]))

    assert response.headers["openai-poll-after-ms"] == "60"
