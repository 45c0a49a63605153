"""Microsoft's client for the same protocol, azure-ai-agents, against the server's port: every call it has for agents.

It has calls for files and vector stores too, which this server does not offer.
"""

from __future__ import annotations

import inspect
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from azure.ai.agents import models
from azure.ai.agents.aio import AgentsClient
from azure.core.credentials import AccessToken, AzureKeyCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.core.pipeline.policies import AzureKeyCredentialPolicy, SansIOHTTPPolicy

from asyncassist.server import Failure, FunctionCall, LocalServer, OfflineBackend, Reply, Rule, Turn

from .helpers import SteeredBackend
from .reading import COMPLETED, DELTA, MESSAGE, STARTED, STEP

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

CALLS = {
    "client": {
        "close",
        "create_agent",
        "create_thread_and_process_run",
        "create_thread_and_run",
        "delete_agent",
        "enable_auto_function_calls",
        "get_agent",
        "list_agents",
        "send_request",
        "update_agent",
    },
    "threads": {"create", "delete", "get", "list", "update"},
    "messages": {
        "create",
        "get",
        "get_last_message_by_role",
        "get_last_message_text_by_role",
        "list",
        "update",
    },
    "runs": {
        "cancel",
        "create",
        "create_and_process",
        "get",
        "list",
        "stream",
        "submit_tool_outputs",
        "submit_tool_outputs_stream",
        "update",
    },
    "run_steps": {"get", "list"},
}

WEATHER = FunctionCall("weather", {"city": "Paris"})
SCRIPT = [
    Rule("weather", calls=[[WEATHER, FunctionCall("weather", {"city": "Rome"})]], say="{outputs[0]}, {outputs[1]}"),
    Rule("twice", calls=[WEATHER, FunctionCall("weather", {"city": "Rome"})], say="{outputs[0]}, {outputs[1]}"),
    Rule("fail", say="I would", fail=Failure("slow down", code="rate_limit_exceeded")),
    Rule(say="Hello to you"),
]


async def weather(city: str) -> str:
    """Tell the weather.

    :param city: where
    """
    if city == "Atlantis":
        raise ValueError("it sank")
    return f"sun in {city}"


class Token:
    """A credential as Azure's are: it gives a token whenever it is asked for one."""

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken("local", int(time.time()) + 3600)

    async def close(self) -> None:
        pass

    async def __aenter__(self) -> Token:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass


class PlainHttp(SansIOHTTPPolicy[Any, Any]):
    """Lets the client send its token without TLS, which it refuses by itself."""

    def on_request(self, request: Any) -> None:
        request.context.options["enforce_https"] = False


def agents_client(url: str) -> AgentsClient:
    return AgentsClient(url, Token(), per_call_policies=[PlainHttp()])


@pytest.fixture
async def agents() -> AsyncIterator[AgentsClient]:
    async with (
        LocalServer(OfflineBackend(SCRIPT)) as server,
        server.on_port() as url,
        agents_client(url) as agents,
    ):
        agents.enable_auto_function_calls({weather})
        yield agents


def said(text: str) -> list[models.ThreadMessageOptions]:
    return [models.ThreadMessageOptions(role=models.MessageRole.USER, content=text)]


async def asked(agents: AgentsClient, text: str) -> dict[str, str]:
    agent = await agents.create_agent(model="m")
    thread = await agents.threads.create(messages=said(text))
    return {"thread_id": thread.id, "agent_id": agent.id}


async def answer(agents: AgentsClient, thread_id: str) -> str:
    content = await agents.messages.get_last_message_text_by_role(thread_id, models.MessageRole.AGENT)
    assert content is not None
    text: str = content.text.value
    return text


async def test_these_are_its_calls() -> None:
    """A call that is new in the client is noticed here."""
    client: Any = agents_client("http://127.0.0.1:1")
    for name, calls in CALLS.items():
        part = client if name == "client" else getattr(client, name)
        assert calls == {call for call, _ in inspect.getmembers(part, inspect.ismethod) if not call.startswith("_")}
    await client.close()


