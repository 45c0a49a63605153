"""What a backend gets to see of the store: the messages of a thread, and the tool calls a run has had answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from asyncassist.models import Message, RunStep, RunStepDetailsToolCalls, RunStepDetailsToolCallsFunction
from asyncassist.server.backends.base import ToolRound
from asyncassist.server.store.base import PageQuery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncassist.server.store.base import Store

__all__ = ["read_messages", "read_rounds"]

_PAGE = 100
_T = TypeVar("_T", Message, RunStep)


async def read_messages(store: Store, thread_id: str, last: int | None) -> Sequence[Message]:
    """The newest messages of a thread, oldest first; ``None`` for all."""
    return await _newest(store, Message, thread_id, last)


async def read_rounds(store: Store, run_id: str) -> Sequence[ToolRound]:
    """The tool calls of a run that have their outputs, round by round."""
    details = [step.step_details for step in await _newest(store, RunStep, run_id) if step.status == "completed"]
    return [
        ToolRound(tuple([call for call in detail.tool_calls if isinstance(call, RunStepDetailsToolCallsFunction)]))
        for detail in details
        if isinstance(detail, RunStepDetailsToolCalls)
    ]


async def _newest(store: Store, kind: type[_T], within: str, last: int | None = None) -> list[_T]:
    newest_first: list[_T] = []
    cursor: str | None = None
    while last is None or len(newest_first) < last:
        limit = _PAGE if last is None else min(_PAGE, last - len(newest_first))
        page = await store.page(kind, PageQuery(limit=limit, after=cursor), within=within)
        newest_first += page.data
        if not page.has_more:
            break
        cursor = page.last_id
    return newest_first[::-1]
