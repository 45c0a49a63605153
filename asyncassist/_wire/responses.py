"""What the server answered: turned into data or into an error, by pure functions of status, headers and body."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from attrs import field, frozen

from asyncassist._wire.converter import structure
from asyncassist._wire.json import loads
from asyncassist._wire.requests import Request
from asyncassist._wire.retry import parse_retry_after
from asyncassist.errors import (
    ActiveRunError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    DecodeError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    ServiceRetiredError,
    StatusFacts,
    UnprocessableEntityError,
)

__all__ = ["Response", "decode", "error_for"]

T = TypeVar("T")


@frozen
class Response:
    """A complete answer, as received."""

    status: int
    headers: Mapping[str, str]
    """Names are found in any case."""
    body: bytes = field(repr=False)

    @property
    def request_id(self) -> str | None:
        """What to quote to the server's operator."""
        return self.headers.get("x-request-id") or self.headers.get("apim-request-id")


def decode(request: Request, response: Response, type_: type[T]) -> T:
    """Turn a 2xx answer into the object it is due to hold.

    Raises:
        DecodeError: the body is empty, no JSON, or not the object.
    """
    try:
        if not response.body.strip():
            raise DecodeError(f"the server answered {response.status} without a body, where {type_.__name__} is due")
        return structure(loads(response.body), type_)
    except DecodeError as error:
        where = f" (field {error.field})" if error.field and error.field not in error.message else ""
        kind = response.headers.get("content-type", "no content type")[:80]
        raise type(error)(
            f"{request.method} {request.path}: {error.message}{where}; the answer was {response.status}, {kind}",
            field=error.field,
            status=response.status,
            request_id=response.request_id,
            method=request.method,
            path=request.path,
        ) from error.__cause__


RETIRED_HOST = "api.openai.com"
_RETIRED_PATH = re.compile(r"/(assistants|threads)(/|$)")
_RETIRED = (
    "OpenAI's own host stopped serving the Assistants API on 2026-08-26. Set base_url (or ASYNCASSIST_BASE_URL) to a "
    "server that speaks it, or run one with asyncassist.server"
)

# The API names neither code nor ids for a locked thread; these are its two messages, in full.
_ACTIVE_RUN = (
    re.compile(r"Thread (?P<thread>\S+) already has an active run (?P<run>\S+?)\.?"),
    re.compile(r"Can't add messages to (?P<thread>\S+) while a run (?P<run>\S+) is active\.?"),
)

_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached"})

_CLASSES: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: UnprocessableEntityError,
    429: RateLimitError,
}

EXCERPT = 2000


def error_for(
    request: Request, response: Response, *, host: str, now: float, redact: Callable[[str], str], attempts: int
) -> APIStatusError:
    """Turn an answer that is not 2xx into its error.

    Args:
        host: where the request went, in lower case.
        now: Unix seconds, to read a Retry-After date against.
        redact: removes secrets from text the server sent back.
        attempts: how often the request has been sent.
    """
    fields = _error_fields(response.body)
    headers = {name.lower(): redact(value) for name, value in response.headers.items()}
    status = response.status
    message = redact(fields.message or "")
    facts: StatusFacts = {
        "code": redact(fields.code) if fields.code else fields.code,
        "param": redact(fields.param) if fields.param else fields.param,
        "type": redact(fields.type) if fields.type else fields.type,
        "request_id": response.request_id,
        "retry_after": parse_retry_after(headers, now),
        "method": request.method,
        "path": request.path,
        "body": redact(response.body[: 2 * EXCERPT].decode("utf-8", "replace"))[:EXCERPT],
        "headers": headers,
        "attempts": attempts,
    }
    head = f"{request.method} {request.path} was answered {status}"
    tail = f" (request id {response.request_id})" if response.request_id else ""
    if 300 <= status < 400:
        target = headers.get("location", "an unnamed place")[:200]
        hint = f"a redirect to {target}; redirects are not followed, set base_url to the right address"
        return APIStatusError(f"{head}: {hint}{tail}", status=status, **facts)
    if status == 404 and host == RETIRED_HOST and _RETIRED_PATH.match(request.path):
        return ServiceRetiredError(f"{head}: {_RETIRED}{tail}", status=status, **facts)
    text = f"{head}: {message}{tail}" if message else f"{head}{tail}"
    if status == 400:
        for pattern in _ACTIVE_RUN:
            if match := pattern.fullmatch(message):
                return ActiveRunError(text, status=status, thread_id=match["thread"], run_id=match["run"], **facts)
    if status == 429 and (fields.code in _QUOTA_CODES or fields.type in _QUOTA_CODES):
        return QuotaExceededError(text, status=status, **facts)
    cls = _CLASSES.get(status) or (InternalServerError if status >= 500 else APIStatusError)
    return cls(text, status=status, **facts)


@frozen
class _Fields:
    message: str | None = None
    code: str | None = None
    param: str | None = None
    type: str | None = None


def _error_fields(body: bytes) -> _Fields:
    """Read the error's fields from whatever form the server chose."""
    try:
        data = loads(body)
    except DecodeError:
        return _Fields(message=_plain_text(body))
    if not isinstance(data, dict):
        return _Fields(message=_short(data) if isinstance(data, str) else None)
    error = data.get("error")
    if isinstance(error, dict):
        data = error
    elif isinstance(error, str):
        return _Fields(message=_short(error))
    message = data.get("message")
    if not isinstance(message, str):
        # {"detail": ...} of FastAPI and others; problem+json (RFC 9457) has a title and perhaps a detail.
        parts = [data.get("title"), _detail(data.get("detail"))]
        message = ": ".join(part for part in parts if isinstance(part, str) and part) or None
    code = data.get("code")
    return _Fields(
        message=_short(message) if message else None,
        code=str(code)[:200] if isinstance(code, str | int) and not isinstance(code, bool) else None,
        param=_string(data.get("param")),
        type=_string(data.get("type")),
    )


def _detail(detail: object) -> str | None:
    if isinstance(detail, str):
        return detail
    if isinstance(detail, list):
        # A validator's list of complaints: each has a place and a message.
        rows: list[str] = []
        for item in detail:
            if isinstance(item, dict) and isinstance(item.get("msg"), str):
                place = item.get("loc")
                where = ".".join(str(step) for step in place) + ": " if isinstance(place, list) else ""
                rows.append(where + item["msg"])
        return "; ".join(rows) or None
    if isinstance(detail, dict):
        return _string(detail.get("message"))
    return None


def _string(value: object) -> str | None:
    return value[:200] if isinstance(value, str) else None


def _short(text: str) -> str:
    return text if len(text) <= EXCERPT else text[:EXCERPT] + "..."


_TAGS = re.compile(r"<(script|style)\b.*?</\1>|<[^<>]*>", re.DOTALL | re.IGNORECASE)


def _plain_text(body: bytes) -> str | None:
    """The visible start of a text or HTML body."""
    text = body[:8192].decode("utf-8", "replace")
    if text.lstrip()[:1] == "<":
        text = _TAGS.sub(" ", text)
    return " ".join(text.split())[:200] or None
