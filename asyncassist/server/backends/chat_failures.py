"""What went wrong with a chat completion, in the words and codes of a failed run."""

from __future__ import annotations

import logging
import re

from asyncassist.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncAssistError,
    NotFoundError,
    RateLimitError,
    StreamError,
)
from asyncassist.server.backends.base import BackendError

__all__ = ["failure_of"]

logger = logging.getLogger("asyncassist.server")

#: The request itself is refused: it is no JSON the server takes, too long, or filtered.
_BAD_REQUEST = frozenset({400, 413, 422})
_REFUSED_KEY = frozenset({401, 403})
_RATE_LIMITS = frozenset({"429", "rate_limit_exceeded", "rate_limit_error", "insufficient_quota"})
_has_version = re.compile(r"/(v\d+\w*|openai)(/|$)").search
_INVALID = frozenset({"400", "413", "422", "invalid_request_error", "context_length_exceeded", "content_filter"})


def failure_of(error: AsyncAssistError, base_url: str) -> BackendError:
    """The failure of the run. What it says does not tell the API's users where the server's own backend is.

    Args:
        error: what went wrong, without secrets.
        base_url: the address of the model server.
    """
    text, code = error.message.replace(base_url, "the model server"), "server_error"
    if isinstance(error, APIStatusError):
        code = _code_of_status(error)
        if error.status in _REFUSED_KEY:  # servers quote parts of the key
            text = f"{error.method} {error.path} was answered {error.status}: the key of this server is not accepted"
        elif isinstance(error, NotFoundError) and not _has_version(base_url):
            # Only the log may say where the backend is; it is read by who can change the URL.
            logger.warning("%s%s was answered 404; should the URL of the backend end in /v1?", base_url, error.path)
            text = f"{text}; should the URL of this server's backend end in /v1?"
    elif isinstance(error, APIConnectionError) and not isinstance(error, APITimeoutError) and not error.sent:
        text = f"{error.method} {error.path}: cannot connect to the model server"  # the reason names its address
    elif isinstance(error, StreamError):
        code = _code_of_facts({error.code or "", error.type or ""})
    return BackendError(f"The model server failed: {text}", code=code)


def _code_of_status(error: APIStatusError) -> str:
    if isinstance(error, RateLimitError):
        return "rate_limit_exceeded"
    return "invalid_prompt" if error.status in _BAD_REQUEST else "server_error"


def _code_of_facts(facts: set[str]) -> str:
    if facts & _RATE_LIMITS:
        return "rate_limit_exceeded"
    return "invalid_prompt" if facts & _INVALID else "server_error"
