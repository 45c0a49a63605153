"""Other people's clients at the server for tests: the openai SDK, plain httpx, and respx in front of either."""

# The SDK marks all of this API as deprecated.
# pyright: reportDeprecated=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import httpx
import openai
import pytest
import respx

from asyncassist import AsyncClient, ServiceRetiredError, UsageError
from asyncassist.server import Reply
from asyncassist.testing import FakeServer, Fault

from .helpers import place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncassist.server import Turn

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")]

on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])


@pytest.fixture
async def sdk(server: FakeServer) -> AsyncIterator[openai.AsyncOpenAI]:
    """The SDK with its own connections, on a port."""
    async with server.on_port() as url, openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as sdk:
        yield sdk


@on_asyncio
async def test_the_sdk_meets_a_rate_limit(server: FakeServer, sdk: openai.AsyncOpenAI) -> None:
    """The SDK raises its own error, with the headers; allowed to, it waits as long as it was told and comes through."""
    server.faults.add(Fault.rate_limit(0.01), on="create_thread", times=2)
    with pytest.raises(openai.RateLimitError) as raised:
        await sdk.beta.threads.create()
    thread = await sdk.with_options(max_retries=1).beta.threads.create()

    assert raised.value.code == "rate_limit_exceeded"
    assert raised.value.response.headers["retry-after-ms"] == "10"
    assert thread.id == "thread_1"


@on_asyncio
async def test_the_sdk_meets_an_error_of_the_server(server: FakeServer, sdk: openai.AsyncOpenAI) -> None:
    """The SDK raises its own error for a 500."""
    server.faults.add(Fault.status(500, "Oh no."))
    with pytest.raises(openai.InternalServerError, match="Oh no"):
        await sdk.beta.threads.create()


@on_asyncio
@pytest.mark.parametrize("after_acting", [False, True])
async def test_the_sdk_meets_a_dropped_connection(
    server: FakeServer, sdk: openai.AsyncOpenAI, after_acting: bool
) -> None:
    """The SDK finds the connection closed where an answer was due."""
    server.faults.add(Fault.drop(after_acting=after_acting))
    with pytest.raises(openai.APIConnectionError) as raised:
        await sdk.beta.threads.create()
    thread = await sdk.beta.threads.create()

    assert "without sending a response" in str(raised.value.__cause__)
    assert thread.id == ("thread_2" if after_acting else "thread_1")


@on_asyncio
async def test_the_sdk_meets_a_cut_stream(server: FakeServer, sdk: openai.AsyncOpenAI) -> None:
    """The SDK reads as many events as came, and then that the answer is incomplete."""
    here = await place(server.client())
    server.faults.add(Fault.cut(3), on="create_run")
    names: list[str] = []
    with pytest.raises(Exception, match="without sending complete message body"):
        async with sdk.beta.threads.runs.stream(thread_id=here.thread_id, assistant_id=here.assistant_id) as stream:
            async for event in stream:
                names.append(event.event)

    assert names == ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]


@on_asyncio
async def test_a_planned_drop_is_no_error_of_the_server(
    server: FakeServer, sdk: openai.AsyncOpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is logged as an error for what was planned."""
    here = await place(server.client())
    for fault in (Fault.drop(), Fault.drop(after_acting=True), Fault.cut(2)):
        server.faults.add(fault, on="create_run", times=2)
        with pytest.raises(openai.APIConnectionError):
            await sdk.beta.threads.runs.create(here.thread_id, assistant_id=here.assistant_id)
        thread = await sdk.beta.threads.create()
        with pytest.raises(Exception, match="Connection error|complete message body"):
            async with sdk.beta.threads.create_and_run_stream(assistant_id=here.assistant_id) as stream:
                server.faults.clear()
                server.faults.add(fault)
                await sdk.beta.threads.messages.create(thread.id, role="user", content="hi")
                await stream.until_done()

    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


def test_the_sync_sdk() -> None:
    """A server in a thread is there for programs that are not async, in one `with` block after another."""
    with FakeServer("Hello!") as server:
        for number in (1, 2):
            with server.in_thread() as url, openai.OpenAI(base_url=url, api_key="any", max_retries=0) as sdk:
                assert sdk.beta.threads.create().id == f"thread_{number}"
                server.faults.add(Fault.status(500))
                with pytest.raises(openai.InternalServerError):
                    sdk.beta.threads.create()

    assert [request.status for request in server.requests] == [200, 500, 200, 500]
    assert "stopped" in repr(server)


async def test_a_server_in_use_has_no_thread(server: FakeServer) -> None:
    """A server that runs in an event loop stays there."""
    with pytest.raises(UsageError, match="running already"):
        with server.in_thread():
            pass


async def test_the_sdk_in_process(server: FakeServer) -> None:
    """With a client of httpx the SDK needs no port."""
    http: Any = httpx.AsyncClient(transport=server.transport)
    async with openai.AsyncOpenAI(base_url="http://local/v1", api_key="any", http_client=http) as sdk:
        thread = await sdk.beta.threads.create()

    assert thread.id == server.requests[0].ids.get("thread_id", "thread_1")


class Halting:
    """A backend that says one word, and the next when it is told to."""

    def __init__(self) -> None:
        self.may_go_on = anyio.Event()

    async def answer(self, turn: Turn) -> Reply:
        await turn.emit("one ")
        await self.may_go_on.wait()
        await turn.emit("two")
        return Reply()


@pytest.mark.parametrize("using", ["httpcore", "httpx"])
async def test_our_client_behind_respx(using: str) -> None:
    """Mounted on a route by respx, the server answers our client, and its streams arrive as they are made."""
    backend = Halting()
    async with FakeServer(backend=backend) as server:
        with respx.mock(using=using) as mock, anyio.fail_after(30):
            route = mock.route(host="api.openai.com").mock(side_effect=server.respond)
            async with AsyncClient(base_url="https://api.openai.com/v1", api_key="any") as client:
                here = await place(client)
                pieces: list[str] = []
                async with client.stream_run(here.thread_id, assistant_id=here.assistant_id) as stream:
                    async for piece in stream.text():
                        pieces.append(piece)
                        backend.may_go_on.set()
                server.faults.add(Fault.retired())
                with pytest.raises(ServiceRetiredError):
                    await client.create_thread()

    assert pieces == ["one ", "two"]
    assert route.call_count == len(server.requests) == 4


@on_asyncio  # on trio the SDK's own iterators warn
@pytest.mark.parametrize("using", ["httpcore", "httpx"])
async def test_others_behind_respx(server: FakeServer, using: str) -> None:
    """Plain httpx, and the SDK with a client of httpx, reach the mounted server too."""
    with respx.mock(using=using) as mock:
        mock.route(host="api.openai.com").mock(side_effect=server.respond)
        http: Any = httpx.AsyncClient()
        async with openai.AsyncOpenAI(base_url="https://api.openai.com/v1", api_key="any", http_client=http) as sdk:
            assistant = await sdk.beta.assistants.create(model="m")
            async with sdk.beta.threads.create_and_run_stream(assistant_id=assistant.id) as stream:
                events = [event.event async for event in stream]
        async with httpx.AsyncClient() as plain:
            page = (await plain.get("https://api.openai.com/v1/assistants")).json()

    assert events[-1] == "thread.run.completed"
    assert [item["id"] for item in page["data"]] == [assistant.id]


async def test_a_mock_transport_of_httpx(server: FakeServer) -> None:
    """httpx's own mock takes the server as it does any function."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(server.respond)) as http:
        response = await http.post("https://anywhere/v1/threads", json={})

    assert response.json()["id"] == "thread_1"
