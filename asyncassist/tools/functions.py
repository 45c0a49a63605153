"""Functions as tools: what a model is told of them, and how its arguments reach them."""

from __future__ import annotations

import functools
import inspect
import re
import types
from collections.abc import Callable, Mapping
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

from asyncassist.errors import UsageError, shown
from asyncassist.models import AssistantToolsFunction, FunctionObject
from asyncassist.tools._docstrings import read_docstring
from asyncassist.tools._parameters import Parameters, globals_of, read_parameters

__all__ = ["Tool", "tool"]

_P = ParamSpec("_P")
_Q = ParamSpec("_Q")
_R = TypeVar("_R")
_R_co = TypeVar("_R_co", covariant=True)
_Owner = TypeVar("_Owner")

_is_name = re.compile(r"[a-zA-Z0-9_-]{1,64}", re.ASCII).fullmatch


class Tool(Generic[_P, _R_co]):
    """A function a model may ask for. Called directly it is the function it was made of.

    Make one with `tool`, offer it as ``tools=[my_tool]``, and let a `Toolset` answer the calls.
    """

    name: str
    """What the model calls it by."""
    strict: bool | None
    """Whether the model must follow ``parameters`` exactly; None leaves that to the server."""
    timeout: float | None
    """Seconds a call may take; None leaves it to the toolset."""

    def __init__(
        self,
        function: Callable[_P, _R_co],
        *,
        name: str | None = None,
        description: str | None = None,
        strict: bool | None = None,
        timeout: float | None = None,
        names: Mapping[str, object] | None = None,
    ) -> None:
        """Make a tool of a function; `tool` does so with less to write.

        Args:
            function: sync or async, with a type hint for each parameter.
            name, description, strict, timeout: as in `tool`.
            names: what type hints may refer to besides the names of the function's module.

        Raises:
            UsageError: a model cannot be told what the function takes.
        """
        if not callable(function) or isinstance(function, type):
            raise TypeError(f"a tool is made of a function, got {shown(function)}")
        functools.update_wrapper(cast("Any", self), function)
        self.name = _checked_name(function, name)
        self.strict = strict
        self.timeout = checked_timeout(timeout)
        self._function = function
        self._description = description
        self._is_method = _is_method(function)
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise UsageError(f"tool {self.name}: a tool returns its output, it does not yield")
        try:
            self._parameters: Parameters | None = self._read(names or {})
        except NameError:
            # What the hint names may be defined further down; the first use asks again.
            self._parameters = None

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R_co:
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Tool {self.name}>"

    @overload
    def __get__(self, instance: None, owner: type[Any], /) -> Tool[_P, _R_co]: ...

    @overload
    def __get__(
        self: Tool[Concatenate[_Owner, _Q], _R_co], instance: _Owner, owner: type[Any] | None = None, /
    ) -> Tool[_Q, _R_co]: ...

    def __get__(self, instance: Any, owner: type[Any] | None = None, /) -> Any:
        if instance is None or not self._is_method:
            return self
        bound = cast("Tool[..., Any]", object.__new__(type(self)))
        bound.__dict__.update(self.__dict__)
        bound._function = types.MethodType(self._function, instance)
        bound._is_method = False
        return bound

    @property
    def is_async(self) -> bool:
        """Whether the function is a coroutine function. Others are called in a thread."""
        function = self._function
        return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)

    @property
    def is_method(self) -> bool:
        """Whether it is the tool of a class, not yet that of an instance, which alone can be called."""
        return self._is_method

    @property
    def description(self) -> str | None:
        """What the model is told the function does: given, or the docstring without its sections."""
        return self._description if self._description is not None else self._documented[0]

    @property
    def parameters(self) -> dict[str, Any]:
        """The arguments as a JSON Schema object.

        Raises:
            UsageError: a type hint cannot be resolved.
        """
        return cast("dict[str, Any]", self._resolved.schema)

    @property
    def definition(self) -> AssistantToolsFunction:
        """What is sent to the server, as ``tools=[my_tool]`` does.

        Raises:
            UsageError: a type hint cannot be resolved.
        """
        return AssistantToolsFunction(
            function=FunctionObject(
                name=self.name, description=self.description, parameters=self.parameters, strict=self.strict
            )
        )

    def __asyncassist_definition__(self) -> AssistantToolsFunction:
        return self.definition

    def bind(self, values: Mapping[str, Any]) -> tuple[list[object], dict[str, object]]:
        """Structure a call's decoded arguments: the positional ones and those by name the function is called with.

        Raises:
            ArgumentsError: they do not fit; the message names each argument at fault.
            UsageError: a type hint cannot be resolved.
        """
        return self._resolved.bind(values)

    @functools.cached_property
    def _documented(self) -> tuple[str | None, dict[str, str]]:
        function: object = self._function
        while isinstance(function, functools.partial):
            function = cast("object", function.func)  # whose docstring is not that of partial itself
        doc = inspect.getdoc(function)
        return read_docstring(doc) if doc else (None, {})

    @property
    def _resolved(self) -> Parameters:
        if self._parameters is None:
            try:
                self._parameters = self._read({})
            except NameError as error:
                raise UsageError(
                    f"tool {self.name}: a type hint names {error.name!r}, which is not defined; "
                    "what only type checkers import (TYPE_CHECKING) is not there at run time"
                ) from None
        return self._parameters

    def _read(self, names: Mapping[str, object]) -> Parameters:
        try:
            return read_parameters(
                self._function,
                notes=self._documented[1],
                names=names,
                strict=bool(self.strict),
                skip_first=self._is_method,
            )
        except UsageError as error:
            raise UsageError(f"tool {self.name}: {error}") from None


