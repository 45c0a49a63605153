"""A strict server refuses what the hosted API refused; another lets it pass."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx
import openai
import pytest
from conformance.table import body_fields, load, sample

from asyncassist import AsyncClient, BadRequestError
from asyncassist.server import LocalServer
from asyncassist.server.routes import ENDPOINTS

from .helpers import Api, Json, counted_ids
from .test_clients import sdk_for, use_everything

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")]

BETA = {"OpenAI-Beta": "assistants=v2"}
TEXT = {"type": "text", "text": "hi"}


@pytest.fixture
async def strict() -> AsyncIterator[Api]:
    async with (
        LocalServer(strict=True, new_id=counted_ids()) as server,
        httpx.AsyncClient(transport=server.transport, base_url="http://local/v1", headers=BETA) as http,
    ):
        yield Api(http)


def test_its_query_parameters_are_the_apis() -> None:
    """Each operation takes the query parameters the API gives it; a listing of threads takes those of a listing."""
    expected = {
        (entry["method"], entry["path"]): {
            name for name, shape in entry["parameters"].items() if shape["in"] == "query"
        }
        for entry in load()["operations"].values()
    }

    assert expected | {("GET", "/threads"): {"limit", "order", "after", "before"}} == {
        (endpoint.method, endpoint.path): set(endpoint.query) for endpoint in ENDPOINTS
    }


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "/assistants", "api-version"),
        ("GET", "/assistants", "run_id"),
        ("POST", "/assistants", "limit"),
        ("GET", "/threads/thread_1", "after"),
        ("DELETE", "/threads/thread_1", "force"),
        ("GET", "/threads/thread_1/messages", "include[]"),
        ("POST", "/threads/thread_1/runs", "stream"),
    ],
)
async def test_unknown_query_parameters_are_refused(strict: Api, method: str, path: str, name: str) -> None:
    """A parameter the operation does not have is a 400 that names it, before anything else is looked at."""
    error = await strict.refused(method, path, params={"limit": 1, name: "x"} if method == "GET" else {name: "x"})

    if name == "after":
        name = "limit"
    assert (f"Unknown parameter: '{name}'.", name, "unknown_parameter") == (
        error["message"],
        error["param"],
        error["code"],
    )


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/assistants", {"model": "m", "vendor": 1}, "vendor"),
        ("/assistants", {"model": "m", "tools": [{"type": "code_interpreter", "x": 1}]}, "tools[0].x"),
        (
            "/assistants",
            {"model": "m", "tools": [{"type": "function", "function": {"name": "f", "cache": True}}]},
            "tools[0].function.cache",
        ),
        ("/assistants", {"model": "m", "tool_resources": {"browser": {}}}, "tool_resources.browser"),
        (
            "/threads",
            {"messages": [{"role": "user", "content": [TEXT, TEXT | {"a": None}]}]},
            "messages[0].content[1].a",
        ),
        ("/threads/thread_1/messages", {"role": "user", "content": "hi", "file_ids": []}, "file_ids"),
        ("/threads/thread_1/runs", {"assistant_id": "asst_1", "tool_resources": {}}, "tool_resources"),
        ("/threads/runs", {"assistant_id": "asst_1", "additional_messages": []}, "additional_messages"),
        ("/assistants", {"model": "m", "k" * 1000: 1}, "k" * 64 + "..."),
    ],
)
async def test_unknown_fields_are_refused(strict: Api, path: str, body: Json, param: str) -> None:
    """A field the API does not have, however deep, is a 400 that gives its path. Nothing is made."""
    error = await strict.refused("POST", path, json=body)

    assert (f"Unknown parameter: '{param}'.", param) == (error["message"], error["param"])
    assert (await strict.get("/assistants"))["data"] == []


FACTS = load()
BODIES = {name: entry["body"]["ref"] for name, entry in FACTS["operations"].items() if "body" in entry}
FIELDS = {name: shape for operation in BODIES for name, shape in body_fields(FACTS, operation).items()}


@pytest.mark.parametrize("operation", BODIES)
async def test_its_fields_are_the_apis(strict: Api, operation: str) -> None:
    """Each body takes the fields the API gives it, and no field of another body."""
    entry = FACTS["operations"][operation]
    path = re.sub(r"{(\w+)}", "x", entry["path"])
    least = sample(FACTS, {"ref": BODIES[operation]}, "the least")
    refused: set[str] = set()
    for name, shape in FIELDS.items():
        response = await strict.http.post(path, json=least | {name: sample(FACTS, shape)})
        error = response.json().get("error")
        assert error is None or response.status_code == 404 or error["code"] == "unknown_parameter", error
        if error is not None and error["code"] == "unknown_parameter":
            assert error["param"] == name
            refused.add(name)

    assert set(body_fields(FACTS, operation)) == set(FIELDS) - refused


@pytest.mark.parametrize("what", ["everything", "the least", "nulls"])
@pytest.mark.parametrize("operation", BODIES)
async def test_what_the_api_takes_is_taken(strict: Api, operation: str, what: str) -> None:
    """Bodies with all there may be, the least, and every null there may be, are not refused."""
    path = re.sub(r"{(\w+)}", "x", FACTS["operations"][operation]["path"])

    response = await strict.http.post(path, json=sample(FACTS, {"ref": BODIES[operation]}, what))

    assert response.status_code in (200, 404), response.text


async def test_free_json_stays_free(strict: Api) -> None:
    """What may be of any form is not looked into: metadata, and the schemas of functions and answers."""
    schema = {"type": "object", "properties": {"anything": {"x-own": 1}}}
    given: Json = {
        "model": "m",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}},
        "metadata": {"any": "thing"},
        "temperature": None,
        "top_p": 1,
    }

    assistant = await strict.post("/assistants", given)
    run = await strict.run(assistant_id=assistant["id"], max_prompt_tokens=300.0)

    assert run["max_prompt_tokens"] == 300
    assert given | {"temperature": 1.0} == {name: assistant[name] for name in given}


@pytest.mark.parametrize("value", [None, "assistants=v1", "assistants", "realtime=v1"])
async def test_the_beta_header_is_needed(value: str | None) -> None:
    """Without the header, or with another version in it, every operation is refused in the API's words."""
    async with (
        LocalServer(strict=True) as server,
        httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http,
    ):
        headers = {} if value is None else {"OpenAI-Beta": value}
        error = await Api(http).refused("GET", "/threads/thread_1", headers=headers)
        unknown = await Api(http).refused("GET", "/nowhere", 404, headers=headers)

    assert error["code"] == "invalid_beta"
    assert "Please try again by setting the header 'OpenAI-Beta: assistants=v2'." in error["message"]
    assert unknown["code"] == "unknown_url"


