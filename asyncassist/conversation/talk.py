"""Talking to an assistant on one thread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from asyncassist._operations.base import checked_params
from asyncassist._operations.listing import Listing
from asyncassist._wire.unstructure import unstructure
from asyncassist.conversation.reply import Reply
from asyncassist.conversation.turn_stream import TurnStream
from asyncassist.conversation.turns import Turn
from asyncassist.models import CreateRunParams, MessageParams, Page
from asyncassist.runs.watch import Supervision

if TYPE_CHECKING:
    from typing import Any, Unpack

    from asyncassist.conversation.turns import Following, Talk
    from asyncassist.models import JsonObject, Message, MessageAttachment, MessageContentParam, Run
    from asyncassist.runs.run_stream import RunStream
    from asyncassist.runs.watch import OnStatus
    from asyncassist.tools import Toolset

__all__ = ["Conversation"]


class Conversation:
    """A conversation with an assistant: one thread, one turn at a time. Made by `AsyncClient.conversation`.

    Any number of tasks may ask at once: their turns follow each other in the order in which they came. A turn that
    failed or was cancelled leaves the conversation usable, and its run cancelled on the server.

    A function of the toolset must not ask its own conversation: it would wait for itself.
    """

    def __init__(self, talk: Talk) -> None:
        self._talk = talk

    def __repr__(self) -> str:
        return f"<Conversation {self._talk.thread_id or 'without a thread yet'}>"

    @property
    def thread_id(self) -> str | None:
        """The thread; None before the first turn of a conversation that makes its own."""
        return self._talk.thread_id

    async def ask(
        self,
        text: str | Sequence[MessageContentParam],
        *,
        attachments: Sequence[MessageAttachment | JsonObject] | None = None,
        timeout: float | None = None,
        on_status: OnStatus | None = None,
        retry_failed_runs: int = 0,
        **params: Unpack[CreateRunParams],
    ) -> Reply:
        """Say something, and return the reply.

        The message and its run are made by one request, so that neither comes without the other.

        Args:
            text: a str, or a list of text and image parts.
            attachments: files of the message, each with the tools it is for.
            timeout: seconds all of it may take together, the wait for earlier turns included; None sets no limit.
            on_status: called with the run at each change of its status, and awaited if it returns an awaitable.
            retry_failed_runs: how many fresh runs may follow one that failed in a way that passes; see
                `AsyncClient.run_and_wait`.
            params: of the run, as in `AsyncClient.create_run`.

        Raises:
            RunFailedError, RunExpiredError, RunCancelledError, RunIncompleteError: the run has not completed. What it
                has said until then is on the thread: ``await client.run_text(error.run)``.
            WaitTimeoutError: it took too long; ``run`` is None where the turn had not begun.
            ActiveRunError: a run of others is active on the thread and is not waited for.
            ToolError: the run asks for tools, and the conversation has no toolset, or that cannot go on. The run is
                cancelled.
            NotFoundError: there is no such thread or assistant.
            APIConnectionError: if ``sent`` is True, the run may be there all the same; the next turn finds it in the
                way then, as one of others.
        """
        turn = self._turn("ask", text, attachments, timeout, params)

        def wait() -> Following:
            return self._talk.wait(Supervision(turn.left, self._talk.poll, on_status), self._toolset, retry_failed_runs)

        wait()  # wrong settings are refused before anything is sent
        try:
            run = await turn.begin(lambda thread_id, params: self._follow(wait(), turn, thread_id, params))
            run.raise_for_status()
            messages = await turn.in_time(lambda: turn.messages(run), f"run {run.id} ended, its messages did not come")
            return Reply(run, messages)
        finally:
            turn.end()

    async def _follow(self, wait: Following, turn: Turn, thread_id: str, params: CreateRunParams) -> Run:
        async def create(**params: Unpack[CreateRunParams]) -> Run:
            run = await self._talk.client.create_run(thread_id, assistant_id=self._talk.assistant_id, **params)
            turn.see(run)
            return run

        # A fresh run finds on the thread what the failed one has added to it.
        again = params.copy()
        again.pop("additional_messages", None)
        return await wait.until_end(lambda: create(**params), lambda failed: create(**again))

    def stream(
        self,
        text: str | Sequence[MessageContentParam],
        *,
        attachments: Sequence[MessageAttachment | JsonObject] | None = None,
        timeout: float | None = None,
        **params: Unpack[CreateRunParams],
    ) -> TurnStream:
        """Say something, and follow the reply as it comes: ``async with conversation.stream(text) as stream``.

        Nothing is sent before the block is entered.

        Args:
            text, attachments, params: as in `ask`.
            timeout: seconds all of it may take together, from entering the block, the wait for earlier turns included;
                None sets no limit.
        """

        def open_stream(thread_id: str, params: CreateRunParams, left: float | None) -> RunStream:
            return self._talk.client.stream_run(
                thread_id,
                assistant_id=self._talk.assistant_id,
                toolset=self._toolset,
                timeout=left,
                poll=self._talk.poll,
                **params,
            )

        return TurnStream(self._turn("stream", text, attachments, timeout, params), open_stream)

    def history(
        self, *, limit: int | None = None, after: str | None = None, before: str | None = None
    ) -> Listing[Message]:
        """List the messages of the thread, the oldest first. Empty as long as there is no thread.

        Args:
            limit: objects per page, 1-100; None leaves it to the server (20).
            after: start behind the message with this id.
            before: walk backward from the message with this id.
        """

        async def fetch(query: Mapping[str, object]) -> Page[Message]:
            if self._talk.thread_id is None:
                return Page(has_more=False)
            return await self._talk.client.list_messages(self._talk.thread_id, **cast("dict[str, Any]", dict(query)))

        return Listing(fetch, {"limit": limit, "order": "asc", "after": after, "before": before})

    @property
    def _toolset(self) -> Toolset:
        return cast("Toolset", self._talk.toolset)  # or what stands in for one

    def _turn(
        self,
        operation: str,
        text: str | Sequence[MessageContentParam],
        attachments: Sequence[MessageAttachment | JsonObject] | None,
        timeout: float | None,
        params: CreateRunParams,
    ) -> Turn:
        """Make a turn of what a caller gave, and refuse what no request can be made of."""
        if not isinstance(text, str | list | tuple):
            raise TypeError(f"what is said must be a str or a list of content parts, got {type(text).__name__}")
        Supervision(timeout)
        question = MessageParams(role="user", content=text)
        if attachments is not None:
            question["attachments"] = attachments
        # This would be found when the run is started too, but then the thread may have been made already.
        unstructure([question, checked_params(operation, CreateRunParams, params)])
        return Turn(self._talk, question, params, timeout)
