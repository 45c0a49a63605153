"""The client's door to conversations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncassist._operations.threads import ThreadOperations
from asyncassist._wire.polls import PollPolicy
from asyncassist._wire.requests import request_for
from asyncassist.errors import UsageError, shown
from asyncassist.runs.streaming import RunStreaming
from asyncassist.runs.waiting import begin_rounds
from asyncassist.runs.watch import DEFAULT_POLL, Supervision

if TYPE_CHECKING:
    from asyncassist.conversation.talk import Conversation
    from asyncassist.conversation.turns import AddMessage, OnActiveRun
    from asyncassist.tools import Toolset

__all__ = ["Conversing"]


class Conversing(RunStreaming, ThreadOperations):
    """Talk to assistants turn by turn."""

    def conversation(
        self,
        thread_id: str | None = None,
        *,
        assistant_id: str,
        toolset: Toolset | None = None,
        on_active_run: OnActiveRun = "wait",
        add_message: AddMessage = "with_run",
        poll: PollPolicy = DEFAULT_POLL,
    ) -> Conversation:
        """Return a conversation: one thread, one turn at a time. Nothing is sent.

        Args:
            thread_id: the thread to go on with; None makes one with the first turn.
            assistant_id: the assistant that answers.
            toolset: answers the tool calls of its runs; None cancels a run that asks for any, with a `ToolError`.
            on_active_run: what to do when a run of others, such as another process, is active on the thread: ``"wait"``
                for its end, ``"cancel"`` it, or ``"raise"`` `ActiveRunError`.
            add_message: how a message comes onto the thread. ``"with_run"`` sends it with its run, in one request.
                ``"before_run"`` is for servers that ignore ``additional_messages``: a request of its own, whose message
                is deleted again if the run cannot be started.
            poll: how often to look at runs.

        Raises:
            UsageError, TypeError: a value cannot be used.
        """
        from asyncassist.conversation.talk import Conversation  # whoever does not talk need not load it
        from asyncassist.conversation.turns import NoToolset, Talk

        if thread_id is not None:
            request_for("GET /threads/{thread_id}", thread_id)
        if not isinstance(assistant_id, str):
            raise TypeError(f"assistant_id must be a str, got {type(assistant_id).__name__}")
        if on_active_run not in ("wait", "cancel", "raise"):
            raise UsageError(f'on_active_run must be "wait", "cancel" or "raise", got {shown(on_active_run)}')
        if add_message not in ("with_run", "before_run"):
            raise UsageError(f'add_message must be "with_run" or "before_run", got {shown(add_message)}')
        Supervision(poll=poll)
        begin_rounds(toolset, self._pacing)
        talk = Talk(
            client=self,
            pacing=self._pacing,
            assistant_id=assistant_id,
            toolset=NoToolset() if toolset is None else toolset,
            on_active_run=on_active_run,
            add_message=add_message,
            poll=poll,
            wait=self._wait,
            messages_of=self._messages_of,
            thread_id=thread_id,
        )
        return Conversation(talk)
