"""Reading answers of HTTP/1.1 off a connection: bytes in, head and body out, and whether another may follow."""

from __future__ import annotations

import httpcore
from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpResponseParser

__all__ = ["AnswerParser"]

_MOST_UNREAD = 100 * 1024
"""Bytes that may come without making a head, or a piece of a body: header lines, trailers, extensions of chunks."""


class AnswerParser:
    """The answers on one connection, one after the other. llhttp reads them, at a twentieth of what h11 takes.

    Attributes:
        status: of the answer, 0 before its head has come.
        headers: names and values as they were sent.
        is_complete: whether the answer has come to its end.
        is_last: whether nothing may follow on this connection.
    """

    def __init__(self) -> None:
        # In a circle with this object, which `close` undoes.
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        # As RFC 9112 tells who reads answers to do: a bare LF ends a line, blanks may follow the size of a chunk, and
        # chunks win over a Content-Length beside them.
        self._parser.set_dangerous_leniencies(
            lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True, lenient_chunked_length=True
        )
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.is_complete = True
        self.is_last = False
        self._has_head = False
        self._ends_with_connection = False
        self._pieces: list[bytes] = []
        self._unread = 0
        self._fault = ""

    def expect(self) -> None:
        """Make ready for the next answer."""
        self.status, self.headers = 0, []
        self.is_complete = self._has_head = False
        self._unread = 0

    def feed(self, data: bytes) -> bytes:
        """Take what has come, and return what it has of the body.

        Raises:
            httpcore.RemoteProtocolError: this is no HTTP/1.1.
            httpcore.ReadError: the connection has been closed here.
        """
        if self._parser is None:  # by another task, in the moment something came
            raise httpcore.ReadError("closed meanwhile")
        try:
            self._parser.feed_data(data)
        except HttpParserCallbackError as error:  # only an interrupt is raised below
            assert error.__context__ is not None
            raise error.__context__ from None
        except (HttpParserError, HttpParserUpgrade) as error:
            self.is_last = True
            if not self.is_complete:  # else it is about what came after the answer
                raise httpcore.RemoteProtocolError(f"the answer is not HTTP/1.1: {error}") from None
        if self._fault:
            raise httpcore.RemoteProtocolError(f"the answer is not HTTP/1.1: {self._fault}")
        pieces = self._pieces
        if pieces:
            self._pieces, self._unread = [], 0
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._unread += len(data)
        if self._unread > _MOST_UNREAD and not self.is_complete:
            what = "chunk has" if self._has_head else "answer has"
            raise httpcore.RemoteProtocolError(f"the {what} a head of more than {_MOST_UNREAD} bytes")
        return b""

    def feed_end(self) -> None:
        """Take that the connection has ended.

        Raises:
            httpcore.RemoteProtocolError: the answer has not.
            httpcore.ReadError: it has been closed here.
        """
        if self._parser is None:
            raise httpcore.ReadError("closed meanwhile")
        self.is_last = True
        if self._ends_with_connection and self._has_head:
            self.is_complete = True
        elif self._has_head:
            raise httpcore.RemoteProtocolError("the connection ended before the answer did")
        elif self._unread:
            raise httpcore.RemoteProtocolError("the connection ended in the head of the answer")
        else:
            raise httpcore.RemoteProtocolError("the server closed the connection without an answer")

    def close(self) -> None:
        """End the use of this object."""
        self._parser = None
        self.is_last = True

    # What llhttp calls.

    def on_message_begin(self) -> None:
        if self.is_complete:  # nobody has asked for another answer
            self.is_last = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._has_head:  # else it is a trailer
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None  # it is calling
        if self.is_complete:
            return
        status = parser.get_status_code()
        if 100 <= status < 200 and status != 101:  # the answer is still to come
            self.headers = []
            return
        if status < 100:
            self._fault = f"it has the status {status}"
        self.status, self._has_head = status, True
        codings = [value.strip().lower() for name, value in self.headers if name.lower() == b"transfer-encoding"]
        if codings not in ([], [b"chunked"]):
            self._fault = "its Transfer-Encoding is not chunked"
        has_length = any(name.lower() == b"content-length" for name, _ in self.headers)
        self._ends_with_connection = not codings and not has_length
        if not parser.should_keep_alive() or (codings and has_length) or status == 101:
            self.is_last = True

    def on_body(self, piece: bytes) -> None:
        if not self.is_complete:
            self._pieces.append(piece)

    def on_message_complete(self) -> None:
        self.is_complete = self._has_head
