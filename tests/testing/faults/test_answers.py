"""Answers that are changed, and runs that expire."""

from __future__ import annotations

from typing import Any

import anyio
import httpx
import pytest

from asyncassist import AsyncClient, DecodeError, RunExpiredError, StreamError, Toolset, to_dict, tool
from asyncassist.server import FunctionCall, MemoryStore, Rule
from asyncassist.testing import FakeServer, Fault

from ..conftest import NOON
from ..helpers import place

pytestmark = pytest.mark.anyio


# The answer


async def test_an_enum_value_nobody_knows(server: FakeServer, client: AsyncClient) -> None:
    """A field is changed in the answer, not in what the server holds."""
    here = await place(client)
    server.faults.add(Fault.change(status="pondering", nonsense=1), on="get_run")
    run = await client.create_run(here.thread_id, assistant_id=here.assistant_id)
    first = to_dict(await client.get_run(here.thread_id, run.id))
    second = await client.wait_for_run(here.thread_id, run.id)

    assert first["status"] == "pondering"
    assert "nonsense" not in first
    assert second.status == "completed"


async def test_an_answer_that_a_function_changes(server: FakeServer, client: AsyncClient) -> None:
    """A function makes of the JSON what it likes."""
    server.faults.add(Fault.change(lambda page: {**page, "data": []}, has_more=True), on="list_assistants")
    await client.create_assistant(model="m")
    page = await client.list_assistants()

    assert (page.data, page.has_more) == ((), True)


async def test_an_answer_that_is_no_object_any_more(server: FakeServer, client: AsyncClient) -> None:
    """A function may return any JSON."""
    server.faults.add(Fault.change(lambda thread: [thread]), on="create_thread")
    with pytest.raises(DecodeError):
        await client.create_thread()


async def test_events_that_are_changed(server: FakeServer, client: AsyncClient) -> None:
    """In a stream the JSON of every event is changed, and its end stays the end."""

    def shout(data: Any) -> Any:
        for part in data.get("delta", {}).get("content", ()):
            part["text"]["value"] = part["text"]["value"].upper()
        return data

    here = await place(client)
    server.faults.add(Fault.change(shout), on="create_run")
    async with client.stream_run(here.thread_id, assistant_id=here.assistant_id) as stream:
        text = "".join([piece async for piece in stream.text()])

    assert text == "ONE TWO THREE"


async def test_the_end_of_a_changed_stream(server: FakeServer) -> None:
    """What ends a stream is no JSON and stays as it is; fields are set in every event that has them."""
    here = await place(server.client())
    server.faults.add(Fault.change(status="pondering"), on="create_run")
    async with httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http:
        body = {"assistant_id": here.assistant_id, "stream": True}
        response = await http.post(f"/threads/{here.thread_id}/runs", json=body)

    assert response.text.endswith("event: done\ndata: [DONE]\n\n")
    assert '"status":"pondering"' in response.text
    assert '"status":"completed"' not in response.text


async def test_invalid_json(server: FakeServer, client: AsyncClient) -> None:
    """An answer breaks off half-way, though the connection is fine."""
    here = await place(client)
    server.faults.add(Fault.invalid_json(), on="create_run", times=2)
    with pytest.raises(DecodeError):
        await client.create_run(here.thread_id, assistant_id=here.assistant_id)
    await client.wait_for_run(here.thread_id, "run_1")
    with pytest.raises(StreamError, match=r"thread\.run\.created"):
        async with client.stream_run(here.thread_id, assistant_id=here.assistant_id) as stream:
            await stream.until_done()


async def test_an_answer_in_pieces_is_changed_as_a_whole(server: FakeServer) -> None:
    """The JSON of an answer is looked at when all of it is there."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"7")]})
        await send({"type": "http.response.body", "body": b'{"a"', "more_body": True})
        await send({"type": "http.response.body", "body": b":1}"})

    server.app.middleware_stack._app = app  # type: ignore[union-attr]
    server.faults.add(Fault.change(a="changed"))
    async with httpx.AsyncClient(transport=server.transport, base_url="http://local") as http:
        response = await http.get("/")

    assert response.json() == {"a": "changed"}
    assert response.headers["content-length"] == str(len(response.content))


# The run


async def test_a_run_that_expires(server: FakeServer, client: AsyncClient) -> None:
    """The run is created, and its time is up; the next one is answered."""
    here = await place(client)
    server.faults.add(Fault.expire(), on="create_run")
    run = await client.run_and_wait(here.thread_id, assistant_id=here.assistant_id)
    again = await client.run_and_wait(here.thread_id, assistant_id=here.assistant_id)

    with pytest.raises(RunExpiredError):
        run.raise_for_status()
    assert server.clock() == NOON + 600
    assert again.status == "completed"


async def test_only_the_run_that_was_meant_expires() -> None:
    """Also where the app is called in the very task of its client, the next run is answered."""
    server = FakeServer("one two three", now=NOON)
    async with server.app.router.lifespan_context(server.app):
        transport = httpx.ASGITransport(server.app)
        async with AsyncClient(base_url="http://local/v1", api_key="any", transport=transport) as client:
            here = await place(client)
            server.faults.add(Fault.expire(), on="create_run")
            for status in ("expired", "completed"):
                run = await client.create_run(here.thread_id, assistant_id=here.assistant_id)
                run = await client.wait_for_run(here.thread_id, run.id)
                assert run.status == status


async def test_a_run_that_expires_after_its_tools(server: FakeServer, client: AsyncClient) -> None:
    """A run can expire when its outputs have been submitted, in a stream too."""

    @tool
    def nothing() -> None:
        """Do nothing."""

    server.script(Rule(calls=[FunctionCall("nothing")]))
    server.faults.add(Fault.expire(), on="submit_tool_outputs_to_run")
    here = await place(client)
    async with client.stream_run(here.thread_id, assistant_id=here.assistant_id, toolset=Toolset([nothing])) as stream:
        run = await stream.until_done()

    assert run.status == "expired"


class SlowStore(MemoryStore):
    """A store that takes its time to change anything."""

    async def update(self, *arguments: Any, **options: Any) -> Any:
        await anyio.sleep(0.02)
        return await super().update(*arguments, **options)


async def test_a_run_that_expires_in_a_store_that_is_slow() -> None:
    """The backend goes on waiting until the run has been given up."""
    async with FakeServer(now=NOON, store=SlowStore()) as server:
        client = server.client()
        here = await place(client)
        server.faults.add(Fault.expire(), on="create_run")
        run = await client.run_and_wait(here.thread_id, assistant_id=here.assistant_id)

    assert run.status == "expired"
