"""Undo a Content-Encoding in bounded steps, so that a small body can never become a huge one."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from asyncassist.errors import DecodeError

__all__ = ["ACCEPT_ENCODING", "BodyReader"]

ACCEPT_ENCODING = "gzip, deflate"

_STEP = 64 * 1024


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
        self._chunks: list[bytes] = []
        self._size = 0
        self._inflater: _Inflater | None = None
        name = (encoding or "identity").strip().lower()
        if name in ("gzip", "x-gzip", "deflate"):
            self._inflater = _Inflater(name)
        elif name not in ("identity", ""):
            raise DecodeError(f"the answer has Content-Encoding {name[:40]!r}; {ACCEPT_ENCODING} was asked for")

    @property
    def is_full(self) -> bool:
        """Whether all that will be kept has been read."""
        return self._truncate and self._size >= self._limit

    def feed(self, chunk: bytes) -> None:
        """Take a piece as it came from the connection.

        Raises:
            DecodeError: too large, or not compressed as announced.
        """
        if self._inflater is None:
            self._keep(chunk)
            return
        for piece in self._inflater.feed(chunk):
            self._keep(piece)
            if self.is_full:
                return

    def _keep(self, piece: bytes) -> None:
        if self._size + len(piece) > self._limit:
            if not self._truncate:
                raise DecodeError(f"the answer is larger than {self._limit} bytes, the limit for a body")
            piece = piece[: self._limit - self._size]
        self._size += len(piece)
        self._chunks.append(piece)

    def finish(self) -> bytes:
        """Return the whole body.

        Raises:
            DecodeError: the compressed data ends early.
        """
        if self._inflater is not None and not self._truncate and not self._inflater.is_complete:
            raise DecodeError("the compressed answer ends early")
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)


class _Inflater:
    def __init__(self, name: str) -> None:
        self._name = name
        self._zlib = zlib.decompressobj(wbits=31 if name.endswith("gzip") else 15)
        self._fed = False

    @property
    def is_complete(self) -> bool:
        # A body of no bytes at all is an empty one: a 204 may well name an encoding.
        return self._zlib.eof or not self._fed

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield what a chunk inflates to, in bounded pieces made one at a time."""
        if chunk and not self._fed:
            self._fed = True
            # "deflate" means zlib's format (RFC 9110, 8.4.1.2), but some servers send it bare.
            if self._name == "deflate" and not _has_zlib_header(chunk):
                self._zlib = zlib.decompressobj(wbits=-15)
        pending = False  # all input is taken but output is still held back
        while chunk or pending:
            if self._zlib.eof:
                if self._name == "deflate" or not chunk.strip(b"\x00"):
                    return  # bytes after the end mean nothing
                self._zlib = zlib.decompressobj(wbits=31)  # gzip members may follow each other
            try:
                piece = self._zlib.decompress(chunk, _STEP)
            except zlib.error as error:
                raise DecodeError(f"the answer is not valid {self._name}: {error}") from None
            yield piece
            chunk = self._zlib.unused_data if self._zlib.eof else self._zlib.unconsumed_tail
            pending = len(piece) == _STEP and not self._zlib.eof


def _has_zlib_header(chunk: bytes) -> bool:
    return chunk[0] & 0x0F == 8 and (len(chunk) < 2 or (chunk[0] * 256 + chunk[1]) % 31 == 0)
