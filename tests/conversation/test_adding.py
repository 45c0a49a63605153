"""How messages come onto the thread: with their runs, or before them where a server knows no other way."""

from __future__ import annotations

import anyio
import httpx
import pytest

from asyncassist import APIConnectionError, DecodeError, InternalServerError, UnprocessableEntityError
from asyncassist.server import OfflineBackend, Rule
from conversation.helpers import Gate, refuse, without_additional_messages, world

pytestmark = pytest.mark.anyio

ECHO = [Rule(say="You said: {message}")]


async def _forget(phase: str, request: httpx.Request) -> None:
    if phase == "run":
        without_additional_messages(request)


async def test_a_server_that_ignores_additional_messages_is_noticed() -> None:
    """On a thread of its own, the conversation sees that its question is missing, instead of returning any answer."""
    async with world(OfflineBackend(ECHO)) as here:
        here.way.hook = _forget
        talk = here.client.conversation(assistant_id=here.assistant_id)
        with pytest.raises(DecodeError, match='add_message="before_run"') as caught:
            await talk.ask("Hello")

    assert caught.value.field == "additional_messages"


async def test_messages_can_be_added_before_their_runs() -> None:
    """For such servers each message is a request of its own, in asked and in streamed turns."""
    async with world(OfflineBackend(ECHO)) as here:
        here.way.hook = _forget
        talk = here.client.conversation(assistant_id=here.assistant_id, add_message="before_run")
        first = await talk.ask("Hello")
        async with talk.stream("Again") as stream:
            await stream.until_done()

        assert [first.text, stream.reply().text] == ["You said: Hello", "You said: Again"]
        assert await here.said(talk.thread_id) == ["Hello", "You said: Hello", "Again", "You said: Again"]


@pytest.mark.parametrize("can_delete", [True, False])
async def test_a_message_whose_run_is_refused_is_taken_back(can_delete: bool) -> None:
    """As far as the server can: where it cannot, the next turn answers both."""

    async def refuse_once(phase: str, request: httpx.Request) -> httpx.Response | None:
        if phase == "delete" and not can_delete:
            return refuse(405)
        if phase == "run":
            here.way.hook = None if can_delete else refuse_once
            return refuse(422) if here.way.count("run") == 1 else None
        return None

    async with world(OfflineBackend(ECHO)) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id, add_message="before_run")
        here.way.hook = refuse_once
        with pytest.raises(Exception, match="No"):
            await talk.ask("lost")
        reply = await talk.ask("again")

        assert reply.text == "You said: again"
        assert await here.said(talk.thread_id) == [*([] if can_delete else ["lost"]), "again", "You said: again"]


@pytest.mark.parametrize("status", [500, None])
async def test_a_message_whose_run_may_be_there_is_not_taken_back(status: int | None) -> None:
    """After a failure of the server, or a lost answer, the run may be at work on it."""

    async def fail(phase: str, request: httpx.Request) -> httpx.Response | None:
        if phase != "run":
            return None
        if status is None:
            raise httpx.ReadError("cut")
        return refuse(status)

    async with world(OfflineBackend(ECHO)) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id, add_message="before_run")
        here.way.hook = fail
        with pytest.raises((InternalServerError, APIConnectionError)):
            await talk.ask("Hello")

        assert await here.said(talk.thread_id) == ["Hello"]


async def test_taking_a_message_back_hides_nothing() -> None:
    """The answer to the deletion makes no sense: what is raised is why the run was not started."""

    async def nonsense(phase: str, request: httpx.Request) -> httpx.Response | None:
        if phase == "delete":
            return httpx.Response(200, text="<html>")
        return refuse(422) if phase == "run" else None

    async with world(OfflineBackend(ECHO)) as here:
        here.way.hook = nonsense
        with pytest.raises(UnprocessableEntityError):
            await here.client.conversation(assistant_id=here.assistant_id, add_message="before_run").ask("Hello")

        assert here.way.asked == ["thread", "message", "run", "delete"]


async def test_a_turn_cancelled_between_message_and_run_takes_the_message_back() -> None:
    """The message that is being added is known before it is deleted."""
    async with world(OfflineBackend(ECHO)) as here:
        talk = here.client.conversation(assistant_id=here.assistant_id, add_message="before_run")
        gate = Gate("message")
        here.way.hook = gate
        async with anyio.create_task_group() as group:
            group.start_soon(talk.ask, "lost")
            await gate.is_reached.wait()
            group.cancel_scope.cancel()
            gate.is_open.set()

        assert await here.said(talk.thread_id) == []
        assert here.way.asked[:3] == ["thread", "message", "delete"]
