"""What every operation does: ask, and decode the answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast

from attrs import field, frozen

from asyncassist import models
from asyncassist._operations.listing import Listing
from asyncassist._wire.pages import HasId
from asyncassist._wire.requests import Request, check_parameters, named
from asyncassist._wire.responses import Response, decode

if TYPE_CHECKING:
    from asyncassist.models import Page

__all__ = ["Operations", "RawOperations", "RawResponse", "checked_params", "raw", "raw_listing"]

T = TypeVar("T")
Item = TypeVar("Item", bound=HasId)
P = ParamSpec("P")


class Caller(Protocol):
    """What sends requests for operations, with the options of the client it belongs to."""

    async def __call__(self, request: Request, /) -> Response: ...


class Operations:
    """The base of the mixins that make up the client."""

    _send: Caller

    async def _call(self, request: Request, type_: type[T]) -> T:
        return decode(request, await self._send(request), type_)

    def _list(
        self, request: Callable[[Mapping[str, object]], Request], type_: type[Item], **query: object
    ) -> Listing[Item]:
        """Return a listing; ``request`` builds the request of a page from its query."""

        async def fetch(page_query: Mapping[str, object]) -> Page[Item]:
            page = models.Page[type_]  # type: ignore[valid-type]
            return await self._call(request(page_query), page)

        return Listing(fetch, query)


def checked_params(operation: str, params_type: type, params: Mapping[str, object], **own: object) -> dict[str, object]:
    """Return the parameters to send, refusing names the operation does not have and ids that are none."""
    check_parameters(operation, params_type, params)
    for name, value in own.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a str, got {named(name, value)}")
    if "tools" in params:
        _check_tools(params["tools"])
    return {**own, **params}


def _check_tools(tools: object) -> None:
    """Refuse functions and toolsets where a list of tools is due."""
    if (define := getattr(tools, "__asyncassist_definition__", None)) is not None:
        define()  # that of a toolset says what to give instead
    if callable(tools):
        raise TypeError(f"tools must be a list, got {type(tools).__name__}; give tools=[...]")
    for item in cast("Sequence[object]", tools) if isinstance(tools, list | tuple) else ():
        if isinstance(item, FunctionType | MethodType):
            raise TypeError(f"tools has the function {item.__name__}, which is not marked; mark it with @tool")


@frozen
class RawResponse(Generic[T]):
    """An answer with what came around it."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    """Names are found in any case."""
    request_id: str | None
    data: T


class RawOperations:
    """The base of the mixins behind ``client.with_raw_response``."""

    def __init__(self, send: Caller) -> None:
        self._send = send


class _Recorder(Operations):
    """Stands in for the client during one call and keeps the answer."""

    def __init__(self, send: Caller) -> None:
        self._response: Response | None = None
        self._inner = send
        self._send = self._record

    async def _record(self, request: Request, /) -> Response:
        self._response = await self._inner(request)
        return self._response

    def wrap(self, data: T) -> RawResponse[T]:
        response = self._response
        assert response is not None  # every operation sends exactly one request
        return RawResponse(response.status, response.headers, response.request_id, data)


Ops = TypeVar("Ops", bound=Operations)


def raw(
    operation: Callable[Concatenate[Ops, P], Awaitable[T]],
) -> Callable[Concatenate[RawOperations, P], Awaitable[RawResponse[T]]]:
    """Make the form of an operation that returns the whole answer."""

    async def call(self: RawOperations, /, *args: P.args, **kwargs: P.kwargs) -> RawResponse[T]:
        recorder = _Recorder(self._send)  # pyright: ignore[reportPrivateUsage]  # a method of the class
        return recorder.wrap(await operation(cast("Ops", recorder), *args, **kwargs))

    call.__name__ = operation.__name__
    call.__doc__ = operation.__doc__
    return call


def raw_listing(
    operation: Callable[Concatenate[Ops, P], Listing[Item]],
) -> Callable[Concatenate[RawOperations, P], Awaitable[RawResponse[Page[Item]]]]:
    """Make the form of a listing that returns its first page with the whole answer."""

    async def call(self: RawOperations, /, *args: P.args, **kwargs: P.kwargs) -> RawResponse[Page[Item]]:
        recorder = _Recorder(self._send)  # pyright: ignore[reportPrivateUsage]  # a method of the class
        return recorder.wrap(await operation(cast("Ops", recorder), *args, **kwargs))

    call.__name__ = operation.__name__
    call.__doc__ = operation.__doc__
    return call
