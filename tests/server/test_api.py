"""The operations over plain HTTP: what goes in, what comes out, and what is there afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from asyncassist.server import LocalServer

from .helpers import NOON

if TYPE_CHECKING:
    from .helpers import Api, Json

pytestmark = pytest.mark.anyio

TOOLS = [
    {"type": "code_interpreter"},
    {"type": "file_search", "file_search": {"max_num_results": 5, "ranking_options": {"score_threshold": 0.5}}},
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Tell the weather",
            "parameters": {"type": "object", "properties": {"place": {"type": "string"}}},
            "strict": None,
        },
    },
]


async def test_an_assistant_has_the_defaults_of_the_api(api: Api) -> None:
    """An assistant made of a model alone comes with every field and its default."""
    assistant = await api.post("/assistants", model="m")

    assert assistant == {
        "id": "asst_1",
        "object": "assistant",
        "created_at": NOON,
        "name": None,
        "description": None,
        "model": "m",
        "instructions": None,
        "tools": [],
        "tool_resources": {},
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
        "response_format": "auto",
    }


async def test_an_assistant_keeps_what_it_is_given(api: Api) -> None:
    """Every field of the request comes back as it was sent, and comes back again when asked for."""
    given: Json = {
        "model": "m",
        "name": "n",
        "description": "d",
        "instructions": "i",
        "reasoning_effort": "low",
        "tools": TOOLS,
        "tool_resources": {"code_interpreter": {"file_ids": ["file-1"]}, "file_search": {"vector_store_ids": ["vs_1"]}},
        "metadata": {"a": "b"},
        "temperature": 0,
        "top_p": 0.5,
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}},
    }

    created = await api.post("/assistants", given)
    seen = await api.get(f"/assistants/{created['id']}")

    assert given == {name: created[name] for name in given}
    assert created == seen


async def test_modify_assistant_changes_only_what_it_is_given(api: Api) -> None:
    """Fields that are not sent stay; null puts a field back to its default."""
    created = await api.post("/assistants", model="m", name="n", temperature=0.3, metadata={"a": "b"})

    changed = await api.post(f"/assistants/{created['id']}", model="m2", temperature=None, metadata=None)

    assert created | {"model": "m2", "temperature": 1.0, "metadata": {}} == changed
    assert changed == await api.get(f"/assistants/{created['id']}")


async def test_a_deleted_assistant_is_gone(api: Api) -> None:
    """Deleting answers with the id, and the object is not found afterwards."""
    assistant_id = await api.assistant()

    deleted = await api.delete(f"/assistants/{assistant_id}")

    assert {"id": assistant_id, "object": "assistant.deleted", "deleted": True} == deleted
    error = await api.refused("GET", f"/assistants/{assistant_id}", 404)
    assert f"No assistant found with id '{assistant_id}'." == error["message"]
    await api.refused("DELETE", f"/assistants/{assistant_id}", 404)
    assert (await api.get("/assistants"))["data"] == []


@pytest.mark.parametrize("options", [{}, {"json": {}}, {"headers": {"content-type": "application/json"}}])
async def test_a_thread_can_be_made_of_nothing(api: Api, options: dict[str, Any]) -> None:
    """No body, an empty object, and no body with a content type all make an empty thread."""
    response = await api.http.post("/threads", **options)

    assert response.status_code == 200
    expected: Json = {"id": "thread_1", "object": "thread", "created_at": NOON, "tool_resources": {}, "metadata": {}}
    assert expected == response.json()


@pytest.mark.parametrize("content", [b"", b"{}"])
async def test_a_content_type_needs_no_body(api: Api, content: bytes) -> None:
    """A content type without a body, or an empty object, is fine where nothing has to be said."""
    run = await api.until(await api.run(), "completed")
    base = f"/threads/{run['thread_id']}"
    options: dict[str, Any] = {"headers": {"content-type": "application/json"}, "content": content}

    statuses = [
        (await api.http.request(method, path, **options)).status_code
        for method, path in (
            ("POST", f"{base}/runs/{run['id']}"),
            ("POST", f"/assistants/{run['assistant_id']}"),
            ("GET", f"{base}/messages"),
            ("POST", f"{base}/runs/{run['id']}/cancel"),
            ("DELETE", base),
            ("DELETE", f"/assistants/{run['assistant_id']}"),
        )
    ]

    assert statuses == [200, 200, 200, 400, 200, 200]


async def test_a_thread_starts_with_its_messages(api: Api) -> None:
    """The messages of the request are in the thread, in their order."""
    thread_id = await api.thread("one", "two")

    page = await api.get(f"/threads/{thread_id}/messages", order="asc")

    assert [message["content"][0]["text"]["value"] for message in page["data"]] == ["one", "two"]


async def test_a_thread_is_modified_and_deleted_with_all_in_it(api: Api) -> None:
    """Metadata and resources can change; with the thread its messages and runs go."""
    run = await api.run()
    await api.until(run, "completed")
    path = f"/threads/{run['thread_id']}"
    resources = {"code_interpreter": {"file_ids": ["file-1"]}}

    changed = await api.post(path, metadata={"a": "b"}, tool_resources=resources)
    deleted = await api.delete(path)

    assert ({"a": "b"}, resources) == (changed["metadata"], changed["tool_resources"])
    assert {"id": run["thread_id"], "object": "thread.deleted", "deleted": True} == deleted
    for part in ("", "/messages", "/runs", f"/runs/{run['id']}", f"/runs/{run['id']}/steps"):
        error = await api.refused("GET", path + part, 404)
        assert f"No thread found with id '{run['thread_id']}'." == error["message"]
    await api.refused("DELETE", path, 404)


async def test_threads_can_be_listed(api: Api) -> None:
    """The listing some servers and clients have besides the API is there."""
    ids = [await api.thread() for _ in range(3)]

    assert ids[::-1] == [thread["id"] for thread in (await api.get("/threads"))["data"]]


async def test_a_message_of_a_string(api: Api) -> None:
    """A message comes back with its text as a content part and all fields of the API."""
    thread_id = await api.thread()

    message = await api.post(f"/threads/{thread_id}/messages", role="user", content="hi", metadata={"a": "b"})

    assert {
        "id": "msg_1",
        "object": "thread.message",
        "created_at": NOON,
        "thread_id": thread_id,
        "status": "completed",
        "incomplete_details": None,
        "completed_at": NOON,
        "incomplete_at": None,
        "role": "user",
        "content": [{"type": "text", "text": {"value": "hi", "annotations": []}}],
        "assistant_id": None,
        "run_id": None,
        "attachments": [],
        "metadata": {"a": "b"},
    } == message
    assert message == await api.get(f"/threads/{thread_id}/messages/msg_1")


async def test_a_message_of_parts(api: Api) -> None:
    """Text, uploaded and linked images and attachments come back as content parts."""
    thread_id = await api.thread()
    images: list[Json] = [
        {"type": "image_file", "image_file": {"file_id": "file-1", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    ]
    attachments = [{"file_id": "file-2", "tools": [{"type": "file_search"}]}]
    content = [{"type": "text", "text": "look"}, *images]

    message = await api.post(
        f"/threads/{thread_id}/messages", role="assistant", content=content, attachments=attachments
    )

    assert [{"type": "text", "text": {"value": "look", "annotations": []}}, *images] == message["content"]
    assert attachments == message["attachments"]


async def test_a_message_is_modified_and_deleted(api: Api) -> None:
    """Metadata can change; a deleted message is gone from the thread."""
    thread_id = await api.thread("hi")
    message_id = (await api.get(f"/threads/{thread_id}/messages"))["data"][0]["id"]
    path = f"/threads/{thread_id}/messages/{message_id}"

    changed = await api.post(path, metadata={"a": "b"})
    deleted = await api.delete(path)

    assert changed["metadata"] == {"a": "b"}
    assert {"id": message_id, "object": "thread.message.deleted", "deleted": True} == deleted
    assert (await api.get(f"/threads/{thread_id}/messages"))["data"] == []
    error = await api.refused("GET", path, 404)
    assert f"No message found with id '{message_id}'." == error["message"]
    await api.refused("POST", path, 404, json={})
    await api.refused("DELETE", path, 404)


async def test_objects_are_found_in_their_own_thread_only(api: Api) -> None:
    """A message, run or step is not found under another thread or run."""
    run = await api.until(await api.run(), "completed")
    other = await api.until(await api.run(), "completed")
    message_id = (await api.get(f"/threads/{run['thread_id']}/messages"))["data"][0]["id"]
    step_id = (await api.get(f"/threads/{run['thread_id']}/runs/{run['id']}/steps"))["data"][0]["id"]
    elsewhere = f"/threads/{other['thread_id']}"

    await api.refused("GET", f"{elsewhere}/messages/{message_id}", 404)
    await api.refused("GET", f"{elsewhere}/runs/{run['id']}", 404)
    error = await api.refused("GET", f"{elsewhere}/runs/{other['id']}/steps/{step_id}", 404)
    assert f"No run step found with id '{step_id}'." == error["message"]
    await api.refused("GET", f"{elsewhere}/runs/{other['id']}/steps/step_none", 404)


async def test_a_run_takes_over_from_its_assistant(api: Api) -> None:
    """What the request leaves open is the assistant's, the rest the API's default."""
    assistant_id = await api.assistant(instructions="be brief", tools=TOOLS, temperature=0.1, reasoning_effort="low")
    thread_id = await api.thread("hello")

    run = await api.run(thread_id, assistant_id=assistant_id)

    assert {
        "id": "run_1",
        "object": "thread.run",
        "created_at": NOON,
        "thread_id": thread_id,
        "assistant_id": assistant_id,
        "status": "queued",
        "required_action": None,
        "last_error": None,
        "expires_at": NOON + 600,
        "started_at": None,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "incomplete_details": None,
        "model": "m",
        "instructions": "be brief",
        "tools": TOOLS,
        "metadata": {},
        "usage": None,
        "temperature": 0.1,
        "top_p": 1.0,
        "max_prompt_tokens": None,
        "max_completion_tokens": None,
        "truncation_strategy": {"type": "auto", "last_messages": None},
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "response_format": "auto",
        "reasoning_effort": "low",
    } == run


async def test_a_run_may_differ_from_its_assistant(api: Api) -> None:
    """What the request gives is the run's; instructions can be added to."""
    assistant_id = await api.assistant(instructions="be brief", tools=TOOLS)
    given: Json = {
        "model": "m2",
        "instructions": "be long",
        "tools": [],
        "metadata": {"a": "b"},
        "temperature": 2,
        "top_p": 0,
        "max_prompt_tokens": 256,
        "max_completion_tokens": 300.0,
        "truncation_strategy": {"type": "last_messages", "last_messages": 1},
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_object"},
        "reasoning_effort": "high",
    }

    run = await api.run(
        assistant_id=assistant_id,
        **given,
        additional_instructions="be kind",
        additional_messages=[{"role": "user", "content": "more"}],
    )

    assert given | {"instructions": "be long\nbe kind"} == {name: run[name] for name in given}
    messages = await api.get(f"/threads/{run['thread_id']}/messages", order="asc")
    assert [message["content"][0]["text"]["value"] for message in messages["data"][:2]] == ["hello", "more"]


