"""How far a batch has come, for people."""

from __future__ import annotations

import builtins
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from asyncassist import BatchProgress
from asyncassist.cli import progress
from asyncassist.cli.progress import Bar, Lines, make_reporter, shown_seconds, told, told_at_the_end
from asyncassist.testing import FakeServer

from .processes import Terminal

on_unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no terminals to open")

HALF = BatchProgress(seen=60, running=10, completed=45, failed=5, replayed=30, total_tokens=12_345)


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_told() -> None:
    """The rate is that of what was done now, and what is left is reckoned by it."""
    assert told(HALF, 100, 10.0) == "50/100 jobs, 5 failed, 10 running, 2.0/s, 25s left, 12,345 tokens"
    assert told(BatchProgress(), 100, 0.0) == "0/100 jobs, 0 failed, 0 running, 0.0/s, 0 tokens"
    assert told_at_the_end(HALF, 10.0) == (
        "done in 10s: 45 completed, 5 failed (30 of them from before); 2.0/s, 12,345 tokens"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.9, "0s"), (59, "59s"), (723, "12m 03s"), (18_120, "5h 02m"), (273_600, "3d 4h")],
)
def test_seconds(seconds: float, text: str) -> None:
    """The two largest units are enough."""
    assert shown_seconds(seconds) == text


def test_lines_come_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    """However often it is told, there is not more than a line in five seconds."""
    clock = Clock()
    with Lines(100, clock=clock) as lines:
        for _ in range(23):
            clock.now += 0.5
            lines.update(HALF)

    assert capsys.readouterr() == (
        "",
        "50/100 jobs, 5 failed, 10 running, 4.0/s, 12s left, 12,345 tokens\n"
        "50/100 jobs, 5 failed, 10 running, 2.0/s, 25s left, 12,345 tokens\n",
    )


def test_which_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar needs a terminal that can move its cursor; without rich there are lines, and a hint."""
    monkeypatch.setenv("TERM", "xterm")
    kinds: list[type] = [type(make_reporter(1))]
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    kinds.append(type(make_reporter(1)))
    monkeypatch.setenv("TERM", "dumb")
    kinds.append(type(make_reporter(1)))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with monkeypatch.context() as patch:
        real = builtins.__import__

        def fail(name: str, *arguments: Any) -> Any:
            if name.startswith("rich"):
                raise ModuleNotFoundError("No module named 'rich'", name="rich")
            return real(name, *arguments)

        patch.setattr(builtins, "__import__", fail)
        kinds.append(type(make_reporter(1)))
    with pytest.raises(ModuleNotFoundError):  # a part of it is missing: that is another trouble
        make_reporter(1)
    monkeypatch.setattr(sys, "stderr", None)
    kinds.append(type(make_reporter(1)))
    monkeypatch.undo()

    assert kinds == [Lines, Bar, Lines, Lines, Lines]
    assert capsys.readouterr().err == "a progress bar needs rich: pip install 'asyncassist[cli]'\n"


def test_the_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the counts, the rate, what is left and the tokens, and goes to stderr."""
    monkeypatch.setenv("COLUMNS", "120")
    clock = Clock()
    with Bar(100, clock=clock) as bar:
        bar.update(BatchProgress())
        clock.now += 10.0
        bar.update(HALF)

    output, errors = capsys.readouterr()
    assert output == ""
    assert "50/100 5 failed 2.0/s 25s left 12,345 tokens" in errors


@on_unix
@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}, {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}])
def test_a_batch_on_a_terminal(server: FakeServer, tmp_path: Path, environment: dict[str, str]) -> None:
    """The bar is there and comes to its end; with NO_COLOR it has no colours, and ASCII will do."""
    url = os.environ["ASYNCASSIST_BASE_URL"]
    assistant = httpx.post(f"{url}/assistants", json={"model": "m"}).json()["id"]
    jobs = tmp_path / "jobs.jsonl"
    lines = [
        json.dumps({"id": question, "assistant_id": assistant, "messages": [{"role": "user", "content": question}]})
        for question in ("one", "two", "fail")
    ]
    jobs.write_text("\n".join(lines), "utf-8")
    arguments = ["batch", str(jobs), "-o", str(tmp_path / "r")]
    with Terminal(*arguments, environment={"COLUMNS": "120", **environment}) as terminal:
        code = terminal.end()

    assert code == 3
    assert "3/3" in terminal.shown
    assert "1 failed" in terminal.shown
    assert "2 completed, 1 failed" in terminal.shown
    assert ("\x1b[31m" in terminal.shown) == ("NO_COLOR" not in environment)
    assert terminal.shown.isascii() == ("LC_ALL" in environment)


def test_the_clock_is_real() -> None:
    """Without another one the machine's is used."""
    lines = Lines(1)
    lines.update(SimpleNamespace())  # type: ignore[arg-type]  # too early for a line: it is not looked at

    assert progress._INTERVAL > 1
