"""Exactly what is sent: method, path, query, headers and body."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
import sys
from typing import Any

import httpx
import pytest

from asyncassist import UNSET, UsageError, __version__
from asyncassist.models import AssistantToolsCode, MessageRequestContentText

from .helpers import KEY, OPERATIONS, Server, reply

pytestmark = pytest.mark.anyio

STEP = "/v1/threads/thread_1/runs/run_1"
SENT: dict[str, tuple[str, str, Any]] = {
    "create_assistant": ("POST", "/v1/assistants", {"model": "m"}),
    "get_assistant": ("GET", "/v1/assistants/asst_1", None),
    "modify_assistant": ("POST", "/v1/assistants/asst_1", {"name": "n"}),
    "delete_assistant": ("DELETE", "/v1/assistants/asst_1", None),
    "list_assistants": ("GET", "/v1/assistants", None),
    "create_thread": ("POST", "/v1/threads", None),
    "get_thread": ("GET", "/v1/threads/thread_1", None),
    "modify_thread": ("POST", "/v1/threads/thread_1", {}),
    "delete_thread": ("DELETE", "/v1/threads/thread_1", None),
    "create_message": ("POST", "/v1/threads/thread_1/messages", {"role": "user", "content": "hi"}),
    "get_message": ("GET", "/v1/threads/thread_1/messages/msg_1", None),
    "modify_message": ("POST", "/v1/threads/thread_1/messages/msg_1", {}),
    "delete_message": ("DELETE", "/v1/threads/thread_1/messages/msg_1", None),
    "list_messages": ("GET", "/v1/threads/thread_1/messages", None),
    "create_run": ("POST", "/v1/threads/thread_1/runs", {"assistant_id": "asst_1"}),
    "create_thread_and_run": ("POST", "/v1/threads/runs", {"assistant_id": "asst_1"}),
    "get_run": ("GET", STEP, None),
    "modify_run": ("POST", STEP, {}),
    "cancel_run": ("POST", f"{STEP}/cancel", None),
    "list_runs": ("GET", "/v1/threads/thread_1/runs", None),
    "submit_tool_outputs_to_run": ("POST", f"{STEP}/submit_tool_outputs", {"tool_outputs": []}),
    "get_run_step": ("GET", f"{STEP}/steps/step_1", None),
    "list_run_steps": ("GET", f"{STEP}/steps", None),
}


def test_every_operation_is_here() -> None:
    """The API has 23 operations."""
    assert 23 == len(OPERATIONS)
    assert SENT.keys() == OPERATIONS.keys()


@pytest.mark.parametrize("operation", list(OPERATIONS))
async def test_every_byte_of_a_request(operation: str) -> None:
    """Method, path, headers and body are these and no others, for every operation."""
    server = Server()
    async with server.client() as client:
        await OPERATIONS[operation](client)

    method, path, body = SENT[operation]
    request = server.request
    headers = {
        "host": "test",
        "accept": "application/json",
        "accept-encoding": "gzip, deflate",
        "user-agent": f"asyncassist/{__version__} httpx/{httpx.__version__} "
        f"python/{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}",
        "authorization": f"Bearer {KEY}",
        "openai-beta": "assistants=v2",
    }
    content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    if body is not None:
        headers |= {"content-type": "application/json", "content-length": str(len(content))}
    elif method == "POST":
        headers |= {"content-length": "0"}
    assert (method, path, b"") == (request.method, request.url.raw_path.decode(), request.url.query)
    assert headers == dict(request.headers)
    assert len(headers) == len(request.headers.raw)
    assert content == request.content


@pytest.mark.parametrize("operation", ["get_thread", "create_run"])
async def test_the_beta_header_is_configurable(operation: str) -> None:
    """Another value is sent, or none at all."""
    server = Server()
    async with server.client(beta="assistants=v3") as client:
        await OPERATIONS[operation](client)
    async with server.client(beta=None) as client:
        await OPERATIONS[operation](client)
    assert ["assistants=v3", None] == [request.headers.get("openai-beta") for request in server.requests]


async def test_ids_are_one_segment_of_the_path() -> None:
    """Whatever an id holds, it stays in its place; a dangerous one is refused before anything is sent."""
    server = Server()
    async with server.client() as client:
        await client.get_message("a/b?c#d", "ä %2f")
        assert b"/v1/threads/a%2Fb%3Fc%23d/messages/%C3%A4%20%252f" == server.request.url.raw_path
        server.requests.clear()
        for hostile in ("", "..", "a\r\nb"):
            with pytest.raises(UsageError):
                await client.get_thread(hostile)
        with pytest.raises(UsageError, match="makes no URL"):
            await client.get_thread("a" * 100_000)
        with pytest.raises(TypeError):
            await client.get_thread(None)  # type: ignore[arg-type]
    assert [] == server.requests


INCLUDE = "step_details.tool_calls[*].file_search.results[*].content"


@pytest.mark.parametrize("operation", ["create_run", "get_run_step", "list_run_steps"])
async def test_include_goes_into_the_query(operation: str) -> None:
    """``include`` is sent as include[]= once for each item, and never in the body."""
    server = Server()
    async with server.client() as client:
        call: Any = getattr(client, operation)
        if operation == "create_run":
            await call("t", assistant_id="a", include=[INCLUDE, "other"])
            assert {"assistant_id": "a"} == server.body
        else:
            await call("t", "r", *(["s"] if operation == "get_run_step" else []), include=[INCLUDE, "other"])
    assert [("include[]", INCLUDE), ("include[]", "other")] == server.request.url.params.multi_items()
    assert b"include[]=step_details.tool_calls" in server.request.url.query


@pytest.mark.parametrize("include", [None, UNSET, [], ()])
async def test_no_include(include: Any) -> None:
    """Without items there is no query."""
    server = Server()
    async with server.client() as client:
        await client.create_run("t", assistant_id="a", include=include)
    assert b"" == server.request.url.query
    assert {"assistant_id": "a"} == server.body


async def test_the_query_of_a_listing() -> None:
    """What is given is sent under its own name, what is not given is not sent."""
    server = Server()
    async with server.client(default_query={"api-version": "v1", "order": "asc"}) as client:
        await client.list_messages("t", limit=5, order="desc", after="msg_a", before="msg_b", run_id="run_1")
    assert {
        "api-version": "v1",
        "order": "asc",  # what holds for every request of the client holds here too
        "limit": "5",
        "after": "msg_a",
        "before": "msg_b",
        "run_id": "run_1",
    } == dict(server.request.url.params)
    assert 6 == len(server.request.url.params.multi_items())


async def test_absent_none_and_unset() -> None:
    """What is absent or UNSET is not sent; None is sent as null, and empty values as they are."""
    server = Server()
    async with server.client() as client:
        await client.modify_assistant("asst_1", name=None, description="", tools=[], metadata={}, temperature=0)
        assert {"name": None, "description": "", "tools": [], "metadata": {}, "temperature": 0} == server.body
        server.requests.clear()
        await client.create_message("t", role="user", content="hi", metadata=None, attachments=UNSET)
    assert {"role": "user", "content": "hi", "metadata": None} == server.body


async def test_models_inside_mappings() -> None:
    """Models are sent as their JSON wherever they stand, with mappings and tuples beside them."""
    server = Server()
    async with server.client() as client:
        await client.create_run(
            "t",
            assistant_id="a",
            tools=(AssistantToolsCode(), {"type": "file_search"}),
            additional_messages=[
                {"role": "user", "content": [MessageRequestContentText(text="hi")]},
                {"role": "user", "content": "ho", "metadata": {"at": "once"}},
            ],
        )
    assert [{"type": "code_interpreter"}, {"type": "file_search"}] == server.body["tools"]
    first, second = server.body["additional_messages"]
    assert {"role": "user", "content": [{"type": "text", "text": "hi"}]} == first
    assert {"role": "user", "content": "ho", "metadata": {"at": "once"}} == second


async def test_a_run_that_was_read_can_be_sent_back() -> None:
    """What a server added to an object goes out again."""
    tool = {"type": "code_interpreter", "vendor": {"a": [1, None]}}
    server = Server(reply({"id": "asst_1", "tools": [tool, {"type": "new", "x": 1}]}))
    async with server.client() as client:
        assistant = await client.get_assistant("asst_1")
        server.requests.clear()
        await client.modify_assistant("asst_1", tools=assistant.tools)
    assert {"tools": [tool, {"type": "new", "x": 1}]} == server.body


@pytest.mark.parametrize("hostile", [float("nan"), float("inf"), b"x", {1, 2}, object()], ids=repr)
async def test_a_body_that_is_no_json(hostile: Any) -> None:
    """What JSON cannot carry is refused, and nothing is sent."""
    server = Server()
    async with server.client() as client:
        with pytest.raises(UsageError):
            await client.create_assistant(model="m", metadata={"a": hostile})
    assert [] == server.requests


async def test_extra_fields_are_merged_into_bodies() -> None:
    """Fields of a vendor go into every body, over what the call gives; a call without a body gets one."""
    server = Server()
    async with server.client() as client:
        copy = client.with_options(extra_body={"vendor": {"a": 1}, "metadata": None})
        await copy.create_assistant(model="m", metadata={"b": "2"})
        await copy.create_thread()
        await copy.modify_thread("t")
        await copy.cancel_run("t", "r")
        await copy.get_thread("t")
        await copy.delete_thread("t")
        await client.create_thread()
    extra = {"vendor": {"a": 1}, "metadata": None}
    bodies = [json.loads(request.content) if request.content else None for request in server.requests]
    assert [{"model": "m", **extra}, extra, extra, extra, None, None, None] == bodies
    types = [request.headers.get("content-type") for request in server.requests]
    assert ["application/json"] * 4 + [None] * 3 == types


async def test_an_extra_query_is_merged_into_queries() -> None:
    """Parameters of a vendor go with those of the call, and over them."""
    server = Server()
    async with server.client() as client:
        copy = client.with_options(extra_query={"vendor": "a b", "limit": 7})
        await copy.list_runs("t", limit=5, order="asc")
        await copy.delete_thread("t")
    assert ["vendor=a%20b&limit=7&order=asc", "vendor=a%20b&limit=7"] == [
        request.url.query.decode() for request in server.requests
    ]


async def test_text_of_any_language_is_sent_as_it_is() -> None:
    """A body is UTF-8; what has no UTF-8 form is sent escaped."""
    server = Server()
    async with server.client() as client:
        await client.create_message("t", role="user", content="ä € 🎉")
        await client.create_message("t", role="user", content="\ud800")
    first, second = server.requests
    assert "ä € 🎉".encode() in first.content
    assert rb"\ud800" in second.content
    assert int(first.headers["content-length"]) == len(first.content)
