"""The demo: what a first look at the library prints, and how it ends when something is wrong."""

from __future__ import annotations

import importlib
import os
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.from_thread import start_blocking_portal

import asyncassist.server
from asyncassist import Assistant, Thread, cli
from asyncassist.cli import demo
from asyncassist.server import BackendError, LocalServer, MemoryStore, OfflineBackend, PageQuery, Reply, Turn

OFFLINE_TEXT = "This is the offline backend: no model was asked. The last message was: What time is it in UTC?"
OFFLINE_TOLD = "This is the offline backend: no model was asked. The tool says: "


@contextmanager
def serving(server: LocalServer) -> Generator[str, None, None]:
    """The server's base URL, served by an event loop in another thread."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(server),
        portal.wrap_async_context_manager(portal.call(_on_port, server)) as url,
    ):
        yield url


async def _on_port(server: LocalServer) -> Any:
    return server.on_port()


def objects_left(store: MemoryStore) -> int:
    async def count() -> int:
        assistants = await store.page(Assistant, PageQuery())
        threads = await store.page(Thread, PageQuery())
        return len(assistants.data) + len(threads.data)

    return anyio.run(count)


def status_lines(output: str) -> list[str]:
    return [line.split()[-1] for line in output.splitlines() if line.startswith("run ")]


def test_without_a_server_the_demo_brings_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Every step is shown, and it says plainly that no model was asked and how to ask one."""
    code = cli.main(["demo"])

    output, errors = capsys.readouterr()
    assert (code, errors) == (0, "")
    assert status_lines(output) == [
        *("created", "queued", "in_progress", "requires_action"),
        *("queued", "in_progress", "completed"),
    ]
    (told,) = re.findall(r"^tool       current_time\(0\) -> (.+)$", output, re.MULTILINE)
    assert f"answer     {OFFLINE_TOLD}{told}\n" in output
    assert "no model was asked, and nothing left this machine" in output
    assert "--base-url" in output
    assert "ASYNCASSIST_BASE_URL" in output
    assert "ASYNCASSIST_API_KEY" in output


@pytest.mark.parametrize("is_by_environment", [False, True])
def test_a_server_that_is_named_is_asked(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, is_by_environment: bool
) -> None:
    """By option or by environment the demo asks that server, and leaves nothing there."""
    store = MemoryStore()
    monkeypatch.setenv("ASYNCASSIST_API_KEY", "secret")
    with serving(LocalServer(store=store, api_keys=["secret"])) as url:
        if is_by_environment:
            monkeypatch.setenv("ASYNCASSIST_BASE_URL", url)
            code = cli.main(["demo", "--model", "m"])
        else:
            code = cli.main(["demo", "--base-url", url])

    output, errors = capsys.readouterr()
    assert (code, errors) == (0, "")
    assert output.startswith(f"Asking {url}\n")
    assert OFFLINE_TEXT in output
    assert "nothing left this machine" not in output
    assert objects_left(store) == 0


