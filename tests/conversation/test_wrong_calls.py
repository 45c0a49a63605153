"""What no conversation and no turn can be made of."""

from __future__ import annotations

from typing import Any

import pytest

from asyncassist import UsageError, tool
from asyncassist.server import OfflineBackend, Rule
from conversation.helpers import world

pytestmark = pytest.mark.anyio

ECHO = [Rule(say="You said: {message}")]


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"thread_id": ""}, UsageError),
        ({"thread_id": 5}, TypeError),
        ({"assistant_id": None}, TypeError),
        ({"on_active_run": "queue"}, UsageError),
        ({"add_message": "after"}, UsageError),
        ({"poll": 3}, UsageError),
        ({"toolset": [add]}, TypeError),
    ],
)
async def test_wrong_settings_make_no_conversation(settings: Any, error: type[Exception]) -> None:
    """They are refused when the conversation is made."""
    async with world() as here:
        with pytest.raises(error):
            here.client.conversation(**{"assistant_id": here.assistant_id, **settings})


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ({"text": b"bytes"}, TypeError),
        ({"text": None}, TypeError),
        ({"text": [object()]}, UsageError),
        ({"text": "Hello", "attachments": [object()]}, UsageError),
        ({"text": "Hello", "metadata": object()}, UsageError),
        ({"text": "Hello", "stream": True}, TypeError),
        ({"text": "Hello", "timeout": -1}, UsageError),
    ],
)
async def test_wrong_calls_send_nothing(call: Any, error: type[Exception]) -> None:
    """Asked or streamed, they are refused before a thread is made, and the conversation stays usable."""
    async with world(OfflineBackend(ECHO)) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id)
        with pytest.raises(error):
            await talk.ask(**call)
        with pytest.raises(error):
            talk.stream(**call)

        assert here.way.asked == []
        assert (await talk.ask("Hello")).text == "You said: Hello"


async def test_a_turn_is_only_entered() -> None:
    """Awaited, entered without ``async``, or read before it is entered, it says how it is used; nothing is sent."""
    async with world() as here:
        talk = here.client.conversation(assistant_id=here.assistant_id)
        usage = r"async with conversation\.stream\(text\) as stream$"
        with pytest.raises(TypeError, match=f"^a TurnStream is entered, not awaited: {usage}"):
            await talk.stream("Hello")  # type: ignore[misc]
        with pytest.raises(TypeError, match=f"with `async with`, not `with`: {usage}"):
            with talk.stream("Hello"):  # type: ignore[attr-defined]
                pass
        with pytest.raises(TypeError, match=f"with `async for`, not `for`, inside of: {usage}"):
            list(talk.stream("Hello"))  # type: ignore[call-overload]
        with pytest.raises(UsageError, match=f"^use a turn as: {usage}"):
            async for _ in talk.stream("Hello"):
                pass

        assert here.way.asked == []


@pytest.mark.parametrize("call", [{"retry_failed_runs": -1}, {"on_status": 3}])
async def test_wrong_ways_to_wait_send_nothing(call: Any) -> None:
    """They are refused before a thread is made."""
    async with world() as here:
        with pytest.raises(UsageError):
            await here.client.conversation(assistant_id=here.assistant_id).ask("Hello", **call)

        assert here.way.asked == []
