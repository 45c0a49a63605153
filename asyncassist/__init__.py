"""An asyncio-native client, and an embeddable server, for the Assistants API.

The names below are loaded when they are first used, so that ``import asyncassist`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncassist import errors as errors
    from asyncassist import models as models
    from asyncassist._client import AsyncClient, RawClient
    from asyncassist._operations.base import RawResponse
    from asyncassist._operations.listing import Listing
    from asyncassist._transport.middleware import AttemptRequest, AttemptResponse, CallNext, Middleware
    from asyncassist._transport.settings import NO_KEY, Timeout
    from asyncassist._wire.dicts import from_dict, to_dict
    from asyncassist._wire.limits import Limits
    from asyncassist._wire.polls import PollPolicy
    from asyncassist._wire.retry import RetryPolicy
    from asyncassist.batch.job_file import check_jobs, read_jobs
    from asyncassist.batch.jobs import BatchProgress, Job, JobResult
    from asyncassist.batch.ledger import Ledger
    from asyncassist.batch.results import JobResults
    from asyncassist.conversation.reply import Reply
    from asyncassist.conversation.talk import Conversation
    from asyncassist.conversation.turn_stream import TurnStream
    from asyncassist.disconnect import cancel_on_disconnect
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
        DisconnectedError,
        InternalServerError,
        JobError,
        JobFileError,
        LedgerError,
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
    from asyncassist.models.events import (
        DoneEvent,
        MessageDeltaEvent,
        MessageEvent,
        RunEvent,
        RunStepDeltaEvent,
        RunStepEvent,
        StreamEvent,
        ThreadEvent,
        UnknownEvent,
    )
    from asyncassist.runs.run_stream import RunStream
    from asyncassist.tools import Allow, Deny, PendingCall, Replace, Tool, Toolset, tool

_HOMES = {
    "asyncassist._client": ("AsyncClient", "RawClient"),
    "asyncassist._operations.base": ("RawResponse",),
    "asyncassist._operations.listing": ("Listing",),
    "asyncassist._transport.middleware": ("AttemptRequest", "AttemptResponse", "CallNext", "Middleware"),
    "asyncassist._transport.settings": ("NO_KEY", "Timeout"),
    "asyncassist._wire.dicts": ("from_dict", "to_dict"),
    "asyncassist._wire.limits": ("Limits",),
    "asyncassist._wire.polls": ("PollPolicy",),
    "asyncassist._wire.retry": ("RetryPolicy",),
    "asyncassist.batch.job_file": ("check_jobs", "read_jobs"),
    "asyncassist.batch.jobs": ("BatchProgress", "Job", "JobResult"),
    "asyncassist.batch.ledger": ("Ledger",),
    "asyncassist.batch.results": ("JobResults",),
    "asyncassist.disconnect": ("cancel_on_disconnect",),
    "asyncassist.conversation.reply": ("Reply",),
    "asyncassist.conversation.talk": ("Conversation",),
    "asyncassist.conversation.turn_stream": ("TurnStream",),
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
        "DisconnectedError",
        "InternalServerError",
        "JobError",
        "JobFileError",
        "LedgerError",
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
    "asyncassist.models.events": (
        "DoneEvent",
        "MessageDeltaEvent",
        "MessageEvent",
        "RunEvent",
        "RunStepDeltaEvent",
        "RunStepEvent",
        "StreamEvent",
        "ThreadEvent",
        "UnknownEvent",
    ),
    "asyncassist.runs.run_stream": ("RunStream",),
    "asyncassist.tools": ("Allow", "Deny", "PendingCall", "Replace", "Tool", "Toolset", "tool"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "NO_KEY",
    "UNSET",
    "APIConnectionError",
    "APIStatusError",
    "APITimeoutError",
    "ActiveRunError",
    "Allow",
    "Assistant",
    "AsyncAssistError",
    "AsyncClient",
    "AttemptRequest",
    "AttemptResponse",
    "AuthenticationError",
    "BadRequestError",
    "BatchProgress",
    "CallNext",
    "ClientClosedError",
    "ConflictError",
    "Conversation",
    "DecodeError",
    "Deny",
    "DisconnectedError",
    "DoneEvent",
    "InternalServerError",
    "Job",
    "JobError",
    "JobFileError",
    "JobResult",
    "JobResults",
    "Ledger",
    "LedgerError",
    "Limits",
    "Listing",
    "Message",
    "MessageDeltaEvent",
    "MessageEvent",
    "Middleware",
    "NotFoundError",
    "Page",
    "PaginationError",
    "PendingCall",
    "PermissionDeniedError",
    "PollPolicy",
    "QuotaExceededError",
    "RateLimitError",
    "RawClient",
    "RawResponse",
    "Replace",
    "Reply",
    "RetryPolicy",
    "Run",
    "RunCancelledError",
    "RunError",
    "RunEvent",
    "RunExpiredError",
    "RunFailedError",
    "RunIncompleteError",
    "RunStep",
    "RunStepDeltaEvent",
    "RunStepEvent",
    "RunStream",
    "ServiceRetiredError",
    "StreamError",
    "StreamEvent",
    "StreamInterruptedError",
    "Thread",
    "ThreadEvent",
    "Timeout",
    "Tool",
    "ToolError",
    "ToolOutput",
    "Toolset",
    "TurnStream",
    "UnknownEvent",
    "UnprocessableEntityError",
    "UsageError",
    "WaitTimeoutError",
    "cancel_on_disconnect",
    "check_jobs",
    "from_dict",
    "read_jobs",
    "to_dict",
    "tool",
]

__version__ = "0.1.0"

_MODULES = ("errors", "models")


# Hidden from type checkers, which would take any name for one of this module's.
if not TYPE_CHECKING:  # pragma: no branch

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            return import_module(f"{__name__}.{name}")
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module(home), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES, "__version__"])
