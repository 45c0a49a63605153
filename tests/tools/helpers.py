"""What the tests of tools share: tools, calls, and runs that wait for them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import anyio
from anyio.lowlevel import checkpoint

from asyncassist import Run, Tool, tool
from asyncassist.models import (
    RunRequiredAction,
    RunRequiredActionSubmitToolOutputs,
    RunToolCall,
    RunToolCallFunction,
    ToolOutput,
)
from asyncassist.tools._parameters import ArgumentsError, decode_arguments

__all__ = ["Gate", "add", "bound", "call", "double", "outputs", "property_of", "refusal", "run_of", "tool_of"]


def call(id_: str, name: str, arguments: Mapping[str, object] | str = "{}", kind: str = "function") -> RunToolCall:
    """Make a call as a model asks for it."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return RunToolCall(id=id_, type=kind, function=RunToolCallFunction(name=name, arguments=text))


def run_of(*calls: RunToolCall, expires_at: int | None = None, action: str = "submit_tool_outputs") -> Run:
    """Make a run that waits for the outputs of calls."""
    outputs = RunRequiredActionSubmitToolOutputs(tool_calls=calls)
    return Run(
        id="run_1",
        thread_id="thread_1",
        status="requires_action",
        expires_at=expires_at,
        required_action=RunRequiredAction(type=action, submit_tool_outputs=outputs),
    )


def outputs(answered: tuple[ToolOutput, ...]) -> dict[str, str]:
    """Return the outputs by the ids of their calls."""
    return {str(item.tool_call_id): str(item.output) for item in answered}


def tool_of(type_: Any, default: Any = ..., *, strict: bool | None = None) -> Tool[..., Any]:
    """Make a tool that returns its one argument, ``x``, of a type."""

    def echo(x: Any) -> Any:
        return x

    echo.__annotations__ = {"x": type_}
    if default is not ...:
        echo.__defaults__ = (default,)
    return tool(echo, strict=strict)


def property_of(type_: Any, default: Any = ..., *, strict: bool | None = None) -> dict[str, Any]:
    """Return the schema of a parameter of a type."""
    made: dict[str, Any] = tool_of(type_, default, strict=strict).parameters["properties"]["x"]
    return made


def bound(made: Tool[..., Any], text: str) -> Any:
    """Call a tool with arguments as a model writes them."""
    positional, named = made.bind(decode_arguments(text))
    return made(*positional, **named)


def refusal(made: Tool[..., Any] | Callable[..., Any], text: str) -> str:
    """Return what the model is told about arguments that do not fit."""
    made = made if isinstance(made, Tool) else tool(made)
    try:
        made.bind(decode_arguments(text))
    except ArgumentsError as error:
        return str(error)
    raise AssertionError("the arguments fit")


class Gate:
    """Counts who is inside and lets them out together."""

    def __init__(self) -> None:
        self.inside = self.most = 0
        self.opened = anyio.Event()

    async def enter(self) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await self.opened.wait()
        finally:
            self.inside -= 1


def double(x: int) -> int:
    """Be a sync tool."""
    return 2 * x


async def add(x: int, y: int = 1) -> int:
    """Be an async tool."""
    await checkpoint()
    return x + y
