"""What runs are answered with: scripts, replies, and backends of one's own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from asyncassist import RunFailedError, Toolset, UsageError, tool
from asyncassist.server import Failure, FunctionCall, Reply, Rule
from asyncassist.testing import FakeServer

from .helpers import ask, place

if TYPE_CHECKING:
    from asyncassist import AsyncClient
    from asyncassist.server import Turn

anyio_test = pytest.mark.anyio


@anyio_test
async def test_a_text_is_the_answer_to_everything(server: FakeServer, client: AsyncClient) -> None:
    """A text of the script is said as it is, braces and all."""
    server.script("{message} {outputs[0]}")

    assert await ask(client, "one") == "{message} {outputs[0]}"
    assert await ask(client, "two") == "{message} {outputs[0]}"


@anyio_test
async def test_the_first_rule_that_matches_counts(server: FakeServer, client: AsyncClient) -> None:
    """A script is made of rules and texts, first come first."""
    server.script(Rule(re.compile("^bye"), fail=Failure("No.")), Rule("hi", say="{message} yourself"), "What?")

    assert await ask(client, "hi") == "hi yourself"
    assert await ask(client, "hm") == "What?"
    with pytest.raises(RunFailedError, match="No"):
        await ask(client, "bye")


@anyio_test
async def test_a_script_takes_the_place_of_the_last(server: FakeServer, client: AsyncClient) -> None:
    """Setting a script drops the rules before, and an empty one leaves the offline backend's own words."""
    server.script("one")
    server.script("two")
    assert await ask(client) == "two"
    server.script()
    assert "no model was asked" in await ask(client)


@anyio_test
async def test_replies_are_used_once_and_in_order(server: FakeServer, client: AsyncClient) -> None:
    """Each reply answers one run; a rule waits for one it matches; then the script counts again."""
    server.replies(Rule("tea", say="Tea it is."), "one")
    server.replies("two")

    assert [await ask(client, text) for text in ("hi", "hi", "tea", "tea")] == ["one", "two", "Tea it is.", "Hello!"]


@anyio_test
async def test_a_reply_lasts_over_the_tool_rounds(server: FakeServer, client: AsyncClient) -> None:
    """A reply that calls tools belongs to its run until that has ended."""

    @tool
    def double(number: int) -> int:
        """Double a number."""
        return 2 * number

    call = FunctionCall("double", {"number": 21})
    server.replies(Rule(calls=[call, call], say="It is {outputs[-1]}."), "next")
    here = await place(client)
    run = await client.run_and_wait(here.thread_id, assistant_id=here.assistant_id, toolset=Toolset([double]))

    assert await client.run_text(run) == "It is 42."
    assert len(server.requests_for("submit_tool_outputs_to_run")) == 2
    assert await ask(client) == "next"


@anyio_test
async def test_a_reply_on_an_empty_thread(server: FakeServer, client: AsyncClient) -> None:
    """Where nothing was asked, a reply without a condition is used all the same."""
    server.replies("Nothing to say?")
    assistant = await client.create_assistant(model="m")
    run = await client.create_thread_run_and_wait(assistant_id=assistant.id)

    assert await client.run_text(run) == "Nothing to say?"


@anyio_test
async def test_a_script_of_something_else_is_refused(server: FakeServer) -> None:
    """A wrong script is a TypeError, and the one before stays."""
    with pytest.raises(TypeError, match="not of int"):
        server.script("fine", 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not of int"):
        server.replies("fine", 1)  # type: ignore[arg-type]

    assert await ask(server.client()) == "Hello!"


class Backend:
    """A backend that is opened and closed with its server."""

    def __init__(self) -> None:
        self.life: list[str] = []

    async def open(self) -> None:
        self.life.append("open")

    async def aclose(self) -> None:
        self.life.append("closed")

    async def answer(self, turn: Turn) -> Reply:
        return Reply("mine")


@anyio_test
async def test_a_backend_of_ones_own() -> None:
    """A backend that was given answers, is opened and closed, and knows no script."""
    backend = Backend()
    async with FakeServer(backend=backend) as server:
        assert await ask(server.client()) == "mine"
        with pytest.raises(UsageError, match="backend of its own"):
            server.script("yours")
        with pytest.raises(UsageError, match="backend of its own"):
            server.replies("yours")

    assert backend.life == ["open", "closed"]
    with pytest.raises(UsageError, match="backend of its own"):
        FakeServer("yours", backend=backend)