async def test_agents_and_threads(agents: AgentsClient) -> None:
    """Agents, threads and messages are created, read, listed, changed and deleted."""
    toolset = models.AsyncToolSet()
    toolset.add(models.AsyncFunctionTool({weather}))
    toolset.add(models.CodeInterpreterTool(file_ids=["file-1"]))
    agent = await agents.create_agent(
        model="m",
        name="n",
        description="d",
        instructions="i",
        toolset=toolset,
        temperature=0.5,
        top_p=0.9,
        response_format="auto",
        metadata={"a": "b"},
    )
    assert agent == await agents.get_agent(agent.id)
    assert [tool.type for tool in agent.tools] == ["function", "code_interpreter"]
    assert agent.tool_resources.code_interpreter.file_ids == ["file-1"]
    second = await agents.create_agent(model="m")
    assert [second.id, agent.id] == [item.id async for item in agents.list_agents(limit=1)]
    assert (await agents.update_agent(agent.id, name="o", metadata={})).name == "o"

    thread = await agents.threads.create(messages=said("one"), tool_resources=toolset.resources, metadata={"a": "b"})
    assert thread == await agents.threads.get(thread.id)
    assert (await agents.threads.update(thread.id, metadata={"c": "d"})).metadata == {"c": "d"}
    assert [thread.id] == [item.id async for item in agents.threads.list()]

    message = await agents.messages.create(
        thread.id,
        role="user",
        content=[
            models.MessageInputTextBlock(text="look"),
            models.MessageInputImageUrlBlock(image_url=models.MessageImageUrlParam(url="https://example.org/a.png")),
            models.MessageInputImageFileBlock(image_file=models.MessageImageFileParam(file_id="f", detail="low")),
        ],
        attachments=[models.MessageAttachment(file_id="f", tools=models.FileSearchTool().definitions)],
        metadata={"a": "b"},
    )
    assert message == await agents.messages.get(thread.id, message.id)
    assert [part.type for part in message.content] == ["text", "image_url", "image_file"]
    assert (await agents.messages.update(thread.id, message.id, metadata={"c": "d"})).metadata == {"c": "d"}
    order = models.ListSortOrder.ASCENDING
    texts = [item.text_messages[0].text.value async for item in agents.messages.list(thread.id, limit=1, order=order)]
    assert texts == ["one", "look"]
    last = await agents.messages.get_last_message_by_role(thread.id, models.MessageRole.USER)
    assert last is not None
    assert last.id == message.id

    await agents.threads.delete(thread.id)
    await agents.delete_agent(agent.id)
    with pytest.raises(ResourceNotFoundError, match=f"No assistant found with id '{agent.id}'"):
        await agents.get_agent(agent.id)
    with pytest.raises(ResourceNotFoundError, match=f"No thread found with id '{thread.id}'"):
        await agents.threads.get(thread.id)


async def test_a_run_with_everything(agents: AgentsClient) -> None:
    """All parameters of a run are taken, and come back with it; its steps can be read."""
    question = await asked(agents, "one")
    schema = models.ResponseFormatJsonSchema(name="s", schema={"type": "object"})
    given: dict[str, Any] = {
        "model": "m2",
        "instructions": "be brief",
        "tools": models.AsyncFunctionTool({weather}).definitions,
        "temperature": 0.1,
        "top_p": 0.2,
        "max_prompt_tokens": 1000,
        "max_completion_tokens": 2000,
        "truncation_strategy": models.TruncationObject(type="last_messages", last_messages=3),
        "tool_choice": models.AgentsNamedToolChoice(type="function", function=models.FunctionName(name="weather")),
        "response_format": models.ResponseFormatJsonSchemaType(json_schema=schema),
        "parallel_tool_calls": False,
        "metadata": {"a": "b"},
    }

    run = await agents.runs.create(
        **question,
        **given,
        additional_instructions="be kind",
        additional_messages=said("two"),
        include=["step_details.tool_calls[*].file_search.results[*].content"],
    )

    assert given | {"instructions": "be brief\nbe kind"} == {name: run[name] for name in given}
    while run.status in ("queued", "in_progress"):
        run = await agents.runs.get(run.thread_id, run.id)
    assert (run.status, run.usage.total_tokens) == ("completed", 4)
    assert (await agents.runs.update(run.thread_id, run.id, metadata={"c": "d"})).metadata == {"c": "d"}
    assert [run.id] == [item.id async for item in agents.runs.list(run.thread_id)]
    (step,) = [step async for step in agents.run_steps.list(run.thread_id, run.id)]
    assert step == await agents.run_steps.get(run.thread_id, run.id, step.id)
    assert isinstance(step.step_details, models.RunStepMessageCreationDetails)
    assert await answer(agents, run.thread_id) == "Hello to you"


