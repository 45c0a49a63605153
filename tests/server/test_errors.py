"""Requests the server refuses, and the words and fields it does so with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from asyncassist import UsageError
from asyncassist.server import LocalServer, MemoryStore

from .helpers import Api

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Message, Scope

pytestmark = pytest.mark.anyio

A = "/assistants"
T = "/threads/T"
M = T + "/messages"
R = T + "/runs"


def function(**fields: object) -> dict[str, object]:
    return {"type": "function", "function": {"name": "f", **fields}}


def deep(levels: int) -> dict[str, object]:
    value: dict[str, object] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def message(**fields: object) -> dict[str, object]:
    return {"role": "user", "content": "hi", **fields}


CASES: list[tuple[str, object, str, str | None]] = [
    # path, body, code, param
    (A, {}, "missing_required_parameter", "model"),
    (A, [], "invalid_type", "body"),
    (A, "x", "invalid_type", "body"),
    (A, {"model": 1}, "invalid_type", "model"),
    (A, {"model": None}, "invalid_type", "model"),
    (A, {"model": "m" * 257}, "string_above_max_length", "model"),
    (A + "/asst_1", {"model": "m" * 257}, "string_above_max_length", "model"),
    (A + "/asst_1", {"model": None}, "invalid_type", "model"),
    (A, {"model": "m", "name": "n" * 257}, "string_above_max_length", "name"),
    (A, {"model": "m", "description": "d" * 513}, "string_above_max_length", "description"),
    (A, {"model": "m", "instructions": "i" * 256_001}, "string_above_max_length", "instructions"),
    (A, {"model": "m", "reasoning_effort": "enormous"}, "invalid_value", "reasoning_effort"),
    (A, {"model": "m", "reasoning_effort": 3}, "invalid_type", "reasoning_effort"),
    (A, {"model": "m", "temperature": 2.1}, "number_above_max_value", "temperature"),
    (A, {"model": "m", "temperature": -1}, "number_below_min_value", "temperature"),
    (A, {"model": "m", "temperature": "1"}, "invalid_type", "temperature"),
    (A, {"model": "m", "temperature": True}, "invalid_type", "temperature"),
    (A, {"model": "m", "top_p": 10**400}, "number_above_max_value", "top_p"),
    (A, {"model": "m", "tools": {}}, "invalid_type", "tools"),
    (A, {"model": "m", "tools": None}, "invalid_type", "tools"),
    (A, {"model": "m", "tools": [function()] * 129}, "array_above_max_length", "tools"),
    (A, {"model": "m", "tools": ["function"]}, "invalid_type", "tools[0]"),
    (A, {"model": "m", "tools": [{}]}, "missing_required_parameter", "tools[0].type"),
    (A, {"model": "m", "tools": [{"type": "x"}]}, "invalid_value", "tools[0].type"),
    (A, {"model": "m", "tools": [{"type": None}]}, "invalid_type", "tools[0].type"),
    (A, {"model": "m", "tools": [{"type": "function"}]}, "missing_required_parameter", "tools[0].function"),
    (A, {"model": "m", "tools": [function(name="a b")]}, "invalid_value", "tools[0].function.name"),
    (A, {"model": "m", "tools": [function(name="")]}, "invalid_value", "tools[0].function.name"),
    (A, {"model": "m", "tools": [function(name="n" * 65)]}, "string_above_max_length", "tools[0].function.name"),
    (A, {"model": "m", "tools": [function(strict="no")]}, "invalid_type", "tools[0].function.strict"),
    (A, {"model": "m", "tools": [function(parameters=[])]}, "invalid_type", "tools[0].function.parameters"),
    (
        A,
        {"model": "m", "tools": [function(parameters=deep(101))]},
        "object_above_max_depth",
        "tools[0].function.parameters",
    ),
    (
        A,
        {"model": "m", "tools": [{"type": "file_search", "file_search": {"max_num_results": 51}}]},
        "integer_above_max_value",
        "tools[0].file_search.max_num_results",
    ),
    (
        A,
        {"model": "m", "tools": [{"type": "file_search", "file_search": {"ranking_options": {}}}]},
        "missing_required_parameter",
        "tools[0].file_search.ranking_options.score_threshold",
    ),
    (
        A,
        {"model": "m", "tool_resources": {"file_search": {"vector_store_ids": "vs_1"}}},
        "invalid_type",
        "tool_resources.file_search.vector_store_ids",
    ),
    (
        A,
        {"model": "m", "tool_resources": {"file_search": {"vector_stores": [{}]}}},
        "unsupported_parameter",
        "tool_resources.file_search.vector_stores",
    ),
    (A, {"model": "m", "metadata": {str(n): "" for n in range(17)}}, "object_above_max_length", "metadata"),
    (A, {"model": "m", "metadata": {"k" * 65: ""}}, "key_above_max_length", "metadata." + "k" * 64 + "..."),
    (A, {"model": "m", "metadata": {"k": "v" * 513}}, "string_above_max_length", "metadata.k"),
    (A, {"model": "m", "metadata": {"k": 1}}, "invalid_type", "metadata.k"),
    (A, {"model": "m", "response_format": "json"}, "invalid_value", "response_format"),
    (A, {"model": "m", "response_format": {"type": "xml"}}, "invalid_value", "response_format.type"),
    (
        A,
        {"model": "m", "response_format": {"type": "json_schema", "json_schema": {}}},
        "missing_required_parameter",
        "response_format.json_schema.name",
    ),
    ("/threads", {"messages": [message(), message(role="system")]}, "invalid_value", "messages[1].role"),
    ("/threads", {"messages": "hi"}, "invalid_type", "messages"),
    (M, {}, "missing_required_parameter", "role"),
    (M, {"role": "user"}, "missing_required_parameter", "content"),
    (M, message(content=[]), "array_below_min_length", "content"),
    (M, message(content=1), "invalid_type", "content"),
    (M, message(content=[{"type": "text"}]), "missing_required_parameter", "content[0].text"),
    (M, message(content=[{"type": "audio"}]), "invalid_value", "content[0].type"),
    (
        M,
        message(content=[{"type": "image_file", "image_file": {"file_id": "f", "detail": "vague"}}]),
        "invalid_value",
        "content[0].image_file.detail",
    ),
    (M, message(attachments=[{"file_id": "f"}]), "missing_required_parameter", "attachments[0].tools"),
    (R, {}, "missing_required_parameter", "assistant_id"),
    (R, {"assistant_id": "x", "stream": "yes"}, "invalid_type", "stream"),
    (R, {"assistant_id": "x", "model": "m" * 257}, "string_above_max_length", "model"),
    (R, {"assistant_id": "x", "instructions": "i" * 256_001}, "string_above_max_length", "instructions"),
    (
        R,
        {"assistant_id": "x", "additional_instructions": "i" * 256_001},
        "string_above_max_length",
        "additional_instructions",
    ),
    (R, {"assistant_id": "x", "metadata": {"k": None}}, "invalid_type", "metadata.k"),
    ("/threads/runs", {"assistant_id": "x", "model": "m" * 257}, "string_above_max_length", "model"),
    ("/threads/runs", {}, "missing_required_parameter", "assistant_id"),
    (
        "/threads/runs",
        {"assistant_id": "x", "thread": {"messages": [message(content=[{"type": "text", "text": 1}])]}},
        "invalid_type",
        "thread.messages[0].content[0].text",
    ),
    (T, {"metadata": {str(n): "" for n in range(17)}}, "object_above_max_length", "metadata"),
    (M + "/msg_1", {"metadata": {"k" * 65: ""}}, "key_above_max_length", "metadata." + "k" * 64 + "..."),
    (R + "/run_1", {"metadata": {"k": "v" * 513}}, "string_above_max_length", "metadata.k"),
    (R, {"assistant_id": "x", "max_prompt_tokens": 255}, "integer_below_min_value", "max_prompt_tokens"),
    (R, {"assistant_id": "x", "max_prompt_tokens": 256.5}, "invalid_type", "max_prompt_tokens"),
    (R, {"assistant_id": "x", "max_completion_tokens": 10**400}, "integer_above_max_value", "max_completion_tokens"),
    (R, {"assistant_id": "x", "truncation_strategy": {"type": "all"}}, "invalid_value", "truncation_strategy.type"),
    (R, {"assistant_id": "x", "tool_choice": "any"}, "invalid_value", "tool_choice"),
    (R, {"assistant_id": "x", "tool_choice": 1}, "invalid_type", "tool_choice"),
    (R, {"assistant_id": "x", "parallel_tool_calls": None}, "invalid_type", "parallel_tool_calls"),
    (R, {"assistant_id": "x", "tools": [function()] * 21}, "array_above_max_length", "tools"),
    (
        R,
        {"assistant_id": "x", "additional_messages": [message(content=None)]},
        "invalid_type",
        "additional_messages[0].content",
    ),
    ("/threads/runs", {"assistant_id": "x", "thread": {"metadata": []}}, "invalid_type", "thread.metadata"),
    (R + "/run_1/submit_tool_outputs", {}, "missing_required_parameter", "tool_outputs"),
    (R + "/run_1/submit_tool_outputs", {"tool_outputs": [1]}, "invalid_type", "tool_outputs[0]"),
]


@pytest.mark.parametrize(("path", "body", "code", "param"), CASES)
async def test_a_wrong_body_is_refused_with_its_path(
    api: Api, path: str, body: object, code: str, param: str | None
) -> None:
    """Missing fields, wrong types and values out of bounds are a 400 that names the field."""
    error = await api.refused("POST", path, json=body)

    assert ("invalid_request_error", code, param) == (error["type"], error["code"], error["param"])
    assert param is not None
    assert param in error["message"] or code == "unsupported_parameter" or code == "invalid_value"
    assert len(error["message"]) < 500


async def test_null_is_no_body(api: Api) -> None:
    """The JSON value null is not the same as no body."""
    error = await api.refused("POST", "/threads", content=b"null")

    assert error["message"] == "Invalid type for 'body': expected an object, but got null instead."


async def test_unknown_fields_are_ignored(api: Api) -> None:
    """Fields a client has and the API has not change nothing."""
    assistant = await api.post(A, model="m", vendor_field={"a": 1}, tools=[function(cache=True) | {"x": 1}])

    assert "vendor_field" not in assistant
    assert [function()] == assistant["tools"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"not json",
        b"\xff\xfe",
        b'{"model": "m"} trailing',
        b"[" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b'{"model": "m", "temperature": 1e999}',
    ],
)
async def test_a_body_that_is_no_json_is_refused(api: Api, body: bytes) -> None:
    """What cannot be read is a 400, however deep or broken it is."""
    error = await api.refused("POST", A, content=body)

    assert error["code"] == "invalid_json"


@pytest.mark.parametrize(
    "value", [b"NaN", b"-Infinity", b"1" * 400, b'{"a": [1, {"b": NaN}]}', b"1" + b"0" * 5000], ids=range(5)
)
async def test_free_json_that_could_not_go_back_out_is_refused(api: Api, value: bytes) -> None:
    """Parameters of a function with NaN or a number without measure are a 400, not an answer nobody can read."""
    tool = b'{"type": "function", "function": {"name": "f", "parameters": {"x": %s}}}' % value

    error = await api.refused("POST", A, content=b'{"model": "m", "tools": [%s]}' % tool)

    assert error["code"] in ("invalid_value", "invalid_json")


async def test_a_temperature_of_nan_is_refused(api: Api) -> None:
    """NaN is between no two limits."""
    error = await api.refused("POST", A, content=b'{"model": "m", "temperature": NaN}')

    assert error["param"] == "temperature"


async def test_lone_surrogates_come_back_as_they_came(api: Api) -> None:
    """Text no UTF-8 can carry goes out escaped, as it came in."""
    response = await api.http.post(A, content=rb'{"model": "\ud800"}')

    assert response.json()["model"] == "\ud800"


async def test_an_unknown_route_is_not_found(api: Api) -> None:
    """A path the API has not, also with a slash at the end, is a 404 in the API's envelope."""
    for path in ("/nowhere", "/assistants/", "/threads/T/nothing", "/threads/a/b/c"):
        error = await api.refused("GET", path, 404)
        assert (f"Invalid URL (GET /v1{path})", "unknown_url") == (error["message"], error["code"])


