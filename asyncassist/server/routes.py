"""Where the operations are found: one line for each, with what its method is given, and under which paths.

The API is served at the root and under the prefixes clients have in their base URLs: ``/v1`` as OpenAI has it, the
paths of Azure's two services, and both together. So an application changes the host of its base URL, and nothing else.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen

from asyncassist.server import bodies
from asyncassist.server.operations import Operations

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncassist.models import Model
    from asyncassist.server.streaming import EventStream
    from asyncassist.server.validation import Check

__all__ = ["ENDPOINTS", "HEALTH", "Endpoint", "prefix_of"]

#: Where to ask whether the server answers.
HEALTH = "/health"

Operation: TypeAlias = "Callable[..., Awaitable[Model | EventStream]]"

_PAGE = ("limit", "order", "after", "before")
_INCLUDE = "include[]"

_prefix = re.compile(r"/(?:v1|openai(?:/v1)?|api/projects/[^/]+)(?=/)")


@frozen
class Endpoint:
    """One operation of the API: its place, and what its method is given after the ids of the path."""

    method: str
    path: str
    operation: Operation
    body: Check | None = None
    query: tuple[str, ...] = ()
    """The names of its query parameters."""

    @property
    def is_listing(self) -> bool:
        """Whether its method is given the query parameters."""
        return self.query[: len(_PAGE)] == _PAGE

    @property
    def ids(self) -> list[str]:
        """The names of the ids in its path, in their order."""
        return re.findall(r"{(\w+)}", self.path)


def prefix_of(path: str) -> str:
    """The prefix a path begins with, empty where it is the API's own."""
    match = _prefix.match(path)
    return "" if match is None else match[0]


def _get(path: str, operation: Operation, *query: str) -> Endpoint:
    return Endpoint("GET", path, operation, query=query)


def _list(path: str, operation: Operation, *query: str) -> Endpoint:
    return Endpoint("GET", path, operation, query=(*_PAGE, *query))


def _post(path: str, operation: Operation, body: Check | None = None, *query: str) -> Endpoint:
    return Endpoint("POST", path, operation, body, query)


def _delete(path: str, operation: Operation) -> Endpoint:
    return Endpoint("DELETE", path, operation)


_THREAD = "/threads/{thread_id}"
_RUN = _THREAD + "/runs/{run_id}"
_MESSAGE = _THREAD + "/messages/{message_id}"

ENDPOINTS = (
    _post("/assistants", Operations.create_assistant, bodies.CREATE_ASSISTANT),
    _list("/assistants", Operations.list_assistants),
    _get("/assistants/{assistant_id}", Operations.get_assistant),
    _post("/assistants/{assistant_id}", Operations.modify_assistant, bodies.MODIFY_ASSISTANT),
    _delete("/assistants/{assistant_id}", Operations.delete_assistant),
    _post("/threads", Operations.create_thread, bodies.CREATE_THREAD),
    _list("/threads", Operations.list_threads),
    _post("/threads/runs", Operations.create_thread_and_run, bodies.CREATE_THREAD_AND_RUN),
    _get(_THREAD, Operations.get_thread),
    _post(_THREAD, Operations.modify_thread, bodies.MODIFY_THREAD),
    _delete(_THREAD, Operations.delete_thread),
    _post(_THREAD + "/messages", Operations.create_message, bodies.CREATE_MESSAGE),
    _list(_THREAD + "/messages", Operations.list_messages, "run_id"),
    _get(_MESSAGE, Operations.get_message),
    _post(_MESSAGE, Operations.modify_message, bodies.MODIFY_METADATA),
    _delete(_MESSAGE, Operations.delete_message),
    _post(_THREAD + "/runs", Operations.create_run, bodies.CREATE_RUN, _INCLUDE),
    _list(_THREAD + "/runs", Operations.list_runs),
    _get(_RUN, Operations.get_run),
    _post(_RUN, Operations.modify_run, bodies.MODIFY_METADATA),
    _post(_RUN + "/cancel", Operations.cancel_run),
    _post(_RUN + "/submit_tool_outputs", Operations.submit_tool_outputs_to_run, bodies.SUBMIT_TOOL_OUTPUTS),
    _list(_RUN + "/steps", Operations.list_run_steps, _INCLUDE),
    _get(_RUN + "/steps/{step_id}", Operations.get_run_step, _INCLUDE),
)
