"""What a client is told at construction, checked before anything is sent."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias, final

import httpx
from attrs import evolve, field, frozen

from asyncassist._transport.failures import without_frames
from asyncassist._wire.limits import Limits
from asyncassist._wire.requests import query_string
from asyncassist._wire.retry import LONGEST_PAUSE, RetryPolicy
from asyncassist.errors import UsageError, shown

__all__ = [
    "NO_KEY",
    "ApiKey",
    "BaseUrl",
    "CallOptions",
    "Credentials",
    "Secrets",
    "Timeout",
    "checked_body",
    "checked_headers",
    "checked_limits",
    "checked_query",
    "checked_rate",
    "checked_retry",
    "from_environment",
    "is_secret_header",
]

DEFAULT_BASE_URL = "https://api.openai.com/v1"
"""The server of the API description. It no longer serves this API; see ServiceRetiredError."""


@final
class _NoKey:
    def __repr__(self) -> str:
        return "NO_KEY"


NO_KEY: Final = _NoKey()
"""Given as ``api_key``: send no Authorization header."""

ApiKey: TypeAlias = "str | Callable[[], str] | Callable[[], Awaitable[str]] | _NoKey"


def _seconds(instance: object, attribute: Any, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LONGEST_PAUSE:
        limits = f"a number of seconds above 0, at most {LONGEST_PAUSE:g}, or None"
        raise UsageError(f"{attribute.name} must be {limits}, got {shown(value)}")


@frozen
class Timeout:
    """How long a call may take. All times are float seconds; None means no limit."""

    total: float | None = field(default=600.0, validator=_seconds)
    """The whole call: waiting for a connection, all attempts and the pauses between them. A stream has a timeout of
    its own."""
    attempt: float | None = field(default=60.0, validator=_seconds)
    """One attempt, from getting a connection to the last byte of the answer; of a stream, to the answer's headers."""
    connect: float | None = field(default=5.0, validator=_seconds)
    """Opening a new connection; the TLS handshake on it may take as long again."""
    idle: float | None = field(default=120.0, validator=_seconds)
    """How long a stream may be silent before its connection counts as broken."""

    @classmethod
    def of(cls, value: Timeout | float | None) -> Timeout:
        """Read a plain number as the total; None as no limit at all.

        >>> Timeout.of(30)
        Timeout(total=30, attempt=60.0, connect=5.0, idle=120.0)
        """
        if isinstance(value, Timeout):
            return value
        if value is None:
            return cls(total=None, attempt=None, connect=None, idle=None)
        if isinstance(value, httpx.Timeout):
            # Its read timeout is the longest silence; the time for a connection from the pool is part of the total.
            instead = f"Timeout(connect={value.connect!r}, attempt={value.read!r}, idle={value.read!r})"
            raise UsageError(f"timeout must be an asyncassist.Timeout, not one of httpx; instead give {instead}")
        return cls(total=value)


_SECRET_MIN = 4
_SECRET_HEADER = re.compile(r"auth|key|token|secret|cookie|password", re.IGNORECASE).search
# They speak of tokens, which are counted here.
_COUNTS = re.compile(r"x-ratelimit-[a-z-]+", re.IGNORECASE).fullmatch


def is_secret_header(name: str) -> bool:
    """Tell whether what goes by this name may be a secret."""
    return bool(_SECRET_HEADER(name)) and not _COUNTS(name)


