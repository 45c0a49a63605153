"""The bot recipe, as it stands in the documentation."""

from __future__ import annotations

import gc
import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

from asyncassist.server import Failure, OfflineBackend, Rule
from conversation.helpers import Gate, world

RECIPE = Path(__file__).parents[2] / "docs" / "recipes" / "bot.py"
SCRIPT = [
    Rule("break", fail=Failure("Broken.")),
    Rule("long", say="It is long", stopped_by="max_completion_tokens"),
    Rule("cite", say="So it is【4:0†a.pdf】."),
    Rule(say="You said: {message}"),
]


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    """Load the recipe as a module."""
    spec = importlib.util.spec_from_file_location("recipe_bot", RECIPE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.anyio
async def test_many_chats_are_answered_at_once(recipe: Any) -> None:
    """Each on a thread of its own, its messages in the order in which they came."""
    threads: dict[str, str] = {}
    replies: dict[tuple[str, int], str] = {}
    async with world(OfflineBackend(SCRIPT)) as here:
        bot = recipe.Bot(here.client, here.assistant_id, threads)

        async def say(chat: str, number: int) -> None:
            replies[chat, number] = await bot.on_message(chat, f"{chat} {number}")

        async with anyio.create_task_group() as group:
            for number in range(5):
                for chat in ("anna", "bob", "cleo"):
                    group.start_soon(say, chat, number)

        assert replies == {(chat, number): f"You said: {chat} {number}" for chat, number in replies}
        assert len(replies) == 15
        assert len({*threads.values()}) == 3
        for chat, thread_id in threads.items():
            assert {text.split()[0] for text in (await here.said(thread_id))[::2]} == {chat}


@pytest.mark.anyio
async def test_chats_are_bounded_and_come_back_to_their_threads(recipe: Any) -> None:
    """The one used longest ago goes; its thread is kept, also for another bot."""
    threads: dict[str, str] = {}
    async with world(OfflineBackend(SCRIPT)) as here:
        bot = recipe.Bot(here.client, here.assistant_id, threads, most_chats=2)
        for chat in ("anna", "bob", "anna", "cleo", "bob"):
            await bot.on_message(chat, "Hello")
        gc.collect()
        assert [*bot.recent] == ["cleo", "bob"]
        assert {*bot.conversations} == {"cleo", "bob"}
        await recipe.Bot(here.client, here.assistant_id, threads).on_message("bob", "Again")

        assert here.way.count("thread") == 3
        assert [text for text in await here.said(threads["bob"]) if ":" not in text] == ["Hello", "Hello", "Again"]


@pytest.mark.anyio
async def test_a_chat_that_is_being_answered_is_not_begun_twice(recipe: Any) -> None:
    """Though it is no longer among the recent ones: its next message waits for its turn on the same thread."""
    threads: dict[str, str] = {}
    async with world(OfflineBackend(SCRIPT)) as here:
        bot = recipe.Bot(here.client, here.assistant_id, threads, most_chats=1)
        gate = Gate("thread")
        here.way.hook = gate
        async with anyio.create_task_group() as group:
            group.start_soon(bot.on_message, "anna", "one")
            await gate.is_reached.wait()
            await bot.on_message("bob", "Hello")
            group.start_soon(bot.on_message, "anna", "two")
            await anyio.wait_all_tasks_blocked()
            gate.is_open.set()

        assert here.way.count("thread") == 2
        assert (await here.said(threads["anna"]))[::2] == ["one", "two"]


@pytest.mark.anyio
async def test_failures_are_told_in_words(recipe: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """What went wrong is in the log, and the chat goes on."""
    async with world(OfflineBackend(SCRIPT)) as here:
        bot = recipe.Bot(here.client, here.assistant_id, {})
        replies = [await bot.on_message("anna", text) for text in ("break", "long", "cite", "Hello")]

    assert replies == ["I cannot answer that.", "It is long ...", "So it is.", "You said: Hello"]
    assert capsys.readouterr().err.startswith("anna: RunFailedError")


# The recipe imports one that lies beside it.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
COMMAND = [sys.executable, "-W", "error", str(RECIPE)]


def test_the_recipe_runs_as_it_stands() -> None:
    """Lines typed for two chats are answered, others are not, and the program ends with its input."""
    assert len(RECIPE.read_text("utf-8").splitlines()) < 80
    done = subprocess.run(
        COMMAND,
        env=ENVIRONMENT,
        input="anna: Hello\n\nHello?\nbob: Hi\n",
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert {line.partition(">")[0] for line in done.stdout.splitlines()} == {"anna", "bob"}
    assert "Hello" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="there are other signals")
@pytest.mark.parametrize("is_answering", [False, True])
def test_an_interrupt_ends_the_recipe_quietly(is_answering: bool) -> None:
    """Ctrl-C ends it at once while it waits for a line that nobody types, and in the middle of an answer."""
    bot = subprocess.Popen(
        COMMAND, env=ENVIRONMENT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with bot:
        assert bot.stdin is not None
        assert bot.stdout is not None
        bot.stdin.write("anna: Hello\n")
        bot.stdin.flush()
        first = bot.stdout.readline()
        if is_answering:
            bot.stdin.write(f"anna: {'more ' * 200}\n")
            bot.stdin.flush()
            time.sleep(0.2)  # whether it has begun or not, the end is the same
        bot.send_signal(signal.SIGINT)
        code = bot.wait(10)  # its input is still open
        assert bot.stderr is not None
        rest = (bot.stdout.read(), bot.stderr.read())

    assert first.startswith("anna> ")
    assert (code, *rest) == (0, "", "")
