"""Every error this library raises on purpose.

::

    AsyncAssistError
    ├── UsageError (also ValueError)      a value no request can be made of; nothing was sent
    │   └── JobFileError                  a file of jobs has bad lines
    ├── ClientClosedError                 the client was used after ``aclose()``
    ├── APIConnectionError                no complete answer came back
    │   └── APITimeoutError (also TimeoutError)
    ├── APIStatusError                    the server answered with an error status
    │   ├── BadRequestError               400
    │   │   └── ActiveRunError            the thread is locked by an active run
    │   ├── AuthenticationError           401
    │   ├── PermissionDeniedError         403
    │   ├── NotFoundError                 404
    │   │   └── ServiceRetiredError       OpenAI's own host, which no longer serves this API
    │   ├── ConflictError                 409
    │   ├── UnprocessableEntityError      422
    │   ├── RateLimitError                429
    │   │   └── QuotaExceededError        429 that waiting does not cure
    │   └── InternalServerError           500 and above
    ├── DecodeError                       the answer is not what the API describes
    │   └── PaginationError               the server's cursors do not move
    ├── StreamError                       the server reported an error inside a stream
    │   └── StreamInterruptedError        a stream ended before its run did
    ├── RunError                          a run did not complete
    │   ├── RunFailedError
    │   ├── RunExpiredError
    │   ├── RunCancelledError
    │   └── RunIncompleteError
    ├── WaitTimeoutError (also TimeoutError)   a wait ended before the run did
    ├── ToolError                         a tool call could not be answered
    ├── JobError                          a job of a batch was broken off by code of the caller's
    ├── LedgerError                       a ledger cannot be used, or does not fit
    └── DisconnectedError                 the web client that was worked for is gone; see ``cancel_on_disconnect``

A wrong call (an unknown parameter name, a missing argument) is a plain ``TypeError``.

The facts of an error are its attributes; each is None where the server did not give it. Every error can be pickled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

# Whoever makes these errors finds their arguments beside them.
from asyncassist._facts import ConnectionFacts as ConnectionFacts
from asyncassist._facts import StatusFacts as StatusFacts
from asyncassist._facts import StreamFacts as StreamFacts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from asyncassist.models import Run

__all__ = [
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
]


def shown(value: object) -> str:
    """Return a caller's or a server's value as it is quoted in a message: never long."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return f"a huge {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


def _rebuild(cls: type[AsyncAssistError], message: str, facts: dict[str, Any]) -> AsyncAssistError:
    error = cls.__new__(cls, message)
    error.args = (message,)
    error.__dict__.update(facts)
    return error


class AsyncAssistError(Exception):
    """The root of all errors of this library."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions with keyword-only facts cannot be rebuilt from ``args`` alone.
        return _rebuild, (type(self), self.message, dict(self.__dict__))


class UsageError(AsyncAssistError, ValueError):
    """A value was given that no request can be made of. Nothing was sent."""


class JobFileError(UsageError):
    """A file of jobs cannot be read, or has lines that are no jobs.

    Attributes:
        problems: pairs of a line's number, from 1, and what is wrong with it; the first 10,000 of ``count``.
    """

    def __init__(self, message: str, *, problems: tuple[tuple[int, str], ...] = (), count: int = 0) -> None:
        super().__init__(message)
        self.problems, self.count = problems, count


class ClientClosedError(AsyncAssistError):
    """The client was used after it had been closed, or closed while the call was under way."""


class APIConnectionError(AsyncAssistError):
    """No complete answer came back: refused, cut, or not HTTP.

    Attributes:
        method, path: the request, path without host and query.
        sent: False when the server cannot have seen the request, so that sending it again is safe.
        stale: True when a connection that had been used before broke before the answer began: most likely the server
            had just closed it.
        attempts: how often the request was tried.
    """

    def __init__(
        self,
        message: str,
        *,
        method: str | None = None,
        path: str | None = None,
        sent: bool = True,
        stale: bool = False,
        attempts: int = 1,
    ) -> None:
        super().__init__(message)
        self.method = method
        self.path = path
        self.sent = sent
        self.stale = stale
        self.attempts = attempts


class APITimeoutError(APIConnectionError, TimeoutError):
    """No answer came back in time.

    Attributes:
        phase: which limit ran out: ``connect``, ``attempt``, ``total`` or ``queue`` (all connections stayed busy).
    """

    def __init__(self, message: str, *, phase: str, **facts: Unpack[ConnectionFacts]) -> None:
        super().__init__(message, **facts)
        self.phase = phase


class APIStatusError(AsyncAssistError):
    """The server answered with a status other than 2xx.

    Attributes:
        status: the HTTP status.
        code, param, type: the fields of the API's error object.
        request_id: the ``x-request-id`` header, to quote to the server's operator.
        retry_after: seconds the server asked to wait.
        method, path: the request, path without host and query.
        body: the start of the body as text, secrets removed.
        headers: the response headers, names in lower case.
        attempts: how often the request was tried.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str | None = None,
        param: str | None = None,
        type: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        method: str | None = None,
        path: str | None = None,
        body: str = "",
        headers: Mapping[str, str] | None = None,
        attempts: int = 1,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.type = type
        self.request_id = request_id
        self.retry_after = retry_after
        self.method = method
        self.path = path
        self.body = body
        self.headers = dict(headers or {})
        self.attempts = attempts


class BadRequestError(APIStatusError):
    """400: the server does not accept the request as it is."""


class ActiveRunError(BadRequestError):
    """The thread is locked: a run on it has not ended yet.

    Attributes:
        thread_id, run_id: the locked thread and the run that locks it, as far as the server named them.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        thread_id: str | None = None,
        run_id: str | None = None,
        **facts: Unpack[StatusFacts],
    ) -> None:
        super().__init__(message, status=status, **facts)
        self.thread_id = thread_id
        self.run_id = run_id


class AuthenticationError(APIStatusError):
    """401: the API key is missing, wrong or expired."""


class PermissionDeniedError(APIStatusError):
    """403: the key is valid but may not do this."""


class NotFoundError(APIStatusError):
    """404: there is no such object, or no such route on this server."""


class ServiceRetiredError(NotFoundError):
    """The host is OpenAI's own, which stopped serving this API on 2026-08-26."""


class ConflictError(APIStatusError):
    """409: the object is in a state that does not allow this."""


class UnprocessableEntityError(APIStatusError):
    """422: the server understood the request but refuses its content."""


class RateLimitError(APIStatusError):
    """429: too many requests. ``retry_after`` says how long to wait where the server told."""


class QuotaExceededError(RateLimitError):
    """429 because the account's quota is used up. Never retried: waiting does not cure it."""


class InternalServerError(APIStatusError):
    """500 and above: the server failed."""


class DecodeError(AsyncAssistError):
    """The answer is not what the API describes.

    Attributes:
        field: path of the offending field, such as ``data[3].content[0].text.value``; empty for the whole body.
        status, request_id, method, path: of the answer, where it came by HTTP.
    """

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        status: int | None = None,
        request_id: str | None = None,
        method: str | None = None,
        path: str | None = None,
    ) -> None:
        super().__init__(message)
        self.field = field
        self.status = status
        self.request_id = request_id
        self.method = method
        self.path = path


