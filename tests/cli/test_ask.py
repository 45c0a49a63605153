"""``asyncassist ask``."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from asyncassist import cli
from asyncassist.testing import FakeServer, Fault

from .processes import PATIENCE, PROGRAM, run, signalled_when, wait_until

on_unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send")

TOOLS = '''
from asyncassist import tool

@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b
'''


def test_the_answer_is_printed_and_nothing_else(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """The answer is on stdout, the thread on stderr; an assistant made for it is deleted, the thread stays."""
    code = cli.main(["ask", "hello"])

    assert (code, *capsys.readouterr()) == (0, "You said: hello\n", "thread thread_1: --thread goes on with it\n")
    assert [request.ids["assistant_id"] for request in server.requests_for("delete_assistant")] == ["asst_1"]
    assert server.requests_for("create_assistant")[0].body == {"model": "gpt-4o", "name": "asyncassist"}
    assert not server.requests_for("delete_thread")


def test_an_answer_that_ends_its_line(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """It gets no second end."""
    server.script("a line\n")

    assert (cli.main(["ask", "x"]), capsys.readouterr().out) == (0, "a line\n")


def test_json(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """With --json there is one object, and nothing on stderr."""
    code = cli.main(["ask", "--json", "--model", "m", "--instructions", "Be brief.", "grüße"])

    output, errors = capsys.readouterr()
    found = json.loads(output)
    assert (code, errors, output.count("\n")) == (0, "", 1)
    assert (found["text"], found["status"], found["thread_id"]) == ("You said: grüße", "completed", "thread_1")
    assert found["usage"]["total_tokens"] > 0
    body = server.requests_for("create_assistant")[0].body
    assert (body["model"], body["instructions"]) == ("m", "Be brief.")


def test_an_assistant_and_a_thread_that_are_there(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """An assistant that is named stays; a thread that is named is gone on with, and not named again."""
    cli.main(["ask", "one"])
    server.requests.clear()
    made = subprocess.run(
        [sys.executable, "-c", _MAKE_ASSISTANT], capture_output=True, text=True, check=True
    ).stdout.strip()
    capsys.readouterr()

    options = ["--assistant", made, "--thread", "thread_1"]
    code = cli.main(["ask", *options, "--model", "other", "--instructions", "Be brief.", "two"])

    assert (code, *capsys.readouterr()) == (0, "You said: two\n", "")
    assert not server.requests_for("delete_assistant")
    (created,) = server.requests_for("create_run")
    assert created.ids["thread_id"] == "thread_1"
    assert (created.body["model"], created.body["instructions"]) == ("other", "Be brief.")
    cli.main(["ask", *options, "three"])
    assert "model" not in server.requests_for("create_run")[-1].body


_MAKE_ASSISTANT = """
import asyncio
from asyncassist import AsyncClient

async def main():
    async with AsyncClient() as client:
        print((await client.create_assistant(model="m", tools=[{"type": "file_search"}])).id)

asyncio.run(main())
"""


@pytest.mark.parametrize("arguments", [["-"], []])
def test_the_question_from_a_pipe(server: FakeServer, arguments: list[str]) -> None:
    """What is piped in is the question, without the end of its last line, in UTF-8 whatever the locale."""
    done = run("ask", *arguments, input="grüße\n世界\n".encode(), LC_ALL="C", PYTHONIOENCODING="ascii")

    assert (done.returncode, done.stdout) == (0, b"You said: gr??e\n??\n")
    assert server.requests_for("create_message")[0].body["content"] == "grüße\n世界"


@pytest.mark.parametrize(
    ("given", "question", "message"),
    [
        (b"", ["-"], "the question is empty"),
        (b"  \n", [], "the question is empty"),
        (b"", [""], "the question is empty"),
        (b"\xff\xfe", ["-"], "the standard input is not UTF-8"),
        (b"", ["\udcff"], "the question is not UTF-8"),
    ],
)
def test_no_question(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    server: FakeServer,
    given: bytes,
    question: list[str],
    message: str,
) -> None:
    """A question that is none is refused before anything is sent."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))

    code = cli.main(["ask", *question])

    assert code == (2 if "empty" in message else 1)
    assert message in capsys.readouterr().err
    assert not server.requests


