"""How long to pause between two looks at a run: a pure decision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from asyncassist._wire.retry import LONGEST_PAUSE, header_number
from asyncassist.errors import UsageError, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PollPolicy", "first_pause", "next_pause", "poll_after"]


def _positive(instance: object, attribute: Any, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LONGEST_PAUSE:
        limits = f"a finite number of seconds above 0, up to {LONGEST_PAUSE:g}"
        raise UsageError(f"{attribute.name} must be {limits}, got {shown(value)}")


def _growth(instance: object, attribute: Any, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= 100:
        raise UsageError(f"{attribute.name} must be a number from 1 to 100, got {shown(value)}")


def _failures(instance: object, attribute: Any, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UsageError(f"{attribute.name} must be an int, 0 or more, got {shown(value)}")


@frozen
class PollPolicy:
    """How often a run is looked at. All times are float seconds.

    The server's ``openai-poll-after-ms``, as last sent, beats these numbers. Every pause is spread by a quarter
    either way, so that many waits do not knock at the same moment.
    """

    shortest: float = field(default=0.25, validator=_positive)
    """The first pause."""
    longest: float = field(default=5.0, validator=_positive)
    """Pauses grow up to this."""
    growth: float = field(default=1.5, validator=_growth)
    """Each pause is so many times the one before, 1-100."""
    max_failures: int = field(default=8, validator=_failures)
    """After so many failed looks in a row (connection lost, 5xx, 429) the last error is raised."""
    max_unknown: float = field(default=600.0, validator=_positive)
    """How long a status this library does not know is waited out."""

    @classmethod
    def every(cls, seconds: float) -> PollPolicy:
        """Look at a steady interval.

        >>> PollPolicy.every(2.0).longest
        2.0
        """
        return cls(shortest=seconds, longest=seconds, growth=1)


SPREAD = 0.25
FULL_SPREAD = 0.5
"""Leaves what started together evenly distributed over a whole pause."""
SHORTEST_ASKED = 0.001
LONGEST_ASKED = 60.0


def poll_after(headers: Mapping[str, str]) -> float | None:
    """Return the pause in seconds that a run's answer asks for, None where it asks for none that is usable."""
    milliseconds = header_number(headers.get("openai-poll-after-ms"))
    return min(max(milliseconds / 1000, SHORTEST_ASKED), LONGEST_ASKED) if milliseconds else None


def first_pause(policy: PollPolicy, random: float) -> float:
    """Return the pause before the first look: anywhere up to the shortest pause, so that waits start out of phase."""
    return policy.shortest * random


def next_pause(policy: PollPolicy, looks: int, asked: float | None, random: float, *, spread: float = SPREAD) -> float:
    """Return the pause after a look.

    Args:
        looks: how many looks have been made, from 1.
        asked: what the server asked for in its last answer.
        random: in [0, 1); 0.5 leaves the pause as it is.
        spread: the share by which the pause is shortened or lengthened at most.
    """
    pause = asked if asked is not None else _grown(policy, looks)
    return pause * (1 - spread + 2 * spread * random)


def _grown(policy: PollPolicy, looks: int) -> float:
    longest = max(policy.longest, policy.shortest)
    try:
        grown: float = policy.shortest * float(policy.growth) ** (looks - 1)
    except OverflowError:  # after hundreds of looks
        return longest
    return min(grown, longest)
