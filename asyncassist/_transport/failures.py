"""Failures of the HTTP library turned into errors of ours."""

from __future__ import annotations

from typing import cast

import anyio
import httpcore
import httpx

from asyncassist._wire.requests import Request
from asyncassist.errors import APIConnectionError, APITimeoutError, ConnectionFacts

__all__ = ["CONNECTION_FAILURES", "NOT_SENT_AGAIN", "connection_error", "without_frames"]

CONNECTION_FAILURES = (
    httpx.HTTPError,
    httpx.InvalidURL,
    httpx.StreamError,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    httpcore.TimeoutException,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable,
    OSError,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
    anyio.EndOfStream,
)

# Raised before a byte of the request has left.
_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpcore.ConnectError,
    httpcore.ConnectTimeout,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
    httpcore.ConnectionNotAvailable,
)
_TIMEOUTS = (httpx.TimeoutException, httpcore.TimeoutException)
_LONGEST_REASON = 300

NOT_SENT_AGAIN = "; the server may have acted, so the request was not sent again"
"""Ends the message of a request that must not be done twice."""


def _reason(failure: BaseException) -> str:
    """Return what the failure says, or else what the one that led to it says."""
    link: BaseException | None = failure
    while link is not None:
        if text := str(link):
            return text[:_LONGEST_REASON]
        link = link.__cause__ or link.__context__
    return type(failure).__name__


def connection_error(
    request: Request, failure: Exception, *, target: str, attempts: int, stale: bool = False
) -> APIConnectionError:
    """Return the error of an exchange that broke.

    Args:
        target: the server, as the caller named it.
        attempts: how often the request has been sent.
        stale: whether it broke on a connection that had been used before, and before the answer began.
    """
    sent = not isinstance(failure, _NEVER_SENT)
    facts: ConnectionFacts = {"method": request.method, "path": request.path, "sent": sent, "attempts": attempts}
    reason = _reason(failure)
    if isinstance(failure, _TIMEOUTS):
        what = "no answer from" if sent else "no connection to"
        text = f"{request.method} {request.path}: {what} {target} in time"
        return APITimeoutError(text, phase="attempt" if sent else "connect", **facts)
    if not sent:
        return APIConnectionError(f"{request.method} {request.path}: cannot connect to {target}: {reason}", **facts)
    text = f"{request.method} {request.path}: the connection to {target} broke: {reason}"
    if not request.kind.is_safe:
        text += NOT_SENT_AGAIN
    facts["stale"] = stale
    return APIConnectionError(text, **facts)


def without_frames(error: BaseException) -> None:
    """Drop the frames of a chain of errors: their local variables hold the request's headers, and so the key."""
    links: list[BaseException | None] = [error]
    seen: set[int] = set()
    while links:
        link = links.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            link.__traceback__ = None
            links += [link.__cause__, link.__context__]
            if isinstance(link, BaseExceptionGroup):
                links += cast("BaseExceptionGroup[BaseException]", link).exceptions
