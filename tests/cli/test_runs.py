"""``asyncassist runs`` and ``asyncassist threads``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from asyncassist import cli
from asyncassist.cli import runs
from asyncassist.server import LocalServer, SQLiteStore
from asyncassist.testing import FakeServer, Fault

from .processes import PATIENCE, PROGRAM, wait_until

on_unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send")


def post(path: str, **body: Any) -> Any:
    return httpx.post(f"{os.environ['ASYNCASSIST_BASE_URL']}{path}", json=body).raise_for_status().json()


def start(question: str, **params: Any) -> tuple[str, str]:
    """Start a run: the ids of its thread and its own."""
    assistant = post("/assistants", model="m")
    thread = {"messages": [{"role": "user", "content": question}], "metadata": {"team": "blue"}}
    run = post("/threads/runs", assistant_id=assistant["id"], thread=thread, **params)
    return run["thread_id"], run["id"]


def until_ended(thread_id: str, run_id: str) -> None:
    url = f"{os.environ['ASYNCASSIST_BASE_URL']}/threads/{thread_id}/runs/{run_id}"
    wait_until(lambda: httpx.get(url).json()["status"] not in ("queued", "in_progress", "cancelling"))


def test_list(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """A line for each run, the newest first, with what matters; --limit cuts it, --json gives all of it."""
    thread_id, first = start("hello")
    until_ended(thread_id, first)
    post(f"/threads/{thread_id}/messages", role="user", content="fail")
    second = post(f"/threads/{thread_id}/runs", assistant_id="asst_1")["id"]
    until_ended(thread_id, second)

    codes = [cli.main(["runs", "list", thread_id])]
    lines = capsys.readouterr().out.splitlines()
    codes.append(cli.main(["runs", "list", thread_id, "--json", "--limit", "1"]))
    (only,) = map(json.loads, capsys.readouterr().out.splitlines())

    assert codes == [0, 0]
    assert [line.split()[:2] for line in lines] == [[second, "failed"], [first, "completed"]]
    assert lines[0].endswith("Not now.")
    assert lines[1].endswith(" tokens")
    assert (only["id"], only["object"]) == (second, "thread.run")


def test_no_runs(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """It says so; with --json there is nothing to print."""
    thread_id = post("/threads")["id"]

    codes = [cli.main(["runs", "list", thread_id]), cli.main(["runs", "list", thread_id, "--json"])]

    assert (codes, capsys.readouterr().out) == ([0, 0], f"thread {thread_id} has no runs\n")


def test_cancel(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """The run is cancelled; one that has ended cannot be."""
    thread_id, run_id = start("slow")
    other_thread, other_run = start("slow")

    codes = [cli.main(["runs", "cancel", thread_id, run_id])]
    line = capsys.readouterr().out
    codes.append(cli.main(["runs", "cancel", other_thread, other_run, "--json"]))
    printed = json.loads(capsys.readouterr().out)
    until_ended(thread_id, run_id)
    codes.append(cli.main(["runs", "cancel", thread_id, run_id]))

    output, errors = capsys.readouterr()
    assert codes == [0, 0, 1]
    assert line.split()[0] == run_id
    assert line.split()[1] in ("cancelling", "cancelled")
    assert printed["id"] == other_run
    assert (output, errors.count("\n")) == ("", 1)


def test_watch(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """Each status is a line, then comes the text; the exit code tells how it ended."""
    thread_id, run_id = start("hello")
    code = cli.main(["runs", "watch", thread_id, run_id])
    output = capsys.readouterr().out
    thread_id, run_id = start("fail")
    failed = cli.main(["runs", "watch", thread_id, run_id, "--json"])
    lines, errors = capsys.readouterr()

    assert (code, failed) == (0, 3)
    assert "completed" in output
    assert output.endswith("\nYou said: hello\n")
    assert json.loads(lines.splitlines()[-1])["status"] == "failed"
    assert "Not now." in errors


def test_watching_a_run_that_waits_for_tools(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: FakeServer
) -> None:
    """It names them once, and watches on until somebody has answered."""
    monkeypatch.setattr(runs, "_LOOK", 0.01)
    function = {"type": "function", "function": {"name": "add"}}
    thread_id, run_id = start("add", tools=[function])
    looks = 0
    sleep = anyio.sleep

    async def answering(seconds: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            path = f"{os.environ['ASYNCASSIST_BASE_URL']}/threads/{thread_id}/runs/{run_id}"
            async with httpx.AsyncClient() as http:
                run = (await http.get(path)).json()
                (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
                outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "3"}]}
                (await http.post(f"{path}/submit_tool_outputs", json=outputs)).raise_for_status()
        await sleep(seconds)

    monkeypatch.setattr(runs.anyio, "sleep", answering)

    code = cli.main(["runs", "watch", thread_id, run_id])

    output = capsys.readouterr().out
    assert (code, output.count("requires_action: add\n")) == (0, 1)
    assert output.endswith("It is 3.\n")


@on_unix
def test_whoever_watches_does_not_cancel(server: FakeServer) -> None:
    """Ctrl-C ends the watching, and the run goes on."""
    thread_id, run_id = start("slow")
    with subprocess.Popen(
        [*PROGRAM, "runs", "watch", thread_id, run_id], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert b"in_progress" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)

    assert (process.returncode, errors) == (130, b"")
    assert not server.requests_for("cancel_run")


# Threads.


def test_show(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """A thread with its metadata, its messages, the oldest first, and its runs; with --json one object."""
    thread_id, run_id = start("hello")
    until_ended(thread_id, run_id)
    image = [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]
    post(f"/threads/{thread_id}/messages", role="user", content=image)

    codes = [cli.main(["threads", "show", thread_id])]
    text = capsys.readouterr().out
    codes.append(cli.main(["threads", "show", thread_id, "--json"]))
    found = json.loads(capsys.readouterr().out)

    assert codes == [0, 0]
    assert f"thread   {thread_id}\n" in text
    assert "team = blue\n" in text
    assert text.index("\nhello\n") < text.index("\nYou said: hello\n") < text.index("\n[image_url]\n")
    assert f"run  {run_id}  completed" in text
    assert found["thread"]["id"] == thread_id
    assert [message["role"] for message in found["messages"]] == ["user", "assistant", "user"]
    assert [run["id"] for run in found["runs"]] == [run_id]


def test_show_a_thread_with_nothing_on_it(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """There is still something to say; one that is not there is one line."""
    thread_id = post("/threads")["id"]

    codes = [cli.main(["threads", "show", thread_id]), cli.main(["threads", "show", "thread_none"])]

    output, errors = capsys.readouterr()
    assert codes == [0, 1]
    assert output.startswith(f"thread   {thread_id}\ncreated  2")
    assert "thread_none" in errors


def test_what_is_exported_can_be_imported(
    capsys: pytest.CaptureFixture[str], server: FakeServer, tmp_path: Path
) -> None:
    """Threads of a server come into the file of another one, with all that belongs to them."""
    first, run_id = start("hello")
    until_ended(first, run_id)
    until_ended(first, post(f"/threads/{first}/runs", assistant_id="asst_1")["id"])
    second, run_id = start("again")
    until_ended(second, run_id)
    out, db = str(tmp_path / "out.jsonl"), str(tmp_path / "db.sqlite3")

    codes = [
        cli.main(["threads", "export", first, second, first, "-o", out]),
        cli.main(["import-threads", "--db", db, out]),
    ]

    output, errors = capsys.readouterr()
    assert codes == [0, 0]
    assert errors == f"2 threads written to {out}\n"
    assert output.startswith("2 assistants and 2 threads added, 15 objects in all")
    assert anyio.run(_texts, db, first) == ["You said: You said: hello", "You said: hello", "hello"]


async def _texts(db: str, thread_id: str) -> list[str]:
    async with LocalServer(store=SQLiteStore(db)) as server, server.client() as client:
        return [message.text async for message in client.list_messages(thread_id)]


def test_an_export_without_what_is_gone(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """An assistant that was deleted, and steps a server does not keep, are left out; the lines go to stdout."""
    thread_id, run_id = start("hello")
    until_ended(thread_id, run_id)
    httpx.delete(f"{os.environ['ASYNCASSIST_BASE_URL']}/assistants/asst_1").raise_for_status()
    server.faults.add(Fault.status(404), on="list_run_steps")

    code = cli.main(["threads", "export", thread_id])

    output, errors = capsys.readouterr()
    kinds = [json.loads(line)["object"] for line in output.splitlines()]
    assert (code, errors) == (0, "")
    assert kinds == ["thread", "thread.message", "thread.message", "thread.run"]


def test_an_export_that_fails_leaves_the_file_as_it_was(
    capsys: pytest.CaptureFixture[str], server: FakeServer, tmp_path: Path
) -> None:
    """A server that fails in the middle, or a thread that is not there, destroys nothing."""
    thread_id, run_id = start("hello")
    until_ended(thread_id, run_id)
    out = tmp_path / "out.jsonl"
    out.write_text("old", "utf-8")
    server.faults.add(Fault.status(403, "Not you."), on="list_run_steps")

    codes = [
        cli.main(["threads", "export", thread_id, "-o", str(out)]),
        cli.main(["threads", "export", thread_id, "thread_none", "-o", str(out)]),
        cli.main(["threads", "export", thread_id, "-o", str(tmp_path / "no" / "file")]),
    ]

    errors = capsys.readouterr().err
    assert codes == [1, 1, 1]
    assert "Not you." in errors
    assert "thread_none" in errors
    assert "cannot be written: No such file or directory" in errors
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    assert out.read_text("utf-8") == "old"


@on_unix
def test_an_output_that_is_no_file_stays_what_it_is(
    capsys: pytest.CaptureFixture[str], server: FakeServer, tmp_path: Path
) -> None:
    """A named pipe is written to, and not replaced by a file; a link is followed."""
    thread_id, run_id = start("hello")
    until_ended(thread_id, run_id)
    pipe, link, target = tmp_path / "pipe", tmp_path / "link", tmp_path / "target"
    os.mkfifo(pipe)
    link.symlink_to(target)
    target.write_text("old", "utf-8")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        codes = [cli.main(["threads", "export", thread_id, "-o", str(path)]) for path in (pipe, link)]
        piped = os.read(reader, 100_000)
    finally:
        os.close(reader)

    assert codes == [0, 0]
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert target.read_bytes() == piped != b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("command", [["threads", "export"], ["threads", "show"], ["runs", "list"]])
def test_a_disk_that_is_full(server: FakeServer, command: list[str]) -> None:
    """It is one line."""
    thread_id, run_id = start("hello")
    until_ended(thread_id, run_id)
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*PROGRAM, *command, thread_id], stdout=full, stderr=subprocess.PIPE)

    assert done.returncode == 1
    assert done.stderr == b"error: the output cannot be written: No space left on device\n"


def test_a_server_that_is_slow_is_no_file_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], server: FakeServer, tmp_path: Path
) -> None:
    """A timeout of the API is told as what it is."""
    thread_id, run_id = start("hello")
    until_ended(thread_id, run_id)
    server.faults.add(Fault.slow(5), on="list_messages", times=2)
    options = ["threads", "export", thread_id, "--timeout", "0.3"]
    codes = [cli.main([*options, "-o", str(tmp_path / "out")]), cli.main(options)]

    errors = capsys.readouterr().err
    assert codes == [1, 1]
    assert "cannot be written" not in errors
    assert errors.count(f"/threads/{thread_id}/messages") == 2
