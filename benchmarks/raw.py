"""Requests as bytes over plain sockets: a load that costs much less than what it is answered by."""

from __future__ import annotations

import json
import selectors
import socket
import time
from typing import Any, Self

from .clients import KEY

HEAD_END = b"\r\n\r\n"
PATIENCE = 60.0


def request(method: str, path: str, body: object = None, *, key: str = KEY) -> bytes:
    """Make the bytes of a request."""
    content = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} /v1{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        "OpenAI-Beta: assistants=v2\r\n"
    )
    if body is not None:
        head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
    return head.encode() + b"\r\n" + content


def complete(data: bytes | bytearray) -> int | None:
    """Give the status of an answer, None when there is more to come."""
    end = data.find(HEAD_END)
    if end < 0:
        return None
    head = bytes(data[:end]).lower()
    length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
    return int(head[9:12]) if len(data) >= end + 4 + length else None


class Connection:
    """One connection, one request at a time."""

    def __init__(self, port: int, *, key: str = KEY) -> None:
        self._port, self._key = port, key
        self.socket = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> tuple[int, bytes]:
        """Send a request, and give the status and the body of its answer."""
        self.socket.sendall(data)
        received = bytearray()
        while (status := complete(received)) is None:
            piece = self.socket.recv(1 << 16)
            if not piece:
                raise ConnectionResetError("the server closed the connection")
            received += piece
        return status, bytes(received.partition(HEAD_END)[2])

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Ask, and give the status and the JSON of the answer."""
        status, content = self.send(request(method, path, body, key=self._key))
        return status, json.loads(content)

    def get(self, method: str, path: str, body: object = None) -> Any:
        """Ask for something that has to work."""
        status, answer = self.ask(method, path, body)
        if status != 200:
            raise RuntimeError(f"{method} {path}: {status} {answer}")
        return answer

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Load:
    """Sends the same request again and again over each of many connections."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self._selector = selectors.DefaultSelector()
        self._connections: list[socket.socket] = []
        self.statuses: dict[int, int] = {}
        """How many answers had each status; 0: the connection was closed."""
        for data in requests:
            connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            self._connections.append(connection)
            self._selector.register(connection, selectors.EVENT_READ, (data, bytearray()))
            connection.send(data)

    def go(self, seconds: float) -> float:
        """Send for some seconds. What is not answered at the end is left for the next time; give the seconds."""
        start = now = time.perf_counter()
        while now - start < seconds and self._selector.get_map():
            for key, _ in self._selector.select(0.1):
                self._read(key)
            now = time.perf_counter()
        return now - start

    def _read(self, key: selectors.SelectorKey) -> None:
        connection = key.fileobj
        assert isinstance(connection, socket.socket)
        data, received = key.data
        piece = connection.recv(1 << 16)
        received += piece
        status = complete(received) if piece else 0
        if status is None:
            return
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if piece:
            received.clear()
            connection.send(data)
        else:
            self._selector.unregister(connection)

    def close(self) -> None:
        """Close all connections."""
        self._selector.close()
        for connection in self._connections:
            connection.close()