async def test_an_unknown_method_is_not_allowed(api: Api) -> None:
    """A known path with another method is a 405 that says which there are."""
    response = await api.http.put("/assistants/x")

    assert response.status_code == 405
    assert response.headers["allow"] == "DELETE, GET, HEAD, POST"
    assert "Not allowed to PUT on /v1/assistants/x. Allowed: DELETE, GET, HEAD, POST." in response.text


async def test_objects_that_are_not_there(api: Api) -> None:
    """A missing object is a 404 that names it, the outermost first."""
    for method, path, kind, id, body in (
        ("POST", "/assistants/asst_0", "assistant", "asst_0", {"model": "m"}),
        ("POST", "/threads/thread_0", "thread", "thread_0", {}),
        ("POST", "/threads/thread_0/messages", "thread", "thread_0", message()),
        ("GET", "/threads/thread_0/messages/msg_0", "thread", "thread_0", None),
        ("POST", "/threads/thread_0/runs", "thread", "thread_0", {"assistant_id": "asst_0"}),
        ("POST", "/threads/runs", "assistant", "asst_0", {"assistant_id": "asst_0"}),
        ("POST", "/threads/thread_0/runs/run_0/cancel", "thread", "thread_0", None),
    ):
        error = await api.refused(method, path, 404, json=body)
        assert f"No {kind} found with id '{id}'." == error["message"]