async def test_a_run_completes_with_a_message_and_a_step(api: Api) -> None:
    """The answer is a message of the thread, made by a step of the run, and both say what was used."""
    run = await api.until(await api.run(await api.thread("what is two and two?")), "completed")
    base = f"/threads/{run['thread_id']}"

    message = (await api.get(base + "/messages"))["data"][0]
    step = (await api.get(f"{base}/runs/{run['id']}/steps"))["data"][0]

    text = "This is the offline backend: no model was asked. The last message was: what is two and two?"
    usage = {"prompt_tokens": 5, "completion_tokens": 18, "total_tokens": 23}
    assert (NOON, NOON, None, usage) == (run["started_at"], run["completed_at"], run["expires_at"], run["usage"])
    assert [{"type": "text", "text": {"value": text, "annotations": []}}] == message["content"]
    expected = (run["id"], run["assistant_id"], "assistant", "completed", NOON)
    assert expected == tuple(message[name] for name in ("run_id", "assistant_id", "role", "status", "completed_at"))
    assert {
        "id": step["id"],
        "object": "thread.run.step",
        "created_at": NOON,
        "assistant_id": run["assistant_id"],
        "thread_id": run["thread_id"],
        "run_id": run["id"],
        "type": "message_creation",
        "status": "completed",
        "step_details": {"type": "message_creation", "message_creation": {"message_id": message["id"]}},
        "last_error": None,
        "expired_at": None,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": NOON,
        "metadata": {},
        "usage": usage,
    } == step
    assert step == await api.get(f"{base}/runs/{run['id']}/steps/{step['id']}")


