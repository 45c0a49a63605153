"""``asyncassist chat``: on a terminal, and through pipes."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import wait
from types import SimpleNamespace
from typing import Any

import pytest

from asyncassist import cli
from asyncassist.cli import chat
from asyncassist.testing import FakeServer, Fault

from .processes import PATIENCE, PROGRAM, Terminal, run, signalled_when, wait_until

on_unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither terminals to open nor signals")


# Through pipes.


def test_a_line_is_a_question(server: FakeServer) -> None:
    """The answers to the lines of a pipe follow each other on one thread, without prompts; empty lines are none."""
    done = run("chat", input="one\n\nzwölf\r\n".encode())

    assert (done.returncode, done.stdout.decode()) == (0, "You said: one\nYou said: zwölf\n")
    assert done.stderr == b"thread thread_1: --thread goes on with it\n"
    assert {request.ids["thread_id"] for request in server.requests_for("create_run")} == {"thread_1"}
    assert len(server.requests_for("delete_assistant")) == 1


def test_json(server: FakeServer) -> None:
    """With --json each answer is a line, and nothing else is said."""
    done = run("chat", "--json", input=b"one\ntwo")

    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, b"")
    assert [line["text"] for line in lines] == ["You said: one", "You said: two"]


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (b"one\nfail\ntwo\n", 3, "Not now."),
        (b"one\n\xff\ntwo\n", 1, "the standard input is not UTF-8"),
        (b"one\nadd\ntwo\n", 1, "requires action"),
    ],
)
def test_the_first_that_is_not_answered_ends_it(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    server: FakeServer,
    given: bytes,
    code: int,
    message: str,
) -> None:
    """What follows may rest upon it, so it is not asked."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))

    assert cli.main(["chat"]) == code
    output, errors = capsys.readouterr()
    assert output.rstrip("\n") == "You said: one"
    assert message in errors
    assert errors.count("error: ") == 1


def test_no_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: FakeServer
) -> None:
    """There is nobody to talk with."""
    monkeypatch.setattr(sys, "stdin", None)

    assert cli.main(["chat"]) == 2
    assert "there is no standard input" in capsys.readouterr().err


@on_unix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_piped_chat(server: FakeServer, number: int, code: int) -> None:
    """The run is cancelled on the server, and no more questions are asked."""
    with subprocess.Popen(
        [*PROGRAM, "chat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b"slow\nagain\n")
        process.stdin.close()
        process.stdin = None
        wait_until(lambda: server.requests_for("create_run"))
        process.send_signal(number)
        output, errors = process.communicate(timeout=PATIENCE)

    assert (process.returncode, output) == (code, b"")
    assert b"Traceback" not in errors
    assert [request.status for request in server.requests_for("cancel_run")] == [200]
    assert len(server.requests_for("create_run")) == 1
    assert len(server.requests_for("delete_assistant")) == 1


@on_unix
@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_this_process(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    server: FakeServer,
    number: signal.Signals,
    expected: int,
) -> None:
    """The same from near: what was answered before is there, with the line ends it has."""
    server.replies("ends here\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\n\nslow\n")))
    with signalled_when(lambda: len(server.requests_for("create_run")) == 2, number):
        code = cli.main(["chat"])

    assert (code, capsys.readouterr().out) == (expected, "ends here\n")
    assert [request.status for request in server.requests_for("cancel_run")] == [200]


# On a terminal.


@on_unix
def test_ctrl_c_cancels_the_run_and_gives_back_the_prompt(server: FakeServer) -> None:
    """The run is cancelled on the server, the next question is answered on the same thread, and Ctrl-D ends."""
    with Terminal("chat") as terminal:
        terminal.until("> ")
        terminal.type("slow\n")
        wait_until(lambda: server.requests_for("create_run"))
        terminal.interrupt()
        terminal.until("(cancelled)")
        assert [request.status for request in server.requests_for("cancel_run")] == [200]
        terminal.until("> ", 2)
        terminal.type("hello\n")
        terminal.until("You said: hello")
        terminal.until("> ", 3)
        terminal.type("\x04")
        code = terminal.end()

    assert code == 0
    assert "thread thread_1: --thread goes on with it" in terminal.shown
    assert "Traceback" not in terminal.shown
    assert len(server.requests_for("create_thread")) == 1
    assert len(server.requests_for("delete_assistant")) == 1


@on_unix
def test_a_second_ctrl_c_ends(server: FakeServer) -> None:
    """After one that has cancelled a run, the next one at the prompt ends; the assistant is deleted."""
    with Terminal("chat") as terminal:
        terminal.until("> ")
        terminal.type("slow\n")
        wait_until(lambda: server.requests_for("create_run"))
        terminal.interrupt()
        terminal.until("> ", 2)
        terminal.interrupt()
        code = terminal.end()

    assert code == 130
    assert "Traceback" not in terminal.shown
    assert len(server.requests_for("delete_assistant")) == 1


