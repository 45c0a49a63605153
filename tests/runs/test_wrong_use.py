"""Streams and waits used otherwise than they are meant: what the caller is told."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import inspect
from typing import Any

import pytest

from asyncassist import AsyncClient, UsageError
from asyncassist.runs import streaming, waiting

from .helpers import ASSISTANT, ONE_MESSAGE, THREAD, InProcess

pytestmark = pytest.mark.anyio

USAGE = r"async with client\.stream_run\(\.\.\.\) as stream$"


async def test_a_stream_is_only_entered() -> None:
    """Awaited, entered without ``async``, or read before it is entered, it says how it is used; nothing is sent."""
    wire = InProcess(ONE_MESSAGE.anew())
    client = wire.client()

    with pytest.raises(TypeError, match=f"^a RunStream is entered, not awaited: {USAGE}"):
        await client.stream_run(THREAD, assistant_id=ASSISTANT)  # type: ignore[misc]
    with pytest.raises(TypeError, match=f"^a RunStream is entered with `async with`, not `with`: {USAGE}"):
        with client.stream_run(THREAD, assistant_id=ASSISTANT):  # type: ignore[attr-defined]
            pass
    with pytest.raises(TypeError, match=f"^a RunStream is read with `async for`, not `for`, inside of: {USAGE}"):
        list(client.stream_run(THREAD, assistant_id=ASSISTANT))  # type: ignore[call-overload]
    with pytest.raises(UsageError, match=f"^use a stream as: {USAGE}"):
        async for _ in client.stream_run(THREAD, assistant_id=ASSISTANT):
            pass
    with pytest.raises(UsageError, match=f"^use a stream as: {USAGE}"):
        await client.stream_run(THREAD, assistant_id=ASSISTANT).until_done()

    assert wire.recorded.asked == []


@pytest.mark.parametrize(
    "method", ["run_and_wait", "create_thread_run_and_wait", "stream_run", "stream_thread_and_run"]
)
@pytest.mark.parametrize(
    ("name", "hint"),
    [("temprature", "; did you mean 'temperature'?"), ("polls", "; did you mean 'poll'?"), ("nothing", "")],
)
async def test_the_called_method_is_named(method: str, name: str, hint: str) -> None:
    """A wrong parameter names the method that was called, not one inside of it, and what may have been meant."""
    wire = InProcess(ONE_MESSAGE.anew())
    call: Any = getattr(wire.client(), method)
    ids = () if "thread" in method.removesuffix("_and_wait") else (THREAD,)

    with pytest.raises(TypeError) as caught:
        await call(*ids, assistant_id=ASSISTANT, **{name: 0})

    assert str(caught.value) == f"{method}() got an unexpected keyword argument {name!r}{hint}"
    assert wire.recorded.asked == []


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("run_and_wait", waiting._OPTIONS),
        ("create_thread_run_and_wait", waiting._OPTIONS),
        ("stream_run", streaming._OPTIONS),
        ("stream_thread_and_run", streaming._OPTIONS),
    ],
)
def test_the_options_are_those_of_the_method(method: str, options: tuple[str, ...]) -> None:
    """What may be meant is what the signature has."""
    named = [
        parameter.name
        for parameter in inspect.signature(getattr(AsyncClient, method)).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name != "assistant_id"
    ]

    assert tuple(named) == options


async def test_the_text_of_an_id() -> None:
    """An id in the place of the run is told apart before anything is sent."""
    wire = InProcess(ONE_MESSAGE.anew())
    with pytest.raises(TypeError, match="run must be a Run, got 'run_1'; get_run makes one of its ids"):
        await wire.client().run_text("run_1")  # type: ignore[arg-type]
    assert wire.recorded.asked == []
