"""What servers answer that do not stream, where a stream of events was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncassist._wire.converter import structure
from asyncassist._wire.json import loads
from asyncassist.errors import APIConnectionError, DecodeError
from asyncassist.models import Run

if TYPE_CHECKING:
    from asyncassist._transport.byte_stream import ByteStream

__all__ = ["kind_of_answer", "read_run"]

_MOST_OF_ANSWER = 1024 * 1024
"""Bytes read of an answer that is no stream."""
_OTHERS = {b"{": "JSON", b"[": "JSON", b"<": "HTML"}
"""How an answer begins that is no stream of events, whatever its header says."""


def kind_of_answer(data: bytes) -> str | None:
    """Name what an answer is that begins like this; None for a stream of events."""
    return _OTHERS.get(data.lstrip()[:1])


async def read_run(stream: ByteStream, body: bytes) -> Run | None:
    """Read the rest of an answer; return the run it is, None for anything else.

    Args:
        body: what has been read of it.
    """
    try:
        while len(body) < _MOST_OF_ANSWER and (data := await stream.read()):
            body += data
        return structure(loads(body), Run)
    except (APIConnectionError, DecodeError):
        return None