@pytest.fixture
async def locked() -> AsyncIterator[Api]:
    async with (
        LocalServer(api_keys=["first", "second"]) as server,
        httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http,
    ):
        yield Api(http)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer first"},
        {"Authorization": "bearer second"},
        {"Authorization": "Bearer  first "},
        {"api-key": "second"},
    ],
)
async def test_a_right_key_is_let_in(locked: Api, headers: dict[str, str]) -> None:
    """Any of the keys opens the server, in the API's header or in the one of Azure's clients."""
    response = await locked.http.get("/assistants", headers=headers)

    assert response.status_code == 200


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, None),
        ({"Authorization": "Basic Zmlyc3Q="}, None),
        ({"Authorization": "Bearer third"}, "invalid_api_key"),
        ({"Authorization": b"Bearer \xe9"}, "invalid_api_key"),
        ({"Authorization": "Bearer"}, "invalid_api_key"),
        ({"Authorization": "Bearer third", "api-key": "first"}, "invalid_api_key"),
        ({"api-key": "third"}, "invalid_api_key"),
        ({"api-key": ""}, None),
    ],
)
@pytest.mark.parametrize("path", ["/assistants", "/nowhere"])
async def test_without_a_right_key_nothing_is_answered(locked: Api, path: str, headers: Any, code: str | None) -> None:
    """No key, another scheme or a wrong key is a 401, on routes there are not too."""
    error = await locked.refused("GET", path, 401, headers=headers)

    assert code == error["code"]
    assert "first" not in str(error)


