"""The program around the commands: its help, its completion, and how it goes without what it needs."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
import time
from typing import Any

import click
import pytest

from asyncassist import __version__, cli
from asyncassist.cli import commands
from asyncassist.cli.running import carry_out
from asyncassist.testing import FakeServer


def python(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", script]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60)


COMMANDS = [
    [],
    ["ask"],
    ["batch"],
    ["batch", "run"],
    ["batch", "status"],
    ["chat"],
    ["demo"],
    ["doctor"],
    ["export-threads"],
    ["import-threads"],
    ["runs"],
    ["runs", "cancel"],
    ["runs", "list"],
    ["runs", "watch"],
    ["serve"],
    ["threads"],
    ["threads", "export"],
    ["threads", "show"],
]
HEAVY = "{'anyio', 'asyncio', 'attrs', 'cattrs', 'httpx', 'msgspec', 'rich', 'starlette', 'uvicorn', 'yaml'}"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_light(command: list[str]) -> None:
    """The help of the program and of each command imports click, and neither the client nor the server."""
    script = (
        "import sys; from asyncassist.cli import main; "
        f"code = main([*{command}, '--help']); "
        f"print({HEAVY} & set(sys.modules), file=sys.stderr); sys.exit(code)"
    )
    done = python(script)

    assert (done.returncode, done.stderr) == (0, "set()\n")
    assert done.stdout.startswith("Usage: ")


def test_help_is_quick() -> None:
    """The help is there in less than 0.3 s, the start of Python included."""
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "asyncassist", "--help"], stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - started)

    assert min(seconds) < 0.3


def test_the_help_of_a_batch(capsys: pytest.CaptureFixture[str]) -> None:
    """It shows both forms; without a word it is an error as everywhere."""
    assert cli.main(["batch", "--help"]) == 0
    first, second = " ".join(capsys.readouterr().out.split()).split(" Run the jobs ")[0].split(" batch ")[1:]
    assert first.startswith("JOBS.jsonl -o RESULTS.jsonl --ledger FILE [OPTIONS] ")
    assert second == "status LEDGER [--json]"
    assert cli.main(["batch"]) == 2
    assert "Missing command" in capsys.readouterr().err


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Each has a line of its own that is not cut, and the completion of words is described."""
    assert cli.main(["--help"]) == 0

    output = capsys.readouterr().out
    for name, command in commands.program.commands.items():
        assert f"{name} " in output
        assert f"  {command.short_help}\n" in output
    assert "3    done, but a run or a job did not complete\n" in output
    assert "..." not in output.replace("[ARGS]...", "")
    assert "_ASYNCASSIST_COMPLETE=bash_source asyncassist" in output


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    """It is the package's."""
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"{__version__}\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "asyncassist ",
            [
                *("ask", "batch", "chat", "demo", "doctor", "export-threads", "import-threads", "runs", "serve"),
                "threads",
            ],
        ),
        ("asyncassist se", ["serve"]),
        ("asyncassist runs ", ["cancel", "list", "watch"]),
        ("asyncassist batch s", ["status"]),
        ("asyncassist batch jobs.jsonl --led", ["--ledger"]),
        ("asyncassist ask --inst", ["--instructions"]),
        ("asyncassist serve --sy", ["--sync"]),
        ("asyncassist serve --sync ", ["normal", "full"]),
    ],
)
def test_the_shell_completes(words: str, expected: list[str]) -> None:
    """Commands, options and their values are completed."""
    count = str(len(words.split(" ")) - 1)
    script = (
        "import atexit, sys; from asyncassist.cli import main; "
        f"atexit.register(lambda: print(*sorted({HEAVY} & set(sys.modules)), end='', file=sys.stderr)); "
        "sys.exit(main())"
    )
    done = python(script, _ASYNCASSIST_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=count)

    assert done.stderr == ""
    assert [line.partition(",")[2] for line in done.stdout.splitlines()] == expected


def test_the_help_of_batch(capsys: pytest.CaptureFixture[str]) -> None:
    """It has the options of the command that is meant where none is named, and the other one."""
    assert cli.main(["batch", "--help"]) == 0

    text = capsys.readouterr().out
    assert all(option in text for option in ("--ledger FILE", "--on-cancel [cancel|leave]", "--base-url URL"))
    assert "\n  status " in text


def test_without_click_it_says_what_to_install() -> None:
    """The library works without it; the command line is one line with the command that gets it."""
    done = python("import sys; sys.modules['click'] = None; from asyncassist.cli import main; sys.exit(main(['demo']))")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: the command line needs click: pip install 'asyncassist[cli]'\n"


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        (("starlette", "uvicorn", "yaml", "rich"), ["ask", "hello"]),
        (("starlette", "uvicorn", "yaml", "rich"), ["doctor"]),
        (("starlette", "uvicorn", "yaml", "rich"), ["runs", "list", "thread_none"]),
        (("rich",), ["demo"]),
        (("rich",), ["serve", "--db", "/no/such/folder/db"]),
    ],
)
def test_a_command_needs_its_own_extra_only(server: FakeServer, missing: tuple[str, ...], command: list[str]) -> None:
    """Commands that ask a server do without what serves, and those that serve without what shows progress."""
    hidden = "; ".join(f"sys.modules[{name!r}] = None" for name in missing)
    done = python(f"import sys; {hidden}; from asyncassist.cli import main; sys.exit(main({command!r}))")

    assert "pip install" not in done.stderr
    assert done.returncode == (1 if command[0] in ("runs", "serve") else 0), done.stderr


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
        assert "pip install 'asyncassist[cli]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("missing", "hint"),
    [("uvicorn", ": pip install 'asyncassist[server]'"), ("rich", ": pip install 'asyncassist[cli]'"), ("socket2", "")],
)
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
