"""Toolsets: the tools a program answers calls of, and the rules it does so by."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Mapping
from types import FrameType, MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Never, cast

from asyncassist.errors import UsageError, shown
from asyncassist.models import AssistantToolsFunction
from asyncassist.tools.approval import BeforeCall
from asyncassist.tools.functions import Tool, checked_timeout, local_names
from asyncassist.tools.rounds import Rules, ToolRounds

__all__ = ["Toolset"]


class Toolset:
    """Tools whose calls are answered while a run is waited for or streamed.

    It keeps nothing of a run, so that one toolset can serve any number of them at once.

    What the model does wrong (arguments that do not fit, a tool that does not exist) it is told in an output that
    begins with "Error:". It is also told the type and the message of an exception a tool raises, never its traceback,
    which is logged. Take care that messages of exceptions hold no secrets, or catch them in the tool.

    A sync function runs in a thread of its own. When its time is up or the run is given up, nobody waits for it any
    longer, but it goes on to its end, because threads cannot be stopped; its result is dropped. An async function is
    cancelled.
    """

    def __init__(
        self,
        tools: Iterable[Tool[..., Any] | Callable[..., Any]],
        *,
        max_concurrency: int | None = 10,
        timeout: float | None = None,
        max_rounds: int | None = 20,
        on_error: Literal["output", "raise"] = "output",
        before_call: BeforeCall | None = None,
    ) -> None:
        """Put tools together.

        Args:
            tools: functions, marked with `tool` or not.
            max_concurrency: how many calls of one round are made at a time, waiting for ``before_call`` included; None
                for all of them. They begin in the order in which the model asks for them.
            timeout: seconds a call may take whose tool has no timeout of its own; None for as long as the run lives.
                Every call ends a little before the run expires, so that the outputs still arrive.
            max_rounds: how often a run may ask for tools; None for any number.
            on_error: what becomes of a tool that raises, takes too long, or returns what cannot be sent: ``"output"``
                tells the model, ``"raise"`` raises `ToolError` and cancels the other calls.
            before_call: asked before each call, sync or async, with a `PendingCall`; returns `Allow`, `Deny` or
                `Replace` (None and True allow, False denies). What it raises ends the run.

        Raises:
            UsageError: two tools have the same name, or a function cannot be a tool.
        """
        if isinstance(tools, Tool) or not isinstance(tools, Iterable):
            raise TypeError(f"tools must be a list of functions, got {type(tools).__name__}")
        found: dict[str, Tool[..., Any]] = {}
        for item in tools:
            made = _as_tool(item, inspect.currentframe())
            if made.name in found:
                raise UsageError(f"two tools have the name {made.name!r}; give one another: tool(function, name=...)")
            found[made.name] = made
        self._tools: Mapping[str, Tool[..., Any]] = MappingProxyType(found)
        self._definitions = tuple(item.definition for item in found.values())
        if on_error not in ("output", "raise"):
            raise UsageError(f'on_error is "output" or "raise", got {shown(on_error)}')
        if before_call is not None and not callable(before_call):
            raise TypeError(f"before_call must be a function, got {type(before_call).__name__}")
        self._rules = Rules(
            tools=self._tools,
            max_concurrency=_checked_count("max_concurrency", max_concurrency),
            timeout=checked_timeout(timeout),
            max_rounds=_checked_count("max_rounds", max_rounds),
            on_error=on_error,
            before_call=before_call,
        )

    def __repr__(self) -> str:
        return f"<Toolset {', '.join(self._tools)}>"

    @property
    def tools(self) -> Mapping[str, Tool[..., Any]]:
        """The tools by name."""
        return self._tools

    @property
    def definitions(self) -> tuple[AssistantToolsFunction, ...]:
        """What to offer the model, as ``tools=`` of an assistant or a run."""
        return self._definitions

    def begin(self, *, clock: Callable[[], float] = time.time) -> ToolRounds:
        """Start answering the calls of one run.

        Args:
            clock: gives the time in Unix seconds, as ``run.expires_at`` is.
        """
        return ToolRounds(self._rules, clock)

    # What is sent asks for it. Hidden from type checkers, for whom a toolset is nothing that can be sent.
    if not TYPE_CHECKING:  # pragma: no branch

        def __asyncassist_definition__(self) -> Never:
            raise TypeError(
                "a Toolset is what answers calls, and is given as toolset=; "
                "to offer its tools to the model, give tools=toolset.definitions"
            )


def _as_tool(item: Tool[..., Any] | Callable[..., Any], frame: FrameType | None) -> Tool[..., Any]:
    made = cast("Tool[..., Any]", item) if isinstance(item, Tool) else Tool(item, names=local_names(item, frame))
    if made.is_method:
        raise UsageError(f"tool {made.name} is a method; give that of an instance")
    return made


def _checked_count(name: str, count: int | None) -> int | None:
    if count is None:
        return None
    if isinstance(count, bool) or not isinstance(count, int):
        raise TypeError(f"{name} must be an int or None, got {type(count).__name__}")
    if count < 1:
        raise UsageError(f"{name} is at least 1, got {shown(count)}")
    return count
