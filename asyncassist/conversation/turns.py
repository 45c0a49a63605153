"""One turn: from the wait for it, over what keeps it from beginning, to its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, TypeVar, cast

import anyio
from attrs import define, field, frozen

from asyncassist._wire.polls import PollPolicy, next_pause
from asyncassist.conversation.queue import TurnQueue
from asyncassist.errors import (
    ActiveRunError,
    APIConnectionError,
    APIStatusError,
    AsyncAssistError,
    BadRequestError,
    ConflictError,
    DecodeError,
    NotFoundError,
    ToolError,
    WaitTimeoutError,
)
from asyncassist.runs.waiting import messages_of_run
from asyncassist.runs.watch import finish_anyway

if TYPE_CHECKING:
    from asyncassist._transport.pacing import Pacing
    from asyncassist.conversation.starting import Conversing
    from asyncassist.models import CreateRunParams, Message, MessageParams, Run, ToolOutput
    from asyncassist.runs.watch import Supervision
    from asyncassist.tools import Toolset

__all__ = ["AddMessage", "Following", "NoToolset", "OnActiveRun", "Talk", "Turn"]

T = TypeVar("T")

OnActiveRun: TypeAlias = Literal["wait", "cancel", "raise"]
AddMessage: TypeAlias = Literal["with_run", "before_run"]

_MOST_REFUSALS = 8
"""How often one run may still be in the way after it was seen to have ended."""
_TAKE_BACK_SECONDS = 5.0


@frozen
class NoToolset:
    """Stands in for a toolset where there is none: a run that asks for tools is cancelled, or it would lock the thread.

    Attributes:
        attempted, completed: no calls.
    """

    attempted: tuple[str, ...] = ()
    completed: tuple[str, ...] = ()

    def begin(self, *, clock: Callable[[], float]) -> NoToolset:
        return self

    async def answer(self, run: Run) -> Sequence[ToolOutput]:
        names = ", ".join(dict.fromkeys(call.function.name for call in run.required_tool_calls)) or "no known call"
        raise ToolError(
            f"run {run.id} requires action ({names}) and this conversation has no toolset; the run is being cancelled",
            run=run,
        )


class Following(Protocol):
    """What starts a run and waits for its end."""

    async def until_end(
        self, create: Callable[[], Awaitable[Run]], create_again: Callable[[Run], Awaitable[Run]]
    ) -> Run: ...


@define(eq=False)
class Talk:
    """What the turns of a conversation share."""

    client: Conversing
    pacing: Pacing
    assistant_id: str
    toolset: Toolset | NoToolset
    on_active_run: OnActiveRun
    add_message: AddMessage
    poll: PollPolicy
    wait: Callable[[Supervision, Toolset, int], Following]
    messages_of: Callable[[Run], Awaitable[list[Message]]]
    thread_id: str | None
    queue: TurnQueue = field(factory=TurnQueue)
    last_run_id: str | None = None
    """Of the last run of this conversation: if that is still active, nobody waits for it any more."""
    is_fresh: bool = False
    """Whether this conversation has made its thread, and no turn has put anything on it."""


class Turn:
    """One turn of a conversation.

    Args:
        talk: what the turns share.
        question: the message.
        params: of the run.
        timeout: seconds for all of it, beginning with the first wait; None sets no limit.

    Attributes:
        run: of this turn, as last seen.
    """

    def __init__(self, talk: Talk, question: MessageParams, params: CreateRunParams, timeout: float | None) -> None:
        self._talk = talk
        self._question = question
        self._params = params
        self._timeout = timeout
        self._deadline = float("inf")
        self._slot: anyio.Semaphore | None = None
        self.run: Run | None = None
        # The message, where it is added by a request of its own.
        self._message: Message | None = None
        self._may_have_run = False
        # The run that was in the way last, and how often.
        self._obstacle: str | None = None
        self._refusals = 0

    @property
    def left(self) -> float | None:
        """The seconds that are left, all of them before it begins; None for no limit."""
        if self._deadline == float("inf"):
            return self._timeout
        return max(0.0, round(self._deadline - anyio.current_time(), 3))

    def see(self, run: Run | None) -> None:
        """Take note of the turn's run."""
        if run is not None:
            self.run = run
            self._talk.last_run_id = run.id

    async def begin(self, start: Callable[[str, CreateRunParams], Awaitable[T]]) -> T:
        """Wait for the turn, make the thread if there is none, and start the run; again where another is in the way.

        Args:
            start: starts the run on a thread.

        Raises:
            WaitTimeoutError: the turn did not begin in time.
            ActiveRunError: another run is in the way, and is not to be waited for.
        """
        if self._timeout is not None:
            self._deadline = anyio.current_time() + self._timeout
        await self.in_time(self._take_turn, "the turn did not begin: those before it did not end")
        thread_id = await self.in_time(self._thread, "the turn did not begin: no thread was made")
        try:
            while True:
                try:
                    return await self._try(start, thread_id)
                except ActiveRunError as error:
                    if self.run is not None:  # it came between a run that failed and the fresh one
                        raise
                    obstacle = error
                await self._make_room(thread_id, obstacle)
        finally:
            if self._message is not None and self.run is None and not self._may_have_run:
                await self._take_back(self._message)

    def end(self) -> None:
        """Let the next turn begin. Harmless when repeated."""
        if self.run is not None:
            self._talk.is_fresh = False
        slot, self._slot = self._slot, None
        if slot is not None:
            self._talk.queue.leave(slot)

    async def in_time(self, work: Callable[[], Awaitable[T]], otherwise: str) -> T:
        """Do a part of the turn.

        Args:
            work: what to do.
            otherwise: what is to be said when the time is up meanwhile.
        """
        with anyio.CancelScope(deadline=self._deadline):
            return await work()
        raise WaitTimeoutError(f"{otherwise} in the {self._timeout} s allowed", run=self.run)

    async def messages(self, run: Run) -> list[Message]:
        """Read what the run has said.

        Raises:
            DecodeError: the thread has not got the question.
        """
        if not self._talk.is_fresh or self._message is not None:
            return await self._talk.messages_of(run)
        # There is but this turn on the thread, so that all of it can be read: is the question there?
        messages = await self._talk.client.list_messages(run.thread_id, order="asc", limit=100).collect()
        questions = [index for index, message in enumerate(messages) if message.role == "user"]
        if not questions:
            raise DecodeError(
                "the server has run the assistant without the message: it ignores additional_messages; "
                'make the conversation with add_message="before_run"',
                field="additional_messages",
            )
        return messages_of_run(messages[questions[-1] + 1 :], run)

    # Beginning.

    async def _take_turn(self) -> None:
        self._slot = await self._talk.queue.enter()

    async def _thread(self) -> str:
        if self._talk.thread_id is None:
            await finish_anyway(self._make_thread)
        assert self._talk.thread_id is not None  # made
        return self._talk.thread_id

    async def _make_thread(self) -> None:
        # A thread that is made while nobody waits for it any more serves the next turn.
        self._talk.thread_id = (await self._talk.client.create_thread()).id
        self._talk.is_fresh = True

    async def _try(self, start: Callable[[str, CreateRunParams], Awaitable[T]], thread_id: str) -> T:
        params = self._params
        if self._talk.add_message == "before_run":
            if self._message is None:
                await self.in_time(
                    lambda: finish_anyway(lambda: self._add_message(thread_id)),
                    "the turn did not begin: its message was not added",
                )
        else:
            given: Sequence[object] = params.get("additional_messages") or ()
            params = cast("CreateRunParams", {**params, "additional_messages": [*given, self._question]})
        self._may_have_run = True
        try:
            return await start(thread_id, params)
        except APIStatusError as error:
            self._may_have_run = error.status >= 500
            raise
        except APIConnectionError as error:
            self._may_have_run = error.sent
            raise

    async def _add_message(self, thread_id: str) -> None:
        self._message = await self._talk.client.create_message(thread_id, **self._question)

    async def _take_back(self, message: Message) -> None:
        """Delete a question that is not going to be answered. Not all servers can."""
        with anyio.move_on_after(_TAKE_BACK_SECONDS, shield=True):
            # Where it stays, the next turn answers it too.
            with suppress(AsyncAssistError):
                await self._talk.client.delete_message(message.thread_id, message.id)

    # Other runs.

    async def _make_room(self, thread_id: str, obstacle: ActiveRunError) -> None:
        run_id = obstacle.run_id
        is_own = run_id is not None and run_id == self._talk.last_run_id
        if run_id is None or (self._talk.on_active_run == "raise" and not is_own):
            raise obstacle
        self._refusals = self._refusals + 1 if run_id == self._obstacle else 1
        self._obstacle = run_id
        if self._refusals > _MOST_REFUSALS:
            raise obstacle
        cancels = is_own or self._talk.on_active_run == "cancel"
        try:
            await self.in_time(
                lambda: self._until_ended(thread_id, run_id, cancels=cancels),
                f"the turn did not begin: run {run_id} did not end",
            )
        except WaitTimeoutError as error:
            raise error from obstacle

    async def _until_ended(self, thread_id: str, run_id: str, *, cancels: bool) -> None:
        """Wait for the end of a run that is in the way.

        Args:
            cancels: whether to cancel it first.
        """
        client, pacing, poll = self._talk.client, self._talk.pacing, self._talk.poll
        if self._refusals > 1:  # its end was seen, but the thread is not free yet
            await pacing.sleep(next_pause(poll, self._refusals - 1, None, pacing.random()))
        try:
            if cancels:
                await self._cancel(thread_id, run_id)
            looks = 0
            while not (await client.wait_for_run(thread_id, run_id, poll=poll, on_cancel="leave")).is_terminal:
                # It requires action. Whoever started it may answer; else it expires.
                looks += 1
                await pacing.sleep(next_pause(poll, looks, None, pacing.random()))
        except NotFoundError:
            pass  # then it cannot be in the way; if it still is, the server says so again

    async def _cancel(self, thread_id: str, run_id: str) -> None:
        # It may have ended, or be on its way to it.
        with suppress(BadRequestError, ConflictError):
            await self._talk.client.cancel_run(thread_id, run_id)
