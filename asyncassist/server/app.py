"""The ASGI app: requests to operations, and what all answers have in common.

Query parameters and fields of bodies that nobody asked for (``api-version``) are ignored, and no beta header is needed;
a strict app refuses what the API refuses.
"""

from __future__ import annotations

import hmac
import logging
import time
from typing import TYPE_CHECKING, Any

import anyio
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from asyncassist._wire.json import dumps, loads
from asyncassist.errors import DecodeError
from asyncassist.models import Run
from asyncassist.server import errors
from asyncassist.server.routes import ENDPOINTS, HEALTH, Endpoint, prefix_of
from asyncassist.server.streaming import EventStream, EventStreamResponse
from asyncassist.server.validation import unknown_field

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.types import ASGIApp, Lifespan, Message, Receive, Scope, Send

    from asyncassist.server.operations import Operations

__all__ = ["MAX_BODY", "create_app"]

logger = logging.getLogger("asyncassist.server")

#: Bytes a request's body may have, and those of all requests together while they are received.
MAX_BODY = 16 * 1024 * 1024
MAX_BODIES = 4 * MAX_BODY
#: Seconds a body may take, and bytes that earn it a second more.
BODY_SECONDS = 30.0
SLOWEST_BODY = 16 * 1024

_BETA = "assistants=v2"


def create_app(
    operations: Operations,
    *,
    new_id: Callable[[str], str],
    poll_after_ms: Callable[[], int],
    api_keys: Sequence[str] | None = None,
    strict: bool = False,
    lifespan: Lifespan[Starlette] | None = None,
) -> Starlette:
    """Make the app that serves the operations.

    Args:
        operations: what answers.
        new_id: makes the ids of requests.
        poll_after_ms: how long clients should wait before they look at a run again.
        api_keys: the keys that are let in; None lets everybody in.
        strict: whether to refuse what the API does not know, and requests without its beta header.
        lifespan: what to do around the app's life, where the app is served by an ASGI server.
    """
    by_path: dict[str, dict[str, Endpoint]] = {}
    for endpoint in ENDPOINTS:
        by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    intake = _Intake()
    routes = [
        Route(path, _handler(operations, endpoints, intake, poll_after_ms, strict), methods=list(endpoints))
        for path, endpoints in by_path.items()
    ]
    app = Starlette(
        routes=[*routes, Route(HEALTH, _health)],
        middleware=[Middleware(_Frame, new_id=new_id, api_keys=api_keys)],
        exception_handlers={HTTPException: _refuse_route},
        lifespan=lifespan,
    )
    # The API knows no path with a slash at its end; clients would have to follow a redirect.
    app.router.redirect_slashes = False
    return app


def _handler(
    operations: Operations,
    endpoints: dict[str, Endpoint],
    intake: _Intake,
    poll_after_ms: Callable[[], int],
    strict: bool,
) -> Callable[[Request], Awaitable[Response]]:
    ids = next(iter(endpoints.values())).ids

    async def handle(request: Request) -> Response:
        endpoint = endpoints["GET" if request.method == "HEAD" else request.method]
        # By name: where the app is mounted below a path with parameters, there are more.
        arguments: list[Any] = [request.path_params[id] for id in ids]
        try:
            if strict:
                _refuse_unknown(request, endpoint)
            if endpoint.body is not None:
                given = _parse(await intake.read(request))
                body = endpoint.body(given, "")
                if strict and (unknown := unknown_field(given, body)) is not None:
                    raise errors.unknown_parameter(unknown)
                arguments.append(body)
            elif endpoint.is_listing:
                arguments.append(request.query_params)
            result = await endpoint.operation(operations, *arguments)
            # Nothing is awaited between here and the response's own care for the stream.
            if isinstance(result, EventStream):
                return EventStreamResponse(result)
            headers = {"openai-poll-after-ms": str(poll_after_ms())} if isinstance(result, Run) else None
            return _json(200, result, headers)
        except errors.ApiError as error:
            return _refuse(error)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except Exception:
            logger.exception("%s %s failed", request.method, request.url.path)
            return _refuse(errors.server_failed())

    return handle


