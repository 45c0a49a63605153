"""``--tools``: functions of a user's own module, as a toolset."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from asyncassist.cli.output import functions_print_to_stderr
from asyncassist.cli.running import CommandError
from asyncassist.errors import AsyncAssistError
from asyncassist.tools import Tool, Toolset

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["load_toolset"]


def load_toolset(where: str) -> Toolset:
    """Import what ``--tools`` names, and make a toolset of it.

    Args:
        where: ``module``, ``module:name``, ``file.py`` or ``file.py:name``. What has the name is a toolset, a function
            or a list of functions; without a name it is the module's only toolset, or all its functions marked with
            ``@tool``.

    Raises:
        CommandError: there is no such thing, or it cannot be imported.
    """
    place, name = _parted(where)
    with functions_print_to_stderr():
        module = _imported(place)
    try:
        toolset = _found(place, module) if not name else _as_toolset(_named(place, module, name))
    except (AsyncAssistError, TypeError) as error:
        raise CommandError(f"--tools {where}: {error}") from error
    if not toolset.tools:
        raise CommandError(f"--tools {where}: there are no functions marked with @tool")
    return toolset


def _parted(where: str) -> tuple[str, str]:
    place, _, name = where.rpartition(":")
    # Of C:\tools.py the first letter is no module.
    return (place, name) if place and name.isidentifier() else (where, "")


def _imported(place: str) -> ModuleType:
    try:
        if not place.endswith(".py"):
            sys.path.insert(0, "")  # as `python -m` does
            return importlib.import_module(place)
        path = Path(place).resolve()
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None  # its name ends in .py
        assert spec.loader is not None
        sys.path.insert(0, str(path.parent))  # as `python file.py` does
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module  # type hints are looked up there
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # whatever a user's module does
        raise CommandError(f"--tools: {place} cannot be imported: {_told(error)}") from error
    return module


def _told(error: BaseException) -> str:
    """Say in one line what a module has raised, and where in it."""
    frames = traceback.extract_tb(error.__traceback__)
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError | FileNotFoundError) or not frames or "importlib" in frames[-1].filename:
        return text  # its message has the place, or there is none
    return f"{text} ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


def _named(place: str, module: ModuleType, name: str) -> object:
    try:
        return getattr(module, name)
    except AttributeError:
        raise CommandError(f"{place} has no {name}") from None


def _as_toolset(value: object) -> Toolset:
    if isinstance(value, Toolset):
        return value
    is_list = isinstance(value, Iterable) and not isinstance(value, Tool)
    functions = cast("Iterable[Callable[..., Any]]", value if is_list else [value])
    return Toolset(functions)


def _found(place: str, module: ModuleType) -> Toolset:
    values = list(vars(module).values())
    toolsets = [value for value in values if isinstance(value, Toolset)]
    if len(toolsets) > 1:
        raise CommandError(f"there are several toolsets: give the name of one, {place}:name")
    if toolsets:
        return toolsets[0]
    tools = [cast("Tool[..., Any]", value) for value in values if isinstance(value, Tool)]
    return Toolset({id(tool): tool for tool in tools}.values())  # one may be there under two names
