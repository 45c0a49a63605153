"""What answers the runs of a server under test."""

from __future__ import annotations

from collections import deque
from contextvars import ContextVar
from typing import TYPE_CHECKING

import anyio
from attrs import define, field

from asyncassist.server.backends.offline import OfflineBackend
from asyncassist.server.backends.script import Rule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncassist.server.backends.base import Backend, Reply, Turn
    from asyncassist.testing.clock import Clock

__all__ = ["ExpiringBackend", "ScriptedBackend", "runs_expire"]

#: Whether the runs of the request under way expire instead of being answered. Their tasks inherit it.
runs_expire: ContextVar[bool] = ContextVar("runs_expire", default=False)


def _as_rule(answer: Rule | str) -> Rule:
    if isinstance(answer, str):
        # A function's text is said as it is: this one may have braces.
        return Rule(say=lambda outputs: answer)
    if not isinstance(answer, Rule):
        raise TypeError(f"a script is made of Rule objects and texts, not of {type(answer).__name__}")
    return answer


@define
class ScriptedBackend:
    """Answers by replies that are used once, and by rules where none of them is left that matches."""

    _clock: Clock
    _rules: tuple[Rule, ...] = field(default=(), init=False)
    _replies: deque[Rule] = field(factory=lambda: deque[Rule](), init=False)
    _taken: dict[str, Rule] = field(factory=dict[str, Rule], init=False)  # by the id of the run that has it

    def set_rules(self, rules: Iterable[Rule | str]) -> None:
        """Go by these rules from now on."""
        self._rules = tuple(map(_as_rule, rules))

    def add_replies(self, replies: Iterable[Rule | str]) -> None:
        """Answer the next runs so, one each."""
        self._replies.extend(list(map(_as_rule, replies)))

    async def answer(self, turn: Turn) -> Reply:
        rule = self._taken.get(turn.run.id) or await self._take(turn)
        rules = self._rules if rule is None else (rule,)
        return await OfflineBackend(rules, sleep=self._clock.sleep).answer(turn)

    async def _take(self, turn: Turn) -> Rule | None:
        question = next((message.text for message in await turn.messages(last=1)), "")
        for reply in self._replies:
            if reply.matches(question):
                self._replies.remove(reply)
                self._taken[turn.run.id] = reply
                return reply
        return None


@define
class ExpiringBackend:
    """Lets runs expire that are to, and asks another backend about the others."""

    _backend: Backend
    _clock: Clock

    async def open(self) -> None:
        """Open the other backend, where there is something to open."""
        if (method := getattr(self._backend, "open", None)) is not None:
            await method()

    async def aclose(self) -> None:
        """Close it likewise."""
        if (method := getattr(self._backend, "aclose", None)) is not None:
            await method()

    async def answer(self, turn: Turn) -> Reply:
        if not runs_expire.get():
            return await self._backend.answer(turn)
        # Time passes until the server gives the run up, and cancels this.
        assert turn.run.expires_at is not None
        await self._clock.advance(max(0.0, turn.run.expires_at - self._clock()))
        while True:
            await anyio.sleep_forever()