@pytest.mark.parametrize(
    "headers", [{"openai-beta": "a=b, assistants=v2"}, [("OpenAI-Beta", "x"), ("OpenAI-Beta", "assistants=v2")]]
)
async def test_the_beta_header_may_say_more(headers: dict[str, str] | list[tuple[str, str]]) -> None:
    """Other betas beside it are no matter."""
    async with (
        LocalServer(strict=True) as server,
        httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http,
    ):
        response = await http.get("/assistants", headers=headers)

    assert response.status_code == 200


async def test_a_lenient_server_needs_no_header(api: Api) -> None:
    """By default neither a missing nor a strange header is looked at."""
    for headers in ({}, {"OpenAI-Beta": "assistants=v1"}):
        response = await api.http.get("/assistants", headers=headers)
        assert response.status_code == 200


async def test_real_clients_are_strict_themselves() -> None:
    """The openai SDK, with all it has, and this library's client send nothing a strict server would refuse."""
    async with LocalServer(strict=True) as server, sdk_for(server, "http://local/v1") as sdk:
        await use_everything(sdk)
        async with server.client() as client:
            assistant = await client.create_assistant(model="m")
            run = await client.create_thread_run_and_wait(assistant_id=assistant.id)
            steps = await client.list_run_steps(
                run.thread_id, run.id, include=["step_details.tool_calls[*].file_search.results[*].content"]
            ).collect()
            sdks = await sdk.beta.threads.runs.steps.list(
                run.id,
                thread_id=run.thread_id,
                include=["step_details.tool_calls[*].file_search.results[*].content"],
            )
            with pytest.raises(BadRequestError, match="Unknown parameter: 'api-version'"):
                await client.with_options(extra_query={"api-version": "v1"}).get_assistant(assistant.id)
        async with AsyncClient(base_url="http://local/v1", api_key="k", transport=server.transport, beta=None) as bare:
            with pytest.raises(BadRequestError, match="OpenAI-Beta"):
                await bare.get_assistant(assistant.id)

    assert [step.id for step in steps] == [step.id for step in sdks.data]
    assert isinstance(sdk, openai.AsyncOpenAI)
