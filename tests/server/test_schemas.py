"""The check of answers and events finds what it is there to find."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from conformance.table import load, sample

from .schemas import Findings, Watched, answer_problems, event_problems, facts, problems

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Message, Receive, Scope, Send

RUN = "/v1/threads/thread_1/runs/run_1"


def changed(change: Callable[[Any], object], schema: str = "RunObject") -> bytes:
    """A whole object of a schema, with one thing changed."""
    value = sample(facts(), {"ref": schema})
    change(value)
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda run: run.update(extra=1), []),
        (lambda run: run.update(usage=None, temperature=None), []),
        (lambda run: run.pop("temperature"), []),
        (lambda run: run.pop("usage"), ["usage is missing"]),
        (lambda run: run.update(thread_id=None), ["thread_id is null"]),
        (lambda run: run.update(thread_id=3), ["thread_id is no string"]),
        (lambda run: run.update(created_at=1.5), ["created_at is no integer"]),
        (lambda run: run.update(created_at=True), ["created_at is no integer"]),
        (lambda run: run.update(top_p="1"), ["top_p is no number"]),
        (lambda run: run.update(parallel_tool_calls=1), ["parallel_tool_calls is no boolean"]),
        (lambda run: run.update(status="paused"), ["status is 'paused'"]),
        (lambda run: run.update(object="run"), ["object is 'run'"]),
        (lambda run: run.update(metadata={"a": 1}), ["metadata.a is no string"]),
        (lambda run: run.update(metadata=[]), ["metadata is no object"]),
        (lambda run: run.update(tools={}), ["tools is no array"]),
        (lambda run: run["tools"].append({"type": "browser"}), ["tools[3] has the type 'browser'"]),
        (lambda run: run["tools"].append({"type": "function"}), ["tools[3].function is missing"]),
        (lambda run: run["tools"].append(None), ["tools[3] is null"]),
        (lambda run: run["last_error"].update(code="my_code"), ["last_error.code is 'my_code'"]),
        (lambda run: run.update(response_format="auto"), []),
        (lambda run: run.update(response_format="json"), ["response_format is no object"]),
        (lambda run: run.update(response_format={"type": "xml"}), ["response_format has the type 'xml'"]),
        (lambda run: run.update(tool_choice="required"), []),
        (lambda run: run["usage"].update(total_tokens=None), ["usage.total_tokens is null"]),
    ],
)
def test_an_answer_that_differs_is_found(change: Callable[[Any], object], expected: list[str]) -> None:
    """What is missing, null, of another type or value is told with its path; what is more than there must be is not."""
    found = list(answer_problems("GET", RUN, 200, changed(change)))

    assert [f"GET {RUN} 200: {problem}" for problem in expected] == found


@pytest.mark.parametrize("schema", [name for name, shape in load()["schemas"].items() if "fields" in shape])
@pytest.mark.parametrize("what", ["everything", "the least", "nulls"])
def test_what_fits_is_not_found(schema: str, what: str) -> None:
    """Values made of the table have no problems."""
    value = sample(facts(), facts()["schemas"][schema], what)

    assert list(problems(value, {"ref": schema})) == []


@pytest.mark.parametrize(
    ("method", "path", "status", "body", "expected"),
    [
        ("GET", "/health", 200, {"status": "ok"}, []),
        ("GET", "/v1/health", 200, {"status": "well"}, ["status is 'well'"]),
        ("GET", "/nowhere", 200, {}, ["no such operation"]),
        ("PUT", RUN, 200, {}, ["no such operation"]),
        ("GET", RUN, 404, {"error": "no"}, ["error is no object"]),
        ("GET", RUN, 404, {"error": {"message": "no", "type": "t", "param": None}}, ["error.code is missing"]),
        ("GET", RUN, 500, {"detail": "no"}, ["error is missing"]),
        ("GET", RUN, 200, None, ["it is null"]),
        ("GET", "/threads", 200, {"object": "list", "data": [{}]}, None),
        (
            "GET",
            "/a/b/threads",
            200,
            {"object": "list", "data": [], "first_id": None, "last_id": "", "has_more": False},
            ["first_id is null"],
        ),
        ("DELETE", "/threads/x", 200, {"id": "x", "object": "thread.deleted", "deleted": 1}, ["deleted is no boolean"]),
        ("POST", "/threads/runs", 200, {}, None),
    ],
)
def test_each_answer_is_held_against_its_own_schema(
    method: str, path: str, status: int, body: object, expected: list[str] | None
) -> None:
    """The operation is found by its method and path, wherever it is mounted; errors have one schema. None: several."""
    found = list(answer_problems(method, path, status, json.dumps(body).encode()))

    if expected is None:
        assert len(found) > 3
    else:
        assert [f"{method} {path} {status}: {problem}" for problem in expected] == found


def test_what_is_no_json_is_found() -> None:
    """An answer or an event that cannot be read is a problem, no exception."""
    assert list(answer_problems("GET", RUN, 200, b"oops")) == [f"GET {RUN} 200: no JSON"]
    assert list(event_problems("thread.run.created", "oops")) == ["thread.run.created: no JSON"]


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("done", "[DONE]", []),
        ("done", "{}", ["done:  is '{}'"]),
        ("thread.run.paused", "{}", ["thread.run.paused: no such event"]),
        ("thread.run.completed", changed(lambda run: None).decode(), []),
        ("thread.run.completed", changed(lambda run: run.pop("id")).decode(), ["thread.run.completed: id is missing"]),
        (
            "thread.message.delta",
            '{"id": "m", "object": "thread.message.delta", "delta": {"content": [{"type": "text"}]}}',
            ["thread.message.delta: delta.content[0].index is missing"],
        ),
        ("error", '{"message": "m", "type": "t", "param": null}', ["error: code is missing"]),
    ],
)
def test_an_event_that_differs_is_found(name: str, data: str, expected: list[str]) -> None:
    """Events are known by their names, and their data are held against the schema of that name."""
    assert expected == list(event_problems(name, data))


@pytest.mark.anyio
async def test_an_app_is_watched_from_outside() -> None:
    """Answers in pieces and streams cut anywhere are checked, and counted, as they go out."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        kind = b"text/event-stream" if scope["path"] == "/stream" else b"application/json"
        chunks = [b"event: thr", b"ead.created\ndata: {}\n\nevent: done\nda", b"ta: [DONE]\n\n"]
        if scope["path"] == "/threads":
            chunks = [b'{"object": "list", "da', b'ta": 1, "first_id": "", "last_id": "", "has_more": true}']
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        for index, chunk in enumerate(chunks, 1):
            message: Message = {"type": "http.response.body", "body": chunk, "more_body": index < len(chunks)}
            await send(message)

    findings = Findings()
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(Watched(app, findings)), base_url="http://local"
    ) as http:
        await http.get("/threads")
        await http.get("/stream")
        await http.head("/threads")

    assert findings.checked == {"answers": 1, "events": 2}
    assert findings.problems[0] == "GET /threads 200: data is no array"
    assert "thread.created: id is missing" in findings.problems
