"""Users' own functions around each attempt at a request."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar, cast

from anyio.lowlevel import checkpoint_if_cancelled
from attrs import evolve, field, fields, frozen

from asyncassist._transport.byte_stream import ByteStream
from asyncassist._transport.settings import checked_headers, is_secret_header
from asyncassist._wire.json import loads
from asyncassist._wire.requests import Request
from asyncassist._wire.responses import Response
from asyncassist.errors import APIStatusError, UsageError, shown
from asyncassist.models import UNSET

if TYPE_CHECKING:
    from asyncassist._transport.settings import CallOptions

__all__ = [
    "AttemptRequest",
    "AttemptResponse",
    "CallNext",
    "Middleware",
    "Passage",
    "attempt_request",
    "checked_middleware",
]

A = TypeVar("A", Response, ByteStream)


def _read_only(headers: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(headers))  # a header put in here would not be sent


@frozen
class AttemptRequest:
    """One attempt at a request, as a middleware sees it."""

    kind: str
    """What it does on the server: read, poll, create, modify, submit, cancel, delete; or "keyed create", which may be
    done again."""
    method: str
    path: str
    """Relative to the base URL."""
    query: tuple[tuple[str, str], ...]
    body: object = field(repr=False)
    """The JSON value that is sent, `UNSET` for none. A copy: changing it changes nothing."""
    attempt: int
    """From 1; how often this request has been sent, with this time."""
    is_stream: bool
    """Whether its answer comes event by event."""
    headers: Mapping[str, str] = field(converter=_read_only)
    """Those of the client's settings and of ``with_options``, without those whose names speak of keys, tokens or
    cookies, and those that were added; `with_headers` adds more."""

    def with_headers(self, headers: Mapping[str, str]) -> AttemptRequest:
        """Return the same attempt with more headers, such as ``{"traceparent": ...}``.

        Raises:
            UsageError: a header cannot be sent.
        """
        new = checked_headers(headers)
        replaced = {name.lower() for name in new}
        kept = {name: value for name, value in self.headers.items() if name.lower() not in replaced}
        return evolve(self, headers={**kept, **new})


@frozen
class AttemptResponse:
    """What an attempt was answered, whatever its status."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    """Names in lower case. The request's key is cut out wherever the server repeats it, and cookies are left out."""
    request_id: str | None
    """What to quote to the server's operator."""
    seconds: float
    """From when the attempt had a connection to the end of its answer; of a stream, to the answer's begin."""


CallNext: TypeAlias = Callable[[AttemptRequest], Awaitable[AttemptResponse]]
"""What a middleware awaits to let the attempt go on."""
Middleware: TypeAlias = Callable[[AttemptRequest, CallNext], Awaitable[AttemptResponse]]
"""``async def middleware(request, call_next)``: awaits ``call_next(request)`` once, and returns what that gave."""


def checked_middleware(middleware: Iterable[Middleware]) -> tuple[Middleware, ...]:
    """Return functions that can be called."""
    if not isinstance(middleware, Iterable):
        raise UsageError(f"middleware must be a list of functions, got {shown(middleware)}")
    functions = tuple(middleware)
    for function in functions:
        if not callable(function) or inspect.isclass(function):
            raise UsageError(f"a middleware must be an async function, got {shown(function)}")
    return functions