@on_unix
def test_ctrl_c_at_the_prompt(server: FakeServer) -> None:
    """The first clears what is typed and says what the second does."""
    with Terminal("chat", "--thread", "thread_given") as terminal:
        terminal.until("> ")
        assert "thread thread_given" in terminal.shown
        terminal.type("half a li")
        terminal.until("half a li")
        terminal.interrupt()
        terminal.until("Ctrl-C again ends.")
        terminal.until("> ", 2)
        terminal.interrupt()
        code = terminal.end()

    assert (code, server.requests_for("create_run")) == (130, [])


@on_unix
def test_what_fails_does_not_end_it(server: FakeServer) -> None:
    """On a terminal an error is told, with what helps, and the prompt comes again; empty lines ask nothing."""
    server.faults.add(Fault.status(400, "Thread t already has an active run r."), on="create_run")
    with Terminal("chat") as terminal:
        terminal.until("> ")
        terminal.type("hello\n")
        terminal.until("asyncassist runs cancel t r")
        terminal.until("> ", 2)
        terminal.type("fail\n")
        terminal.until("Not now.")
        terminal.until("> ", 3)
        terminal.type("\n")
        terminal.until("> ", 4)
        terminal.type("\x04")
        code = terminal.end()

    assert code == 0
    assert len(server.requests_for("create_message")) == 2


@on_unix
def test_an_answer_cannot_steer_the_terminal(server: FakeServer) -> None:
    """Escape sequences are shown as what they are not; tabs and wide characters come through."""
    server.script("\x1b]0;title\x07a\tb\r\n\x9b2J世界")
    with Terminal("chat") as terminal:
        terminal.until("> ")
        terminal.type("x\n")
        terminal.until("世界")
        terminal.until("> ", 2)
        terminal.type("\x04")
        terminal.end()

    answer = terminal.shown.partition("�]0;title")[2]
    assert answer.startswith("�a")
    assert "b\r\n�2J世界" in answer
    assert "\x1b]0" not in terminal.shown


# What only happens at the right moment: in this process, with a terminal that is made up.


class _Typed:
    """Stands in for a person: each thing is typed, or raised by the keyboard."""

    def __init__(self, *events: str | type[BaseException]) -> None:
        self._events: Iterator[str | type[BaseException]] = iter(events)

    def __call__(self, prompt: str) -> str:
        event = next(self._events)
        if isinstance(event, str):
            return event
        raise event


def type_here(monkeypatch: pytest.MonkeyPatch, *events: str | type[BaseException]) -> None:
    """Let this process have a terminal on which this is typed."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr("builtins.input", _Typed(*events))


def test_typed_in_this_process(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: FakeServer
) -> None:
    """Lines, an interrupt that is followed by a line, a line that is no text, and an error; then the end."""
    events = ("one", KeyboardInterrupt, " ", "\udcff", "fail", KeyboardInterrupt, "two", EOFError)
    type_here(monkeypatch, *events)
    server.faults.add(Fault.status(400, "Thread t already has an active run r."), on="create_run", skip=2)

    code = cli.main(["chat"])

    output, errors = capsys.readouterr()
    assert code == 0
    assert "You said: one\n" in output
    assert output.count("Ctrl-C again ends.") == 2
    assert "the line is not UTF-8" in errors
    assert "Not now." in errors
    assert "asyncassist runs watch t r" in errors


@pytest.mark.parametrize("presses", [1, 2])
def test_interrupts_in_this_process(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: FakeServer, presses: int
) -> None:
    """Once cancels the run; twice, while it is being cancelled, ends the chat; both leave nothing on the server."""
    pressed = 0

    def waiting(futures: Any, timeout: float) -> Any:
        nonlocal pressed
        if server.requests_for("create_run") and pressed < presses:
            pressed += 1
            raise KeyboardInterrupt
        return wait(futures, timeout)

    monkeypatch.setattr(chat, "wait", waiting)
    type_here(monkeypatch, "slow", KeyboardInterrupt)

    code = cli.main(["chat"])

    assert code == 130
    assert ("(cancelled)" in capsys.readouterr().out) == (presses == 1)
    assert [request.status for request in server.requests_for("cancel_run")] == [200]
    assert len(server.requests_for("delete_assistant")) == 1


def test_an_output_that_breaks_ends_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: FakeServer
) -> None:
    """No more questions are asked when the answers cannot be shown."""
    type_here(monkeypatch, "one", "two")
    real = sys.stdout.write

    def write(text: str) -> int:
        if "You" in text:
            raise OSError(28, "No space left on device")
        return real(text)

    monkeypatch.setattr(sys.stdout, "write", write)
    monkeypatch.setattr("asyncassist.cli.running.drop_output", lambda: None)

    assert cli.main(["chat"]) == 1
    assert "the output cannot be written: No space left on device" in capsys.readouterr().err


def test_json_on_a_terminal_is_only_json(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: FakeServer
) -> None:
    """No prompts are between the lines."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\n")))

    assert cli.main(["chat", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["text"] == "You said: one"
