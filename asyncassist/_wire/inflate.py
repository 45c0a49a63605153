"""Undo a Content-Encoding in bounded steps, so that a small body can never become a huge one."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from io import BytesIO

from asyncassist.errors import DecodeError, shown

__all__ = ["ACCEPT_ENCODING", "BodyReader", "Inflater", "inflater"]

ACCEPT_ENCODING = "gzip, deflate"

_STEP = 64 * 1024
# How zlib is told the format.
_GZIP, _ZLIB, _BARE = 31, 15, -15


class BodyReader:
    """Collects a body from its raw pieces.

    Args:
        encoding: the Content-Encoding header.
        limit: bytes after decompression; more is a DecodeError.
        truncate: keep the first bytes up to the limit instead; for bodies that are only quoted.
    """

    def __init__(self, encoding: str | None, *, limit: int, truncate: bool = False) -> None:
        self._limit = limit
        self._truncate = truncate
        # One growing buffer: a list of pieces costs many times the body when they come byte by byte.
        self._body = BytesIO()
        self._inflater = inflater(encoding)

    @property
    def is_full(self) -> bool:
        """Whether all that will be kept has been read."""
        return self._truncate and self._body.tell() >= self._limit

    def feed(self, chunk: bytes) -> None:
        """Take a piece as it came from the connection.

        Raises:
            DecodeError: too large, or not compressed as announced.
        """
        inflater = self._inflater
        if inflater is None:
            self._keep(chunk)
            return
        # In steps, because zlib copies what it has not taken each time.
        for start in range(0, len(chunk), _STEP):
            for piece in inflater.feed(chunk[start : start + _STEP]):
                self._keep(piece)
                if self.is_full:
                    self._inflater = None  # nothing more is kept, so what follows need not make sense
                    return

    def _keep(self, piece: bytes) -> None:
        room = self._limit - self._body.tell()
        if len(piece) > room:
            if not self._truncate:
                raise DecodeError(f"the answer is larger than {self._limit} bytes, the limit for a body")
            piece = piece[:room]
        self._body.write(piece)

    def finish(self) -> bytes:
        """Return the whole body.

        Raises:
            DecodeError: the compressed data ends early.
        """
        if self._inflater is not None and not self._truncate and not self._inflater.is_complete:
            raise DecodeError("the compressed answer ends early")
        return self._body.getvalue()


def inflater(encoding: str | None) -> Inflater | None:
    """Return what undoes a Content-Encoding; None where there is nothing to undo.

    Raises:
        DecodeError: nobody asked for this encoding.
    """
    name = (encoding or "identity").strip().lower()
    if name in ("identity", ""):
        return None
    if name not in ("gzip", "x-gzip", "deflate"):
        raise DecodeError(f"the answer has Content-Encoding {shown(name)}; {ACCEPT_ENCODING} was asked for")
    return Inflater(name)


class Inflater:
    """Undoes gzip or deflate, piece by piece."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._zlib = zlib.decompressobj(wbits=_ZLIB if name == "deflate" else _GZIP)
        self._head = b""
        self._is_started = False

    @property
    def is_complete(self) -> bool:
        """Whether the compressed data has come to its end."""
        # A body of no bytes at all is an empty one: a 204 may well name an encoding.
        return self._zlib.eof or not (self._is_started or self._head)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what a chunk inflates to, in bounded pieces made one at a time.

        Raises:
            DecodeError: this is not compressed as announced.
        """
        if not self._is_started:
            self._head += chunk
            if len(self._head) < 2:
                return
            chunk, self._head = self._head, b""
            self._is_started = True
            # "deflate" means zlib's format (RFC 9110, 8.4.1.2), but some servers send it bare: two bytes tell.
            if self._name == "deflate" and not _has_zlib_header(chunk):
                self._zlib = zlib.decompressobj(wbits=_BARE)
        pending = False  # all input is taken but output is still held back
        while chunk or pending:
            if self._zlib.eof:
                # gzip members may follow each other, zeros between them; after zlib's end nothing means anything.
                chunk = b"" if self._name == "deflate" else chunk.lstrip(b"\x00")
                if not chunk:
                    return
                self._zlib = zlib.decompressobj(wbits=_GZIP)
            try:
                piece = self._zlib.decompress(chunk, _STEP)
            except zlib.error as error:
                raise DecodeError(f"the answer is not valid {self._name}: {error}") from None
            yield piece
            chunk = self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail
            pending = len(piece) == _STEP and not self._zlib.eof


def _has_zlib_header(chunk: bytes) -> bool:
    return chunk[0] & 0x0F == 8 and (chunk[0] * 256 + chunk[1]) % 31 == 0
