"""What the tests of the client share: a server in a function, and every operation in a table."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import httpx
from anyio.lowlevel import checkpoint

from asyncassist import AsyncClient
from asyncassist._transport.pacing import Pacing

__all__ = [
    "BASE",
    "CREATES",
    "KEY",
    "MODIFIES",
    "NOON",
    "OBJECT",
    "OPERATIONS",
    "SAFE",
    "UNSAFE",
    "Reply",
    "Server",
    "raw_reply",
    "reply",
]

KEY: Final = "sk-client-0123456789abcdef"
BASE: Final = "http://test/v1"
NOON: Final = 1_800_000_000.0
"""What the clock of every client here shows, in Unix seconds."""

OBJECT: Final[dict[str, Any]] = {
    "id": "any_1",
    "object": "any",
    "thread_id": "thread_1",
    "run_id": "run_1",
    "assistant_id": "asst_1",
    "role": "user",
    "status": "completed",
    "type": "message_creation",
    "content": [],
    "deleted": True,
    "data": [],
    "has_more": False,
}
"""An object every operation can read."""

Operation = Callable[[Any], Awaitable[Any]]

OPERATIONS: Final[dict[str, Operation]] = {
    "create_assistant": lambda client: client.create_assistant(model="m"),
    "get_assistant": lambda client: client.get_assistant("asst_1"),
    "modify_assistant": lambda client: client.modify_assistant("asst_1", name="n"),
    "delete_assistant": lambda client: client.delete_assistant("asst_1"),
    "list_assistants": lambda client: client.list_assistants(),
    "create_thread": lambda client: client.create_thread(),
    "get_thread": lambda client: client.get_thread("thread_1"),
    "modify_thread": lambda client: client.modify_thread("thread_1"),
    "delete_thread": lambda client: client.delete_thread("thread_1"),
    "create_message": lambda client: client.create_message("thread_1", role="user", content="hi"),
    "get_message": lambda client: client.get_message("thread_1", "msg_1"),
    "modify_message": lambda client: client.modify_message("thread_1", "msg_1"),
    "delete_message": lambda client: client.delete_message("thread_1", "msg_1"),
    "list_messages": lambda client: client.list_messages("thread_1"),
    "create_run": lambda client: client.create_run("thread_1", assistant_id="asst_1"),
    "create_thread_and_run": lambda client: client.create_thread_and_run(assistant_id="asst_1"),
    "get_run": lambda client: client.get_run("thread_1", "run_1"),
    "modify_run": lambda client: client.modify_run("thread_1", "run_1"),
    "cancel_run": lambda client: client.cancel_run("thread_1", "run_1"),
    "list_runs": lambda client: client.list_runs("thread_1"),
    "submit_tool_outputs_to_run": lambda client: client.submit_tool_outputs_to_run(
        "thread_1", "run_1", tool_outputs=[]
    ),
    "get_run_step": lambda client: client.get_run_step("thread_1", "run_1", "step_1"),
    "list_run_steps": lambda client: client.list_run_steps("thread_1", "run_1"),
}
CREATES: Final = [name for name in OPERATIONS if name.startswith("create")]
MODIFIES: Final = [name for name in OPERATIONS if name.startswith("modify")]
UNSAFE: Final = [*CREATES, *MODIFIES, "submit_tool_outputs_to_run"]
SAFE: Final = [name for name in OPERATIONS if name not in UNSAFE]

Reply = Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]


def reply(body: object = OBJECT, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Answer with JSON, afresh each time."""
    return lambda request: httpx.Response(status, json=body, headers=headers)


def raw_reply(body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Answer with bytes as they are on the wire."""
    return lambda request: httpx.Response(status, stream=httpx.ByteStream(body), headers=headers)


class Server:
    """Answers from a script, the last entry again and again; remembers what it was asked and what was slept."""

    def __init__(self, *script: Reply | Exception) -> None:
        self.script = list(script) or [reply()]
        self.requests: list[httpx.Request] = []
        self.naps: list[float] = []

    @property
    def transport(self) -> httpx.MockTransport:
        """A transport that leads here."""
        return httpx.MockTransport(self._answer)

    @property
    def request(self) -> httpx.Request:
        """The only request there was."""
        (request,) = self.requests
        return request

    @property
    def body(self) -> Any:
        """The JSON of the only request there was."""
        return json.loads(self.request.content)

    def client(self, *, dice: float = 0.0, **options: Any) -> AsyncClient:
        """Make a client of this server, whose pauses take no time."""
        options = {"api_key": KEY, "base_url": BASE, "transport": self.transport, **options}
        client = AsyncClient(**options)
        client._sender.pacing = Pacing(clock=lambda: NOON, sleep=self._sleep, random=lambda: dice)
        return client

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, Exception):
            raise answer
        response = answer(request)
        return response if isinstance(response, httpx.Response) else await response

    async def _sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        await checkpoint()
