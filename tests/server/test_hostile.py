"""The server under load, under attack, and cancelled at every turn."""

from __future__ import annotations

import gc
import json
import random

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncassist.models import TERMINAL_RUN_STATUSES, Message, Run
from asyncassist.server import LocalServer, MemoryStore, OfflineBackend, PageQuery

from .helpers import Api, Clock, Json, SteeredBackend, counted_ids, settle

pytestmark = pytest.mark.anyio


async def test_a_thousand_runs_at_once() -> None:
    """A thousand threads with a run each are all answered, each with its own question."""
    store = MemoryStore()
    async with (
        LocalServer(store=store) as server,
        httpx.AsyncClient(transport=server.transport, base_url="http://local/v1", timeout=None) as http,
    ):
        api = Api(http)
        assistant_id = await api.assistant()
        runs: list[Json] = []

        async def start(number: int) -> None:
            thread = {"messages": [{"role": "user", "content": f"question {number}"}]}
            runs.append(await api.post("/threads/runs", assistant_id=assistant_id, thread=thread))

        async with anyio.create_task_group() as task_group:
            for number in range(1000):
                task_group.start_soon(start, number)
        while await store.active_runs():
            await settle()
        threads = [await store.page(Message, PageQuery(), within=run["thread_id"]) for run in runs]
        ended = [await store.get(Run, run["id"]) for run in runs]

    assert all(run is not None and run.status == "completed" for run in ended)
    assert all(answer.text.endswith(question.text) for answer, question in [thread.data for thread in threads])
    assert {f"question {number}" for number in range(1000)} == {thread.data[1].text for thread in threads}


@pytest.mark.parametrize("seed", range(3))
async def test_cancelling_anywhere_leaves_the_server_whole(seed: int, clock: Clock) -> None:
    """Requests cancelled at any await leave no half-made state: every run ends, every thread is free."""
    choose = random.Random(seed)
    store = MemoryStore()
    async with (
        LocalServer(OfflineBackend(delay=1, sleep=clock.sleep), store, clock=clock, sleep=clock.sleep) as server,
        httpx.AsyncClient(transport=server.transport, base_url="http://local/v1", timeout=None) as http,
    ):
        api = Api(http)
        assistant_id = await api.assistant()
        thread_ids = [await api.thread() for _ in range(20)]

        async def attempt(path: str, body: Json | None) -> None:
            with anyio.CancelScope() as scope:

                async def strike() -> None:
                    for _ in range(choose.randrange(12)):
                        await checkpoint()
                    scope.cancel()

                async with anyio.create_task_group() as pair:
                    pair.start_soon(strike)
                    await http.post(path, json=body)

        async with anyio.create_task_group() as task_group:
            for _ in range(300):
                base = f"/threads/{choose.choice(thread_ids)}"
                active = await store.active_run(base.removeprefix("/threads/"))
                calls: list[tuple[str, Json | None]] = [
                    (base + "/messages", {"role": "user", "content": "hi"}),
                    (base + "/runs", {"assistant_id": assistant_id}),
                    ("/threads/runs", {"assistant_id": assistant_id}),
                ]
                if active is not None:
                    calls.append((f"{base}/runs/{active.id}/cancel", None))
                task_group.start_soon(attempt, *choose.choice(calls))
        await clock.advance(1)

        assert await store.active_runs() == []
        for thread_id in thread_ids:
            run = await api.run(thread_id, assistant_id=assistant_id)
            await clock.advance(1)
            await api.until(run, "completed")


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13])
async def test_leaving_in_the_middle_of_everything(turns: int, clock: Clock) -> None:
    """Whenever the server is left, nothing hangs, nothing warns, and a new one can go on with the store."""
    store = MemoryStore()
    backend = SteeredBackend()
    failures: list[Exception] = []
    async with anyio.create_task_group() as outside:
        async with LocalServer(backend, store, clock=clock, sleep=clock.sleep) as server:
            http = httpx.AsyncClient(transport=server.transport, base_url="http://local/v1")
            assistant_id = await Api(http).assistant()

            async def ask() -> None:
                try:
                    while True:
                        response = await http.post("/threads/runs", json={"assistant_id": assistant_id})
                        if response.status_code == 503:
                            continue  # it is closing
                        run: Json = response.json()
                        await http.post(f"/threads/{run['thread_id']}/runs/{run['id']}/cancel")
                except httpx.TransportError as error:
                    failures.append(error)

            for _ in range(10):
                outside.start_soon(ask)
            for _ in range(turns):
                await checkpoint()
    gc.collect()

    assert len(failures) == 10
    backend.may_answer.set()
    async with LocalServer(backend, store, clock=clock, sleep=clock.sleep):
        await settle()
        assert await store.active_runs() == []


