"""What the client sends is accepted by Steady, a mock server that checks requests against the table of facts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from asyncassist import AsyncClient, ToolOutput
from asyncassist.models import (
    AssistantsNamedToolChoice,
    AssistantsNamedToolChoiceFunction,
    AssistantToolsCode,
    AssistantToolsFileSearch,
    AssistantToolsFileSearchOptions,
    AssistantToolsFunction,
    FileSearchRankingOptions,
    FunctionObject,
    ImageFile,
    ImageUrl,
    MessageAttachment,
    MessageContentImageFile,
    MessageContentImageUrl,
    MessageRequestContentText,
    ResponseFormatJsonObject,
    ResponseFormatJsonSchema,
    ResponseFormatJsonSchemaDefinition,
    ResponseFormatText,
    ToolResources,
    ToolResourcesCodeInterpreter,
    ToolResourcesFileSearch,
    Truncation,
)

from . import make_openapi, steady, table
from .sent import calls

INCLUDE = ["step_details.tool_calls[*].file_search.results[*].content"]
METADATA = {"user": "ana", "note": "naïve café ☕"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

TOOL_MODELS = [
    AssistantToolsCode(),
    AssistantToolsFileSearch(),
    AssistantToolsFileSearch(
        file_search=AssistantToolsFileSearchOptions(
            max_num_results=5, ranking_options=FileSearchRankingOptions(ranker="auto", score_threshold=0.5)
        )
    ),
    AssistantToolsFunction(
        function=FunctionObject(name="weather", description="Tell the weather", parameters=SCHEMA, strict=True)
    ),
    AssistantToolsFunction(function=FunctionObject(name="now")),
]
TOOL_MAPPINGS = [
    {"type": "code_interpreter"},
    {"type": "file_search", "file_search": {"max_num_results": 50, "ranking_options": {"score_threshold": 0}}},
    {"type": "function", "function": {"name": "weather", "parameters": SCHEMA, "strict": None}},
]
RESOURCE_MODELS = ToolResources(
    code_interpreter=ToolResourcesCodeInterpreter(file_ids=("file-1", "file-2")),
    file_search=ToolResourcesFileSearch(vector_store_ids=("vs-1",)),
)
RESOURCE_MAPPINGS = {"code_interpreter": {"file_ids": []}, "file_search": {"vector_store_ids": ["vs-1"]}}
CHUNKS = {"type": "static", "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400}}
NEW_STORES = {
    "file_search": {"vector_stores": [{"file_ids": ["file-1"], "chunking_strategy": CHUNKS, "metadata": METADATA}]}
}
FORMAT_MODEL = ResponseFormatJsonSchema(
    json_schema=ResponseFormatJsonSchemaDefinition(name="city", description="A city", schema=SCHEMA, strict=True)
)
FORMAT_MAPPING = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA, "strict": None}}
CHOICE_MODEL = AssistantsNamedToolChoice(type="function", function=AssistantsNamedToolChoiceFunction(name="weather"))
CONTENT_MODELS = [
    MessageRequestContentText(text="What is this?"),
    MessageContentImageFile(image_file=ImageFile(file_id="file-1", detail="low")),
    MessageContentImageUrl(image_url=ImageUrl(url="https://example.org/cat.png", detail="auto")),
]
CONTENT_MAPPINGS = [
    {"type": "text", "text": "What is this?"},
    {"type": "image_file", "image_file": {"file_id": "file-1"}},
    {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}},
]
ATTACHMENT_MODELS = [MessageAttachment(file_id="file-1", tools=(AssistantToolsCode(), AssistantToolsFileSearch()))]
ATTACHMENT_MAPPINGS = [{"file_id": "file-1", "tools": [{"type": "code_interpreter"}, {"type": "file_search"}]}]
MESSAGES = [
    {"role": "user", "content": "Hello", "metadata": None, "attachments": None},
    {"role": "assistant", "content": CONTENT_MODELS, "metadata": METADATA, "attachments": ATTACHMENT_MODELS},
    {"role": "user", "content": CONTENT_MAPPINGS, "attachments": ATTACHMENT_MAPPINGS},
]
PAGE = {"limit": 100, "order": "asc", "after": "obj-1", "before": "obj-9"}

ASSISTANT = {
    "name": "Ana",
    "description": "An assistant",
    "instructions": "Be brief.",
    "reasoning_effort": "low",
    "metadata": METADATA,
    "temperature": 0.2,
    "top_p": 1,
}
ASSISTANT_NULLS = dict.fromkeys(
    [
        "name",
        "description",
        "instructions",
        "reasoning_effort",
        "metadata",
        "temperature",
        "top_p",
        "tool_resources",
        "response_format",
    ]
)
RUN = {
    "model": "gpt-4o",
    "instructions": "Be brief.",
    "metadata": METADATA,
    "temperature": 2,
    "top_p": 0.1,
    "max_prompt_tokens": 256,
    "max_completion_tokens": 1000,
    "parallel_tool_calls": False,
}
RUN_NULLS = dict.fromkeys(
    [
        "model",
        "instructions",
        "tools",
        "metadata",
        "temperature",
        "top_p",
        "max_prompt_tokens",
        "max_completion_tokens",
        "truncation_strategy",
        "tool_choice",
        "response_format",
    ]
)

# Operation, ids, parameters: each operation with models and with mappings, with what may be null, and with the least.
CALLS: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [
    ("create_assistant", (), {"model": "gpt-4o"}),
    (
        "create_assistant",
        (),
        {
            **ASSISTANT,
            "model": "my-own",
            "tools": TOOL_MODELS,
            "tool_resources": RESOURCE_MODELS,
            "response_format": FORMAT_MODEL,
        },
    ),
    (
        "create_assistant",
        (),
        {"model": "o1", "tools": TOOL_MAPPINGS, "tool_resources": NEW_STORES, "response_format": FORMAT_MAPPING},
    ),
    ("create_assistant", (), {**ASSISTANT_NULLS, "model": "gpt-5", "tools": []}),
    ("get_assistant", ("asst-1",), {}),
    ("modify_assistant", ("asst-1",), {}),
    (
        "modify_assistant",
        ("asst-1",),
        {
            **ASSISTANT,
            "model": "gpt-4o",
            "tools": TOOL_MODELS,
            "tool_resources": RESOURCE_MODELS,
            "response_format": ResponseFormatJsonObject(),
        },
    ),
    (
        "modify_assistant",
        ("asst-1",),
        {"tools": TOOL_MAPPINGS, "tool_resources": RESOURCE_MAPPINGS, "response_format": "auto"},
    ),
    ("modify_assistant", ("asst-1",), ASSISTANT_NULLS),
    ("delete_assistant", ("asst-1",), {}),
    ("list_assistants", (), {}),
    ("list_assistants", (), PAGE),
    ("create_thread", (), {}),
    ("create_thread", (), {"messages": MESSAGES, "tool_resources": RESOURCE_MODELS, "metadata": METADATA}),
    ("create_thread", (), {"messages": [], "tool_resources": NEW_STORES, "metadata": {}}),
    ("create_thread", (), {"tool_resources": None, "metadata": None}),
    ("get_thread", ("thread-1",), {}),
    ("modify_thread", ("thread-1",), {}),
    ("modify_thread", ("thread-1",), {"tool_resources": RESOURCE_MODELS, "metadata": METADATA}),
    ("modify_thread", ("thread-1",), {"tool_resources": RESOURCE_MAPPINGS, "metadata": {}}),
    ("modify_thread", ("thread-1",), {"tool_resources": None, "metadata": None}),
    ("delete_thread", ("thread-1",), {}),
    ("create_message", ("thread-1",), {"role": "user", "content": "Hello"}),
    (
        "create_message",
        ("thread-1",),
        {"role": "assistant", "content": CONTENT_MODELS, "attachments": ATTACHMENT_MODELS, "metadata": METADATA},
    ),
    (
        "create_message",
        ("thread-1",),
        {"role": "user", "content": CONTENT_MAPPINGS, "attachments": ATTACHMENT_MAPPINGS},
    ),
    ("create_message", ("thread-1",), {"role": "user", "content": "", "attachments": None, "metadata": None}),
    ("get_message", ("thread-1", "msg-1"), {}),
    ("modify_message", ("thread-1", "msg-1"), {}),
    ("modify_message", ("thread-1", "msg-1"), {"metadata": METADATA}),
    ("modify_message", ("thread-1", "msg-1"), {"metadata": None}),
    ("delete_message", ("thread-1", "msg-1"), {}),
    ("list_messages", ("thread-1",), {}),
    ("list_messages", ("thread-1",), {**PAGE, "run_id": "run-1"}),
    ("create_run", ("thread-1",), {"assistant_id": "asst-1"}),
    (
        "create_run",
        ("thread-1",),
        {
            **RUN,
            "assistant_id": "asst-1",
            "reasoning_effort": "high",
            "additional_instructions": "Be kind.",
            "additional_messages": MESSAGES,
            "tools": TOOL_MODELS,
            "truncation_strategy": Truncation(type="last_messages", last_messages=10),
            "tool_choice": CHOICE_MODEL,
            "response_format": FORMAT_MODEL,
            "include": INCLUDE,
        },
    ),
    (
        "create_run",
        ("thread-1",),
        {
            "assistant_id": "asst-1",
            "tools": TOOL_MAPPINGS,
            "truncation_strategy": {"type": "auto", "last_messages": None},
            "tool_choice": {"type": "function", "function": {"name": "weather"}},
            "response_format": FORMAT_MAPPING,
        },
    ),
    (
        "create_run",
        ("thread-1",),
        {
            **RUN_NULLS,
            "assistant_id": "asst-1",
            "reasoning_effort": None,
            "additional_instructions": None,
            "additional_messages": None,
        },
    ),
    ("create_run", ("thread-1",), {"assistant_id": "asst-1", "tool_choice": "required", "response_format": "auto"}),
    ("create_thread_and_run", (), {"assistant_id": "asst-1"}),
    (
        "create_thread_and_run",
        (),
        {
            **RUN,
            "assistant_id": "asst-1",
            "thread": {"messages": MESSAGES, "tool_resources": RESOURCE_MODELS, "metadata": METADATA},
            "tools": TOOL_MODELS,
            "tool_resources": RESOURCE_MODELS,
            "truncation_strategy": Truncation(),
            "tool_choice": AssistantsNamedToolChoice(type="file_search"),
            "response_format": ResponseFormatText(),
        },
    ),
    (
        "create_thread_and_run",
        (),
        {
            "assistant_id": "asst-1",
            "thread": {"tool_resources": NEW_STORES, "metadata": None},
            "tools": TOOL_MAPPINGS,
            "tool_resources": RESOURCE_MAPPINGS,
            "truncation_strategy": {"type": "last_messages", "last_messages": 1},
            "tool_choice": {"type": "code_interpreter"},
            "response_format": {"type": "json_object"},
        },
    ),
    (
        "create_thread_and_run",
        (),
        {**RUN_NULLS, "assistant_id": "asst-1", "tool_resources": None, "thread": {"tool_resources": None}},
    ),
    ("get_run", ("thread-1", "run-1"), {}),
    ("modify_run", ("thread-1", "run-1"), {}),
    ("modify_run", ("thread-1", "run-1"), {"metadata": METADATA}),
    ("modify_run", ("thread-1", "run-1"), {"metadata": None}),
    ("cancel_run", ("thread-1", "run-1"), {}),
    ("list_runs", ("thread-1",), {}),
    ("list_runs", ("thread-1",), PAGE),
    ("submit_tool_outputs_to_run", ("thread-1", "run-1"), {"tool_outputs": []}),
    (
        "submit_tool_outputs_to_run",
        ("thread-1", "run-1"),
        {
            "tool_outputs": [
                ToolOutput(tool_call_id="call-1", output="sunny"),
                ToolOutput(output="rain"),
                {"tool_call_id": "call-2", "output": ""},
            ]
        },
    ),
    ("get_run_step", ("thread-1", "run-1", "step-1"), {}),
    ("get_run_step", ("thread-1", "run-1", "step-1"), {"include": INCLUDE}),
    ("list_run_steps", ("thread-1", "run-1"), {}),
    ("list_run_steps", ("thread-1", "run-1"), {**PAGE, "include": INCLUDE}),
]


@pytest.fixture(scope="session")
def steady_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run Steady for the tests of this file."""
    program = steady.find()
    if program is None:
        reason = "Steady is not installed: npm install @stdy/cli@0.22, or set ASYNCASSIST_STEADY to its path"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    document = tmp_path_factory.mktemp("steady") / "openapi.json"
    make_openapi.write(document)
    with steady.serving(program, document) as url:
        yield url


