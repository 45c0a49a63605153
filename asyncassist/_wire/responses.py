"""What the server answered: turned into data or into an error, by pure functions of status, headers and body."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar, cast

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
    headers: Mapping[str, str] = field(repr=False)
    """Names are found in any case."""
    body: bytes = field(repr=False)
    redact: Callable[[str], str] = field(default=str, repr=False, eq=False)
    """Removes the request's secrets from text that comes from the server."""

    @property
    def request_id(self) -> str | None:
        """What to quote to the server's operator."""
        return _request_id(self.headers)


def _request_id(headers: Mapping[str, str]) -> str | None:
    text = headers.get("x-request-id") or headers.get("apim-request-id") or ""
    return text[:_LONGEST_FACT] or None


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
        fault = type(error), response.redact(error.message), response.redact(error.field)
    # Not raised above: what led to it has frames that hold the body.
    raise _undecodable(request, response, *fault)


def _undecodable(
    request: Request, response: Response, class_: type[DecodeError], message: str, place: str
) -> DecodeError:
    where = f" (field {place})" if place and place not in message else ""
    kind = response.redact(response.headers.get("content-type", "no content type"))[:80]
    return class_(
        f"{request.method} {request.path}: {message}{where}; the answer was {response.status}, {kind}",
        field=place,
        status=response.status,
        request_id=response.redact(response.request_id) if response.request_id else None,
        method=request.method,
        path=request.path,
    )


# The host itself and its regional names, such as eu.api.openai.com.
_RETIRED_HOST = re.compile(r"(.+\.)?api\.openai\.com").fullmatch
_RETIRED_PATH = re.compile(r"/(assistants|threads)(/|$)").match
_RETIRED = (
    "OpenAI's own host stopped serving the Assistants API on 2026-08-26. Set base_url (or ASYNCASSIST_BASE_URL) to a "
    "server that speaks it, or run one with asyncassist.server"
)

# The API names neither code nor ids for a locked thread; these are its two messages, in full.
_ACTIVE_RUN = (
    re.compile(r"Thread (?P<thread>\S+) already has an active run (?P<run>\S*[^\s.])\.?"),
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
"""Characters kept of an error's body and message."""
_LONGEST_FACT = 200
_TEXT_READ = 8192


def error_for(
    request: Request,
    response: Response,
    *,
    host: str,
    now: float,
    redact: Callable[[str], str],
    attempts: int,
    is_default: bool = False,
) -> APIStatusError:
    """Turn an answer that is not 2xx into its error.

    Args:
        host: where the request went, in lower case.
        now: Unix seconds, to read a Retry-After date against.
        redact: removes secrets from text the server sent back.
        attempts: how often the request has been sent.
        is_default: whether nobody has said where it shall go.
    """
    # Secrets go before anything is cut: half a key would not be found any more.
    body = redact(response.body.decode("utf-8-sig", "replace"))
    headers = {name.lower(): redact(value) for name, value in response.headers.items()}
    fields = _error_fields(response.body, body)
    request_id = _request_id(headers)
    status = response.status
    message = _cleaned(fields.message or "", redact)
    message = message if len(message) <= EXCERPT else message[:EXCERPT] + "..."
    facts: StatusFacts = {
        "code": _fact(fields.code, redact),
        "param": _fact(fields.param, redact),
        "type": _fact(fields.type, redact),
        "request_id": request_id,
        "retry_after": parse_retry_after(headers, now),
        "method": request.method,
        "path": request.path,
        "body": body[:EXCERPT],
        "headers": headers,
        "attempts": attempts,
    }
    head = f"{request.method} {request.path} was answered {status}"
    tail = f" (request id {request_id})" if request_id else ""
    if 300 <= status < 400:
        target = headers.get("location", "an unnamed place")[:200]
        hint = f"a redirect to {target}; redirects are not followed, set base_url to the right address"
        return APIStatusError(f"{head}: {hint}{tail}", status=status, **facts)
    if status == 404 and _RETIRED_HOST(host) and _RETIRED_PATH(request.path):
        why = "no base_url was set, and " if is_default else ""
        return ServiceRetiredError(f"{head}: {why}{_RETIRED}{tail}", status=status, **facts)
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


def _error_fields(body: bytes, text: str) -> _Fields:
    """Read the error's fields from whatever form the server chose.

    Args:
        text: the body as text, without secrets, for the case that it is nothing but text.
    """
    try:
        data = loads(body)
    except DecodeError:
        return _Fields(message=_plain_text(text))
    if isinstance(data, str):
        return _Fields(message=data)
    error = _object(data).get("error")
    fields = _object(error) or _object(data)
    # Some frameworks send {"error": "Not Found", "message": ...}, or the error alone. {"detail": ...} is FastAPI's and
    # others' form; problem+json (RFC 9457) has a title and perhaps a detail.
    problem = ": ".join(filter(None, (_string(fields.get("title")), _detail(fields.get("detail")))))
    code = fields.get("code")
    return _Fields(
        message=_string(fields.get("message")) or _string(error) or problem,
        code=str(code) if isinstance(code, int) and not isinstance(code, bool) else _string(code),
        param=_string(fields.get("param")),
        type=_string(fields.get("type")),
    )


def _detail(detail: object) -> str | None:
    # A validator sends a list of complaints: each has a place and a message.
    rows: list[str] = []
    for complaint in map(_object, _array(detail)):
        message = _string(complaint.get("msg"))
        if message:
            place = ".".join(str(step) for step in _array(complaint.get("loc")) if isinstance(step, str | int))
            rows.append(f"{place}: {message}" if place else message)
    return _string(detail) or "; ".join(rows) or _string(_object(detail).get("message"))


def _object(value: object) -> Mapping[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _array(value: object) -> Sequence[object]:
    return cast("list[object]", value) if isinstance(value, list) else ()


def _string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _fact(text: str | None, redact: Callable[[str], str]) -> str | None:
    return None if text is None else _cleaned(text, redact)[:_LONGEST_FACT]


def _cleaned(text: str, redact: Callable[[str], str]) -> str:
    # A lone surrogate, which JSON can carry, would make printing the error fail.
    return redact(text).encode("utf-8", "replace").decode("utf-8")


# Whatever the text, this takes time in proportion to its length: an element that is not closed goes on to the end.
_TAGS = re.compile(r"<(script|style)\b.*?(?:</\1[^<>]*>?|\Z)|<[^<>]*>", re.DOTALL | re.IGNORECASE)


def _plain_text(text: str) -> str | None:
    """Return the visible start of a text or HTML body."""
    text = text[:_TEXT_READ]
    if text.lstrip()[:1] == "<":
        text = _TAGS.sub(" ", text)
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(text.split())[:_LONGEST_FACT] or None