@pytest.mark.parametrize("stdin", [None, SimpleNamespace(isatty=lambda: True)])
def test_nothing_to_read_a_question_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: FakeServer, stdin: object
) -> None:
    """On a terminal nobody is made to wonder what it waits for; without a standard input neither."""
    monkeypatch.setattr(sys, "stdin", stdin)

    assert cli.main(["ask"]) == 2
    assert "give one, or - to read it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("question", "text", "message"),
    [
        ("fail", "", " failed: rate_limit_exceeded: Not now."),
        ("cut", "as far as\n", " is incomplete: max_completion_tokens"),
    ],
)
def test_a_run_that_does_not_complete(
    capsys: pytest.CaptureFixture[str], server: FakeServer, question: str, text: str, message: str
) -> None:
    """What it has said is printed, why it ended is on stderr, and the exit code is 3; with --json too."""
    codes = [cli.main(["ask", question])]
    output, errors = capsys.readouterr()
    codes.append(cli.main(["ask", "--json", question]))
    found = json.loads(capsys.readouterr().out)

    assert codes == [3, 3]
    assert output == text
    assert f"error: run {found['run_id'].partition('_')[0]}_" in errors
    assert errors.endswith(f"{message}\n")
    assert found["text"] == text.rstrip("\n")
    assert found["status"] in ("failed", "incomplete")