async def test_the_offline_backend_says_when_there_was_no_question(api: Api) -> None:
    """A run on an empty thread is answered too."""
    run = await api.until(await api.run(await api.thread()), "completed")

    message = (await api.get(f"/threads/{run['thread_id']}/messages"))["data"][0]

    assert message["content"][0]["text"]["value"].endswith("(nothing)")


async def test_a_thread_and_its_run_in_one_request(api: Api) -> None:
    """The thread is made with its messages, and the run is on it."""
    assistant_id = await api.assistant()
    resources = {"file_search": {"vector_store_ids": ["vs_1"]}}
    thread = {"messages": [{"role": "user", "content": "hi"}], "metadata": {"a": "b"}}

    run = await api.post("/threads/runs", assistant_id=assistant_id, thread=thread, tool_resources=resources)
    empty = await api.post("/threads/runs", assistant_id=assistant_id)

    await api.until(run, "completed")
    assert resources == run["tool_resources"]
    assert (await api.get(f"/threads/{run['thread_id']}"))["metadata"] == {"a": "b"}
    assert len((await api.get(f"/threads/{run['thread_id']}/messages"))["data"]) == 2
    await api.until(empty, "completed")


async def test_a_run_is_modified_and_listed(api: Api) -> None:
    """Metadata can change at any time, and a thread's runs can be listed."""
    run = await api.until(await api.run(), "completed")
    path = f"/threads/{run['thread_id']}/runs"

    changed = await api.post(f"{path}/{run['id']}", metadata={"a": "b"})

    assert run | {"metadata": {"a": "b"}} == changed
    assert [changed] == (await api.get(path))["data"]
    await api.refused("POST", f"{path}/run_none", 404, json={})


