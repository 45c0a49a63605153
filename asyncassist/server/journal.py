"""Writes down what happens to runs: every change is one transaction of the store, told to the run's stream afterwards.

What may follow what is decided in ``states.py``, inside those transactions. The changes of one run are made one after
the other, whoever asks for them: its events come in the order of its states, and never before the store has them.
"""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import anyio
from attrs import define, evolve, field

from asyncassist.models import Message, Run, RunCompletionUsage, RunLastError, RunStep, Thread
from asyncassist.server import events, states
from asyncassist.server.drafts import Draft, begin_message, begin_tool_calls, message_id_of
from asyncassist.server.states import Ending
from asyncassist.server.store.base import Edit, PageQuery
from asyncassist.server.streaming import Streams

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from asyncassist.server.backends.base import Reply
    from asyncassist.server.store.base import Record, Store
    from asyncassist.server.streaming import EventStream

__all__ = ["Journal"]

_Changing: TypeAlias = Run | RunStep | Message
_T = TypeVar("_T", bound=_Changing)

_NO_USAGE = RunCompletionUsage(prompt_tokens=0, completion_tokens=0, total_tokens=0)


@define(eq=False)
class _Entry:
    """What is known of a run that has not ended, beside what the store has."""

    lock: anyio.Lock = field(factory=lambda: anyio.Lock())
    draft: Draft | None = None
    usage: RunCompletionUsage = _NO_USAGE
    """Of the rounds that asked for tools."""
    round_usage: RunCompletionUsage | None = None
    """Of the last of them."""


#: Says, once nothing else can happen to the run, what is to be edited along with it.
_Plan: TypeAlias = "Callable[[_Entry], Awaitable[Sequence[Edit]]]"