def test_calls_are_complete() -> None:
    """The calls below use every parameter of every operation, and null wherever null fits."""
    facts = table.load()
    expected: set[tuple[str, str]] = set()
    for call in calls(facts):
        name = table.method_name(call.operation)
        expected |= {(name, f"{key}={value is None}") for key, value in {**call.query, **call.body}.items()}

    used = {(name, f"{key}={value is None}") for name, _, params in CALLS for key, value in params.items()}
    assert not expected - used
    assert len({name for name, _, _ in CALLS}) == 23


@pytest.mark.anyio
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_steady_accepts_every_call(steady_url: str, seed: int) -> None:
    """Steady finds nothing wrong with any operation, and each answer it makes up can be decoded."""
    problems: list[str] = []
    headers = {"X-Steady-Seed": str(seed)}
    async with AsyncClient(base_url=steady_url, api_key="test", default_headers=headers) as client:
        for name, ids, params in CALLS:
            raw = await getattr(client.with_raw_response, name)(*ids, **params)
            problems += [f"{name} {sorted(params)}: {complaint}" for complaint in steady.complaints(raw.headers)]
            if raw.status != 200 or not raw.data.object:
                problems.append(f"{name}: {raw.status} {raw.data}")

    assert not problems, "\n".join(problems)


@pytest.mark.anyio
async def test_steady_accepts_every_call_made_from_the_table(steady_url: str) -> None:
    """Steady finds nothing wrong with the least, the fullest and the emptiest call of each operation."""
    problems: list[str] = []
    async with AsyncClient(base_url=steady_url, api_key="test") as client:
        for call in calls(table.load()):
            operation = getattr(client.with_raw_response, table.method_name(call.operation))
            raw = await operation(*call.ids.values(), **call.query, **call.body)
            problems += [f"{call}: {complaint}" for complaint in steady.complaints(raw.headers)]

    assert not problems, "\n".join(problems)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("method", "path", "body", "complaint"),
    [
        ("POST", "/assistants", {"model": 1}, "E3008: body.model"),
        ("POST", "/assistants", {}, "E3007: body"),
        ("POST", "/threads", {"messages": [{"role": "user"}]}, "E3007: body.messages"),
        ("POST", "/threads", {"colour": "red"}, "E3009: body"),
        ("POST", "/threads/t/runs", {"assistant_id": None}, "E5001: body.assistant_id"),
        ("POST", "/threads/t/runs", {"assistant_id": "a", "max_prompt_tokens": 1}, "E4004: body.max_prompt_tokens"),
        ("POST", "/threads/t/runs?include=a", {"assistant_id": "a"}, "E3015: query.include"),
        ("GET", "/threads/t/runs?limit=many", None, "E3003: query.limit"),
        ("GET", "/threads/t/runs?order=up", None, "E3016: query.order"),
        ("GET", "/threads/t/run", None, "E2001: /threads/t/run"),
    ],
)
async def test_steady_notices(steady_url: str, method: str, path: str, body: object, complaint: str) -> None:
    """Steady does complain of wrong requests, so that its silence above means something."""
    async with httpx.AsyncClient(base_url=steady_url, headers={"Authorization": "Bearer test"}) as client:
        response = await client.request(method, path, json=body)

    assert [found for found in steady.complaints(response.headers) if found.startswith(complaint)]


def test_search_for_steady(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Steady is looked for in the environment first, then beside the project, then on the path."""
    monkeypatch.setenv("ASYNCASSIST_STEADY", "/opt/steady")
    assert steady.find() == "/opt/steady"

    monkeypatch.delenv("ASYNCASSIST_STEADY")
    monkeypatch.setattr(steady, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert steady.find() is None

    program = tmp_path / "bin" / "steady"
    program.parent.mkdir()
    program.touch(mode=0o755)
    assert str(program) == steady.find()

    local = tmp_path / "node_modules" / ".bin" / "steady"
    local.parent.mkdir(parents=True)
    local.touch(mode=0o755)
    assert str(local) == steady.find()