@pytest.mark.parametrize("api_keys", ["key", [""]])
async def test_keys_that_cannot_be_meant_are_refused(api_keys: Any) -> None:
    """A string instead of a list, or an empty key, is a UsageError."""
    with pytest.raises(UsageError, match="api_keys"):
        LocalServer(api_keys=api_keys)


@pytest.mark.parametrize("run_seconds", [0, -1, float("nan"), float("inf")])
async def test_a_run_needs_some_time(run_seconds: float) -> None:
    """A time for runs that is no time is a UsageError."""
    with pytest.raises(UsageError, match="run_seconds"):
        LocalServer(run_seconds=run_seconds)


async def test_an_enormous_body_is_not_read(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body beyond the limit is a 413, whether it says its length or is streamed."""
    monkeypatch.setattr("asyncassist.server.app.MAX_BODY", 1000)
    body = b'{"model": "m", "instructions": "' + b"x" * 2000 + b'"}'

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 100):
            yield body[start : start + 100]

    for content in (body, pieces()):
        error = await api.refused("POST", A, 413, content=content)
        assert error["code"] == "request_too_large"


async def test_a_client_that_goes_away_is_no_error(server: LocalServer, caplog: pytest.LogCaptureFixture) -> None:
    """A connection that ends within a request leaves nothing in the log."""
    sent: list[Message] = []
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/assistants",
        "query_string": b"",
        "headers": [],
    }

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await server.app(scope, receive, send)

    assert sent[0]["status"] == 400
    assert caplog.records == []


async def test_a_failing_store_is_a_server_error(caplog: pytest.LogCaptureFixture) -> None:
    """What goes wrong inside is a 500 in the API's envelope that gives nothing away, and is logged."""

    class Broken(MemoryStore):
        async def page(self, *args: Any, **options: Any) -> Any:
            raise RuntimeError("secret of the store")

    async with (
        LocalServer(store=Broken()) as server,
        httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http,
    ):
        error = await Api(http).refused("GET", "/assistants", 500)

    assert error == {
        "message": "The server had an error while processing your request.",
        "type": "server_error",
        "param": None,
        "code": None,
    }
    assert "GET /v1/assistants failed" in caplog.text
    assert "secret of the store" in caplog.text