def test_a_server_that_wants_no_key(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With --no-key none has to be set, and one that is set is not sent."""
    with serving(LocalServer()) as url:
        assert cli.main(["demo", "--base-url", url]) == 1
        assert "no API key" in capsys.readouterr().err
        assert cli.main(["demo", "--base-url", url, "--no-key"]) == 0
        output, errors = capsys.readouterr()
        assert OFFLINE_TEXT in output
        assert errors == ""
    monkeypatch.setenv("ASYNCASSIST_API_KEY", "secret")
    with serving(LocalServer(api_keys=["secret"])) as url:
        assert cli.main(["demo", "--base-url", url, "--no-key"]) == 1
    assert "401" in capsys.readouterr().err


def test_a_run_that_fails_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad ending is an error on stderr and a code, and what was made is deleted all the same."""

    class Failing:
        async def answer(self, turn: Turn) -> Reply:
            raise BackendError("out of\nsorts")

    store = MemoryStore()
    monkeypatch.setenv("ASYNCASSIST_API_KEY", "any")
    with serving(LocalServer(Failing(), store)) as url:
        code = cli.main(["demo", "--base-url", url])

    errors = capsys.readouterr().err
    assert code == 1
    assert errors.startswith("error: run run_")
    assert errors.endswith(" failed: server_error: out of sorts\n")
    assert errors.count("\n") == 1
    assert objects_left(store) == 0


def test_what_cannot_be_deleted_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not delete is no failure, but the ids that stay there are told."""

    class Keeping(MemoryStore):
        async def delete(self, kind: Any, id: str) -> bool:
            return False

    monkeypatch.setenv("ASYNCASSIST_API_KEY", "any")
    with serving(LocalServer(store=Keeping())) as url:
        code = cli.main(["demo", "--base-url", url])

    lines = capsys.readouterr().err.splitlines()
    assert code == 0
    assert [line.split("_")[0] for line in lines] == ["thread", "asst"]
    assert all(" is left there: " in line for line in lines)


def test_without_a_key_it_says_how_to_give_one(capsys: pytest.CaptureFixture[str]) -> None:
    """A named server needs a key, and the error says where it is read from."""
    code = cli.main(["demo", "--base-url", "http://127.0.0.1:9"])

    errors = capsys.readouterr().err
    assert code == 1
    assert errors.startswith("error: ")
    assert "ASYNCASSIST_API_KEY" in errors
    assert errors.count("\n") == 1


def test_without_the_extra_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the server's extra is missing the demo is one line with the command that gets it."""

    def fail(name: str) -> object:
        raise ModuleNotFoundError("No module named 'starlette'", name="starlette")

    monkeypatch.setattr(asyncassist.server, "import_module", fail)
    for name in ("LocalServer", "OfflineBackend"):
        monkeypatch.delitem(vars(asyncassist.server), name, raising=False)

    code = cli.main(["demo"])

    errors = capsys.readouterr().err
    assert code == 1
    assert "pip install 'asyncassist[server]'" in errors
    assert errors.count("\n") == 1


def test_an_interrupt_is_quiet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C gives the code shells know, and no word."""

    async def interrupted(**options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", interrupted)

    assert cli.main(["demo"]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["demo", "--nothing"]])
def test_wrong_arguments_are_told(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """No command, an unknown one, or an unknown option is a usage message and code 2."""
    code = cli.main(arguments)

    output, errors = capsys.readouterr()
    assert (code, output) == (2, "")
    assert errors.startswith("Usage: ")


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "asyncassist", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_as_a_program() -> None:
    """``python -m asyncassist demo`` works in a process of its own, without a warning."""
    process = start("demo")
    output, errors = process.communicate(timeout=30)

    assert (process.returncode, errors) == (0, "")
    assert OFFLINE_TOLD in output


def test_as_a_module(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Running the package runs the command line; importing its ``__main__`` does not."""
    module = importlib.import_module("asyncassist.__main__")
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys, "argv", ["asyncassist", "--help"])

    with pytest.raises(SystemExit) as caught:
        runpy.run_path(module.__file__ or "", run_name="__main__")

    assert caught.value.code == 0
    assert "demo" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT to send")
def test_ctrl_c_in_the_middle_cleans_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted while a run is active, the demo cancels it, deletes what it made, and exits with 130."""
    store = MemoryStore()
    monkeypatch.setenv("ASYNCASSIST_API_KEY", "any")
    # A process started in the background of a shell ignores SIGINT, and its children do unless it has a handler.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    with (
        serving(LocalServer(OfflineBackend(delay=60), store)) as url,
        start("demo", "--base-url", url) as process,
    ):
        signal.signal(signal.SIGINT, handler)
        assert process.stdout is not None
        for line in process.stdout:
            if "in_progress" in line:
                process.send_signal(signal.SIGINT)
                break
        _, errors = process.communicate(timeout=30)

    assert (process.returncode, errors) == (130, "")
    assert objects_left(store) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipes of this kind")
def test_a_reader_who_goes_away_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Piped into something that stops reading, the demo ends without a traceback."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with open(write_end, "w", encoding="utf-8", closefd=False) as closed_pipe:
        monkeypatch.setattr(sys, "stdout", closed_pipe)
        assert cli.main(["demo"]) == 1
        monkeypatch.undo()
    os.close(write_end)


def test_a_pipe_that_breaks_later_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Wherever the output breaks off, there is a code and no word, not even by the flush at exit."""

    async def broken(**options: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(demo, "run", broken)
    with open(tmp_path / "output", "w", encoding="utf-8") as output:
        monkeypatch.setattr(sys, "stdout", output)
        code = cli.main(["demo"])
        monkeypatch.undo()

    assert code == 1


def test_a_terminal_that_cannot_show_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Characters the terminal's encoding has not are replaced, not a traceback."""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    script = "from asyncassist.cli import demo, main; demo.QUESTION = 'né?'; raise SystemExit(main(['demo']))"
    process = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=30, check=False
    )

    assert (process.returncode, process.stderr) == (0, "")
    assert "question   n??" in process.stdout


def test_a_stdout_that_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Printing into something that merely has ``write`` works as well."""
    lines: list[str] = []

    class Sink:
        def write(self, text: str) -> int:
            lines.append(text)
            return len(text)

        def flush(self) -> None: ...

    monkeypatch.setattr(sys, "stdout", Sink())

    assert cli.main(["demo"]) == 0
    assert OFFLINE_TOLD in "".join(lines)
