"""Tools of users that must type, and uses that must not: an ignore that is not needed is an error too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, assert_type

from asyncassist import Allow, AsyncClient, Deny, PendingCall, Replace, Tool, ToolOutput, Toolset, tool
from asyncassist.models import AssistantToolsFunction, Run


@tool
def double(x: int, *, times: int = 2) -> int:
    """Double it."""
    return x * times


@tool(name="find", description="Find it.", strict=True, timeout=3)
async def search(text: str) -> list[str]:
    """Search for it."""
    return [text]


class Shop:
    """Has tools of its own."""

    @tool
    def price(self, name: str) -> float:
        """Say what it costs."""
        return len(name) * 0.5

    @tool(timeout=1)
    async def order(self, name: str, count: int = 1) -> None:
        """Order it."""


async def calls() -> None:
    """A tool is called as the function it was made of."""
    assert_type(double(3), int)
    assert_type(double(3, times=4), int)
    assert_type(await search("a"), list[str])
    assert_type(Shop().price("a"), float)
    await Shop().order("a", count=2)
    assert_type(Shop.price(Shop(), "a"), float)
    assert_type(tool(len, name="length")([]), int)
    double("3")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    double(3, 4)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await search()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Shop().price(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Shop().price()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await double(3)  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


def facts(shop: Shop) -> None:
    """Read what a model is told."""
    assert_type(double.name, str)
    assert_type(search.description, str | None)
    assert_type(double.parameters, dict[str, Any])
    assert_type(shop.price.definition, AssistantToolsFunction)
    some: Tool[..., object] = double
    assert_type(some.timeout, float | None)
    double.name = 5  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    tool(5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    tool(nmae="a")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


def decide(call: PendingCall) -> Allow | Deny | Replace | bool | None:
    """Say what becomes of a call."""
    assert_type(call.arguments, Mapping[str, object])
    assert_type(call.run, Run)
    if call.name == "order":
        return Deny("ask first")
    return Replace(arguments={**call.arguments, "count": 1}) if call.arguments.get("count") == 2 else Replace(output=5)


async def decide_later(call: PendingCall) -> bool:
    """Say so after a while."""
    return call.id == "call_1"


async def toolsets(client: AsyncClient, run: Run) -> None:
    """Put tools together, offer them, and answer calls."""
    toolset = Toolset([double, search, Shop().order, calls, len], max_concurrency=None, timeout=5, on_error="raise")
    assert_type(toolset.definitions, tuple[AssistantToolsFunction, ...])
    Toolset([], before_call=decide)
    Toolset([], before_call=decide_later)
    Toolset([], before_call=lambda call: call.name != "pay")
    await client.create_assistant(model="m", tools=[double, search, {"type": "code_interpreter"}, *toolset.definitions])
    await client.create_assistant(model="m", tools=toolset.definitions)
    await client.create_run("thread_1", assistant_id="a", tools=[Shop().price])
    assert_type(await toolset.begin().answer(run), tuple[ToolOutput, ...])
    Toolset([double], on_error="ignore")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Toolset([5])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    Toolset([], before_call=lambda call: "yes")  # type: ignore[arg-type, return-value]  # pyright: ignore[reportArgumentType]
    await client.create_assistant(model="m", tools=[len])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    await client.create_assistant(model="m", tools=double)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
