"""What a server says in its headers about its limits."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import frozen

from asyncassist._wire.retry import header_number

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Quota", "read_quota"]


@frozen
class Quota:
    """How many requests are left, of how many (None: it does not say), and the seconds until there are more."""

    remaining: float
    limit: float | None
    reset: float


# The forms in use: this API's, that of many gateways, and that of an IETF draft.
_FORMS = tuple(
    tuple(f"{prefix}ratelimit-{what}{suffix}" for what in ("remaining", "limit", "reset"))
    for prefix, suffix in (("x-", "-requests"), ("x-", ""), ("", ""))
)
_TOKENS = ("x-ratelimit-remaining-tokens", "x-ratelimit-limit-tokens", "x-ratelimit-reset-tokens")
_LONGEST = 40
_DURATION = re.compile(
    r"(?=.)(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m(?!s))?(?:(\d{1,9}(?:\.\d{1,9})?)s)?(?:(\d{1,9}(?:\.\d{1,9})?)ms)?",
    re.ASCII,
).fullmatch
_UNITS = (86_400.0, 3_600.0, 60.0, 1.0, 0.001)
_DATE = 1e8
"""Seconds from which a number is a point in Unix time."""


def read_quota(headers: Mapping[str, str], now: float) -> Quota | None:
    """Return what the headers say about requests, None where they say nothing usable.

    That no tokens are left means that no requests are. A limit of 0 stands for none.

    Args:
        now: Unix seconds.
    """
    tokens = headers.get(_TOKENS[0])
    if tokens is not None and header_number(tokens) == 0 and header_number(headers.get(_TOKENS[1])) != 0:
        reset = _seconds(headers.get(_TOKENS[2]), now)
        if reset is not None:
            return Quota(0.0, None, reset)
    for name, limit_name, reset_name in _FORMS:
        remaining = header_number(headers.get(name))
        if remaining is None:
            continue
        limit = header_number(headers.get(limit_name))
        if limit != 0:
            reset = _seconds(headers.get(reset_name), now)
            return None if reset is None else Quota(remaining, limit, reset)
    return None


def _seconds(text: str | None, now: float) -> float | None:
    """Read ``6m0s``, ``20ms``, a number of seconds, or a point in Unix time."""
    if text is None or len(text) > _LONGEST:
        return None
    number = header_number(text)
    if number is not None:
        return number if number < _DATE else max(0.0, number - now)
    found = _DURATION(text.strip())
    if found is None:
        return None
    return sum(float(part) * unit for part, unit in zip(found.groups(), _UNITS, strict=True) if part)
