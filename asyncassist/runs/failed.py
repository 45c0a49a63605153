"""Whether a fresh run may do what a failed one could not: a pure decision."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncassist.models import Run

__all__ = ["pause_before_fresh_run"]

_PASSING_CODES = frozenset({"rate_limit_exceeded", "server_error"})
_SHORTEST, _LONGEST, _GROWTH = 1.0, 60.0, 2.0

# The API has no field for it, but its message says how long its limits last: 20ms, 6s, 1m30.5s, 26 seconds.
_TRY_AGAIN = re.compile(
    r"(?:try again in|retry after) "
    r"(?P<times>(?:\d{1,9}(?:\.\d{1,9})? ?(?:milliseconds?|ms|seconds?|s|minutes?|m|h)){1,3})\b",
    re.IGNORECASE,
).search
_TIMES = re.compile(r"([\d.]+) ?(ms|milli|s|m|h)", re.IGNORECASE).findall
_SECONDS = {"ms": 0.001, "milli": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def pause_before_fresh_run(run: Run, attempt: int, random: float) -> float | None:
    """Return the seconds to wait before a fresh run; None where there should be none.

    Args:
        run: the one that has ended.
        attempt: which fresh run it would be, from 1.
        random: in [0, 1); spreads the pause by up to a quarter.
    """
    error = run.last_error
    if run.status != "failed" or error is None or error.code not in _PASSING_CODES:
        return None
    pause = min(_SHORTEST * _GROWTH ** (attempt - 1), _LONGEST)
    if match := _TRY_AGAIN(error.message or ""):
        asked = sum(float(number) * _SECONDS[unit.lower()] for number, unit in _TIMES(match["times"]))
        if asked > _LONGEST:
            return None
        pause = max(asked, 0.001)
    return pause * (1 + 0.25 * random)