def test_an_active_run_is_named_with_what_helps(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """Nobody waits for a run of others; the commands that do are named."""
    server.faults.add(
        Fault.status(400, "Thread thread_9 already has an active run run_9."), on="create_run", times=None
    )

    code = cli.main(["ask", "--thread", _thread(server), "hello"])

    errors = capsys.readouterr().err
    assert code == 1
    assert "asyncassist runs watch thread_9 run_9\n" in errors
    assert "asyncassist runs cancel thread_9 run_9\n" in errors


def _thread(server: FakeServer) -> str:
    import httpx

    made: str = httpx.post(f"{os.environ['ASYNCASSIST_BASE_URL']}/threads", json={}).json()["id"]
    return made


def test_tools(capsys: pytest.CaptureFixture[str], server: FakeServer, tmp_path: Path) -> None:
    """The functions of a file are offered and called; of an assistant that is there they are added to its tools."""
    tools = tmp_path / "own_tools.py"
    tools.write_text(TOOLS, "utf-8")
    made = subprocess.run(
        [sys.executable, "-c", _MAKE_ASSISTANT], capture_output=True, text=True, check=True
    ).stdout.strip()

    codes = [cli.main(["ask", "--tools", str(tools), "add"])]
    codes.append(cli.main(["ask", "--tools", str(tools), "--assistant", made, "add"]))

    assert (codes, capsys.readouterr().out) == ([0, 0], "It is 3.\nIt is 3.\n")
    offered = [request.body.get("tools") for request in server.requests_for("create_run")]
    assert offered[0] is None
    assert [tool["type"] for tool in offered[1]] == ["file_search", "function"]


def test_tools_the_assistant_has_are_not_offered_again(
    capsys: pytest.CaptureFixture[str], server: FakeServer, tmp_path: Path
) -> None:
    """An assistant with the same function is left as it is."""
    tools = tmp_path / "same_tools.py"
    tools.write_text(TOOLS, "utf-8")
    import httpx

    function = {"type": "function", "function": {"name": "add"}}
    body = {"model": "m", "tools": [function]}
    made = httpx.post(f"{os.environ['ASYNCASSIST_BASE_URL']}/assistants", json=body).json()["id"]

    assert cli.main(["ask", "--tools", str(tools), "--assistant", made, "add"]) == 0
    assert capsys.readouterr().out == "It is 3.\n"
    assert "tools" not in server.requests_for("create_run")[0].body


def test_a_run_that_wants_tools_and_gets_none(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """Without --tools such a run is cancelled, and the error says what it asked for."""
    code = cli.main(["ask", "add"])

    assert code == 1
    assert "add" in capsys.readouterr().err
    assert server.requests_for("cancel_run")


def test_an_assistant_that_cannot_be_deleted_is_named(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """What is left on the server is told, and the answer counts all the same."""
    server.faults.add(Fault.status(403), on="delete_assistant", times=None)

    code = cli.main(["ask", "hello"])

    output, errors = capsys.readouterr()
    assert (code, output) == (0, "You said: hello\n")
    assert "assistant asst_1 is left on the server: it could not be deleted\n" in errors


def test_an_assistant_that_is_not_there(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """It is one line, and no thread is made."""
    code = cli.main(["ask", "--assistant", "asst_none", "hello"])

    output, errors = capsys.readouterr()
    assert (code, output, errors.count("\n")) == (1, "", 1)
    assert "asst_none" in errors
    assert not server.requests_for("create_thread")


def test_a_thread_id_that_is_none_leaves_nothing_behind(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """The assistant that was made for it is deleted again."""
    code = cli.main(["ask", "--thread", "..", "hello"])

    assert (code, capsys.readouterr().out) == (1, "")
    assert len(server.requests_for("create_assistant")) == len(server.requests_for("delete_assistant"))


def test_an_answer_in_time(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """--run-seconds bounds it, and the run is cancelled."""
    code = cli.main(["ask", "--run-seconds", "0.3", "slow"])

    assert code == 1
    assert "s allowed" in capsys.readouterr().err
    assert server.requests_for("cancel_run")


@on_unix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_the_run(server: FakeServer, number: int, code: int) -> None:
    """Ctrl-C and SIGTERM cancel the run on the server, delete the assistant, and leave no traceback."""
    with subprocess.Popen(
        [*PROGRAM, "ask", "slow"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        wait_until(lambda: server.requests_for("create_run"))
        process.send_signal(number)
        output, errors = process.communicate(timeout=PATIENCE)

    assert (process.returncode, output) == (code, b"")
    assert errors == b"thread thread_1: --thread goes on with it\n"
    assert [request.status for request in server.requests_for("cancel_run")] == [200]
    assert [request.status for request in server.requests_for("delete_assistant")] == [200]


@on_unix
def test_two_signals_at_once_are_one(server: FakeServer) -> None:
    """What is pressed twice in a moment still cleans up."""
    with subprocess.Popen([*PROGRAM, "ask", "slow"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        wait_until(lambda: server.requests_for("create_run"))
        process.send_signal(signal.SIGINT)
        time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)

    assert (process.returncode, errors) == (130, b"thread thread_1: --thread goes on with it\n")
    assert [request.status for request in server.requests_for("cancel_run")] == [200]
    assert len(server.requests_for("delete_assistant")) == 1


@on_unix
def test_a_second_signal_ends_it_at_once(server: FakeServer) -> None:
    """Whoever does not want to wait for a server that hangs need not."""
    server.faults.add(Fault.slow(60), on="cancel_run")
    with subprocess.Popen([*PROGRAM, "ask", "slow"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        wait_until(lambda: server.requests_for("create_run"))
        process.send_signal(signal.SIGINT)
        wait_until(lambda: server.requests_for("cancel_run"))
        time.sleep(0.6)  # as long as a person takes
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
        took = time.monotonic() - started

    assert (process.returncode, errors) == (-signal.SIGINT, b"")
    assert took < 2


@on_unix
@pytest.mark.parametrize("second", [0.0, 0.6])
def test_signals_in_this_process(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: FakeServer, second: float
) -> None:
    """The same from near: a second signal counts when it comes later."""
    fatal: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", lambda number: fatal.append(number))
    server.faults.add(Fault.slow(1), on="cancel_run")

    def signal_again() -> None:
        wait_until(lambda: server.requests_for("cancel_run"))
        time.sleep(second)
        os.kill(os.getpid(), signal.SIGINT)

    other = threading.Thread(target=signal_again)
    before = signal.getsignal(signal.SIGINT)
    other.start()
    with signalled_when(lambda: server.requests_for("create_run"), signal.SIGINT):
        code = cli.main(["ask", "slow"])
    other.join()

    assert code == 130
    assert fatal == ([signal.SIGINT] if second else [])
    assert signal.getsignal(signal.SIGINT) is before


@on_unix
def test_a_reader_that_has_gone(server: FakeServer) -> None:
    """A pipe that is closed ends the command quietly; its run is cancelled, its assistant deleted."""
    server.script("one two three " * 1000)
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as broken:
        done = subprocess.run([*PROGRAM, "ask", "x"], stdin=subprocess.DEVNULL, stdout=broken, stderr=subprocess.PIPE)

    assert (done.returncode, done.stderr) == (1, b"thread thread_1: --thread goes on with it\n")
    assert len(server.requests_for("delete_assistant")) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_disk_that_is_full(server: FakeServer, options: list[str]) -> None:
    """It is one line, not a traceback at the end of the program."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*PROGRAM, "ask", *options, "x"], stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE
        )

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == b"error: the output cannot be written: No space left on device"


@on_unix
@pytest.mark.parametrize("redirection", [">&-", "<&- >&-", ">&- 2>&-"])
def test_no_standard_output(server: FakeServer, redirection: str) -> None:
    """Without one nothing is asked, because nobody would get the answer."""
    done = subprocess.run(["sh", "-c", f'exec "$@" {redirection}', "sh", *PROGRAM, "ask", "x"], stderr=subprocess.PIPE)

    assert done.returncode == 1
    assert done.stderr == (b"" if "2>" in redirection else b"error: there is no standard output to print to\n")
    assert not server.requests


@on_unix
def test_a_huge_answer_in_a_bare_environment(server: FakeServer) -> None:
    """Half a million wide characters come through whole, without a home directory and with LANG=C."""
    text = ("世界" * 50 + "\n") * 5000
    server.script(text)
    env = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("ASYNCASSIST_") or name in ("PATH", "PYTHONPATH")
    }
    done = subprocess.run(
        [*PROGRAM, "ask", "x"], stdin=subprocess.DEVNULL, capture_output=True, env={**env, "LANG": "C"}, timeout=60
    )

    assert (done.returncode, done.stdout.decode()) == (0, text)
