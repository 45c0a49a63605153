"""When a failed request is sent again, and after how long.

Nothing here waits or sends: state in, decision out. The clock and randomness are arguments.
"""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Literal

from attrs import field, frozen

from asyncassist._wire.requests import Kind
from asyncassist.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    QuotaExceededError,
    UsageError,
    shown,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = [
    "LONGEST_PAUSE",
    "Creates",
    "RetryBudget",
    "RetryPolicy",
    "header_number",
    "is_ambiguous",
    "is_retriable",
    "look_pause",
    "may_resend_at_once",
    "parse_retry_after",
    "retry_pause",
]

LONGEST_PAUSE = 1e9
"""The longest time a policy can name, in seconds: some thirty years. Pauses made of it cannot overflow."""


def _seconds(instance: object, attribute: Any, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST_PAUSE:
        limits = f"a finite number of seconds, from 0 to {LONGEST_PAUSE:g}"
        raise UsageError(f"{attribute.name} must be {limits}, got {shown(value)}")


def _count(instance: object, attribute: Any, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100:
        raise UsageError(f"{attribute.name} must be an int from 1 to 100, got {shown(value)}")


Creates = Literal["never", "reconcile", "idempotency_key"]
_CREATES = ("never", "reconcile", "idempotency_key")


def _creates(instance: object, attribute: Any, value: object) -> None:
    if value not in _CREATES:
        raise UsageError(
            f"creates must be {', '.join(map(repr, _CREATES[:-1]))} or {_CREATES[-1]!r}, got {shown(value)}"
        )


@frozen
class RetryPolicy:
    """How failed requests are tried again. All times are float seconds.

    Reads, deletes and cancels are tried again after any failure that may pass. Creates, modifications and tool
    outputs are tried again only when the server cannot have acted: it refused the connection, answered 429, or said
    ``x-should-retry: true``. After a cut connection, a timeout or a 5xx the server may have acted; modifications and
    tool outputs are then not sent again, and of creates ``creates`` decides.
    """

    attempts: int = field(default=3, validator=_count)
    """How often a request is sent at most, 1-100; 1 turns retries off."""
    base_pause: float = field(default=0.5, validator=_seconds)
    """Before the second attempt; doubles with each further one."""
    max_pause: float = field(default=8.0, validator=_seconds)
    """The longest pause of our own choosing."""
    max_retry_after: float = field(default=60.0, validator=_seconds)
    """The longest pause a server may ask for. Asked for more, the error is raised with its ``retry_after``."""
    creates: Creates = field(default="never", validator=_creates)
    """What follows a create after which nobody knows whether the server has acted.

    ``"never"``: the error is raised; the create is not sent again.

    ``"reconcile"``: runs and messages carry a tag in their metadata, under the key ``asyncassist``. After such a
    failure the thread is listed, more than once: what carries the tag is returned as if it had been answered, and only
    where there is nothing is the create sent again, within ``attempts``. After a 2xx that cannot be read the thread is
    listed once, and nothing is sent again. A tag that the caller has put there is used as
    it is; it must not be that of another object (one the client made, in metadata copied from another object, gives way
    to a new one). Assistants, threads, and a thread created together with its run are on
    no listing of a thread: for them it is as with ``"never"``.

    ``"idempotency_key"``: every create carries a random ``Idempotency-Key``, the same in all its attempts, and is tried
    again as reads are. Only for servers that are known to honour the key: any other may do the work twice. A key of
    one's own, ``with_options(headers={"Idempotency-Key": ...})``, is used as it is. Streams carry none.
    """


# Answers of safe operations that may well pass: the request timed out at the server, met a lock, or the server failed.
_PASSING = frozenset({408, 409, 429})
_FINAL_SERVER_ERRORS = frozenset({501, 505})


def is_retriable(error: APIConnectionError | APIStatusError, kind: Kind) -> bool:
    """Tell whether sending the request again may help and can do no harm."""
    if isinstance(error, APIConnectionError):
        # The call's own time is used up.
        if isinstance(error, APITimeoutError) and error.phase in ("total", "queue"):
            return False
        return kind.is_safe or not error.sent
    if isinstance(error, QuotaExceededError):
        return False
    advice = error.headers.get("x-should-retry", "").strip().lower()
    if advice in ("true", "false"):
        return advice == "true"
    if error.status == 429:
        return True
    if not kind.is_safe:
        return False
    return error.status in _PASSING or (error.status >= 500 and error.status not in _FINAL_SERVER_ERRORS)


def is_ambiguous(error: APIConnectionError | APIStatusError) -> bool:
    """Tell whether the server may have acted on a request that ended so, and may not."""
    if isinstance(error, APIConnectionError):
        return error.sent
    return error.status == 408 or (error.status >= 500 and error.status not in _FINAL_SERVER_ERRORS)


_LOOKS = 3
_LONGEST_PATIENCE = 60.0


def look_pause(
    policy: RetryPolicy, looks: int, taken: float, error: APIConnectionError | APIStatusError, random: float
) -> float | None:
    """Return the seconds to wait before looking for what an ambiguous create may have made; None: it is not there.

    The first look is at once, unless the server asked for a pause. The server may be at work still, so the others
    follow over at least as long a time as the request had taken when it failed, a minute at most.

    Args:
        looks: how many have been made.
        taken: seconds from sending the request to its failure.
        error: the failure.
        random: in [0, 1); it only lengthens the pause.
    """
    if looks == 0:
        asked = error.retry_after if isinstance(error, APIStatusError) else None
        return 0.0 if asked is None else asked * (1 + 0.1 * random)
    patience = min(taken, _LONGEST_PATIENCE)
    if looks > _LOOKS or (looks == _LOOKS and patience <= 3 * policy.base_pause):
        return None
    grown: float = 2.0 ** (looks - 1)
    # 1/7, 2/7 and 4/7 are the whole of it.
    return max(min(policy.max_pause, policy.base_pause * grown), patience * grown / 7) * (1 + 0.25 * random)


def may_resend_at_once(error: APIConnectionError | APIStatusError, kind: Kind) -> bool:
    """Tell whether a request may go out again at once, on a new connection, as if this attempt had not been.

    A server that closes an idle connection just when it is used again is no reason to wait (RFC 9112, 9.3.1). A caller
    does this once for a call.
    """
    return isinstance(error, APIConnectionError) and error.stale and kind.is_safe


def retry_pause(
    policy: RetryPolicy, attempt: int, error: APIConnectionError | APIStatusError, kind: Kind, random: float
) -> float | None:
    """Return the seconds to wait before the next attempt, None to give up.

    Args:
        attempt: how many attempts have been made, from 1.
        random: in [0, 1). It only lengthens the pause, so that a server is never asked earlier than it said.
    """
    # The next poll comes anyway.
    if kind is Kind.POLL or attempt >= policy.attempts or not is_retriable(error, kind):
        return None
    asked = error.retry_after if isinstance(error, APIStatusError) else None
    if asked is not None:
        return None if asked > policy.max_retry_after else asked * (1 + 0.1 * random) + 0.05 * random
    pause: float = min(policy.max_pause, policy.base_pause * 2.0 ** min(attempt - 1, 60))
    return pause * (1 + 0.25 * random)


# RFC 9110: Retry-After is a number of seconds or a date; `retry-after-ms` is this API's finer form of it.
_LONGEST_DATE = 64


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds a server asked to wait, None where it asked for nothing usable.

    Args:
        headers: names in lower case.
        now: Unix seconds, to read dates against.
    """
    milliseconds = header_number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = header_number(text)
    if seconds is not None or text is None or len(text) > _LONGEST_DATE:
        return seconds
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    # All dates of HTTP are in GMT; without this, one that does not say so would be taken for local time.
    when = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    return when - now if when > now else None


_DECIMAL = re.compile(r"[0-9]{1,30}(?:\.[0-9]{1,30})?").fullmatch


def header_number(text: str | None) -> float | None:
    """Read a header that holds a plain number, 0 or more.

    None where there is none, or something else: nan, inf, a sign, an exponent, hundreds of digits.
    """
    return float(text) if text is not None and _DECIMAL(text.strip()) else None


class RetryBudget:
    """Limits the share of retries a client adds to a server's load.

    A token bucket: every call puts in a tenth of a token and every good answer half a one; every retry that the server
    did not ask for takes a whole one. Over 100 calls a dead server sees at most 1.6 requests a call; one that fails now
    and then is asked again each time.
    """

    CAPACITY = 50.0
    PER_CALL = 0.1
    PER_ANSWER = 0.5

    def __init__(self) -> None:
        self._tokens = self.CAPACITY

    def deposit(self) -> None:
        """Note that a call is made."""
        self._tokens = min(self.CAPACITY, self._tokens + self.PER_CALL)

    def reward(self) -> None:
        """Note that a call was answered well."""
        self._tokens = min(self.CAPACITY, self._tokens + self.PER_ANSWER)

    def refund(self) -> None:
        """Make up for a request that was paid for as a retry and has been answered well: it cost and earned nothing."""
        self._tokens = min(self.CAPACITY, self._tokens + 1 - self.PER_CALL - self.PER_ANSWER)

    def allows(self, error: APIConnectionError | APIStatusError) -> bool:
        """Take the price of one retry; False where the budget is used up."""
        if isinstance(error, APIStatusError) and error.retry_after is not None:
            return True
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
