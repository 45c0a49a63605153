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
_ROUTE = "POST /threads/{thread_id}/runs/{run_id}/submit_tool_outputs"


class Answerer(Protocol):
    """What executes the tool calls of one run."""

    @property
    def attempted(self) -> tuple[str, ...]: ...

    @property
    def completed(self) -> tuple[str, ...]: ...

    async def answer(self, run: Run, /) -> Sequence[ToolOutput]: ...


class Rounds:
    """Answers the rounds of tool calls of one run.

    Each call is executed once: when handing in the outputs fails and the run turns out to wait for them still, the same
    outputs are handed in again.
    """

    def __init__(self, answerer: Answerer) -> None:
        self.answerer = answerer
        self._calls: tuple[str, ...] | None = None
        self._outputs: Sequence[ToolOutput] = ()
        self._tries = 0

    async def hand_in(self, run: Run, send: Callable[[Request], Awaitable[A]], *, is_stream: bool = False) -> A | None:
        """Answer the calls the run waits for, and send the outputs.

        Returns:
            What sending gave; None when it failed in a way that the run itself must tell what became of them.

        Raises:
            ToolError: a call could not be answered, or the server does not take the outputs.
            APIConnectionError, APIStatusError: the outputs could not be sent, or were refused.
        """
        calls = tuple(call.id for call in run.required_tool_calls)
        if calls != self._calls:
            self._outputs = await self.answerer.answer(run)
            self._calls, self._tries = calls, 0
        if self._tries == _MOST_TRIES:
            raise ToolError(f"run {run.id} still waits for tool outputs that were sent {self._tries} times")
        self._tries += 1
        body: dict[str, object] = {"tool_outputs": self._outputs}
        if is_stream:
            body["stream"] = True
        request = request_for(_ROUTE, run.thread_id, run.id, kind=Kind.SUBMIT, body=body)
        try:
            answer = await send(request)
        except (APIConnectionError, APIStatusError, DecodeError) as error:
            # The run says whether they have arrived. Refused the first time, it may have ended meanwhile.
            if self._tries > 1 and isinstance(error, APIStatusError) and error.status < 500:
                raise
            logger.debug("handing in tool outputs failed, looking at the run: %s", error)
            return None
        self._calls = None
        return answer
