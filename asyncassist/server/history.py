"""What a backend gets to see of the store: the messages of a thread, and the tool calls a run has had answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from asyncassist.models import Message, RunStep, RunStepDetailsToolCalls, RunStepDetailsToolCallsFunction
from asyncassist.server.backends.base import ToolRound
from asyncassist.server.drafts import message_id_of
from asyncassist.server.store.base import PageQuery

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncassist.server.store.base import Store

__all__ = ["read_messages", "read_rounds"]

_PAGE = 100
_CHARACTERS_A_TOKEN = 4
_T = TypeVar("_T", Message, RunStep)


async def read_messages(
    store: Store, thread_id: str, last: int | None, *, budget: int | None = None
) -> Sequence[Message]:
    """The newest messages of a thread, oldest first.

    Args:
        store: has them.
        thread_id: the thread.
        last: how many; None for all.
        budget: tokens they may have together; None for any number. Where there are more, messages in the middle are
            left out, as the API describes it.
    """
    messages = await _newest(store, Message, thread_id, last)
    return messages if budget is None else _fitting(messages, budget)


def _fitting(messages: Sequence[Message], budget: int) -> Sequence[Message]:
    """The newest messages that fit, the last one in any case, and the first one before them if it fits too."""
    left = budget
    first, start = list(messages[:1]), len(messages)
    if first and (cost := _tokens(first[0])) + _tokens(messages[-1]) <= budget:
        left -= cost
    else:
        first = []
    for index in range(len(messages) - 1, len(first) - 1, -1):
        left -= _tokens(messages[index])
        if left < 0 and start < len(messages):
            break
        start = index
    return [*first, *messages[start:]]


def _tokens(message: Message) -> int:
    """About how many tokens a message has: there is no tokenizer here, and models differ in theirs."""
    return len(message.text) // _CHARACTERS_A_TOKEN + 1


async def read_rounds(store: Store, run_id: str) -> Sequence[ToolRound]:
    """The tool calls of a run that have their outputs, round by round."""
    rounds: list[ToolRound] = []
    message_id: str | None = None
    for step in await _newest(store, RunStep, run_id):
        details = step.step_details
        if step.status != "completed":
            continue
        if isinstance(details, RunStepDetailsToolCalls):
            calls = tuple([call for call in details.tool_calls if isinstance(call, RunStepDetailsToolCallsFunction)])
            rounds.append(ToolRound(calls, message_id, step.usage))
            message_id = None
        else:
            message_id = message_id_of(step)
    return rounds


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
