"""Tools as parameters of operations."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from asyncassist import AsyncClient, Toolset, UsageError, tool
from asyncassist._wire.unstructure import unstructure
from asyncassist.models import AssistantToolsCode

pytestmark = pytest.mark.anyio


@tool(strict=True)
def search(text: str, limit: int = 3) -> list[str]:
    """Search the shelves.

    Args:
        text: what for
    """
    return [text] * limit


class Shelf:
    @tool
    def size(self) -> int:
        return 1


SEARCH = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Search the shelves.",
        "parameters": {
            "type": "object",
            "properties": {
                "text": {"type": "string", "description": "what for"},
                "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}], "description": "Null for the default: 3."},
            },
            "required": ["text", "limit"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
SIZE = {
    "type": "function",
    "function": {"name": "size", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}},
}


@pytest.mark.parametrize("operation", ["create_assistant", "modify_assistant", "create_run", "create_thread_and_run"])
async def test_tools_are_sent_as_their_definitions(operation: str) -> None:
    """Marked functions stand beside models and mappings in ``tools=``; so does what a toolset defines."""
    bodies: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return httpx.Response(200, json={"id": "any_1", "thread_id": "thread_1", "status": "queued"})

    calls = {
        "create_assistant": lambda client, tools: client.create_assistant(model="m", tools=tools),
        "modify_assistant": lambda client, tools: client.modify_assistant("asst_1", tools=tools),
        "create_run": lambda client, tools: client.create_run("thread_1", assistant_id="asst_1", tools=tools),
        "create_thread_and_run": lambda client, tools: client.create_thread_and_run(assistant_id="asst_1", tools=tools),
    }
    async with AsyncClient(api_key="key", base_url="http://test", transport=httpx.MockTransport(answer)) as client:
        await calls[operation](client, [search, {"type": "file_search"}, AssistantToolsCode(), Shelf().size])
        await calls[operation](client, Toolset([search]).definitions)

    assert [SEARCH, {"type": "file_search"}, {"type": "code_interpreter"}, SIZE] == bodies[0]["tools"]
    assert [SEARCH] == bodies[1]["tools"]


def _plain() -> int:
    return 1


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        (Toolset([search]), r"given as toolset=; .* give tools=toolset\.definitions$"),
        ([search, Toolset([search])], r"give tools=toolset\.definitions$"),
        (search, r"^tools must be a list, got Tool; give tools=\[\.\.\.\]$"),
        (_plain, "^tools must be a list, got function; give"),
        ([search, _plain], "^tools has the function _plain, which is not marked; mark it with @tool$"),
        ((Shelf().__init__,), "wrapper cannot be sent as JSON"),
    ],
)
async def test_what_is_no_list_of_tools(tools: Any, message: str) -> None:
    """A toolset, a tool by itself and a function that is not marked are refused with the remedy; nothing is sent."""
    transport = httpx.MockTransport(lambda request: httpx.Response(500))
    async with AsyncClient(api_key="key", base_url="http://test", transport=transport) as client:
        for call in (
            lambda: client.create_assistant(model="m", tools=tools),
            lambda: client.run_and_wait("thread_1", assistant_id="asst_1", tools=tools),
            lambda: client.conversation("thread_1", assistant_id="asst_1").ask("Hello", tools=tools),
        ):
            with pytest.raises((TypeError, UsageError), match=message):
                await call()


async def test_plain_functions_are_not_sent() -> None:
    """Only what is marked has a definition; an error inside of one names the place."""
    with pytest.raises(UsageError, match=r"tools\[0\]: function cannot be sent as JSON"):
        unstructure({"tools": [lambda: 1]})
    with pytest.raises(UsageError, match="tool lost: a type hint names 'Nothing'"):
        unstructure({"tools": [lost]})


def lost(x: Nothing) -> None: ...  # type: ignore[name-defined]  # noqa: F821


lost = tool(lost)  # type: ignore[assignment]
