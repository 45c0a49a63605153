"""The server for tests: its record, settings, time and names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import httpx
import pytest

import asyncassist.testing
from asyncassist import AuthenticationError, BadRequestError, UsageError
from asyncassist.server import Rule
from asyncassist.testing import FakeServer, Fault

from .conftest import NOON
from .helpers import place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncassist import AsyncClient

anyio_test = pytest.mark.anyio


# What it was asked


@anyio_test
async def test_requests_are_on_record(server: FakeServer, client: AsyncClient) -> None:
    """Each request is noted with its operation, ids, query, body and the answer's status."""
    here = await place(client, "good morning")
    await client.list_messages(here.thread_id, limit=5, order="asc")
    with pytest.raises(BadRequestError):
        await client.create_run(here.thread_id, assistant_id=here.assistant_id, temperature=9)
    created, listed, refused = server.requests[1:]

    assert [str(request) for request in server.requests] == [
        "POST /assistants (create_assistant): 200",
        "POST /threads (create_thread): 200",
        "GET /threads/thread_1/messages (list_messages): 200",
        "POST /threads/thread_1/runs (create_run): 400",
    ]
    assert created.body == {"messages": [{"role": "user", "content": "good morning"}]}
    assert (created.method, created.path, created.ids, created.query) == ("POST", "/threads", {}, {})
    assert listed.query == {"limit": "5", "order": "asc"}
    assert listed.body is None
    assert refused.ids == {"thread_id": "thread_1"}
    assert refused.headers["openai-beta"] == "assistants=v2"
    assert server.requests_for("create_run") == [refused]
    assert "local" not in repr(refused)


@pytest.mark.parametrize("base", ["/v1", "", "/openai", "/api/projects/mine"])
@anyio_test
async def test_the_prefix_is_no_part_of_the_path(server: FakeServer, base: str) -> None:
    """Whatever base URL a client has, the record says the same; what is no operation is on it too."""
    async with httpx.AsyncClient(transport=server.transport, base_url="http://local" + base) as http:
        await http.post("/threads/thread_1/messages", content=b"{broken")
        await http.get("/nonsense")
    message, nonsense = server.requests

    assert (message.operation, message.path) == ("create_message", "/threads/thread_1/messages")
    assert (message.body, message.content, message.status) == (None, b"{broken", 400)
    assert str(nonsense) == "GET /nonsense (no operation): 404"


