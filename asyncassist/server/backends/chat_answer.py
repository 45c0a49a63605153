"""The answer of a chat completion, chunk by chunk or at once: from JSON values to pieces of text and a reply."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from asyncassist.errors import StreamError
from asyncassist.models import RunCompletionUsage
from asyncassist.server.backends.base import BackendError, Reply
from asyncassist.server.backends.chat_calls import ToolCalls, array_of, object_of, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ChatAnswer"]

_CUT_SHORT = frozenset({"length", "max_tokens", "model_length"})
_LONGEST_CODE = 100
_LONGEST_MESSAGE = 2000


class ChatAnswer:
    """What has come of an answer so far."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        """Why the model ended; None while it goes on."""
        self.has_begun = False
        """Whether there has been anything of an answer."""
        self._calls = ToolCalls()
        self._usage: Mapping[str, object] = {}
        self._blank: str = ""
        self._has_text = False

    @property
    def has_text(self) -> bool:
        """Whether there has been any text to send on."""
        return self._has_text

    def take(self, chunk: object) -> str:
        """Fold in a chunk, or an answer that is not streamed, and give the text to send on.

        White space at the start is held back: before tool calls, models often say nothing else.

        Raises:
            StreamError: it reports an error, or is no JSON object.
        """
        fields = object_of(chunk)
        if not fields:
            raise StreamError("the answer is no chat completion")
        if (error := _error_in(fields)) is not None:
            raise error
        if usage := object_of(fields.get("usage")):
            self._usage = usage  # of the whole answer so far, where each chunk has one
        # Of several choices, which nobody asked for, the first.
        choices = [choice for choice in map(object_of, array_of(fields.get("choices"))) if not choice.get("index")]
        return "".join(map(self._take_choice, choices))

    def _take_choice(self, choice: Mapping[str, object]) -> str:
        said, is_whole = object_of(choice.get("delta")), False
        if "delta" not in choice and not self.has_begun:  # else it repeats what has been said
            said, is_whole = object_of(choice.get("message")), True
        self.has_begun = True
        self.finish_reason = text_of(choice.get("finish_reason")) or self.finish_reason
        self._calls.take(said.get("tool_calls"), are_whole=is_whole)
        return self._without_blank_start(_content(said.get("content")) + text_of(said.get("refusal")))

    def _without_blank_start(self, text: str) -> str:
        if self._has_text:
            return text
        text = self._blank + text
        self._has_text = bool(text.strip())
        self._blank = "" if self._has_text else text
        return text if self._has_text else ""

    def reply(self, used_ids: Collection[str]) -> Reply:
        """What the turn is answered, its text apart, which has been sent on.

        Args:
            used_ids: of the run's earlier tool calls.

        Raises:
            BackendError: the answer is not to be used.
            StreamError: a tool call cannot be made.
        """
        usage = _usage(self._usage)
        if self.finish_reason == "content_filter":
            raise BackendError("The model server's content filter stopped the answer.", code="invalid_prompt")
        if self.finish_reason == "error":
            raise StreamError("the model failed in the middle of its answer")
        if self.finish_reason in _CUT_SHORT:  # calls that were begun lack their end
            return Reply(usage=usage, stopped_by="max_completion_tokens")
        # Whatever the reason given: some servers say "stop" to calls as well.
        return Reply(usage=usage, tool_calls=self._calls.made(used_ids))


def _error_in(fields: Mapping[str, object]) -> StreamError | None:
    error = fields.get("error")
    if not error and fields.get("object") != "error":
        return None
    facts = object_of(error) or fields
    code = facts.get("code")
    message = text_of(error) or text_of(facts.get("message")) or "the model server reports an error"
    return StreamError(
        message[:_LONGEST_MESSAGE],
        code=str(code)[:_LONGEST_CODE] if isinstance(code, str | int) else None,
        type=text_of(facts.get("type"))[:_LONGEST_CODE] or None,
    )


def _content(content: object) -> str:
    if isinstance(content, str):
        return content
    parts: Sequence[Mapping[str, object]] = [object_of(part) for part in array_of(content)]
    return "".join([text_of(part.get("text")) for part in parts if part.get("type") == "text"])


def _usage(usage: Mapping[str, object]) -> RunCompletionUsage:
    prompt, completion = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    total = _count(usage.get("total_tokens")) or prompt + completion
    return RunCompletionUsage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=total)


def _count(tokens: object) -> int:
    return int(tokens) if isinstance(tokens, int | float) and 0 <= tokens < 1e12 else 0
