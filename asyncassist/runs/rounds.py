"""Tool rounds: the calls a run waits for are answered, and the answers handed in."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from asyncassist._wire.requests import Kind, Request, request_for
from asyncassist.errors import APIConnectionError, APIStatusError, DecodeError, ToolError

if TYPE_CHECKING:
    from asyncassist.models import Run, ToolOutput

__all__ = ["Answerer", "Rounds"]

logger = logging.getLogger("asyncassist")

A = TypeVar("A")

_MOST_TRIES = 3
_PAUSE = 0.25
"""Seconds before the run is asked what became of the outputs, longer with each failure."""
_ROUTE = "POST /threads/{thread_id}/runs/{run_id}/submit_tool_outputs"


class Answerer(Protocol):
    """What executes the tool calls of one run."""

    @property
    def attempted(self) -> tuple[str, ...]: ...

    @property
    def completed(self) -> tuple[str, ...]: ...

    async def answer(self, run: Run, /) -> Sequence[ToolOutput]: ...


class Rounds:
    """Answers the rounds of tool calls of one run, or of a run and the fresh ones that follow it.

    Each call is executed once: when handing in the outputs fails and the run turns out to wait for them still, the same
    outputs are handed in again.

    Args:
        begin: begins to answer the calls of one run.
        sleep: how to wait.

    Attributes:
        is_answering: whether the functions of the calls are at work.
    """

    def __init__(self, begin: Callable[[], Answerer], sleep: Callable[[float], Awaitable[None]]) -> None:
        self._begin = begin
        self._sleep = sleep
        self._answerers = [begin()]
        self.is_answering = False
        self._calls: tuple[object, ...] | None = None
        self._outputs: Sequence[ToolOutput] = ()
        self._tries = self._refusals = 0

    @property
    def attempted(self) -> tuple[str, ...]:
        """The ids of the calls that were begun."""
        return tuple(id_ for answerer in self._answerers for id_ in answerer.attempted)

    @property
    def completed(self) -> tuple[str, ...]:
        """The ids of the calls that ended."""
        return tuple(id_ for answerer in self._answerers for id_ in answerer.completed)

    def begin_anew(self) -> None:
        """Begin with a fresh run, whose calls are none of those before."""
        self._answerers.append(self._begin())
        self._calls = None

    async def hand_in(self, run: Run, send: Callable[[Request], Awaitable[A]], *, is_stream: bool = False) -> A | None:
        """Answer the calls the run waits for, and send the outputs.

        Returns:
            What sending gave; None when it failed in a way that the run itself must tell what became of them.

        Raises:
            ToolError: a call could not be answered, or the server does not take the outputs.
            APIStatusError: the outputs were refused, more than once.
        """
        # Not the ids alone: some servers number the calls of each round from the start.
        calls = tuple((call.id, call.function.name, call.function.arguments) for call in run.required_tool_calls)
        if calls != self._calls:
            self.is_answering = True
            self._outputs = await self._answerers[-1].answer(run)
            self.is_answering = False
            self._calls, self._tries, self._refusals = calls, 0, 0
        if self._tries == _MOST_TRIES:
            text = f"run {run.id} still waits for tool outputs that were sent {self._tries} times"
            raise ToolError(text, attempted=self.attempted, completed=self.completed, run=run)
        self._tries += 1
        body: dict[str, object] = {"tool_outputs": self._outputs}
        if is_stream:
            body["stream"] = True
        request = request_for(_ROUTE, run.thread_id, run.id, kind=Kind.SUBMIT, body=body)
        try:
            return await send(request)
        except (APIConnectionError, APIStatusError, DecodeError) as error:
            # The run says whether they have arrived. Refused the first time, they have arrived before or it has ended.
            if isinstance(error, APIStatusError) and error.status < 500:
                self._refusals += 1
                if self._refusals > 1:
                    raise
            logger.debug("handing in tool outputs failed, looking at the run: %s", error)
        await self._sleep(_PAUSE * self._tries)
        return None
