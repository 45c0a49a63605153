"""What is left when a server's process is killed: all it had acknowledged, and no run or thread that hangs.

The process that is killed is this file, run as a script: it says on its standard output what was acknowledged.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from asyncassist.models import Message, Run, Thread
from asyncassist.server import LocalServer, Reply, SQLiteStore, ThreadBusy, Turn
from asyncassist.server.backends.base import FunctionCall

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

TASKS = 16


# --- the process that is killed --------------------------------------------------------------------------------------


def say(*words: str) -> None:
    os.write(1, (" ".join(words) + "\n").encode())  # in one piece, and at once


async def write_messages(path: str, sync: Any, name: str) -> None:
    """Add messages for ever, each of them with a run that is begun, and ended only every other time."""
    store = SQLiteStore(path, sync=sync)
    await store.open()

    async def work(task: int) -> None:
        number = 0
        while True:
            id = f"{name}_{task}_{number}"
            await store.add(Thread(id=f"thread_{id}"), Message(id=f"msg_{id}", thread_id=f"thread_{id}", role="user"))
            say("message", id)
            await store.add(Run(id=f"run_{id}", thread_id=f"thread_{id}", status="queued"))
            say("run", id)
            if number % 2:
                run = Run(id=f"run_{id}", thread_id=f"thread_{id}", status="completed")
                await store.update(Run, f"run_{id}", lambda _, run=run: run)  # type: ignore[misc]
                say("ended", id)
            number += 1

    async with anyio.create_task_group() as task_group:
        for task in range(TASKS):
            task_group.start_soon(work, task)


async def serve_runs(path: str, sync: Any, name: str) -> None:
    """Serve runs for ever, to clients that have one thread each."""
    async with LocalServer(store=SQLiteStore(path, sync=sync)) as server, server.client() as client:
        assistant = await client.create_assistant(model="any")

        async def work() -> None:
            thread = await client.create_thread()
            say("thread", thread.id)
            while True:
                message = await client.create_message(thread.id, role="user", content="Hello")
                say("message", thread.id, message.id)
                run = await client.create_run(thread.id, assistant_id=assistant.id)
                say("run", thread.id, run.id)
                await client.wait_for_run(thread.id, run.id)

        async with anyio.create_task_group() as task_group:
            for _ in range(TASKS):
                task_group.start_soon(work)


class Halting:
    """Answers by what the run is told: asks for a tool, or writes a piece and never ends, cancelled or not."""

    def __init__(self) -> None:
        self.halted: set[str] = set()

    async def answer(self, turn: Turn) -> Reply:
        if turn.run.instructions == "ask":
            return Reply(tool_calls=(FunctionCall("look", "{}"),))
        await turn.emit("half of the ans")
        self.halted.add(turn.run.id)
        with anyio.CancelScope(shield=True):
            await anyio.sleep_forever()
        raise AssertionError


async def halt_runs(path: str, sync: Any, name: str) -> None:
    """Bring runs to every status in which they can be left."""
    backend = Halting()
    async with LocalServer(backend, SQLiteStore(path, sync=sync)) as server, server.client() as client:
        assistant = await client.create_assistant(model="any")
        for status in ("requires_action", "in_progress", "cancelling"):
            thread = await client.create_thread(messages=[{"role": "user", "content": status}])
            instructions = "ask" if status == "requires_action" else "halt"
            run = await client.create_run(thread.id, assistant_id=assistant.id, instructions=instructions)
            while run.id not in backend.halted and status != "requires_action":
                await anyio.sleep(0.001)
            if status == "cancelling":
                await client.cancel_run(thread.id, run.id)
            while (await client.get_run(thread.id, run.id)).status != status:
                await anyio.sleep(0.001)
            say(status, thread.id, run.id)
        say("all")
        await anyio.sleep_forever()


# --- the tests -------------------------------------------------------------------------------------------------------


@contextmanager
def process(mode: str, path: Path, sync: str, name: str = "x") -> Iterator[subprocess.Popen[bytes]]:
    """A process of this file, which is killed in the end."""
    command = [sys.executable, __file__, mode, str(path), sync, name]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        try:
            yield running
        finally:
            running.kill()


def killed_after(lines: int, *arguments: Any) -> list[list[str]]:
    """What a process acknowledged until it was killed, some time after that many lines."""
    with process(*arguments) as running:
        assert running.stdout is not None
        said = [running.stdout.readline() for _ in range(lines)]
        running.send_signal(signal.SIGKILL)
        said += running.stdout.readlines()
    return [line.decode().split() for line in said if line.endswith(b"\n")]


@pytest.mark.parametrize("sync", ["normal", "full"])
async def test_what_was_acknowledged_survives_the_process(tmp_path: Path, sync: Any) -> None:
    """However often a writing process is killed, all that it had acknowledged is there, in the state it said."""
    file = tmp_path / "store.sqlite3"
    said: list[list[str]] = []
    for name in ("one", "two", "three"):
        said += await anyio.to_thread.run_sync(killed_after, random.randint(1, 2000), "messages", file, sync, name)

    store = SQLiteStore(file)
    await store.open()
    try:
        ended = {id for word, id in said if word == "ended"}
        active = {run.id for run in await store.active_runs()}
        for word, id in said:
            if word == "message":
                assert await store.get(Message, f"msg_{id}") is not None
            elif word == "run" and id not in ended and int(id.split("_")[-1]) % 2 == 0:
                assert f"run_{id}" in active
                with pytest.raises(ThreadBusy):
                    await store.add(Message(id="msg", thread_id=f"thread_{id}", role="user"))
            elif word == "ended":
                assert f"run_{id}" not in active
    finally:
        await store.aclose()
    assert len(said) >= 3


@pytest.mark.parametrize("sync", ["normal", "full"])
async def test_a_server_that_was_killed_ends_its_runs_when_it_is_back(tmp_path: Path, sync: Any) -> None:
    """After each kill nothing acknowledged is missing, every run comes to an end, and every thread takes messages."""
    file = tmp_path / "store.sqlite3"
    for _ in range(2):
        said = await anyio.to_thread.run_sync(killed_after, random.randint(TASKS, 500), "runs", file, sync)

        async with LocalServer(store=SQLiteStore(file, sync=sync)) as server, server.client() as client:
            for thread_id, run_id in [words[1:] for words in said if words[0] == "run"]:
                assert "completed" == (await client.wait_for_run(thread_id, run_id, timeout=20)).status
            for thread_id, message_id in [words[1:] for words in said if words[0] == "message"]:
                await client.get_message(thread_id, message_id)
            for (thread_id,) in [words[1:] for words in said if words[0] == "thread"]:
                async for run in client.list_runs(thread_id):  # one may not have been acknowledged
                    await client.wait_for_run(thread_id, run.id, timeout=20)
                await client.create_message(thread_id, role="user", content="Are you there?")
                messages = [message async for message in client.list_messages(thread_id, order="asc")]
                runs = {message.run_id for message in messages if message.role == "assistant"}
                answers = [message for message in messages if message.role == "assistant"]
                assert len(runs) == len(answers)
                assert {"completed"} >= {message.status for message in answers}


async def test_runs_left_in_any_status_go_on(tmp_path: Path) -> None:
    """A run at work is worked on anew, one that waits for outputs waits, and one that was cancelled is so."""
    file = tmp_path / "store.sqlite3"

    def until_all() -> dict[str, list[str]]:
        with process("halt", file, "normal") as running:
            assert running.stdout is not None
            said: list[list[str]] = []
            while said[-1:] != [["all"]]:
                said.append(running.stdout.readline().decode().split())
                assert said[-1], "the process ended by itself"
        return {words[0]: words[1:] for words in said[:-1]}

    runs = await anyio.to_thread.run_sync(until_all)
    store = SQLiteStore(file)
    await store.open()
    left = {run.id: run.status for run in await store.active_runs()}
    await store.aclose()

    assert left == {runs[status][1]: status for status in ("requires_action", "in_progress", "cancelling")}
    async with LocalServer(store=store) as server, server.client() as client:
        assert "completed" == (await client.wait_for_run(*runs["in_progress"], timeout=20)).status
        assert "cancelled" == (await client.wait_for_run(*runs["cancelling"], timeout=20)).status
        waiting = await client.get_run(*runs["requires_action"])
        assert "requires_action" == waiting.status
        outputs: Any = [{"tool_call_id": call.id, "output": "seen"} for call in waiting.required_tool_calls]
        await client.submit_tool_outputs_to_run(*runs["requires_action"], tool_outputs=outputs)
        assert "completed" == (await client.wait_for_run(*runs["requires_action"], timeout=20)).status
        for thread_id, _ in runs.values():
            await client.create_message(thread_id, role="user", content="Are you there?")
        thread_id, run_id = runs["in_progress"]
        answers = [message async for message in client.list_messages(thread_id) if message.run_id == run_id]
        assert ["completed"] == [message.status for message in answers]
        assert "half of the ans" not in str(answers)


if __name__ == "__main__":
    modes = {"messages": write_messages, "runs": serve_runs, "halt": halt_runs}
    anyio.run(modes[sys.argv[1]], *sys.argv[2:])
