"""Real clients against the server: every operation by ours and by the SDK people have."""

# The SDK marks all of this API as deprecated.
# pyright: reportDeprecated=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest

from asyncassist import ActiveRunError, AsyncClient, NotFoundError, PollPolicy
from asyncassist.server import FunctionCall, LocalServer, OfflineBackend, Rule

from .helpers import Clock, SteeredBackend, counted_ids

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncassist import Run

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")]

QUICK = PollPolicy.every(0.01)


@pytest.fixture
async def client(server: LocalServer) -> AsyncIterator[AsyncClient]:
    async with server.client() as client:
        yield client


async def test_every_operation_by_our_client(client: AsyncClient) -> None:
    """All operations do what they are for, through the client of this library."""
    assistant = await client.create_assistant(model="m", tools=[{"type": "code_interpreter"}])
    assert assistant == await client.get_assistant(assistant.id)
    assert (await client.modify_assistant(assistant.id, name="n")).name == "n"
    assert [assistant.id] == [item.id for item in await client.list_assistants().collect()]

    thread = await client.create_thread(messages=[{"role": "user", "content": "one"}])
    assert thread == await client.get_thread(thread.id)
    assert (await client.modify_thread(thread.id, metadata={"a": "b"})).metadata == {"a": "b"}

    message = await client.create_message(thread.id, role="user", content="two")
    assert message == await client.get_message(thread.id, message.id)
    assert (await client.modify_message(thread.id, message.id, metadata={"a": "b"})).metadata == {"a": "b"}
    texts = [item.text async for item in client.list_messages(thread.id, limit=1, order="asc")]
    assert texts == ["one", "two"]

    run = await client.create_run(thread.id, assistant_id=assistant.id)
    run = await client.wait_for_run(thread.id, run.id, poll=QUICK)
    assert run.raise_for_status().status == "completed"
    assert run == await client.get_run(thread.id, run.id)
    assert (await client.modify_run(thread.id, run.id, metadata={"a": "b"})).metadata == {"a": "b"}
    assert [run.id] == [item.id for item in await client.list_runs(thread.id).collect()]
    assert await client.run_text(run) == "This is the offline backend: no model was asked. The last message was: two"

    (step,) = await client.list_run_steps(thread.id, run.id).collect()
    assert step == await client.get_run_step(thread.id, run.id, step.id)

    assert (await client.delete_message(thread.id, message.id)).deleted
    second = await client.create_thread_and_run(assistant_id=assistant.id, thread={"messages": []})
    await client.wait_for_run(second.thread_id, second.id, poll=QUICK)
    assert (await client.delete_thread(thread.id)).deleted
    assert (await client.delete_assistant(assistant.id)).deleted
    with pytest.raises(NotFoundError, match="No assistant found with id"):
        await client.get_assistant(assistant.id)


async def test_our_client_sees_every_status() -> None:
    """Waiting for a run with a backend that takes its time reports each state it goes through."""
    seen: list[str] = []

    def note(run: Run) -> None:
        seen.append(run.status)

    async with LocalServer(OfflineBackend(delay=0.3)) as server, server.client() as client:
        assistant = await client.create_assistant(model="m")
        thread = await client.create_thread()
        run = await client.run_and_wait(thread.id, assistant_id=assistant.id, on_status=note, poll=QUICK)

    assert seen == ["queued", "in_progress", "completed"]
    assert run.status == "completed"


async def test_our_client_knows_the_locked_thread(backend: SteeredBackend) -> None:
    """The server's words for a locked thread are those the client makes an ActiveRunError of."""
    async with LocalServer(backend, new_id=counted_ids()) as server, server.client() as client:
        assistant = await client.create_assistant(model="m")
        run = await client.create_thread_and_run(assistant_id=assistant.id)
        with pytest.raises(ActiveRunError) as second:
            await client.create_run(run.thread_id, assistant_id=assistant.id)
        with pytest.raises(ActiveRunError) as message:
            await client.create_message(run.thread_id, role="user", content="hi")
        cancelling = await client.cancel_run(run.thread_id, run.id)

    assert (run.thread_id, run.id) == (second.value.thread_id, second.value.run_id)
    assert (run.thread_id, run.id) == (message.value.thread_id, message.value.run_id)
    assert cancelling.status == "cancelling"


def sdk_for(server: LocalServer, base_url: str) -> openai.AsyncOpenAI:
    # The SDK takes clients of httpx, but its types know only those of httpx2.
    http_client: Any = httpx.AsyncClient(transport=server.transport)
    return openai.AsyncOpenAI(base_url=base_url, api_key="any", max_retries=0, http_client=http_client)


async def test_every_operation_by_the_openai_sdk(server: LocalServer) -> None:
    """All operations of the SDK's beta client work in process, its polling helpers included."""
    async with sdk_for(server, "http://local/v1") as sdk:
        await use_everything(sdk)


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_every_operation_by_the_openai_sdk_on_a_port(server: LocalServer) -> None:
    """All of them work with the SDK as it comes, against a port."""
    async with server.on_port() as url, openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as sdk:
        await use_everything(sdk)


