"""What an offline backend does instead of thinking: rules that match a message, call tools, and say something.

::

    OfflineBackend(
        [
            Rule("weather", calls=[FunctionCall("get_weather", {"city": "Paris"})], say="It is {outputs[0]} in Paris."),
            Rule(re.compile("(?i)bye"), fail=Failure("Not now.", code="rate_limit_exceeded")),
            Rule(say="I only know about the weather."),
        ]
    )
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

from attrs import field, frozen
from attrs.validators import in_, instance_of, optional

from asyncassist.errors import UsageError
from asyncassist.server.backends.base import FunctionCall

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Failure", "Rule"]

_PLACEHOLDER = re.compile(r"\{(?:(message)|outputs\[(-?\d{1,4})\])\}")

_Round: TypeAlias = "FunctionCall | Iterable[FunctionCall]"


@frozen
class Failure:
    """How a run fails.

    Attributes:
        message: what the run's ``last_error`` says.
        code: ``server_error``, ``rate_limit_exceeded`` or ``invalid_prompt``.
    """

    message: str = field(default="The backend was told to fail.", validator=instance_of(str))
    code: str = field(default="server_error", validator=instance_of(str))


def _as_rounds(rounds: Iterable[_Round]) -> tuple[tuple[FunctionCall, ...], ...]:
    return tuple([(round,) if isinstance(round, FunctionCall) else tuple(round) for round in rounds])


@frozen
class Rule:
    """What to do about a message: call tools, round by round, then say something, or fail.

    It is checked when it is made: a wrong attribute is a TypeError, a ValueError or a `UsageError`.

    Attributes:
        when: a text the message has to contain, or a pattern to be found in it. None matches every message.
        calls: the rounds of tool calls. A round is one call, or several that are asked for at once.
        say: the answer, after the last round. In a text ``{message}`` stands for the message and ``{outputs[0]}`` for
            the first output of all rounds, ``{outputs[-1]}`` for the last; other braces stay as they are. A function
            is given the outputs. None is the backend's usual answer, or none at all where there is a failure.
        fail: the run fails with it, after it has said something, if it has.
        stopped_by: the run ends incomplete, as if the answer had been cut short by this limit.
        delay: seconds to wait before each round and before the answer. None is the backend's own delay.
    """

    when: str | re.Pattern[str] | None = field(default=None, validator=optional(instance_of((str, re.Pattern))))
    calls: tuple[tuple[FunctionCall, ...], ...] = field(default=(), converter=_as_rounds)
    say: str | Callable[[Sequence[str]], str] | None = None
    fail: Failure | None = field(default=None, validator=optional(instance_of(Failure)))
    stopped_by: Literal["max_completion_tokens", "max_prompt_tokens"] | None = field(
        default=None, validator=in_((None, "max_completion_tokens", "max_prompt_tokens"))
    )
    delay: float | None = field(default=None, validator=optional(instance_of((int, float))))

    def __attrs_post_init__(self) -> None:
        if isinstance(self.when, re.Pattern) and not isinstance(self.when.pattern, str):
            raise TypeError("when: a pattern of text, not of bytes")
        if not all(self.calls):
            raise UsageError("calls: a round of tool calls needs at least one call")
        calls = [call for round in self.calls for call in round]
        for call in calls:
            if not isinstance(call, FunctionCall):
                raise TypeError(f"calls: a round is made of FunctionCall objects, not of {type(call).__name__}")
        if isinstance(self.say, str):
            for match in _PLACEHOLDER.finditer(self.say):
                if match[2] is not None and not -len(calls) <= int(match[2]) < len(calls):
                    raise UsageError(f"say: {match[0]}: the rule has {len(calls)} tool calls")
        elif self.say is not None and not callable(self.say):
            raise TypeError(f"what to say is a str, a function or None, not {type(self.say).__name__}")
        if self.delay is not None and not 0 <= self.delay < math.inf:
            raise UsageError(f"delay must be a finite number of seconds, got {self.delay}")

    def matches(self, message: str) -> bool:
        """Whether the rule is for this message."""
        if self.when is None:
            return True
        return self.when in message if isinstance(self.when, str) else self.when.search(message) is not None

    def text(self, message: str, outputs: Sequence[str], default: Callable[[str], str]) -> str:
        """The answer to a message, after these outputs of tool calls.

        Args:
            message: the message's text.
            outputs: what came of the calls of all rounds, in their order.
            default: makes the answer where the rule has none.
        """
        if self.say is None:
            return default(message) if self.fail is None else ""
        if not isinstance(self.say, str):
            return self.say(outputs)
        return _PLACEHOLDER.sub(lambda match: message if match[1] else outputs[int(match[2])], self.say)
