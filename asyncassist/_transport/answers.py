"""The forms in which an answer is wanted, and what is logged of one."""

from __future__ import annotations

import logging
import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, TypeVar

import httpx
from attrs import frozen

from asyncassist import __version__
from asyncassist._transport.bodies import read_body
from asyncassist._transport.byte_stream import ByteStream
from asyncassist._wire.inflate import ACCEPT_ENCODING
from asyncassist._wire.requests import Request
from asyncassist._wire.responses import Response

if TYPE_CHECKING:
    from asyncassist._transport.settings import Secrets

__all__ = ["ACCEPT_STREAM", "WHOLE", "Form", "Refusal", "log_answer", "user_agent", "whole"]

A = TypeVar("A", Response, ByteStream)

logger = logging.getLogger("asyncassist")

# What is shown in logs; every other header may hold a secret.
_LOGGED = ("content-type", "content-length", "retry-after", "openai-processing-ms", "x-request-id", "server", "date")


def user_agent() -> str:
    """Return what the client calls itself."""
    python = ".".join(map(str, sys.version_info[:3]))
    return f"asyncassist/{__version__} httpx/{httpx.__version__} python/{python}"


@frozen
class Form(Generic[A]):
    """The form in which an answer is wanted."""

    take: Callable[[httpx.Response, Request, Secrets], Awaitable[A]]
    accept: bytes
    accept_encoding: bytes
    is_stream: bool = False


@frozen
class Refusal:
    """An answer that is not 2xx."""

    response: Response


async def whole(incoming: httpx.Response, request: Request, secrets: Secrets) -> Response:
    return Response(incoming.status_code, incoming.headers, await read_body(incoming), secrets.redact)


WHOLE = Form(whole, b"application/json", ACCEPT_ENCODING.encode())
# Servers refuse the one without the other; compressed events would come late.
ACCEPT_STREAM = b"text/event-stream, application/json"


def log_answer(request: Request, answer: Response | ByteStream, attempt: int, seconds: float, secrets: Secrets) -> None:
    shown = {name: secrets.redact(answer.headers[name]) for name in _LOGGED if name in answer.headers}
    logger.debug(
        "%s %s -> %d, %s, %.1f ms, attempt %d, %s",
        request.method,
        secrets.redact(request.path),
        answer.status,
        f"{len(answer.body)} bytes" if isinstance(answer, Response) else "a stream",
        seconds * 1000,
        attempt,
        shown,
    )