@pytest.mark.parametrize("text", ["weather?", "twice"])
async def test_its_tool_loop(agents: AgentsClient, text: str) -> None:
    """``create_and_process`` answers the calls with its own functions, several at once and round by round."""
    toolset = models.AsyncToolSet()
    toolset.add(models.AsyncFunctionTool({weather}))

    run = await agents.runs.create_and_process(**await asked(agents, text), toolset=toolset, polling_interval=0)
    both = await agents.create_thread_and_process_run(
        agent_id=run.agent_id,
        thread=models.AgentThreadCreationOptions(messages=said(text), metadata={"a": "b"}),
        toolset=toolset,
        polling_interval=0,
    )

    assert (run.status, both.status) == ("completed", "completed")
    for thread_id in (run.thread_id, both.thread_id):
        assert await answer(agents, thread_id) == "sun in Paris, sun in Rome"


class AskingAgain:
    """Calls the tool for a place that is not there, then, told so, for one that is."""

    async def answer(self, turn: Turn) -> Reply:
        rounds = await turn.rounds()
        if len(rounds) < 2:
            return Reply(tool_calls=[FunctionCall("weather", {"city": ("Atlantis", "Rome")[len(rounds)]})])
        return Reply(" / ".join(output for round in rounds for output in round.outputs))


async def test_its_tool_loop_tries_again() -> None:
    """A function that fails is told to the model, which may call it again."""
    async with LocalServer(AskingAgain()) as server, server.on_port() as url, agents_client(url) as agents:
        agents.enable_auto_function_calls({weather})
        run = await agents.runs.create_and_process(**await asked(agents, "hi"), polling_interval=0)
        text = await answer(agents, run.thread_id)

    assert run.status == "completed"
    assert "it sank" in text
    assert text.endswith(" / sun in Rome")