class Journal:
    """The changes of runs. One that has become illegal, or whose run is gone, is dropped and gives None.

    Args:
        store: where runs, messages and steps are kept.
        clock: gives the time in Unix seconds.
        new_id: makes an id that starts with a prefix.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float], new_id: Callable[[str], str]) -> None:
        self._store = store
        self._clock = clock
        self._new_id = new_id
        self._entries: dict[str, _Entry] = {}
        self.streams = Streams()

    def reset(self) -> None:
        """Forget what is not in the store: it belongs to work, and perhaps to an event loop, that is over."""
        self._entries.clear()
        self.streams = Streams()

    async def add(self, run: Run, before: Sequence[Record], stream: EventStream | None) -> None:
        """Add a queued run to the store, after the records that come before it."""
        await self._store.add(*before, run)
        if stream is not None:
            self.streams.open(run.id, stream)
        thread = next((record for record in before if isinstance(record, Thread)), None)
        self.streams.tell(run.id, events.created(run, thread))

    async def start(self, run_id: str) -> Run | None:
        """Take a run out of the queue."""
        return await self._try(run_id, partial(states.start, now=self._now()))

    async def requeue(self, run_id: str) -> None:
        """Put a run back into the queue whose work was lost, without the message it was writing."""
        step = await self._step_in_progress(run_id)
        if step is not None and (message_id := message_id_of(step)) is not None:
            await self._store.delete(Message, message_id)
            await self._store.delete(RunStep, step.id)
        await self._try(run_id, states.requeue)

    # The answer.

    async def write(self, draft: Draft, text: str) -> None:
        """Add a piece to a message. The first one begins it, even where it is empty."""
        if draft.message is None and not draft.is_frozen:
            async with draft.beginning:
                if draft.message is None:
                    await self._begin(draft)
        if text and draft.message is not None and not draft.is_frozen:
            draft.pieces.append(text)
            delta = events.text_delta(draft.message.id, text, is_first=len(draft.pieces) == 1)
            self.streams.tell(draft.run.id, [delta])

    async def _begin(self, draft: Draft) -> None:
        step, message = begin_message(draft.run, self._new_id, self._now())
        if await self._try(draft.run.id, states.work_on, add=(step, message)) is None:
            draft.is_frozen = True
        else:
            draft.step, draft.message = step, message
            self._entry(draft.run.id).draft = draft

    def with_text_so_far(self, message: Message) -> Message:
        """A message as it is to be shown: one that is being written with the text it has got."""
        entry = self._entries.get(message.run_id or "")
        if entry is None or entry.draft is None or entry.draft.message is None:
            return message
        return entry.draft.shown_in(message) if message.id == entry.draft.message.id else message

    async def finish(self, run_id: str, reply: Reply) -> Run | None:
        """Complete the run's message, and end the run as the reply says."""
        usage = _sum(self._entry(run_id).usage, reply.usage)
        if reply.stopped_by is None:
            end = partial(states.complete, now=self._now(), usage=usage)
            ending = Ending("completed", usage=reply.usage)
        else:
            end = partial(states.stop_short, now=self._now(), usage=usage, reason=reply.stopped_by)
            ending = Ending("completed", "max_tokens", usage=reply.usage)
        return await self._try(run_id, end, self._end(run_id, ending))

    async def ask(self, run: Run, reply: Reply) -> None:
        """Complete the run's message, if it has one, and let the run wait for the outputs of the reply's tool calls."""
        step, calls = begin_tool_calls(run, reply.tool_calls, self._new_id, self._now())
        entry = self._entry(run.id)
        # The tokens are those of one answer: they count for its calls, and not for its text once more.
        plan = None if entry.draft is None else self._end(run.id, Ending("completed", usage=_NO_USAGE))
        if await self._try(run.id, partial(states.require_outputs, calls=calls), plan, add=(step,)) is not None:
            entry.draft = None
            entry.usage, entry.round_usage = _sum(entry.usage, reply.usage), reply.usage

    async def accept_outputs(
        self, run_id: str, match: Callable[[Run], Mapping[str, str]], stream: EventStream | None
    ) -> Run | None:
        """Write the outputs of tool calls into the step that waits for them, and queue the run again.

        Raises:
            IllegalTransition: the run does not wait for outputs.
        """
        outputs: Mapping[str, str] = {}

        def accept(run: Run) -> Run:
            nonlocal outputs
            queued = states.accept_outputs(run)
            outputs = match(run)
            return queued

        async def plan(entry: _Entry) -> Sequence[Edit]:
            step = await self._step_in_progress(run_id)
            if step is None:
                return ()
            now, usage = self._now(), entry.round_usage
            return [Edit(RunStep, step.id, lambda step: states.record_outputs(step, outputs, now, usage))]

        return await self._change(run_id, accept, plan, stream=stream)

    # Other endings.

    def limit_reached(self, run: Run) -> str | None:
        """The limit of a run that its turns so far have used up; None while there is something left."""
        used = self._entry(run.id).usage
        for limit, tokens in (
            ("max_prompt_tokens", used.prompt_tokens),
            ("max_completion_tokens", used.completion_tokens),
        ):
            allowed: int | None = getattr(run, limit)
            if allowed is not None and (tokens or 0) >= allowed:
                return limit
        return None

    async def stop_short(self, run_id: str, limit: str) -> Run | None:
        """End a run that may not have another turn."""
        usage = self._entry(run_id).usage
        return await self._try(run_id, partial(states.stop_short, now=self._now(), usage=usage, reason=limit))

    async def fail(self, run_id: str, code: str, message: str) -> Run | None:
        """End a run whose backend could not answer."""
        usage = self._entry(run_id).usage
        fail = partial(states.fail, now=self._now(), usage=usage, code=code, message=message)
        error = RunLastError(code=code, message=message)
        return await self._try(run_id, fail, self._end(run_id, Ending("failed", "run_failed", error=error)))

    async def cancel(self, run_id: str) -> Run | None:
        """Ask a run to end.

        Raises:
            IllegalTransition: it has ended, or was asked before.
        """
        return await self._change(run_id, states.cancel)

    async def confirm_cancel(self, run_id: str) -> Run | None:
        """End a run that was asked to."""
        confirm = partial(states.confirm_cancel, now=self._now(), usage=self._entry(run_id).usage)
        return await self._try(run_id, confirm, self._end(run_id, Ending("cancelled", "run_cancelled")))

    async def expire(self, run_id: str) -> Run | None:
        """End a run that took too long."""
        expire = partial(states.expire, usage=self._entry(run_id).usage)
        return await self._try(run_id, expire, self._end(run_id, Ending("expired", "run_expired")))

    def forget(self, run_id: str, error: object) -> None:
        """Forget a run of which no more will be told. Its stream ends with the error."""
        self._entries.pop(run_id, None)
        self.streams.cut(run_id, error)

    # How a change is made.

    async def _try(
        self,
        run_id: str,
        change: Callable[[Run], Run],
        plan: _Plan | None = None,
        add: Sequence[Message | RunStep] = (),
    ) -> Run | None:
        try:
            return await self._change(run_id, change, plan, add)
        except states.IllegalTransition:
            return None

    async def _change(
        self,
        run_id: str,
        change: Callable[[Run], Run],
        plan: _Plan | None = None,
        add: Sequence[Message | RunStep] = (),
        stream: EventStream | None = None,
    ) -> Run | None:
        entry = self._entry(run_id)
        run: Run | None = None
        moved: dict[str, _Changing] = {}
        edited: dict[str, _Changing] = {}
        # Shielded: what the store has must be told, and nobody may come between the two.
        with anyio.CancelScope(shield=True):
            async with entry.lock:
                planned = () if plan is None else await plan(entry)
                edits = [Edit(edit.kind, edit.id, _noting(edit.change, edited)) for edit in planned]
                run = await self._update(run_id, _noting(change, moved), edits, add)
                if run is not None:
                    if stream is not None:
                        self.streams.open(run_id, stream)
                    begun = chain.from_iterable(map(events.begun, add))
                    changed = [map(events.changed, records.values()) for records in (edited, moved)]
                    self.streams.tell(run_id, chain(changed[0], begun, changed[1]))
                    if run.is_terminal or run.status == "requires_action":
                        self.streams.end(run_id)
        return run

    async def _update(
        self, run_id: str, change: Callable[[Run], Run], edits: Sequence[Edit], add: Sequence[Record]
    ) -> Run | None:
        """Update the store, and forget the run's entry if that shows that there is no more to come."""
        try:
            run = await self._store.update(Run, run_id, change, also=edits, add=add)
        except states.IllegalTransition as error:
            if error.run.is_terminal:
                self._entries.pop(run_id, None)
            raise
        if run is None or run.is_terminal:
            self._entries.pop(run_id, None)
        return run

    def _end(self, run_id: str, ending: Ending) -> _Plan:
        """Plan to end the step the run is at, and the message it writes, as the run ends or goes on."""

        async def plan(entry: _Entry) -> Sequence[Edit]:
            step, text = None, ""
            if entry.draft is None:
                step = await self._step_in_progress(run_id)
            else:
                entry.draft.is_frozen = True
                step, text = entry.draft.step, entry.draft.text
            if step is None:
                return ()
            now, message_id = self._now(), message_id_of(step)
            ended = ending
            if ending.usage is None:  # nobody has counted what it was doing, but a round of tools was counted before
                ended = evolve(ending, usage=entry.round_usage if message_id is None else _NO_USAGE)
            edits = [Edit(RunStep, step.id, partial(states.end_step, ending=ended, now=now))]
            if message_id is not None:
                end_message = partial(states.end_message, ending=ended, text=text, now=now)
                edits.insert(0, Edit(Message, message_id, end_message))
            return edits

        return plan

    async def _step_in_progress(self, run_id: str) -> RunStep | None:
        newest = await self._store.page(RunStep, PageQuery(limit=1), within=run_id)
        return next((step for step in newest.data if step.status == "in_progress"), None)

    def _entry(self, run_id: str) -> _Entry:
        entry = self._entries.get(run_id)
        if entry is None:
            entry = self._entries[run_id] = _Entry()
        return entry

    def _now(self) -> int:
        return int(self._clock())


def _noting(change: Callable[[_T], _T], made: dict[str, _Changing]) -> Callable[[_T], _T]:
    """The same change, leaving behind what it made, if that is something new. The last time counts."""

    def noting(old: _T) -> _T:
        new = change(old)
        if new is not old:
            made[new.id] = new
        return new

    return noting


def _sum(one: RunCompletionUsage, other: RunCompletionUsage) -> RunCompletionUsage:
    return RunCompletionUsage(
        prompt_tokens=(one.prompt_tokens or 0) + (other.prompt_tokens or 0),
        completion_tokens=(one.completion_tokens or 0) + (other.completion_tokens or 0),
        total_tokens=(one.total_tokens or 0) + (other.total_tokens or 0),
    )
