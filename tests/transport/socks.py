"""A SOCKS5 proxy on loopback (RFC 1928, RFC 1929) that leads everything to one port of this machine."""

from __future__ import annotations

import asyncio
import contextlib

from .loopback import LoopThread, pipe

__all__ = ["SocksProxy"]

_ADDRESS = bytes([0, 1, 127, 0, 0, 1, 0, 80])


class SocksProxy:
    """The proxy.

    Args:
        thread: where it runs.
        port: where all connections lead.
        reply: its code for whether it connects, 0 for yes.
        garbled: it says something else instead.
    """

    def __init__(self, thread: LoopThread, port: int, *, reply: int = 0, garbled: bytes | None = None) -> None:
        self.asked: list[tuple[str, int]] = []
        """The hosts and ports it was to connect."""
        self.logins: list[tuple[str, str]] = []
        self.open_now = 0
        self._thread = thread
        self._leads_to = port
        self._reply = reply
        self._garbled = garbled
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> SocksProxy:
        self._server = self._thread.run(asyncio.start_server(self._accepted, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.run(self._stop())

    async def _stop(self) -> None:
        self._server.close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open_now += 1
        try:
            if self._garbled is None:
                await self._talk(reader, writer)
            else:
                await reader.read(1)
                writer.write(self._garbled)
        except (OSError, EOFError, asyncio.CancelledError):
            pass
        finally:
            with contextlib.suppress(OSError):
                writer.close()
                await asyncio.sleep(0)
            self.open_now -= 1
            self._tasks.discard(task)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        writer.write(bytes([5, methods[0]]))
        if methods[0] == 2:
            await reader.readexactly(1)
            self.logins.append((await self._text(reader), await self._text(reader)))
            writer.write(b"\x01\x00")
        assert b"\x05\x01\x00\x03" == await reader.readexactly(4)  # connect to a host by its name
        host = await self._text(reader)
        self.asked.append((host, int.from_bytes(await reader.readexactly(2))))
        writer.write(bytes([5, self._reply]) + _ADDRESS)
        if self._reply:
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._leads_to)
        try:
            ways = [asyncio.ensure_future(pipe(reader, far_writer)), asyncio.ensure_future(pipe(far_reader, writer))]
            await asyncio.wait(ways)
        finally:
            far_writer.transport.abort()
            await asyncio.sleep(0)

    @staticmethod
    async def _text(reader: asyncio.StreamReader) -> str:
        (length,) = await reader.readexactly(1)
        return (await reader.readexactly(length)).decode()