@final
class Secrets:
    """What must not be shown of one request. Its repr says nothing, so tracebacks with local variables say nothing."""

    __slots__ = ("_key", "_values")

    def __init__(self, key: str, headers: Mapping[str, str]) -> None:
        self._key = key
        self._values = [key] if len(key) >= _SECRET_MIN else []
        for name, value in headers.items():
            if _SECRET_HEADER(name):
                # Without its scheme, such as Bearer, a server may quote it too.
                self._values += [part for part in (value, value.partition(" ")[2]) if len(part) >= _SECRET_MIN]
        self._values.sort(key=len, reverse=True)  # one may begin with another

    def __repr__(self) -> str:
        return "<Secrets>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("secrets are not pickled")

    def authorize(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Add the Authorization header."""
        if self._key:
            headers.append((b"Authorization", b"Bearer " + self._key.encode("ascii")))

    def redact(self, text: str) -> str:
        """Take the secrets out of a text the server sent back, inside JSON and HTML too."""
        for value in self._values:
            for form in _forms(value):
                if form in text:
                    text = text.replace(form, "[redacted]")
        return text


_MARKUP = str.maketrans({letter: f"\\u{ord(letter):04x}" for letter in "<>&"})
_IN_HTML = str.maketrans({"<": "&lt;", ">": "&gt;", "&": "&amp;", '"': "&quot;", "'": "&#x27;"})


def _forms(value: str) -> tuple[str, ...]:
    """Return a value as it is, in HTML, and in JSON, where some servers escape slashes and others markup."""
    in_json = value.replace("\\", "\\\\").replace('"', '\\"')
    return value, value.translate(_IN_HTML), in_json, in_json.replace("/", "\\/"), in_json.translate(_MARKUP)


@final
class Credentials:
    """Gives the API key of each request.

    Making one raises nothing, `check` does: the frame of an error must not have the key among its local variables.
    """

    __slots__ = ("_fault", "_key", "_source")

    def __init__(self, api_key: ApiKey | None) -> None:
        if api_key is None:
            api_key = from_environment("ASYNCASSIST_API_KEY", "OPENAI_API_KEY")
        self._source: Callable[[], object] | None = None
        self._key, self._fault = "", ""
        if api_key is None:
            self._fault = (
                "no API key: pass api_key=, set ASYNCASSIST_API_KEY or OPENAI_API_KEY, "
                "or pass api_key=NO_KEY for a server that wants none"
            )
        elif isinstance(api_key, str):
            self._key, self._fault = _read_key(api_key)
        elif callable(api_key):
            self._source = api_key
        elif api_key is not NO_KEY:
            kind = type(api_key).__name__
            self._fault = f"api_key must be a str, a function that returns one, or NO_KEY, got {kind}"

    def __repr__(self) -> str:
        return "<Credentials>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("credentials are not pickled")

    def check(self) -> None:
        """Refuse what cannot be used.

        Raises:
            UsageError
        """
        if self._fault:
            raise UsageError(self._fault)

    async def secrets(self, headers: Mapping[str, str]) -> Secrets:
        """Return the secrets of the request that is about to be sent, asking the caller's function for its key."""
        if self._source is None:
            return Secrets(self._key, headers)
        value = self._source()
        if inspect.isawaitable(value):
            value = await value
        key, fault = _read_key(value)
        if fault:
            del value
            raise UsageError(fault)
        return Secrets(key, headers)


_PRINTABLE = re.compile(r"[\x21-\x7e]+").fullmatch


def _read_key(value: object) -> tuple[str, str]:
    """Return a key and what is wrong with it, which never quotes the key; one of them is empty."""
    if not isinstance(value, str):
        return "", f"the API key must be a str, got {type(value).__name__}"
    key = value.strip()
    if not key:
        return "", "the API key is empty"
    if not _PRINTABLE(key):
        return "", "the API key has characters other than printable ASCII, which no header can carry"
    return key, ""


def from_environment(*names: str) -> str | None:
    """Return the first of some environment variables that is set and not blank."""
    for name in names:
        value = os.environ.get(name, "").strip()
        if value:
            return value
    return None


LAST_PORT = 65_535
_LONGEST_LABEL = 63


def _is_name(host: bytes) -> bool:
    # What Python's idna codec checks of ASCII; importing that takes longer than a call.
    *labels, last = host.split(b".")
    return all(0 < len(label) <= _LONGEST_LABEL for label in labels) and len(last) <= _LONGEST_LABEL


_NOT_SET = "the default, since neither base_url nor ASYNCASSIST_BASE_URL nor OPENAI_BASE_URL is set"
# As people copy it from a request. A prefix of a gateway may well end in the name of a resource, without a version.
_OPERATION = re.compile(r"(?:/v\d+|/openai)(/assistants|/threads(?:/.*)?|/responses)$|(/chat/completions)$").search


@final
class BaseUrl:
    """Where requests go: scheme, host and a path prefix that is kept.

    Attributes:
        is_default: whether nobody has said where.
    """

    __slots__ = ("host", "is_default", "scheme", "text")

    def __init__(self, base_url: str | httpx.URL | None) -> None:
        if base_url is None:
            base_url = from_environment("ASYNCASSIST_BASE_URL", "OPENAI_BASE_URL")
        self.is_default = base_url is None
        if base_url is None:
            base_url = DEFAULT_BASE_URL
        if not isinstance(base_url, str | httpx.URL):
            raise UsageError(f"base_url must be a str, got {type(base_url).__name__}")
        text = str(base_url).strip()
        try:
            url = httpx.URL(text)
            host = url.host.lower()
        except (httpx.InvalidURL, UnicodeError, ValueError) as error:
            without_frames(error)
            raise UsageError(f"base_url is not a URL: {error}"[:200]) from None
        if url.scheme not in ("http", "https") or not host or "%" in host:
            raise UsageError("base_url must start with http:// or https:// and name a host")
        if not _is_name(url.raw_host):
            raise UsageError("base_url names a host that no name server can be asked for")
        if url.userinfo:
            raise UsageError("base_url must not hold a user name or password; pass api_key= or default_headers=")
        if url.query or url.fragment or "?" in text or "#" in text:
            raise UsageError("base_url must not have a query or fragment; pass default_query= for parameters")
        if url.port is not None and not 0 < url.port <= LAST_PORT:
            raise UsageError(f"base_url has a port from 1 to {LAST_PORT}, or none")
        if ends := _OPERATION(url.path.rstrip("/")):
            raise UsageError(f"base_url ends in the path of an operation, {ends[1] or ends[2]}; give what comes before")
        self.scheme = url.scheme
        self.host = host
        self.text = str(url).rstrip("/")

    @property
    def named(self) -> str:
        """The server as it is named in errors: with a hint where nobody has chosen it."""
        return f"{self.text} ({_NOT_SET})" if self.is_default else self.text

    def __repr__(self) -> str:
        return f"<BaseUrl {getattr(self, 'text', 'without a value')}>"


_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*").fullmatch
# These describe the message itself and are set where it is written.
_RESERVED = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})