class PaginationError(DecodeError):
    """A listing was stopped because the server's cursors do not move or repeat items."""


class StreamError(AsyncAssistError):
    """The server reported an error inside a stream, or sent something that is no stream.

    Attributes:
        code, param, type: the fields of the API's error object, where the server reported an error.
        event: name of the event at fault.
        field: path of the offending field in the event's data; empty where there is none.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        type: str | None = None,
        event: str | None = None,
        field: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.param = param
        self.type = type
        self.event = event
        self.field = field


class StreamInterruptedError(StreamError):
    """A stream ended before its run did, and the rest could not be recovered.

    Attributes:
        run_id, thread_id: of the run, None when the stream broke before it was known.
        snapshot: what had been received.
    """

    def __init__(
        self,
        message: str,
        *,
        thread_id: str | None = None,
        run_id: str | None = None,
        snapshot: object = None,
        **facts: Unpack[StreamFacts],
    ) -> None:
        super().__init__(message, **facts)
        self.thread_id = thread_id
        self.run_id = run_id
        self.snapshot = snapshot


class RunError(AsyncAssistError):
    """A run ended without completing, or waits for something nobody here answers.

    Attributes:
        run: the run as last seen. Its ``last_error`` and ``incomplete_details`` say why.
    """

    def __init__(self, message: str, *, run: Run) -> None:
        super().__init__(message)
        self.run = run


class RunFailedError(RunError):
    """The run ended ``failed``; ``run.last_error`` has the code."""


class RunExpiredError(RunError):
    """The run passed its ``expires_at`` before its tool outputs came."""


class RunCancelledError(RunError):
    """The run was cancelled."""


class RunIncompleteError(RunError):
    """The run stopped at a token limit or a content filter; ``run.incomplete_details`` says which."""


class WaitTimeoutError(AsyncAssistError, TimeoutError):
    """A wait's own timeout ran out before the run ended.

    Attributes:
        run: the run as last seen, None when not even one answer came.
        attempted, completed: ids of the tool calls that were begun and of those that ended.
    """

    def __init__(
        self, message: str, *, run: Run | None = None, attempted: tuple[str, ...] = (), completed: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.run = run
        self.attempted = attempted
        self.completed = completed


class ToolError(AsyncAssistError):
    """A tool call could not be answered. A tool may raise it too: its message is what the model is told.

    Attributes:
        tool: the name of the tool; None where no single one is at fault.
        call_id: the id of the call, None likewise.
        attempted: the ids of the calls of the run whose functions were called; they may have had effects.
        completed: the ids of those whose functions returned or raised.
        run: the run that waited for the output.
    """

    def __init__(
        self,
        message: str,
        *,
        tool: str | None = None,
        call_id: str | None = None,
        attempted: tuple[str, ...] = (),
        completed: tuple[str, ...] = (),
        run: Run | None = None,
    ) -> None:
        super().__init__(message)
        self.tool = tool
        self.call_id = call_id
        self.attempted = attempted
        self.completed = completed
        self.run = run


class JobError(AsyncAssistError):
    """A job of a batch was broken off by what a tool or another function of the caller's raised: ``__cause__``."""


class LedgerError(AsyncAssistError):
    """A ledger cannot be used: it is damaged, in use, full, of another server, or knows a job with other content."""


class DisconnectedError(AsyncAssistError):
    """The web client that a block of `cancel_on_disconnect` worked for went away, and the block was cancelled."""
