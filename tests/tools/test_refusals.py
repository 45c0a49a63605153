"""Functions that cannot be tools, and settings out of their range."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from asyncassist import Toolset, UsageError, tool

if TYPE_CHECKING:
    pass


@attrs.define
class Place:
    """Where."""

    name: str


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tool(bare), "tool bare: parameter x: has no type hint; Any takes every JSON value"),
        (lambda: tool(many), r"tool many: it takes \*args: 'int'; a model can only give arguments by name"),
        (lambda: tool(named), r"tool named: it takes \*\*more: 'int'; a model"),
        (lambda: tool(generator), "tool generator: a tool returns its output, it does not yield"),
        (lambda: tool(async_generator), "it does not yield"),
        (lambda: tool(broken), r"tool broken: parameter x: its type hint 'list\[' cannot be evaluated: "),
        (
            lambda: tool(wrong),
            "tool wrong: parameter x: its type hint 're.Nothing' cannot be evaluated: module 're' has no",
        ),
        (
            lambda: tool(hidden),
            "tool hidden: parameter x: the type hints of Hidden cannot be evaluated: unsupported oper",
        ),
        (lambda: tool(dict.fromkeys), "tool fromkeys: "),
        (lambda: tool(max), "tool max: it "),
        (lambda: tool(lambda x: x), "got '<lambda>'; give one"),
        (lambda: tool(bare, name="a b"), "a tool's name has 1-64 letters, digits, underscores and dashes, got 'a b'$"),
        (lambda: tool(bare, name="x" * 65), "got 'x"),
        (lambda: tool(bare, name=""), "got ''"),
        (lambda: tool(bare, name="näh"), "got 'näh'"),
        (lambda: tool(bare, timeout=0), "timeout is in seconds, more than 0, got 0"),
        (lambda: tool(bare, timeout=float("nan")), "timeout is in seconds, more than 0, got nan"),
        (lambda: Toolset([ping, ping]), r"two tools have the name 'ping'; give one another: tool\(function, name="),
        (lambda: Toolset([ping], max_concurrency=0), "max_concurrency is at least 1, got 0"),
        (lambda: Toolset([ping], max_rounds=-1), "max_rounds is at least 1, got -1"),
        (lambda: Toolset([ping], timeout=-1), "timeout is in seconds, more than 0, got -1"),
        (lambda: Toolset([ping], on_error="ignore"), 'on_error is "output" or "raise", got \'ignore\''),  # type: ignore[arg-type]
    ],
)
def test_wrong_values(make: Any, message: str) -> None:
    """A function a model cannot be told of, or a setting out of its range, is refused when it is given."""
    with pytest.raises(UsageError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tool(5), "a tool is made of a function, got 5"),  # type: ignore[call-overload]
        (lambda: tool(Place), "a tool is made of a function, got <class"),
        (lambda: tool(bare, name=5), "name must be a str, got int"),  # type: ignore[call-overload]
        (lambda: tool(bare, timeout="1"), "timeout must be seconds or None, got str"),  # type: ignore[call-overload]
        (lambda: tool(bare, timeout=True), "timeout must be seconds or None, got bool"),
        (lambda: Toolset(tool(ping)), "tools must be a list of functions, got Tool"),  # type: ignore[arg-type]
        (lambda: Toolset(None), "tools must be a list of functions, got NoneType"),  # type: ignore[arg-type]
        (lambda: Toolset(["ping"]), "a tool is made of a function, got 'ping'"),  # type: ignore[list-item]
        (lambda: Toolset([ping], max_rounds=True), "max_rounds must be an int or None, got bool"),
        (lambda: Toolset([ping], max_concurrency=1.5), "max_concurrency must be an int or None, got float"),  # type: ignore[arg-type]
        (lambda: Toolset([ping], before_call=5), "before_call must be a function, got int"),  # type: ignore[arg-type]
    ],
)
def test_wrong_types(make: Any, message: str) -> None:
    """What has the wrong type is a TypeError."""
    with pytest.raises(TypeError, match=message):
        make()


def bare(x) -> None: ...  # type: ignore[no-untyped-def]


def many(*args: int) -> None: ...


def named(**more: int) -> None: ...


def generator() -> Any:
    yield 1


async def async_generator() -> Any:
    yield 1


def broken(x: int) -> None: ...


broken.__annotations__ = {"x": "list["}


def wrong(x: re.Nothing) -> None: ...  # type: ignore[name-defined]


@attrs.define
class Hidden:
    x: int + str  # type: ignore[valid-type]


def hidden(x: Hidden) -> None: ...


def ping() -> str:
    return "pong"
