"""The ASGI app: routes to operations, and what all answers have in common.

The API is served under ``/v1`` and at the root, so that clients with either base URL find it. Query parameters nobody
asked for (``api-version``, ``include[]``) are ignored.
"""

from __future__ import annotations

import hmac
import logging
import re
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import frozen
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Route, Router

from asyncassist._wire.json import dumps, loads
from asyncassist.errors import DecodeError
from asyncassist.models import Run
from asyncassist.server import bodies, errors
from asyncassist.server.operations import Operations
from asyncassist.server.streaming import EventStream, EventStreamResponse

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.types import ASGIApp, Lifespan, Message, Receive, Scope, Send

    from asyncassist.models import Model
    from asyncassist.server.validation import Check

__all__ = ["MAX_BODY", "create_app"]

logger = logging.getLogger("asyncassist.server")

#: Bytes a request's body may have.
MAX_BODY = 64 * 1024 * 1024

_Operation: TypeAlias = "Callable[..., Awaitable[Model | EventStream]]"


@frozen
class _Endpoint:
    """One operation of the API: its place, and what its method is given after the ids of the path."""

    method: str
    path: str
    operation: _Operation
    body: Check | None = None
    is_listing: bool = False

    @property
    def ids(self) -> list[str]:
        """The names of the ids in its path, in their order."""
        return re.findall(r"{(\w+)}", self.path)


def _get(path: str, operation: _Operation) -> _Endpoint:
    return _Endpoint("GET", path, operation)


def _list(path: str, operation: _Operation) -> _Endpoint:
    return _Endpoint("GET", path, operation, is_listing=True)


def _post(path: str, operation: _Operation, body: Check | None = None) -> _Endpoint:
    return _Endpoint("POST", path, operation, body)


def _delete(path: str, operation: _Operation) -> _Endpoint:
    return _Endpoint("DELETE", path, operation)


_THREAD = "/threads/{thread_id}"
_RUN = _THREAD + "/runs/{run_id}"
_MESSAGE = _THREAD + "/messages/{message_id}"

_ENDPOINTS = (
    _post("/assistants", Operations.create_assistant, bodies.CREATE_ASSISTANT),
    _list("/assistants", Operations.list_assistants),
    _get("/assistants/{assistant_id}", Operations.get_assistant),
    _post("/assistants/{assistant_id}", Operations.modify_assistant, bodies.MODIFY_ASSISTANT),
    _delete("/assistants/{assistant_id}", Operations.delete_assistant),
    _post("/threads", Operations.create_thread, bodies.CREATE_THREAD),
    _list("/threads", Operations.list_threads),
    _post("/threads/runs", Operations.create_thread_and_run, bodies.CREATE_THREAD_AND_RUN),
    _get(_THREAD, Operations.get_thread),
    _post(_THREAD, Operations.modify_thread, bodies.MODIFY_THREAD),
    _delete(_THREAD, Operations.delete_thread),
    _post(_THREAD + "/messages", Operations.create_message, bodies.CREATE_MESSAGE),
    _list(_THREAD + "/messages", Operations.list_messages),
    _get(_MESSAGE, Operations.get_message),
    _post(_MESSAGE, Operations.modify_message, bodies.MODIFY_METADATA),
    _delete(_MESSAGE, Operations.delete_message),
    _post(_THREAD + "/runs", Operations.create_run, bodies.CREATE_RUN),
    _list(_THREAD + "/runs", Operations.list_runs),
    _get(_RUN, Operations.get_run),
    _post(_RUN, Operations.modify_run, bodies.MODIFY_METADATA),
    _post(_RUN + "/cancel", Operations.cancel_run),
    _post(_RUN + "/submit_tool_outputs", Operations.submit_tool_outputs_to_run, bodies.SUBMIT_TOOL_OUTPUTS),
    _list(_RUN + "/steps", Operations.list_run_steps),
    _get(_RUN + "/steps/{step_id}", Operations.get_run_step),
)


def create_app(
    operations: Operations,
    *,
    new_id: Callable[[str], str],
    poll_after_ms: Callable[[], int],
    api_keys: Sequence[str] | None = None,
    lifespan: Lifespan[Starlette] | None = None,
) -> Starlette:
    """Make the app that serves the operations.

    Args:
        operations: what answers.
        new_id: makes the ids of requests.
        poll_after_ms: how long clients should wait before they look at a run again.
        api_keys: the keys that are let in; None lets everybody in.
        lifespan: what to do around the app's life, where the app is served by an ASGI server.
    """
    by_path: dict[str, dict[str, _Endpoint]] = {}
    for endpoint in _ENDPOINTS:
        by_path.setdefault(endpoint.path, {})[endpoint.method] = endpoint
    routes = [
        Route(path, _handler(operations, endpoints, poll_after_ms), methods=list(endpoints))
        for path, endpoints in by_path.items()
    ]
    # The API knows no path with a slash at its end; clients would have to follow a redirect.
    versioned = Mount("/v1", app=Router(routes, redirect_slashes=False))
    app = Starlette(
        routes=[versioned, *routes],
        middleware=[Middleware(_Frame, new_id=new_id, api_keys=api_keys)],
        exception_handlers={HTTPException: _refuse_route},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def _handler(
    operations: Operations, endpoints: dict[str, _Endpoint], poll_after_ms: Callable[[], int]
) -> Callable[[Request], Awaitable[Response]]:
    ids = next(iter(endpoints.values())).ids

    async def handle(request: Request) -> Response:
        endpoint = endpoints["GET" if request.method == "HEAD" else request.method]
        # By name: where the app is mounted below a path with parameters, there are more.
        arguments: list[Any] = [request.path_params[id] for id in ids]
        try:
            if endpoint.body is not None:
                arguments.append(endpoint.body(_parse(await _read(request)), ""))
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


async def _read(request: Request) -> bytes:
    """Read the body, but no more than a body may be long."""
    length = request.headers.get("content-length", "")[:20]
    if length.isdecimal() and int(length) > MAX_BODY:
        raise errors.body_too_large(MAX_BODY)
    chunks: list[bytes] = []
    size = 0
    async with aclosing(request.stream()) as stream:
        async for chunk in stream:
            size += len(chunk)
            if size > MAX_BODY:
                raise errors.body_too_large(MAX_BODY)
            chunks.append(chunk)
    return b"".join(chunks)


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
    """Around every HTTP request: asks for the key, and puts the headers on that all answers have."""

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
                headers = MutableHeaders(scope=message)
                headers["x-request-id"] = self._new_id("req_")
                headers["openai-processing-ms"] = str(round((time.perf_counter() - started) * 1000))
            await send(message)

        try:
            self._check_key(Headers(scope=scope))
        except errors.ApiError as error:
            await _refuse(error)(scope, receive, send_framed)
        else:
            await self._app(scope, receive, send_framed)

    def _check_key(self, headers: Headers) -> None:
        if self._api_keys is None:
            return
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise errors.missing_key()
        # Every key is compared, and in full: how long the answer takes says nothing about them.
        given = key.strip().encode("latin-1")
        matches = [hmac.compare_digest(known, given) for known in self._api_keys]
        if not any(matches):
            raise errors.wrong_key()