async def _health(request: Request) -> Response:
    return _json(200, {"status": "ok"})


def _refuse_unknown(request: Request, endpoint: Endpoint) -> None:
    values = [value.strip() for line in request.headers.getlist("openai-beta") for value in line.split(",")]
    if _BETA not in values:
        raise errors.invalid_beta()
    for name in request.query_params:
        if name not in endpoint.query:
            raise errors.unknown_parameter(name)


class _Intake:
    """Takes in the bodies of requests, within bounds of size and time."""

    def __init__(self) -> None:
        self._held = 0  # bytes of the bodies that are not complete

    async def read(self, request: Request) -> bytes:
        """Read a body to its end."""
        length = request.headers.get("content-length", "")[:20]
        if length.isdecimal() and int(length) > MAX_BODY:
            raise errors.body_too_large(MAX_BODY)
        chunks: list[bytes] = []
        size = 0
        try:
            with anyio.move_on_after(BODY_SECONDS) as scope:
                while True:
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    chunk: bytes = message.get("body", b"")
                    chunks.append(chunk)
                    size += len(chunk)
                    self._held += len(chunk)
                    if size > MAX_BODY:
                        raise errors.body_too_large(MAX_BODY)
                    if self._held > MAX_BODIES:
                        raise errors.too_many_bodies()
                    if not message.get("more_body", False):
                        return b"".join(chunks)
                    scope.deadline += len(chunk) / SLOWEST_BODY
        finally:
            self._held -= size
        raise errors.body_too_slow()


def _parse(body: bytes) -> object:
    """Read JSON. No body at all is an empty object: clients leave it out where they have nothing to say."""
    if not body:
        return {}
    try:
        return loads(body)
    except DecodeError:
        raise errors.invalid_json() from None


def _json(status: int, value: object, headers: dict[str, str] | None = None) -> Response:
    return Response(dumps(value), status, headers, "application/json")


def _refuse(error: errors.ApiError) -> Response:
    return _json(error.status, error.envelope(), error.headers)


async def _refuse_route(request: Request, exception: Exception) -> Response:
    assert isinstance(exception, HTTPException)
    path = request.url.path
    if exception.status_code == 405:
        allowed = ", ".join(sorted((exception.headers or {}).get("Allow", "").split(", ")))
        return _refuse(errors.method_not_allowed(request.method, path, allowed))
    return _refuse(errors.unknown_route(request.method, path))


class _Frame:
    """Around every HTTP request: finds the API below its prefix, asks for the key, and sets headers of every answer."""

    def __init__(self, app: ASGIApp, new_id: Callable[[str], str], api_keys: Sequence[str] | None) -> None:
        self._app = app
        self._new_id = new_id
        self._api_keys = None if api_keys is None else [key.encode() for key in api_keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()

        async def send_framed(message: Message) -> None:
            if message["type"] == "http.response.start":
                milliseconds = round((time.perf_counter() - started) * 1000)
                message["headers"] += [
                    (b"x-request-id", self._new_id("req_").encode()),
                    (b"openai-processing-ms", b"%d" % milliseconds),
                ]
            await send(message)

        root: str = scope.get("root_path", "")
        path = scope["path"].removeprefix(root)
        if prefix := prefix_of(path):
            scope = {**scope, "root_path": root + prefix}
        try:
            if self._api_keys is not None and path.removeprefix(prefix) != HEALTH:
                _check_key(Headers(scope=scope), self._api_keys)
        except errors.ApiError as error:
            await _refuse(error)(scope, receive, send_framed)
        else:
            await self._app(scope, receive, send_framed)


def _check_key(headers: Headers, api_keys: Sequence[bytes]) -> None:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        key = headers.get("api-key", "")  # as Azure's clients send it
        if not key:
            raise errors.missing_key()
    # Every key is compared, and in full: how long the answer takes says nothing about them.
    given = key.strip().encode("latin-1")
    matches = [hmac.compare_digest(known, given) for known in api_keys]
    if not any(matches):
        raise errors.wrong_key()
