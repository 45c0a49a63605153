"""The program around the commands: its help, its completion, and how it goes without what it needs."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
from typing import Any

import click
import pytest

from asyncassist import __version__, cli
from asyncassist.cli import commands
from asyncassist.cli.running import carry_out


def python(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", script]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("command", [[], ["demo"], ["serve"], ["export-threads"], ["import-threads"]])
def test_help_is_light(command: list[str]) -> None:
    """The help of the program and of each command imports click, and neither the client nor the server."""
    script = (
        "import sys; from asyncassist.cli import main; "
        f"code = main([*{command}, '--help']); "
        "loaded = {'anyio', 'asyncio', 'attrs', 'cattrs', 'httpx', 'msgspec', 'starlette', 'uvicorn', 'yaml'}; "
        "print(loaded & set(sys.modules), file=sys.stderr); sys.exit(code)"
    )
    done = python(script)

    assert (done.returncode, done.stderr) == (0, "set()\n")
    assert done.stdout.startswith("Usage: ")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Each has a line of its own that is not cut, and the completion of words is described."""
    assert cli.main(["--help"]) == 0

    output = capsys.readouterr().out
    for name, command in commands.program.commands.items():
        assert f"{name} " in output
        assert f"  {command.short_help}\n" in output
    assert "..." not in output.replace("[ARGS]...", "")
    assert "_ASYNCASSIST_COMPLETE=bash_source asyncassist" in output


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    """It is the package's."""
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("asyncassist ", ["demo", "export-threads", "import-threads", "serve"]),
        ("asyncassist se", ["serve"]),
        ("asyncassist serve --sy", ["--sync"]),
        ("asyncassist serve --sync ", ["normal", "full"]),
    ],
)
def test_the_shell_completes(words: str, expected: list[str]) -> None:
    """Commands, options and their values are completed."""
    count = str(len(words.split(" ")) - 1)
    script = "import sys; from asyncassist.cli import main; sys.exit(main())"
    done = python(script, _ASYNCASSIST_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=count)

    assert done.stderr == ""
    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == expected


def test_without_click_it_says_what_to_install() -> None:
    """The library works without it; the command line is one line with the command that gets it."""
    done = python("import sys; sys.modules['click'] = None; from asyncassist.cli import main; sys.exit(main(['demo']))")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: the command line needs click: pip install 'asyncassist[server]'\n"


@pytest.mark.parametrize(("missing", "code"), [("click", 1), ("something", None)])
def test_modules_that_are_missing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, missing: str, code: int | None
) -> None:
    """Only click's absence is told that way; a module that is missing for another reason is a bug to be seen."""
    real = builtins.__import__

    def fail(name: str, *arguments: Any) -> Any:
        if name == "asyncassist.cli.commands":
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", fail)
    if code is None:
        with pytest.raises(ModuleNotFoundError):
            cli.main([])
    else:
        assert cli.main([]) == code
        assert "pip install 'asyncassist[server]'" in capsys.readouterr().err


@pytest.mark.parametrize(("missing", "hint"), [("uvicorn", ": pip install 'asyncassist[server]'"), ("socket2", "")])
def test_without_the_extra_a_command_says_what_to_install(
    capsys: pytest.CaptureFixture[str], missing: str, hint: str
) -> None:
    """A module of the extra that is missing is one line with the command that gets it."""

    def load() -> Any:
        raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)

    assert carry_out(load) == 1
    assert capsys.readouterr().err == f"error: No module named {missing!r}{hint}\n"


def test_an_interrupt_before_a_command_begins_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C has the same code then."""

    def interrupted(context: click.Context, *arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(click.Group, "invoke", interrupted)

    assert cli.main(["demo"]) == 130