def checked_headers(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return headers that can be sent as they are, without naming their values in any error."""
    if headers is None:
        return {}
    if not isinstance(headers, Mapping):
        raise UsageError(f"headers must be a mapping of str to str, got {type(headers).__name__}")
    checked: dict[str, str] = {}
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME(name):
            raise UsageError(f"{name!r:.60} is not a header name")
        if not isinstance(value, str) or not _HEADER_VALUE(value):
            raise UsageError(f"the value of header {name!r:.60} must be a str of printable ASCII without line breaks")
        if name.lower() in _RESERVED:
            raise UsageError(f"header {name!r} is set by the client itself")
        checked[name] = value.strip()
    return checked


_LARGEST_NUMBER = 1e15


def checked_query(query: Mapping[str, object] | None) -> dict[str, str]:
    """Return query parameters that every request of a client carries, as they are sent."""
    if query is None:
        return {}
    if not isinstance(query, Mapping):
        raise UsageError(f"a query must be a mapping, got {type(query).__name__}")
    checked: dict[str, str] = {}
    for name, value in query.items():
        if not isinstance(name, str) or not name:
            raise UsageError(f"{shown(name)} is not a query parameter name")
        if isinstance(value, bool):
            checked[name] = "true" if value else "false"
        elif isinstance(value, str):
            checked[name] = str.__str__(value)  # an enum's own str() would be its name
        elif isinstance(value, int | float) and abs(value) <= _LARGEST_NUMBER:
            checked[name] = repr(value)
        else:
            raise UsageError(f"query parameter {shown(name)} must be a str or a number, got {type(value).__name__}")
    query_string(tuple(checked.items()))  # refuses what is not valid Unicode
    return checked


def checked_body(body: Mapping[str, object]) -> dict[str, object]:
    """Return fields to merge into every body."""
    if not isinstance(body, Mapping) or not all(isinstance(name, str) for name in body):
        raise UsageError("extra_body must be a mapping with str keys")
    return dict(body)


def checked_retry(retry: RetryPolicy) -> RetryPolicy:
    """Return a retry policy that is one."""
    if not isinstance(retry, RetryPolicy):
        raise UsageError(f"retry must be a RetryPolicy, got {type(retry).__name__}")
    return retry


def checked_limits(limits: Limits) -> Limits:
    """Return limits that are some."""
    if not isinstance(limits, Limits):
        raise UsageError(f"limits must be a Limits, got {type(limits).__name__}")
    return limits


def checked_rate(per_second: float | None) -> float | None:
    """Return how many polls there may be in a second."""
    if per_second is not None and (
        isinstance(per_second, bool) or not isinstance(per_second, int | float) or not 0.001 <= per_second <= 1e6
    ):
        limits = "a number from 0.001 to 1000000, or None"
        raise UsageError(f"max_polls_per_second must be {limits}, got {shown(per_second)}")
    return per_second


@frozen
class CallOptions:
    """What holds for every call of a client or of a copy made by ``with_options``."""

    timeout: Timeout
    retry: RetryPolicy
    headers: Mapping[str, str] = field(factory=dict[str, str], repr=False)
    query: Mapping[str, str] = field(factory=dict[str, str], repr=False)
    body: Mapping[str, object] | None = field(default=None, repr=False)

    def with_headers(self, headers: Mapping[str, str] | None) -> CallOptions:
        """Lay more headers over these, whatever the case of their names."""
        new = checked_headers(headers)
        replaced = {name.lower() for name in new}
        kept = {name: value for name, value in self.headers.items() if name.lower() not in replaced}
        return evolve(self, headers={**kept, **new})
