"""A backend that needs no model: it says what its script tells it to, or that there is no model here."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import anyio

from asyncassist.errors import UsageError
from asyncassist.models import RunCompletionUsage
from asyncassist.server.backends.base import BackendError, Reply
from asyncassist.server.backends.script import Rule

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from asyncassist.server.backends.base import Turn

__all__ = ["OfflineBackend"]

_words = re.compile(r"\S+\s*|\s+").findall


class OfflineBackend:
    """Answers without a model, the same question with the same text, word by word.

    The first rule of the script that matches the last message says what happens. Where none does, the answer says that
    no model was asked. The usage counts words.

    Args:
        script: the rules, first come first.
        delay: seconds to take over each answer, unless the rule has its own.
        pause: seconds to wait between two words.
        sleep: how to wait.

    Raises:
        UsageError: ``delay`` or ``pause`` cannot be meant.
    """

    def __init__(
        self,
        script: Iterable[Rule] = (),
        *,
        delay: float = 0.0,
        pause: float = 0.0,
        sleep: Callable[[float], Awaitable[object]] = anyio.sleep,
    ) -> None:
        self._script = tuple(script)
        for rule in self._script:
            if not isinstance(rule, Rule):
                raise TypeError(f"a script is made of Rule objects, not of {type(rule).__name__}")
        for name, seconds in (("delay", delay), ("pause", pause)):
            if not 0 <= seconds < math.inf:
                raise UsageError(f"{name} must be a finite number of seconds, got {seconds}")
        self._delay = delay
        self._pause = pause
        self._sleep = sleep

    async def answer(self, turn: Turn) -> Reply:
        rounds = await turn.rounds()
        question = next((message.text for message in await turn.messages(last=1)), "")
        rule = next((rule for rule in self._script if rule.matches(question)), None)
        await self._sleep(self._delay if rule is None or rule.delay is None else rule.delay)
        if rule is not None and len(rounds) < len(rule.calls):
            calls = rule.calls[len(rounds)]
            return Reply(usage=_usage(question, *[call.arguments for call in calls]), tool_calls=calls)
        outputs = [output for round in rounds for output in round.outputs]
        text = _unscripted(question) if rule is None else rule.text(question, outputs, default=_unscripted)
        await self._say(turn, text)
        if rule is not None and rule.fail is not None:
            raise BackendError(rule.fail.message, code=rule.fail.code)
        return Reply(text, _usage(question, text), None if rule is None else rule.stopped_by)

    async def _say(self, turn: Turn, text: str) -> None:
        for index, word in enumerate(_words(text)):
            if index and self._pause:
                await self._sleep(self._pause)
            await turn.emit(word)


def _unscripted(question: str) -> str:
    return f"This is the offline backend: no model was asked. The last message was: {question or '(nothing)'}"


def _usage(asked: str, *answered: str) -> RunCompletionUsage:
    prompt, completion = len(asked.split()), sum(len(text.split()) for text in answered)
    return RunCompletionUsage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)