@anyio_test
async def test_a_body_in_pieces_and_one_too_large(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app reads the body that was read for the record, also one of which it wants to see no more."""

    async def pieces(*texts: bytes) -> AsyncIterator[bytes]:
        for text in texts:
            yield text

    monkeypatch.setattr("asyncassist.testing.exchange.MAX_BODY", 10)
    async with httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http:
        small = await http.post("/threads", content=pieces(b"{", b"}"))
        large = await http.post("/threads", content=pieces(b'{"metadata"', b': {"a": "b"}', b"}"))

    assert (small.status_code, server.requests[0].body) == (200, {})
    assert (large.status_code, large.json()["metadata"]) == (200, {"a": "b"})
    assert server.requests[1].content == b'{"metadata"'


# Settings


@anyio_test
async def test_ids_can_be_foretold(server: FakeServer, client: AsyncClient) -> None:
    """Objects are numbered by their kinds; random ids are there for those who want them."""
    here = await place(client)
    second = await client.create_thread()
    async with FakeServer(ids="random") as other:
        random = await other.client().create_thread()

    assert (here.assistant_id, here.thread_id, second.id) == ("asst_1", "thread_1", "thread_2")
    assert len(random.id) == len("thread_") + 24
    with pytest.raises(UsageError, match="counted"):
        FakeServer(ids="nice")  # type: ignore[arg-type]


@anyio_test
async def test_time_stands_where_it_was_told_to(server: FakeServer, client: AsyncClient) -> None:
    """Objects bear the time of the clock."""
    first = await client.create_thread()
    await server.clock.advance(60)
    second = await client.create_thread()

    assert (first.created_at, second.created_at) == (NOON, NOON + 60)


@anyio_test
async def test_keys_and_strictness_are_those_of_the_server() -> None:
    """With keys the client has the first one; strict, the beta header is needed."""
    async with FakeServer(api_keys=["k1", "k2"], strict=True) as server:
        await server.client().create_thread()
        await server.client(api_key="k2").create_thread()
        with pytest.raises(AuthenticationError):
            await server.client(api_key="k3").create_thread()
        with pytest.raises(BadRequestError):
            await server.client(beta=None).create_thread()

    assert [request.status for request in server.requests] == [200, 200, 401, 400]


# Time travel


@anyio_test
async def test_a_backend_that_sleeps_is_woken(server: FakeServer, client: AsyncClient) -> None:
    """Moving the clock lets the rule's delay pass, and no more than that."""
    server.script(Rule(say="At last.", delay=30))
    here = await place(client)
    run = await client.create_run(here.thread_id, assistant_id=here.assistant_id)
    await server.clock.advance(29)
    before = await client.get_run(here.thread_id, run.id)
    await server.clock.advance(1)
    after = await client.get_run(here.thread_id, run.id)

    assert (before.status, after.status) == ("in_progress", "completed")


@pytest.mark.parametrize("now", [NOON, None], ids=["standing", "going"])
@anyio_test
async def test_a_run_expires(now: float | None) -> None:
    """Moving the clock beyond a run's time ends it, and frees its thread."""
    async with FakeServer(Rule("hi", delay=3600), now=now, run_seconds=120) as server:
        client = server.client()
        here = await place(client)
        run = await client.create_run(here.thread_id, assistant_id=here.assistant_id)
        await server.clock.advance(100)
        before = await client.get_run(here.thread_id, run.id)
        await server.clock.advance(30)
        after = await client.get_run(here.thread_id, run.id)
        await client.create_message(here.thread_id, role="user", content="still there?")

    assert (before.status, after.status) == ("in_progress", "expired")


@anyio_test
async def test_a_client_that_pauses_is_woken(server: FakeServer, client: AsyncClient) -> None:
    """A client that waits for a run looks again as soon as the clock is moved, and is not held by one that stands."""
    server.script(Rule(say="Done.", delay=100))
    here = await place(client)
    texts: list[str] = []

    async def wait() -> None:
        run = await client.run_and_wait(here.thread_id, assistant_id=here.assistant_id)
        texts.append(await client.run_text(run))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        while not server.requests_for("get_run"):
            await anyio.sleep(0.001)
        await server.clock.advance(100)

    assert texts == ["Done."]


@anyio_test
async def test_a_client_that_was_told_to_wait_is_woken(server: FakeServer, client: AsyncClient) -> None:
    """Half a minute before the next attempt is over as soon as the clock says so."""
    server.faults.add(Fault.rate_limit(30), on="create_thread")
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.create_thread)
            while not server.requests:
                await anyio.sleep(0.001)
            await server.clock.advance(30)

    assert [request.status for request in server.requests] == [429, 200]


# Its names


def test_public_names_load_when_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package lists its names, loads them late, and says what is missing."""
    assert dir(asyncassist.testing) == asyncassist.testing.__all__ == sorted(asyncassist.testing.__all__)
    for name in asyncassist.testing.__all__:
        assert getattr(asyncassist.testing, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        asyncassist.testing.Nonsense  # noqa: B018


@pytest.mark.parametrize("missing", ["starlette", "something"])
def test_a_missing_extra_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the error says how to get it; another module that is missing stays that."""

    def fail(name: str) -> object:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    monkeypatch.delitem(vars(asyncassist.testing), "FakeServer", raising=False)
    monkeypatch.setattr(asyncassist.testing, "import_module", fail)
    with pytest.raises(ImportError) as error:
        asyncassist.testing.FakeServer  # noqa: B018

    assert ("pip install 'asyncassist[server]'" in str(error.value)) == (missing == "starlette")
