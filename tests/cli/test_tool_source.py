"""``--tools``: what it finds, and what it says where it finds nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncassist.cli.running import CommandError
from asyncassist.cli.tool_source import load_toolset

MODULE = '''
from asyncassist import Toolset, tool

@tool
def one() -> str:
    """One."""
    return "1"

same = one

@tool
def two() -> str:
    """Two."""
    return "2"

def plain(text: str) -> str:
    """Plain."""
    return text

both = [one, plain]
number = 5
own = {own}
'''


@pytest.fixture(autouse=True)
def _imports_as_they_were(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    modules = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(name: str, text: str = MODULE.format(own="None")) -> None:
    Path(name).write_text(text, "utf-8")


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("some_tools", ["one", "two"]),
        ("some_tools.py", ["one", "two"]),
        ("./some_tools.py", ["one", "two"]),
        ("some_tools:one", ["one"]),
        ("some_tools.py:plain", ["plain"]),
        ("some_tools:both", ["one", "plain"]),
    ],
)
def test_what_it_finds(where: str, names: list[str]) -> None:
    """A module of this folder or a file; one function, a list of them, or all that are marked."""
    write("some_tools.py")

    assert list(load_toolset(where).tools) == names


def test_a_toolset() -> None:
    """The module's only one is taken instead of its functions; of several one has to be named."""
    write("own_set.py", MODULE.format(own="Toolset([plain], max_rounds=3)"))
    write("two_sets.py", MODULE.format(own="Toolset([plain])") + "\nother = Toolset([one])\n")

    assert list(load_toolset("own_set").tools) == ["plain"]
    assert list(load_toolset("two_sets:other").tools) == ["one"]
    with pytest.raises(CommandError, match="give the name of one, two_sets:name"):
        load_toolset("two_sets")


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("nowhere", "nowhere cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ("nowhere.py", "nowhere.py cannot be imported: FileNotFoundError: "),
        ("some_tools:three", "some_tools has no three"),
        ("some_tools:number", "--tools some_tools:number: "),
        ("empty.py", "there are no functions marked with @tool"),
        ("failing.py", r"failing.py cannot be imported: ZeroDivisionError: division by zero \(failing.py, line 2\)"),
        ("exiting.py", "exiting.py cannot be imported: SystemExit: 3"),
        ("wrong.py", "wrong.py cannot be imported: SyntaxError: "),
        (r"C:\tools", "cannot be imported"),
        ("", "cannot be imported"),
    ],
)
def test_what_it_does_not_find(where: str, message: str) -> None:
    """It says in one line what is wrong, whatever the module does."""
    write("some_tools.py")
    write("empty.py", "x = 1\n")
    write("failing.py", "\n1 / 0\n")
    write("exiting.py", "raise SystemExit(3)\n")
    write("wrong.py", "def\n")

    with pytest.raises(CommandError, match=message):
        load_toolset(where)


def test_type_hints_of_the_module_are_found() -> None:
    """A file may have its annotations as text, which are looked up in it."""
    lines = ("from __future__ import annotations", "from asyncassist import tool", "Kind = int", "@tool")
    write("later.py", "\n".join([*lines, "def f(a: Kind) -> str:", "    return str(a)\n"]))

    (definition,) = load_toolset("later.py").definitions
    assert definition.function.parameters is not None
