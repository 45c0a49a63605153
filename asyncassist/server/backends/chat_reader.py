"""The bytes of a chat completion, a stream of events or one JSON document: read without I/O."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from asyncassist._wire.json import loads
from asyncassist._wire.sse import MAX_EVENT, ServerSentEvent, SSEDecoder
from asyncassist.errors import DecodeError, StreamError
from asyncassist.server.backends.chat_answer import ChatAnswer
from asyncassist.server.backends.chat_calls import object_of

__all__ = ["AnswerReader"]

_BOM: Final = b"\xef\xbb\xbf"


class _NotJsonError(StreamError):
    pass


class AnswerReader:
    """Takes the bytes as they come and gives the text in them. Servers that were asked to stream may not do so.

    Args:
        limit: bytes an event, or an answer that is not streamed, may have.
    """

    def __init__(self, *, limit: int = MAX_EVENT) -> None:
        self.answer = ChatAnswer()
        self._limit = limit
        self._start: bytes | None = b""
        self._document: bytearray | None = None
        self._decoder = SSEDecoder(limit=limit)
        self._is_done = False

    @property
    def is_done(self) -> bool:
        """Whether the server has said that there is no more to come."""
        return self._is_done

    @property
    def is_whole(self) -> bool:
        """Whether the answer has all it needs, although more may come."""
        return self.answer.has_begun and (self._is_done or self.answer.finish_reason is not None)

    def feed(self, data: bytes) -> Iterator[str]:
        """Take the next bytes and give the pieces of text they complete.

        Raises:
            StreamError: from the iterator: the server reports an error, or this is no chat completion.
        """
        if self._start is not None:
            # What it is shows in its first letter; servers do not always put the right name on it.
            start = self._start + data
            first = start.removeprefix(_BOM).lstrip()[:1]
            if not first or _BOM.startswith(start):
                self._start = start
                return
            self._start = None
            if first == b"<":
                raise StreamError("the answer is HTML, where a chat completion is due")
            self._document = bytearray() if first in b"{[" else None
            data = start
        if self._document is None:
            for event in self._decoder.feed(data):
                yield self._take_event(event)
            return
        self._document += data
        if len(self._document) > self._limit:
            raise StreamError(f"the answer has more than {self._limit} bytes")

    def finish(self) -> Iterator[str]:
        """Take the end of the bytes and give the text it completes.

        Raises:
            StreamError: from the iterator: the server reports an error, or this is no chat completion.
        """
        if self._document is not None:
            yield self.answer.take(_read(bytes(self._document)))
            self._is_done = True
            return
        try:
            # Some servers leave out the blank line behind their last event.
            last = list(self._decoder.feed(b"\n\n"))
        except StreamError:
            return  # half a letter
        for event in last:
            try:
                text = self._take_event(event)
            except _NotJsonError:
                return  # half an event
            yield text

    def _take_event(self, event: ServerSentEvent) -> str:
        data = event.data.strip()
        if not data or self._is_done:
            return ""
        if data == "[DONE]":
            self._is_done = True
            return ""
        chunk = _read(data)
        if event.event == "error" and "error" not in object_of(chunk):
            return self.answer.take({"error": chunk or True})
        return self.answer.take(chunk)


def _read(data: bytes | str) -> object:
    try:
        return loads(data)
    except DecodeError as error:
        raise _NotJsonError(f"the answer is no chat completion: {error.message}") from None