class Passage(Generic[A]):
    """The way of one attempt through all middleware and back.

    Args:
        send: makes the attempt, with headers added.
        seconds: how long the attempt has taken.

    Attributes:
        failure: what the attempt itself has ended with, where that is an exception.
    """

    def __init__(
        self,
        middleware: tuple[Middleware, ...],
        request: AttemptRequest,
        send: Callable[[Mapping[str, str]], Awaitable[A]],
        seconds: Callable[[], float],
    ) -> None:
        self._middleware = middleware
        self._request = request
        self._send: Callable[[Mapping[str, str]], Awaitable[A]] = send
        self._seconds = seconds
        self._answer: A | None = None
        self._response: AttemptResponse | None = None
        self._is_over = False
        self.failure: BaseException | None = None

    async def go(self) -> A:
        """Make the attempt, unless a middleware keeps it from being made.

        Raises:
            UsageError: a middleware does what it must not.
        """
        cancels = _cancels()
        try:
            await self._next_of(0)(self._request)
            if _cancels() > cancels:
                raise asyncio.CancelledError
            if isinstance(self.failure, APIStatusError):
                raise self.failure
        except BaseException:
            if isinstance(self._answer, ByteStream):
                await self._answer.aclose()
            raise
        finally:
            self._is_over = True
        assert self._answer is not None  # without one there is a failure
        return self._answer

    def _next_of(self, index: int) -> CallNext:
        is_called = False

        async def call_next(request: AttemptRequest) -> AttemptResponse:
            nonlocal is_called
            if is_called or self._is_over:
                raise UsageError("a middleware may await call_next once, before it returns")
            is_called = True
            if index == len(self._middleware):
                return await self._innermost(request)
            return await self._through(self._middleware[index], request, self._next_of(index + 1))

        return call_next

    async def _through(self, middleware: Middleware, request: AttemptRequest, call_next: CallNext) -> AttemptResponse:
        awaitable = cast("object", middleware(request, call_next))
        if not inspect.isawaitable(awaitable):
            raise UsageError(f"a middleware must be an async function, {_name(middleware)} is not")
        given = await awaitable
        if isinstance(given, AttemptResponse) and given is self._response:
            return given
        if isinstance(self.failure, Exception) and self._response is None:
            raise self.failure  # it has been looked at, which does not make an answer of it
        await checkpoint_if_cancelled()
        raise UsageError(
            f"a middleware must await call_next(request) and return what that gave; "
            f"{_name(middleware)} returned {shown(given)}"
        )

    async def _innermost(self, request: AttemptRequest) -> AttemptResponse:
        added = self._added(request)
        try:
            answer = await self._send(added)
        except APIStatusError as error:
            self.failure = error
            self._response = AttemptResponse(
                error.status, _shown_headers(error.headers), error.request_id, self._seconds()
            )
        except BaseException as error:
            self.failure = error
            raise
        else:
            if self._is_over:  # a task of the middleware's own made it, and nobody is left to take the answer
                if isinstance(answer, ByteStream):
                    await answer.aclose()
                raise UsageError("a middleware must await call_next before it returns; the attempt was over meanwhile")
            self._answer = answer
            headers = {name.lower(): answer.redact(value) for name, value in answer.headers.items()}
            request_id = answer.request_id and answer.redact(answer.request_id)
            self._response = AttemptResponse(answer.status, _shown_headers(headers), request_id, self._seconds())
        return self._response

    def _added(self, request: AttemptRequest) -> Mapping[str, str]:
        known = self._request
        if not isinstance(request, AttemptRequest):
            raise UsageError(f"call_next takes the request that the middleware was given, got {shown(request)}")
        for name in fields(AttemptRequest):
            if name.name != "headers" and getattr(request, name.name) is not getattr(known, name.name):
                raise UsageError(f"a middleware may add headers to a request; it has changed its {name.name}")
        return {name: value for name, value in request.headers.items() if known.headers.get(name) != value}


def attempt_request(
    request: Request, content: bytes | None, options: CallOptions, attempt: int, *, is_stream: bool
) -> AttemptRequest:
    """Return what a middleware is shown of a request."""
    query = options.query
    pairs = (*query.items(), *(pair for pair in request.query if pair[0] not in query))
    shown_headers = {name: value for name, value in options.headers.items() if not is_secret_header(name)}
    shown_query = tuple(pair for pair in pairs if not is_secret_header(pair[0]))
    body = UNSET if content is None else loads(content)
    return AttemptRequest(
        request.kind.value, request.method, request.path, shown_query, body, attempt, is_stream, shown_headers
    )


def _shown_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if not is_secret_header(name)}


def _name(middleware: Middleware) -> str:
    return str(getattr(middleware, "__qualname__", type(middleware).__qualname__))[:100]


def _cancels() -> int:
    """Count asyncio's own requests to end this task: a middleware that catches one must not go on."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # another event loop's task
        return 0
    return 0 if task is None else task.cancelling()