@overload
def tool(
    function: Callable[_P, _R],
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    strict: bool | None = None,
    timeout: float | None = None,
) -> Tool[_P, _R]: ...


@overload
def tool(
    *, name: str | None = None, description: str | None = None, strict: bool | None = None, timeout: float | None = None
) -> Callable[[Callable[_P, _R]], Tool[_P, _R]]: ...


def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    strict: bool | None = None,
    timeout: float | None = None,
) -> Any:
    """Mark a function, sync or async, as a tool.

    The model is told its name, its docstring (Google, NumPy or Sphinx style) and its parameters, as JSON Schema made of
    the type hints. A description may also stand in the hint: ``Annotated[int, "1-10"]``; so may limits, which are
    checked when a call comes in: ``Annotated[int, annotated_types.Ge(1)]``, ``Annotated[str, msgspec.Meta(...)]``.

    A parameter with a default need not be given. The default must be of the parameter's type; None may always be one,
    and so may an object JSON has no form for, of which the model is not told.

    Used bare, with arguments, or called with a function: ``tools = [tool(search, name="find")]``.

    Args:
        function: the function.
        name: letters, digits, underscores and dashes, at most 64; None takes the function's.
        description: None takes the docstring's.
        strict: whether the server shall make the model follow the parameters exactly. All of them are then required;
            those with a default may be null instead, which stands for the default. A dict with any keys, `Any` and
            `object` cannot be described. None leaves it to the server.
        timeout: seconds a call may take; None leaves it to the toolset.

    Raises:
        UsageError: a model cannot be told what the function takes: a parameter has no type hint or one that JSON has no
            form for, a default of another type, or the function takes ``*args`` or ``**kwargs``.
    """
    given = {"name": name, "description": description, "strict": strict, "timeout": timeout}

    def mark(function: Callable[..., Any]) -> Tool[..., Any]:
        return Tool(function, **cast("Any", given), names=local_names(function, inspect.currentframe()))

    if function is None:
        return mark
    return Tool(function, **cast("Any", given), names=local_names(function, inspect.currentframe()))


def local_names(function: object, frame: types.FrameType | None) -> dict[str, object]:
    """Return the local names around a function that is being made inside of another one.

    Args:
        frame: that of this library, called by the one to look into.
    """
    names: dict[str, object] = {}
    space = globals_of(function)
    around = str(getattr(function, "__qualname__", type(function).__qualname__)).split(".")
    frame = frame and frame.f_back
    while frame is not None and frame.f_globals is space and frame.f_code.co_name in around:
        names = {**frame.f_locals, **names}
        frame = frame.f_back
    return names


def checked_timeout(timeout: float | None) -> float | None:
    """Return a timeout that can be one."""
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be seconds or None, got {type(timeout).__name__}")
    if not timeout > 0:
        raise UsageError(f"timeout is in seconds, more than 0, got {shown(timeout)}")
    return timeout


def _checked_name(function: object, name: str | None) -> str:
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name must be a str, got {type(name).__name__}")
    found = getattr(function, "__name__", "") if name is None else name
    if not _is_name(found):
        hint = "; give one: tool(function, name=...)" if name is None else ""
        raise UsageError(f"a tool's name has 1-64 letters, digits, underscores and dashes, got {shown(found)}{hint}")
    return cast("str", found)


def _is_method(function: object) -> bool:
    """Whether a function stands in a class's body, so that its first parameter is the instance."""
    if not isinstance(function, types.FunctionType):
        return False
    parts = function.__qualname__.split(".")
    return (
        len(parts) > 1 and parts[-2] != "<locals>" and next(iter(inspect.signature(function).parameters), "") == "self"
    )