async def use_everything(sdk: openai.AsyncOpenAI) -> None:
    assistants, threads = sdk.beta.assistants, sdk.beta.threads

    assistant = await assistants.create(model="m", tools=[{"type": "code_interpreter"}])
    assert assistant == await assistants.retrieve(assistant.id)
    assert (await assistants.update(assistant.id, name="n")).name == "n"
    assert [assistant.id] == [item.id async for item in assistants.list(limit=1)]

    thread = await threads.create(messages=[{"role": "user", "content": "one"}])
    assert thread == await threads.retrieve(thread.id)
    assert (await threads.update(thread.id, metadata={"a": "b"})).metadata == {"a": "b"}

    message = await threads.messages.create(thread.id, role="user", content="two")
    assert message == await threads.messages.retrieve(message.id, thread_id=thread.id)
    changed = await threads.messages.update(message.id, thread_id=thread.id, metadata={"a": "b"})
    assert changed.metadata == {"a": "b"}
    assert len([item async for item in threads.messages.list(thread.id, limit=1)]) == 2

    run = await threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert run.status == "completed"
    assert run == await threads.runs.retrieve(run.id, thread_id=thread.id)
    assert (await threads.runs.update(run.id, thread_id=thread.id, metadata={"a": "b"})).metadata == {"a": "b"}
    assert [run.id] == [item.id async for item in threads.runs.list(thread.id)]
    steps = [item async for item in threads.runs.steps.list(run.id, thread_id=thread.id)]
    assert steps == [await threads.runs.steps.retrieve(steps[0].id, thread_id=thread.id, run_id=run.id)]
    with pytest.raises(openai.BadRequestError, match="do not accept tool outputs"):
        await threads.runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=[])
    with pytest.raises(openai.BadRequestError, match="Cannot cancel run with status 'completed'"):
        await threads.runs.cancel(run.id, thread_id=thread.id)

    both = await threads.create_and_run_poll(assistant_id=assistant.id, thread={"messages": []})
    assert both.status == "completed"
    assert (await threads.messages.delete(message.id, thread_id=thread.id)).deleted
    assert (await threads.delete(thread.id)).deleted
    assert (await assistants.delete(assistant.id)).deleted


async def test_the_openai_sdk_can_cancel(clock: Clock, backend: SteeredBackend) -> None:
    """A run cancelled through the SDK ends cancelled."""
    async with (
        LocalServer(backend, clock=clock, sleep=clock.sleep) as server,
        sdk_for(server, "http://local") as sdk,
    ):
        assistant = await sdk.beta.assistants.create(model="m")
        run = await sdk.beta.threads.create_and_run(assistant_id=assistant.id)
        cancelling = await sdk.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
        ended = await sdk.beta.threads.runs.poll(run.id, thread_id=run.thread_id)

    assert (cancelling.status, ended.status) == ("cancelling", "cancelled")


async def test_the_openai_sdk_submits_outputs() -> None:
    """Outputs are handed in by the SDK, the last ones with its helper that waits for the end."""
    calls = [FunctionCall("f", {"n": 1}), FunctionCall("f", {"n": 2})]
    script = [Rule(calls=calls, say="{outputs[0]}, {outputs[1]}")]
    async with LocalServer(OfflineBackend(script)) as server, sdk_for(server, "http://local/v1") as sdk:
        runs = sdk.beta.threads.runs
        assistant = await sdk.beta.assistants.create(model="m")
        run = await sdk.beta.threads.create_and_run_poll(assistant_id=assistant.id)
        again = await runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs_for(run, "one"))
        run = await runs.poll(again.id, thread_id=run.thread_id)
        ended = await runs.submit_tool_outputs_and_poll(
            run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs_for(run, "two")
        )
        messages = await sdk.beta.threads.messages.list(run.thread_id)

    content: Any = messages.data[0].content[0]
    assert (again.status, run.status, ended.status) == ("queued", "requires_action", "completed")
    assert content.text.value == "one, two"


def outputs_for(run: Any, output: str) -> Any:
    calls = run.required_action.submit_tool_outputs.tool_calls
    return [{"tool_call_id": call.id, "output": output} for call in calls]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_openai_sdks_client_for_azure() -> None:
    """The SDK's other client finds the same API: with Azure's path, ``api-version``, and its header for the key."""
    async with LocalServer(api_keys=["local"]) as server, server.on_port() as url:
        endpoint = url.removesuffix("/v1")
        options: Any = {"azure_endpoint": endpoint, "api_version": "2024-05-01-preview", "max_retries": 0}
        async with openai.AsyncAzureOpenAI(api_key="local", **options) as sdk:
            assistant = await sdk.beta.assistants.create(model="m")
            run = await sdk.beta.threads.create_and_run_poll(assistant_id=assistant.id)
        async with openai.AsyncAzureOpenAI(api_key="wrong", **options) as sdk:
            with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
                await sdk.beta.assistants.list()
        async with openai.AsyncAzureOpenAI(azure_ad_token="local", **options) as sdk:
            listed = [item.id async for item in sdk.beta.assistants.list()]

    assert run.status == "completed"
    assert [assistant.id] == listed
