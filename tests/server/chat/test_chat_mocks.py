"""The chat backend against mock model servers of others: fakellm and llmock, as processes of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from asyncassist import AsyncClient, PollPolicy, RetryPolicy, Timeout, Toolset, tool
from asyncassist.models import Run
from asyncassist.server import ChatCompletionsBackend, LocalServer

from .processes import command, free_port, running

pytestmark = pytest.mark.anyio

QUICK = PollPolicy.every(0.01)

RULES = """\
version: 1
rules:
  - name: report
    when: {tool_result_contains: "18 in Paris"}
    respond: {content: "It is 18 in Paris."}
  - name: look
    when: {messages_contain: "weather", tools_include: weather}
    respond: {tool_calls: [{name: weather, arguments: {city: Paris}}]}
  - name: down
    when: {messages_contain: "down"}
    respond: {status: 503, error: "The mock is down."}
  - name: hello
    when: {messages_contain: "hello"}
    respond: {content: "Hello to you, too."}
"""


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"18 in {city}"


@pytest.fixture(scope="module")
def fakellm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a fakellm server with the rules above."""
    folder = tmp_path_factory.mktemp("fakellm")
    (folder / "rules.yaml").write_text(RULES, "utf-8")
    port = free_port()
    arguments = [command("fakellm"), "serve", "--port", str(port), "--config", str(folder / "rules.yaml")]
    with running(arguments, f"http://127.0.0.1:{port}/_fakellm/stats", folder / "log"):
        yield f"http://127.0.0.1:{port}/v1"


@pytest.fixture(scope="module")
def llmock_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The root URL of an llmock server."""
    port = free_port()
    arguments = [command("llmock"), "serve", "--port", str(port), "--response-style", "static"]
    with running(arguments, f"http://127.0.0.1:{port}/health", tmp_path_factory.mktemp("llmock") / "log"):
        yield f"http://127.0.0.1:{port}"


@asynccontextmanager
async def asking(url: str, **options: Any) -> AsyncIterator[AsyncClient]:
    backend = ChatCompletionsBackend(url, retry=RetryPolicy(base_pause=0.1), **options)
    async with LocalServer(backend) as here, here.client() as client:
        yield client


async def run_of(client: AsyncClient, text: str, **fields: Any) -> tuple[Run, str]:
    assistant = await client.create_assistant(model="gpt-4o-mini", tools=fields.pop("tools", ()))
    thread = {"messages": [{"role": "user", "content": text}]}
    run = await client.create_thread_run_and_wait(assistant_id=assistant.id, thread=thread, poll=QUICK, **fields)
    return run, await client.run_text(run)


# fakellm


@pytest.mark.parametrize("stream", [True, False])
async def test_fakellm_answers(fakellm: str, stream: bool) -> None:
    """A rule's text comes back, streamed or whole; only whole answers of fakellm have a usage."""
    async with asking(fakellm, stream=stream) as client:
        run, text = await run_of(client, "hello")

    assert ("completed", "Hello to you, too.") == (run.status, text)
    assert run.usage is not None
    assert bool(run.usage.total_tokens) is not stream


@pytest.mark.parametrize("stream", [True, False])
async def test_fakellm_calls_tools(fakellm: str, stream: bool) -> None:
    """A rule calls a tool, its output goes back, and another rule makes an answer of it."""
    async with asking(fakellm, stream=stream) as client:
        run, text = await run_of(client, "How is the weather?", tools=[weather], toolset=Toolset([weather]))

    assert ("completed", "It is 18 in Paris.") == (run.status, text)


async def test_fakellm_is_down(fakellm: str) -> None:
    """A rule with an error status fails the run."""
    async with asking(fakellm, stream=False) as client:
        run, _ = await run_of(client, "Go down!")

    assert run.last_error is not None
    assert run.last_error.code == "server_error"
    assert "The mock is down." in (run.last_error.message or "")


# llmock


@pytest.fixture
async def llmock_admin(llmock_server: str) -> AsyncIterator[httpx.AsyncClient]:
    """The server's control, with nothing scripted and nothing remembered."""
    async with httpx.AsyncClient(base_url=f"{llmock_server}/_llmock", trust_env=False) as admin:
        (await admin.post("/reset")).raise_for_status()
        yield admin


async def script(admin: httpx.AsyncClient, *behaviours: dict[str, Any]) -> None:
    (await admin.post("/scenario", json={"behaviors": behaviours})).raise_for_status()


async def findings(admin: httpx.AsyncClient) -> list[str]:
    """What llmock finds fault with in how it was asked."""
    verdict = (await admin.get("/verdict")).raise_for_status().json()
    return [finding["code"] for finding in verdict["findings"]]


