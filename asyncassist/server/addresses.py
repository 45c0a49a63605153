"""Where a server listens: addresses, sockets, and the URLs that lead to them."""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from attrs import frozen

from asyncassist.errors import UsageError

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Address", "url_of"]

#: Connections the system takes while nobody has asked for the next one yet.
_BACKLOG = 2048


@frozen
class Address:
    """An address and a port of this machine.

    Attributes:
        host: what it was called.
        family: the address family.
        place: what a socket of that family is bound to: the address, the port, and what else there is.
    """

    host: str
    family: socket.AddressFamily
    place: tuple[Any, ...]

    @classmethod
    def of(cls, host: str, port: int) -> Self:
        """Find the address of a name; of several the first, IPv4 before IPv6.

        Args:
            host: a name, or an address as it is.
            port: 0 for any free one.

        Raises:
            UsageError: there is none, or no such port.
        """
        if not host:
            raise UsageError("there is no address to listen on: it is empty")
        try:
            if not 0 <= port <= 65535:
                raise OSError("there is no such port")
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise UsageError(f"port {port} of {host} cannot be opened: {error}") from error
        family, _, _, _, place = min(found, key=lambda item: item[0] != socket.AF_INET)
        return cls(host, family, place)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ip_address(self.place[0]).is_loopback

    @property
    def is_any(self) -> bool:
        """Whether it stands for all addresses of this machine."""
        return ip_address(self.place[0]).is_unspecified

    def listen(self) -> socket.socket:
        """Open a socket that listens: clients can connect, and wait until they are served.

        Raises:
            UsageError: the port cannot be had.
        """
        # With its protocol named, asyncio turns Nagle's algorithm off for the connections: 40 ms an answer otherwise.
        opened = socket.socket(self.family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            # On Windows this option would let two servers have one port.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name == "posix")
            opened.bind(self.place)
            opened.listen(_BACKLOG)
        except OSError as error:
            opened.close()
            reason = error.strerror or error
            raise UsageError(f"port {self.place[1]} of {self.host} cannot be opened: {reason}") from error
        return opened


def url_of(listening: socket.socket) -> str:
    """The URL by which this machine reaches a socket that listens, without a path."""
    address = ip_address(listening.getsockname()[0])
    if address.is_unspecified:  # it listens on every address: this one leads there from here
        address = ip_address("127.0.0.1" if address.version == 4 else "::1")
    host = str(address) if address.version == 4 else f"[{address}]"
    return f"http://{host}:{listening.getsockname()[1]}"
