"""A line of log for each request."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["RequestLog"]

logger = logging.getLogger("asyncassist.requests")


class RequestLog:
    """Logs method, path, status and duration of each request when it has been answered. For apps that get HTTP only.

    Neither headers nor the query are told: there may be a key in them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        status: object = "cut"

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            # As it was sent: decoded, it could hold the end of a line.
            path = scope["raw_path"].decode("ascii", "backslashreplace")
            took = (time.perf_counter() - started) * 1000
            logger.info("%s %s %s %.1f ms", scope["method"], path, status, took)