@pytest.mark.parametrize("stream", [True, False])
async def test_llmock_answers(llmock_server: str, llmock_admin: httpx.AsyncClient, stream: bool) -> None:
    """Its answer comes back with its usage, streamed or whole."""
    async with asking(f"{llmock_server}/v1", stream=stream) as client:
        run, text = await run_of(client, "Hello there, how do you do?")

    assert ("completed", "Mock response from gpt-4o-mini.") == (run.status, text)
    assert run.usage is not None
    assert run.usage.prompt_tokens
    assert run.usage.completion_tokens
    assert await findings(llmock_admin) == []


async def test_llmock_calls_tools(llmock_server: str, llmock_admin: httpx.AsyncClient) -> None:
    """It calls a tool as an agent would, and answers once it has the output; both calls of a round are made."""
    two = [{"name": "weather", "arguments": {"city": city}} for city in ("Paris", "Rome")]
    await script(llmock_admin, {"type": "reply", "tool_calls": two})
    toolset = Toolset([weather])
    async with asking(f"{llmock_server}/v1") as client:
        run, text = await run_of(client, "What is the weather?", tools=[weather], toolset=toolset)
        steps = [step async for step in client.list_run_steps(run.thread_id, run.id, order="asc")]

    assert ("completed", "Mock response from gpt-4o-mini.") == (run.status, text)
    outputs = [call.function.output for step in steps for call in getattr(step.step_details, "tool_calls", ())]
    assert outputs == ["18 in Paris", "18 in Rome"]


async def test_llmock_breaks_tool_calls(llmock_server: str, llmock_admin: httpx.AsyncClient) -> None:
    """Arguments that are no JSON are told to the model, who can go on."""
    await script(llmock_admin, {"type": "tool_fault", "kind": "malformed_arguments"})
    async with asking(f"{llmock_server}/v1") as client:
        run, text = await run_of(client, "What is the weather?", tools=[weather], toolset=Toolset([weather]))

    assert ("completed", "Mock response from gpt-4o-mini.") == (run.status, text)


@pytest.mark.parametrize(
    "fault",
    [
        {"type": "fail", "status": 429, "retry_after": 0.2},
        {"type": "fail", "status": 503},
        {"type": "fail", "status": 500, "times": 2},
        {"type": "stream_fault", "kind": "disconnect", "after_chunks": 1},
        {"type": "stream_fault", "kind": "truncate", "after_chunks": 1},
    ],
)
async def test_llmock_faults_that_pass(
    llmock_server: str, llmock_admin: httpx.AsyncClient, fault: dict[str, Any]
) -> None:
    """Faults before the first text are got over, and llmock finds nothing to complain about."""
    await script(llmock_admin, fault)
    async with asking(f"{llmock_server}/v1") as client:
        run, text = await run_of(client, "Hello there")

    assert ("completed", "Mock response from gpt-4o-mini.") == (run.status, text)
    assert await findings(llmock_admin) == []


@pytest.mark.parametrize(
    "fault, code",
    [
        ({"type": "fail", "status": 400, "message": "No."}, "invalid_prompt"),
        ({"type": "fail", "status": 429, "times": 3}, "rate_limit_exceeded"),
        ({"type": "stream_fault", "kind": "disconnect", "after_chunks": 3}, "server_error"),
        ({"type": "stream_fault", "kind": "truncate", "after_chunks": 3}, "server_error"),
        ({"type": "stream_fault", "kind": "malformed", "after_chunks": 3}, "server_error"),
        ({"type": "stream_fault", "kind": "stall", "after_chunks": 3, "stall_seconds": 20}, "server_error"),
        ({"type": "reply", "text": "Hm", "finish_reason": "content_filter"}, "invalid_prompt"),
    ],
)
async def test_llmock_faults_that_stay(
    llmock_server: str, llmock_admin: httpx.AsyncClient, fault: dict[str, Any], code: str
) -> None:
    """What cannot be got over fails the run, with the text so far said once."""
    await script(llmock_admin, fault)
    async with asking(f"{llmock_server}/v1", timeout=Timeout(idle=0.5)) as client:
        run, text = await run_of(client, "Hello there")

    assert run.last_error is not None
    assert ("failed", code) == (run.status, run.last_error.code)
    assert text == "Hm" or "Mock response from gpt-4o-mini.".startswith(text)
    assert not {"retry_storm", "retried_non_retryable", "retry_after_ignored"} & set(await findings(llmock_admin))


async def test_llmock_cuts_short(llmock_server: str, llmock_admin: httpx.AsyncClient) -> None:
    """An answer that was cut short makes the run incomplete."""
    await script(llmock_admin, {"type": "reply", "text": "Once upon", "finish_reason": "length"})
    async with asking(f"{llmock_server}/v1") as client:
        run, text = await run_of(client, "Tell me a story")

    assert ("incomplete", "Once upon") == (run.status, text)