class Handler(models.AsyncAgentEventHandler[str]):
    """Notes what the client makes of the events."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.errors: list[str] = []

    async def on_message_delta(self, delta: Any) -> str:
        text: str = delta.text
        return text

    async def on_thread_message(self, message: Any) -> None:
        self.seen.append(f"message {message.status.value}")

    async def on_thread_run(self, run: Any) -> None:
        self.seen.append(f"run {run.status.value}")

    async def on_run_step(self, step: Any) -> None:
        self.seen.append(f"{step.type.value} {step.status.value}")

    async def on_error(self, data: str) -> None:
        self.errors.append(data)

    async def on_unhandled_event(self, event_type: str, event_data: Any) -> None:
        self.errors.append(event_type)


async def test_its_streams(agents: AgentsClient) -> None:
    """Its handler sees every event typed, its own functions answer the calls, and the stream goes on to the end."""
    handler = Handler()
    names: list[str] = []
    texts: list[str] = []
    async with await agents.runs.stream(**await asked(agents, "weather?"), event_handler=handler) as stream:
        async for name, data, returned in stream:
            assert not isinstance(data, str) or name == "done"
            if not names or names[-1] != name:
                names.append(name)
            texts += [returned] if returned else []

    asking = [*STARTED, *STEP, "thread.run.step.delta", "thread.run.requires_action", "done"]
    assert [*asking, "thread.run.step.completed", *STARTED[1:], *MESSAGE, DELTA, *COMPLETED] == names
    assert "".join(texts) == "sun in Paris, sun in Rome"
    assert handler.errors == []
    assert handler.seen[-3:] == ["message completed", "message_creation completed", "run completed"]


async def test_a_stream_of_a_run_that_fails(agents: AgentsClient) -> None:
    """A failure in the middle of a text ends message, step and run for its handler too."""
    handler = Handler()
    async with await agents.runs.stream(**await asked(agents, "fail"), event_handler=handler) as stream:
        await stream.until_done()

    assert handler.errors == []
    assert handler.seen[-3:] == ["message incomplete", "message_creation failed", "run failed"]


async def test_outputs_by_hand(agents: AgentsClient) -> None:
    """Calls can be answered without its loop, with and without a stream."""
    agent = await agents.create_agent(model="m")
    thread = models.AgentThreadCreationOptions(messages=said("twice"))
    run = await agents.create_thread_and_run(agent_id=agent.id, thread=thread)
    outputs: list[list[models.ToolOutput]] = []
    for place in ("here", "there"):
        while run.status != "requires_action":
            run = await agents.runs.get(run.thread_id, run.id)
        (call,) = run.required_action.submit_tool_outputs.tool_calls
        assert json.loads(call.function.arguments) == {"city": "Paris" if place == "here" else "Rome"}
        outputs.append([models.ToolOutput(tool_call_id=call.id, output=place)])
        if place == "here":
            run = await agents.runs.submit_tool_outputs(run.thread_id, run.id, tool_outputs=outputs[0])
    handler = Handler()
    await agents.runs.submit_tool_outputs_stream(run.thread_id, run.id, tool_outputs=outputs[1], event_handler=handler)
    await handler.until_done()

    assert handler.errors == []
    assert handler.seen[:2] == ["tool_calls completed", "run queued"]
    assert handler.seen[-1] == "run completed"
    assert await answer(agents, run.thread_id) == "here, there"


async def test_its_errors(backend: SteeredBackend) -> None:
    """A wrong key, a wrong call and an active run are errors of its own, with the server's words."""
    async with LocalServer(backend, api_keys=["local"]) as server, server.on_port() as url:
        wrong = AzureKeyCredential("wrong")
        policy = AzureKeyCredentialPolicy(wrong, "Authorization", prefix="Bearer")
        async with AgentsClient(url, wrong, authentication_policy=policy) as agents:  # type: ignore[arg-type]
            with pytest.raises(ClientAuthenticationError, match="Incorrect API key provided"):
                await agents.create_agent(model="m")
        async with agents_client(url) as agents:
            with pytest.raises(HttpResponseError, match="Invalid 'temperature': number above maximum value"):
                await agents.create_agent(model="m", temperature=3)
            run = await agents.runs.create(**await asked(agents, "hi"))
            with pytest.raises(HttpResponseError, match="already has an active run") as active:
                await agents.runs.create(run.thread_id, agent_id=run.agent_id)
            assert (await agents.runs.cancel(run.thread_id, run.id)).status == "cancelling"

    assert active.value.status_code == 400
    assert active.value.error is not None
    assert f"already has an active run {run.id}" in str(active.value.error.message)


async def test_the_path_of_a_project() -> None:
    """The endpoint may keep the path it has at Azure, and the key may be sent with every call."""
    key = AzureKeyCredential("local")
    policy = AzureKeyCredentialPolicy(key, "Authorization", prefix="Bearer")
    async with LocalServer(api_keys=["local"]) as server, server.on_port() as url:
        endpoint = url.removesuffix("/v1") + "/api/projects/my-project"
        async with AgentsClient(endpoint, key, authentication_policy=policy) as agents:  # type: ignore[arg-type]
            agent = await agents.create_agent(model="m")
            listed = [item.id async for item in agents.list_agents()]

    assert [agent.id] == listed
