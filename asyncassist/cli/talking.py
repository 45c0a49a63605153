"""What ``ask`` and ``chat`` share: who answers, on which thread, and what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

import anyio

from asyncassist.cli.output import note
from asyncassist.cli.running import CommandError
from asyncassist.errors import ActiveRunError, AsyncAssistError, UsageError
from asyncassist.models import AssistantToolsFunction

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Self

    from asyncassist import AsyncClient, Conversation, Run, Toolset
    from asyncassist.models import CreateRunParams

__all__ = ["Answering", "Talk", "as_text", "summary"]

#: The model of an assistant that is made.
MODEL = "gpt-4o"
#: Seconds to clean up in, also after an interrupt.
_CLEAN_UP = 5.0


class Answering(TypedDict):
    """The options that `asyncassist.cli.options.answering_options` adds to a command."""

    assistant: str | None
    model: str | None
    instructions: str | None
    thread: str | None
    run_seconds: float | None


class Talk:
    """A conversation, and its assistant, which is deleted at the end where it was made for it.

    Args:
        client: entered.
        answering: the command's options.
        toolset: answers calls; its functions are offered to the model beside the assistant's own tools.
    """

    def __init__(self, client: AsyncClient, answering: Answering, toolset: Toolset | None) -> None:
        self._client = client
        self._answering = answering
        self._toolset = toolset
        self._made: str | None = None
        self._params: CreateRunParams = {}
        self._conversation: Conversation | None = None

    @property
    def thread_id(self) -> str | None:
        """The thread; None as long as there is none."""
        return self._answering["thread"] if self._conversation is None else self._conversation.thread_id

    async def __aenter__(self) -> Self:
        given = self._answering["assistant"]
        assistant_id = await self._make() if given is None else given
        try:
            if given is not None:
                await self._adapt(given)
            # The message by a request of its own: some servers ignore one that comes with a run.
            self._conversation = self._client.conversation(
                self._answering["thread"],
                assistant_id=assistant_id,
                toolset=self._toolset,
                on_active_run="raise",
                add_message="before_run",
            )
        except BaseException:
            await self._delete()
            raise
        return self

    async def __aexit__(
        self, cls: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        await self._delete()

    async def answer(self, question: str, show: Callable[[str], None]) -> tuple[Run, str]:
        """Ask, and follow the answer to its end.

        Args:
            show: called with each piece of the text.

        Returns:
            The run as it has ended, and the text.

        Raises:
            CommandError: another run is active on the thread.
        """
        assert self._conversation is not None  # entered
        pieces: list[str] = []
        try:
            seconds = self._answering["run_seconds"]
            async with self._conversation.stream(question, timeout=seconds, **self._params) as stream:
                async for piece in stream.text():
                    pieces.append(piece)
                    show(piece)
                run = await stream.until_done()
        except ActiveRunError as error:
            ids = f"{error.thread_id} {error.run_id}"
            hint = f"See it end:  asyncassist runs watch {ids}\nor end it:   asyncassist runs cancel {ids}"
            raise CommandError(str(error), hint=hint) from error
        return run, "".join(pieces)

    async def _make(self) -> str:
        options: dict[str, Any] = {}
        if self._answering["instructions"] is not None:
            options["instructions"] = self._answering["instructions"]
        if self._toolset is not None:
            options["tools"] = self._toolset.definitions
        model = self._answering["model"] or MODEL
        self._made = (await self._client.create_assistant(model=model, name="asyncassist", **options)).id
        return self._made

    async def _adapt(self, assistant_id: str) -> None:
        """Let the runs of an assistant that is there differ from it, as the options say."""
        assistant = await self._client.get_assistant(assistant_id)
        if self._answering["model"] is not None:
            self._params["model"] = self._answering["model"]
        if self._answering["instructions"] is not None:
            self._params["instructions"] = self._answering["instructions"]
        if self._toolset is not None:
            offered = {tool.function.name for tool in assistant.tools if isinstance(tool, AssistantToolsFunction)}
            missing = [tool for tool in self._toolset.definitions if tool.function.name not in offered]
            if missing:
                self._params["tools"] = [*assistant.tools, *missing]

    async def _delete(self) -> None:
        made, self._made = self._made, None
        if made is None:
            return
        with anyio.CancelScope(deadline=anyio.current_time() + _CLEAN_UP, shield=True) as scope:
            try:
                await self._client.delete_assistant(made)
                return
            except AsyncAssistError:
                pass
        note(f"assistant {made} is left on the server: it could not be deleted{' in time' * scope.cancelled_caught}")


def summary(run: Run, text: str) -> dict[str, object]:
    """Put together what came of a question, for machines."""
    return {
        "thread_id": run.thread_id,
        "run_id": run.id,
        "assistant_id": run.assistant_id,
        "status": run.status,
        "text": text,
        "usage": run.usage,
        "last_error": run.last_error,
        "incomplete_details": run.incomplete_details,
    }


def as_text(data: bytes | str, what: str) -> str:
    """Return what a user has typed or piped in.

    Args:
        what: names it in the error.

    Raises:
        UsageError: it is not UTF-8.
    """
    try:
        text = data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data
        return text.decode("utf-8-sig")
    except UnicodeError:
        raise UsageError(f"{what} is not UTF-8") from None
