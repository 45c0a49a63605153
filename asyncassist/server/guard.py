"""What a client may do before its request is there: how much it may send, and how long it may take.

uvicorn bounds neither: a client that sends the head of a request letter by letter, or nothing at all, would keep its
connection for ever. With httptools, by which it parses, a head could also be of any length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

__all__ = ["HEAD_SECONDS", "MAX_HEAD", "MAX_REST", "Guard"]

#: Bytes the head of a request may have.
MAX_HEAD = 65_536
#: Seconds a connection may be open, or go on, without the whole head of a request.
HEAD_SECONDS = 20.0
#: Bytes of a body that may still come after it was refused, so that its client gets to read why.
MAX_REST = 128 * 1024 * 1024


class _Exchange(Protocol):
    response_complete: bool
    more_body: bool


class Connection(Protocol):
    """What is used of uvicorn's HTTP protocols."""

    cycle: _Exchange | None
    transport: asyncio.Transport
    timeout_keep_alive_task: asyncio.TimerHandle | None

    def data_received(self, data: bytes) -> Any: ...


class Guard:
    """Closes the connections of one port that send too much, or take too long."""

    def __init__(self) -> None:
        self._since: dict[Connection, float] = {}

    def watch(self, connection: Connection) -> None:
        """Count what comes in from here on."""
        feed = connection.data_received
        size = 0

        def data_received(data: bytes) -> None:
            nonlocal size
            feed(data)
            exchange = connection.cycle
            if exchange is not None and not exchange.response_complete:
                size = 0
                return
            size += len(data)
            if size > (MAX_REST if exchange is not None and exchange.more_body else MAX_HEAD):
                connection.transport.close()

        connection.data_received = data_received  # type: ignore[method-assign]

    def sweep(self, connections: Iterable[Connection], now: float) -> None:
        """Close those that have had no request for too long. To be called every second or so.

        Args:
            connections: all that are open.
            now: the time, in seconds of any clock.
        """
        self._since = {each: self._since.get(each, now) for each in connections if _waits(each)}
        for connection, since in self._since.items():
            if now - since > HEAD_SECONDS:
                connection.transport.close()


def _waits(connection: Connection) -> bool:
    """Whether a connection has no request, and has not just answered one: then uvicorn counts the time."""
    exchange = connection.cycle
    return (exchange is None or exchange.response_complete) and connection.timeout_keep_alive_task is None