async def test_messages_are_filtered_by_run(api: Api) -> None:
    """``run_id`` gives the messages a run has made, and nothing for a run of another thread."""
    run = await api.until(await api.run(), "completed")
    other = await api.until(await api.run(), "completed")
    path = f"/threads/{run['thread_id']}/messages"

    assert [run["id"]] == [message["run_id"] for message in (await api.get(path, run_id=run["id"]))["data"]]
    for unknown in (other["id"], "run_none"):
        page = await api.get(path, run_id=unknown)
        assert page == {"object": "list", "data": [], "first_id": "", "last_id": "", "has_more": False}


PREFIXES = ["", "/v1", "/openai", "/openai/v1", "/api/projects/my%20project"]


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_the_api_is_served_under_the_paths_of_clients(server: LocalServer, prefix: str) -> None:
    """All base URLs that clients have reach the same objects, with their parameters."""
    async with httpx.AsyncClient(transport=server.transport, base_url=f"http://local{prefix}") as http:
        response = await http.post("/assistants", json={"model": "m"}, params={"api-version": "v1"})
        client = server.client()
        seen = await client.get_assistant(response.json()["id"])
        listed = await http.get("/assistants")
        missing = await http.get("/assistants/asst_none")
        unknown = await http.get("/nowhere")

    assert (response.status_code, seen.model, len(listed.json()["data"])) == (200, "m", 1)
    assert missing.json()["error"]["message"] == "No assistant found with id 'asst_none'."
    assert unknown.status_code == 404


@pytest.mark.parametrize("path", ["/v2/assistants", "/openai/v2/assistants", "/v1/v1/threads", "/api/projects/threads"])
async def test_other_prefixes_are_unknown(server: LocalServer, path: str) -> None:
    """The API is not found under just any path."""
    async with httpx.AsyncClient(transport=server.transport, base_url="http://local") as http:
        response = await http.get(path)

    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_url")


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_anybody_may_ask_for_the_health(prefix: str) -> None:
    """The server says that it is there, also to those without a key, and to no other method."""
    async with (
        LocalServer(api_keys=["secret"], strict=True) as server,
        httpx.AsyncClient(transport=server.transport, base_url=f"http://local{prefix}") as http,
    ):
        response = await http.get("/health")
        head = await http.head("/health")
        posted = await http.post("/health")
        inside = await http.get("/health/assistants")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert response.headers["x-request-id"].startswith("req_")
    assert (head.status_code, posted.status_code, inside.status_code) == (200, 405, 401)


async def test_every_answer_has_the_headers_of_the_api(api: Api) -> None:
    """Request id and processing time are on all answers, how soon to look again on those about a run."""
    run = await api.run()

    answers = [await api.http.get(path) for path in ("/assistants", "/nowhere", f"/threads/{run['thread_id']}")]
    polled = await api.http.get(f"/threads/{run['thread_id']}/runs/{run['id']}")

    ids = {answer.headers["x-request-id"] for answer in [*answers, polled]}
    assert len(ids) == 4
    assert all(id.startswith("req_") for id in ids)
    assert all(answer.headers["openai-processing-ms"].isdecimal() for answer in [*answers, polled])
    assert all("openai-poll-after-ms" not in answer.headers for answer in answers)
    assert 50 <= int(polled.headers["openai-poll-after-ms"]) <= 51


async def test_head_answers_like_get_without_a_body(api: Api) -> None:
    """HEAD is answered wherever GET is."""
    response = await api.http.head("/assistants")

    assert (response.status_code, response.content) == (200, b"")
