"""What answers the runs: the interface of a backend, and the one that needs no model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

import anyio
from attrs import field, frozen
from attrs.validators import in_, instance_of

from asyncassist.models import RunCompletionUsage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from asyncassist.models import Message, Run

__all__ = ["Backend", "BackendError", "OfflineBackend", "Reply", "Turn"]


@frozen
class Turn:
    """What a backend is asked: a run, with the thread it is to answer."""

    run: Run
    """Model, instructions, tools and limits, the assistant's and the run's own together."""
    _history: Callable[[int | None], Awaitable[Sequence[Message]]] = field(repr=False)

    async def messages(self, last: int | None = None) -> Sequence[Message]:
        """The thread's messages as far as the run's truncation strategy lets them be seen, oldest first.

        Args:
            last: how many of the newest; None for all.
        """
        truncation = self.run.truncation_strategy
        limit = truncation.last_messages if truncation is not None else None
        return await self._history(min((count for count in (last, limit) if count is not None), default=None))


@frozen
class Reply:
    """What a backend answers."""

    text: str = field(validator=instance_of(str))
    usage: RunCompletionUsage = field(
        factory=lambda: RunCompletionUsage(prompt_tokens=0, completion_tokens=0, total_tokens=0),
        validator=instance_of(RunCompletionUsage),
    )
    stopped_by: Literal["max_completion_tokens", "max_prompt_tokens"] | None = field(
        default=None, validator=in_((None, "max_completion_tokens", "max_prompt_tokens"))
    )
    """The limit that cut the text short; None for a complete one."""


class BackendError(Exception):
    """A backend cannot answer. The run fails with this code and message, which the API's users will see.

    Any other exception of a backend fails the run too, but tells its users nothing; it is logged.
    """

    def __init__(self, message: str, *, code: str = "server_error") -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class Backend(Protocol):
    """Answers one run at a time, many runs concurrently."""

    async def answer(self, turn: Turn) -> Reply:
        """Answer the turn. It is cancelled when its run is cancelled or expires, and when the server is closed.

        Raises:
            BackendError: it cannot be answered.
        """
        ...


class OfflineBackend:
    """Answers without a model, the same question with the same text, and says so in it.

    Its usage counts words.

    Args:
        delay: seconds to take over an answer.
        sleep: how to wait.
    """

    def __init__(self, *, delay: float = 0.0, sleep: Callable[[float], Awaitable[object]] = anyio.sleep) -> None:
        self._delay = delay
        self._sleep = sleep

    async def answer(self, turn: Turn) -> Reply:
        await self._sleep(self._delay)
        question = next((message.text for message in await turn.messages(last=1)), "")
        text = f"This is the offline backend: no model was asked. The last message was: {question or '(nothing)'}"
        asked, answered = len(question.split()), len(text.split())
        usage = RunCompletionUsage(prompt_tokens=asked, completion_tokens=answered, total_tokens=asked + answered)
        return Reply(text, usage)
