"""Opening a TCP connection on asyncio.

asyncio's own happy eyeballs lose a socket when they are cancelled at the wrong moment, and uvloop has none.
"""

from __future__ import annotations

import asyncio
import socket
from itertools import zip_longest
from typing import cast

import anyio

__all__ = ["open_socket"]

_HAPPY_EYEBALLS_SECONDS = 0.25  # RFC 8305's recommended delay

_Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int]]


async def open_socket(host: str, port: int) -> socket.socket:
    """Connect to a host: to its addresses one after the other, not waiting long for one before the next is tried.

    Raises:
        OSError: no address took the connection.
        UnicodeError: this cannot be a host name.
    """
    addresses = _taking_turns(await _resolve(host, port))
    if len(addresses) == 1:
        return await _connect(addresses[0])
    connected: list[socket.socket] = []
    errors: list[OSError] = []

    async def attempt(address: _Address, ended: anyio.Event) -> None:
        try:
            connected.append(await _connect(address))
            group.cancel_scope.cancel()
        except OSError as error:
            errors.append(error)
        finally:
            ended.set()

    try:
        async with anyio.create_task_group() as group:
            for address in addresses:
                ended = anyio.Event()
                group.start_soon(attempt, address, ended)
                with anyio.move_on_after(_HAPPY_EYEBALLS_SECONDS):
                    await ended.wait()
        return _winner(connected, errors)
    finally:
        for late in connected:  # connected in the same moment, or for somebody who has been cancelled since
            late.close()


def _winner(connected: list[socket.socket], errors: list[OSError]) -> socket.socket:
    if connected:
        return connected.pop(0)
    raise errors[0] if len({str(error) for error in errors}) == 1 else OSError("; ".join(map(str, errors)))


async def _resolve(host: str, port: int) -> list[_Address]:
    try:
        # An address given as such needs no name server, and so no thread.
        numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=numeric)
    except socket.gaierror:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return cast("list[_Address]", found)


def _taking_turns(addresses: list[_Address]) -> list[_Address]:
    """Order addresses so that IPv6 and IPv4 take turns (RFC 8305, section 4)."""
    families: dict[int, list[_Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    return [address for row in zip_longest(*families.values()) for address in row if address is not None]


async def _connect(address: _Address) -> socket.socket:
    family, kind, protocol, _, where = address
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setblocking(False)
        await asyncio.get_running_loop().sock_connect(opened, where)
    except BaseException:
        opened.close()
        raise
    return opened
