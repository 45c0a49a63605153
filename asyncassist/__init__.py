"""An asyncio-native client, and an embeddable server, for the Assistants API.

The names below are loaded when they are first used, so that ``import asyncassist`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncassist._client import AsyncClient, RawClient
    from asyncassist._operations.base import RawResponse
    from asyncassist._operations.listing import Listing
    from asyncassist._transport.settings import NO_KEY, Timeout
    from asyncassist._wire.polls import PollPolicy
    from asyncassist._wire.retry import RetryPolicy
    from asyncassist.errors import (
        ActiveRunError,
        APIConnectionError,
        APIStatusError,
        APITimeoutError,
        AsyncAssistError,
        AuthenticationError,
        BadRequestError,
        ClientClosedError,
        ConflictError,
        DecodeError,
        InternalServerError,
        NotFoundError,
        PaginationError,
        PermissionDeniedError,
        QuotaExceededError,
        RateLimitError,
        RunCancelledError,
        RunError,
        RunExpiredError,
        RunFailedError,
        RunIncompleteError,
        ServiceRetiredError,
        StreamError,
        StreamInterruptedError,
        ToolError,
        UnprocessableEntityError,
        UsageError,
        WaitTimeoutError,
    )
    from asyncassist.models import (
        UNSET,
        Assistant,
        Message,
        Page,
        Run,
        RunStep,
        Thread,
        ToolOutput,
    )

_HOMES = {
    "asyncassist._client": ("AsyncClient", "RawClient"),
    "asyncassist._operations.base": ("RawResponse",),
    "asyncassist._operations.listing": ("Listing",),
    "asyncassist._transport.settings": ("NO_KEY", "Timeout"),
    "asyncassist._wire.polls": ("PollPolicy",),
    "asyncassist._wire.retry": ("RetryPolicy",),
    "asyncassist.errors": (
        "APIConnectionError",
        "APIStatusError",
        "APITimeoutError",
        "ActiveRunError",
        "AsyncAssistError",
        "AuthenticationError",
        "BadRequestError",
        "ClientClosedError",
        "ConflictError",
        "DecodeError",
        "InternalServerError",
        "NotFoundError",
        "PaginationError",
        "PermissionDeniedError",
        "QuotaExceededError",
        "RateLimitError",
        "RunCancelledError",
        "RunError",
        "RunExpiredError",
        "RunFailedError",
        "RunIncompleteError",
        "ServiceRetiredError",
        "StreamError",
        "StreamInterruptedError",
        "ToolError",
        "UnprocessableEntityError",
        "UsageError",
        "WaitTimeoutError",
    ),
    "asyncassist.models": ("UNSET", "Assistant", "Message", "Page", "Run", "RunStep", "Thread", "ToolOutput"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "NO_KEY",
    "UNSET",
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "ActiveRunError",
    "Assistant",
    "AsyncAssistError",
    "AsyncClient",
    "AuthenticationError",
    "BadRequestError",
    "ClientClosedError",
    "ConflictError",
    "DecodeError",
    "InternalServerError",
    "Listing",
    "Message",
    "NotFoundError",
    "Page",
    "PaginationError",
    "PermissionDeniedError",
    "PollPolicy",
    "QuotaExceededError",
    "RateLimitError",
    "RawClient",
    "RawResponse",
    "RetryPolicy",
    "Run",
    "RunCancelledError",
    "RunError",
    "RunExpiredError",
    "RunFailedError",
    "RunIncompleteError",
    "RunStep",
    "ServiceRetiredError",
    "StreamError",
    "StreamInterruptedError",
    "Thread",
    "Timeout",
    "ToolError",
    "ToolOutput",
    "UnprocessableEntityError",
    "UsageError",
    "WaitTimeoutError",
]


# Hidden from type checkers, which would take any name for one of this module's.
if not TYPE_CHECKING:  # pragma: no branch

    def __getattr__(name: str) -> object:
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module(home), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
