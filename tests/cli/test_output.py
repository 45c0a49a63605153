"""What is printed, and what becomes of it where it cannot be."""

from __future__ import annotations

import io
import sys
from threading import Thread
from typing import Any

import pytest

from asyncassist.cli import output
from asyncassist.cli.running import OutputError, carry_out_blocking, drop_output, tell_failure


def test_without_a_standard_output_nothing_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error of its own; dropping the output then is no trouble either."""
    monkeypatch.setattr(sys, "stdout", None)

    with pytest.raises(OutputError, match="there is no standard output"):
        output.check_output()
    drop_output()


def test_without_a_standard_error_nothing_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What would be told there is left out, and the exit code counts."""
    monkeypatch.setattr(sys, "stderr", None)

    def fail() -> Any:
        raise OutputError("no room")

    output.note("nobody reads this")
    tell_failure("nor this")
    monkeypatch.setattr("asyncassist.cli.running.drop_output", lambda: None)

    assert carry_out_blocking(fail) == 1
    assert capsys.readouterr() == ("", "")


def test_a_standard_error_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A note nobody can read is no failure."""

    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stderr", Broken())

    output.note("nobody reads this")


def test_a_command_in_another_thread() -> None:
    """Only the main thread gets signals; a command does without them elsewhere."""
    codes: list[int] = []
    thread = Thread(target=lambda: codes.append(carry_out_blocking(lambda: lambda: 3)))
    thread.start()
    thread.join()

    assert codes == [3]


@pytest.mark.parametrize(("seconds", "text"), [(None, "-"), (10**18, "-"), (-(10**18), "-")])
def test_times_that_are_none(seconds: int | None, text: str) -> None:
    """A server may send any number."""
    assert output.shown_time(seconds) == text


def test_times() -> None:
    """They are told in this machine's time."""
    assert output.shown_time(1_700_000_000).startswith("2023-11-1")


def test_one_line() -> None:
    """Line ends become spaces, and what is too long is cut."""
    assert output.one_line("a\nb  c") == "a b c"
    assert output.one_line("x" * 200) == "x" * 99 + "…"


def test_a_pipe_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever read the output has gone: exit code 1, without a word."""
    dropped: list[None] = []
    monkeypatch.setattr("asyncassist.cli.running.drop_output", lambda: dropped.append(None))

    def act() -> int | None:
        with output.telling():
            raise BrokenPipeError(32, "Broken pipe")

    assert carry_out_blocking(lambda: act) == 1
    assert dropped == [None]