PATHS = (
    "/assistants",
    "/assistants/asst_1",
    "/threads",
    "/threads/thread_1",
    "/threads/runs",
    "/threads/thread_1/messages",
    "/threads/thread_1/messages/msg_1",
    "/threads/thread_1/runs",
    "/threads/thread_1/runs/run_1",
    "/threads/thread_1/runs/run_1/cancel",
    "/threads/thread_1/runs/run_1/submit_tool_outputs",
    "/threads/thread_1/runs/run_1/steps",
    "/threads/thread_1/runs/run_1/steps/step_1",
)

# fmt: off
NAMES = (
    "additional_messages", "assistant_id", "attachments", "code_interpreter", "content", "description", "detail",
    "file_id", "file_ids", "file_search", "function", "image_file", "image_url", "instructions", "json_schema",
    "last_messages", "max_completion_tokens", "max_num_results", "messages", "metadata", "model", "name",
    "output", "parameters", "parallel_tool_calls", "ranking_options", "reasoning_effort", "response_format",
    "role", "schema", "score_threshold", "stream", "strict", "temperature", "text", "thread", "tool_call_id",
    "tool_choice", "tool_outputs", "tool_resources", "tools", "top_p", "truncation_strategy", "type", "url",
    "vector_store_ids",
)
# fmt: on

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([10**30, 10**400, -1, "auto", "asst_1", "function", "file_search", "user", "text", "image_url"])
    | st.sampled_from(["json_schema", "last_messages", "\ud800", "\x00", "x" * 600]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=20,
)

LIKELY = st.fixed_dictionaries(
    {},
    optional={
        "assistant_id": st.just("asst_1"),
        "model": st.just("m"),
        "role": st.just("user"),
        "content": VALUES,
        "tools": VALUES,
        "tool_outputs": VALUES,
        "thread": VALUES,
        "messages": VALUES,
        "metadata": VALUES,
        "response_format": VALUES,
        "tool_choice": VALUES,
        "truncation_strategy": VALUES,
    },
)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    calls=st.lists(
        st.tuples(st.sampled_from(["POST", "GET", "DELETE", "PUT"]), st.sampled_from(PATHS), VALUES | LIKELY),
        min_size=1,
        max_size=8,
    )
)
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("strict", [False, True])
async def test_no_json_makes_the_server_fail(strict: bool, calls: list[tuple[str, str, object]]) -> None:
    """Whatever is sent in whatever order, each answer is JSON with a 2xx or a 4xx, and what is stored can be read."""
    headers = {"OpenAI-Beta": "assistants=v2"}
    async with (
        LocalServer(new_id=counted_ids(), strict=strict) as server,
        httpx.AsyncClient(transport=server.transport, base_url="http://local/v1", headers=headers) as http,
    ):
        await http.post("/assistants", json={"model": "m"})
        await http.post("/threads", json={"messages": [{"role": "user", "content": "hi"}]})
        for method, path, body in calls:
            response = await http.request(method, path, content=json.dumps(body).encode())
            assert response.status_code < 500, (method, path, body, response.text)
            answer = response.json()
            assert ("error" in answer) == (response.status_code >= 400)
        for path in ("/assistants", "/threads", "/threads/thread_1/messages", "/threads/thread_1/runs"):
            response = await http.get(path)
            assert response.status_code in (200, 404)
            response.json()


@pytest.mark.parametrize("path", ["/%00", "/assistants/%00", "/assistants/%2e%2e", "/assistants/a%2Fb", "/threads/é"])
async def test_strange_paths_are_not_found(server: LocalServer, path: str) -> None:
    """Ids no object has are a 404, whatever is in them."""
    async with httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http:
        response = await http.get(path)

    assert response.status_code == 404
    assert "error" in response.json()


async def test_what_every_run_ends_in(clock: Clock) -> None:
    """Cancelled, answered and expired at the same moment, a run has one end."""
    store = MemoryStore()
    backend = SteeredBackend()
    async with (
        LocalServer(backend, store, clock=clock, sleep=clock.sleep, new_id=counted_ids()) as server,
        httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http,
    ):
        api = Api(http)
        runs = [await api.run() for _ in range(30)]
        await settle()
        async with anyio.create_task_group() as task_group:
            for run in runs[::2]:
                path = f"/threads/{run['thread_id']}/runs/{run['id']}/cancel"
                task_group.start_soon(http.post, path)
            task_group.start_soon(clock.advance, 600)
            backend.may_answer.set()
        await settle()
        ended = [await store.get(Run, run["id"]) for run in runs]

    assert all(run is not None and run.status in TERMINAL_RUN_STATUSES for run in ended)
