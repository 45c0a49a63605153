"""What a hostile client does to a server, with how each of its requests ended: ``python -m benchmarks.attacks``."""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from . import raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

CUT = "cut"
OPEN = "still open"
GIVEN_UP = 90.0
BODY = 100_000_000
LARGE = 50_000_000
TINY = 1_000_000
DEPTH = 100_000
AT_ONCE = 4
CONNECTIONS = 1_000
GUESSES = 10_000
GUESSING = 20
UNREAD = 20
UNREAD_SECONDS = 20.0
WORDS = 5_000


def attack(name: str, port: int, key: str) -> dict[str, Any]:
    """Attack once; say how the requests ended, and after how long the last one."""
    start = time.monotonic()
    endings = Counter(ATTACKS[name](port, key))
    return {"endings": endings, "seconds": time.monotonic() - start}


def big_bodies(port: int, key: str) -> Iterator[str]:
    """Announce 100 MB, and send them whatever the server says."""
    content = b'{"metadata": {"a": "' + b"x" * BODY + b'"}}'
    head = _head("/threads", key, f"Content-Length: {len(content)}")
    yield from _at_once(port, [head + content] * AT_ONCE)


def chunked_bodies(port: int, key: str) -> Iterator[str]:
    """Send 100 MB without a length before."""
    piece = b"x" * 100_000
    chunks = (b"%x\r\n" % len(piece) + piece + b"\r\n") * (BODY // len(piece)) + b"0\r\n\r\n"
    yield from _at_once(port, [_head("/threads", key, "Transfer-Encoding: chunked") + chunks] * AT_ONCE)


def tiny_chunks(port: int, key: str) -> Iterator[str]:
    """Send a million bytes, each in a chunk of its own."""
    chunks = b"1\r\nx\r\n" * TINY + b"0\r\n\r\n"
    yield from _at_once(port, [_head("/threads", key, "Transfer-Encoding: chunked") + chunks] * AT_ONCE)


def tiny_chunks_unasked(port: int, key: str) -> Iterator[str]:
    """Send such chunks without a key that is let in."""
    yield from tiny_chunks(port, key + "-wrong")


def large_bodies(port: int, key: str) -> Iterator[str]:
    """Send 50 MB, which is allowed, but holds a value that is too long."""
    content = b'{"metadata": {"a": "' + b"x" * LARGE + b'"}}'
    yield from _at_once(port, [_head("/threads", key, f"Content-Length: {len(content)}") + content] * AT_ONCE)


def deep_bodies(port: int, key: str) -> Iterator[str]:
    """Send JSON that is 100,000 deep, in many places."""
    arrays, objects = "[" * DEPTH + "]" * DEPTH, '{"a":' * DEPTH + "1" + "}" * DEPTH
    tools = '{"model": "any", "tools": [{"type": "function", "function": {"name": "f", "parameters": ', "}}]}"
    less_deep = '{"a":' * 900 + "1" + "}" * 900
    deep = (
        ("/threads", arrays),
        ("/threads", objects),
        ("/threads", "[" * DEPTH),
        ("/threads", '{"metadata": ' + objects + "}"),
        ("/threads", '{"messages": ' + arrays + "}"),
        ("/threads", '{"nothing": ' + objects + "}"),
        ("/assistants", objects.join(tools)),
        ("/assistants", less_deep.join(tools)),
    )
    bodies = [(path, text.encode()) for path, text in deep] * 5
    yield from _at_once(
        port, [_head(path, key, f"Content-Length: {len(text)}") + text for path, text in bodies], width=4
    )


def slow_heads(port: int, key: str) -> Iterator[str]:
    """Send the head of a request a byte a second, over 1,000 connections."""
    yield from _slowly(port, raw.request("GET", "/assistants", key=key), b"")


def slow_bodies(port: int, key: str) -> Iterator[str]:
    """Send a body a byte a second, over 1,000 connections."""
    content = b'{"metadata": {"a": "' + b"x" * 300 + b'"}}'
    yield from _slowly(port, content, _head("/threads", key, f"Content-Length: {len(content)}"))


def idle(port: int, key: str) -> Iterator[str]:
    """Open 1,000 connections and send nothing."""
    yield from _slowly(port, b"", b"")


def idle_after_answer(port: int, key: str) -> Iterator[str]:
    """Ask once over each of 1,000 connections, and never again."""
    yield from _slowly(port, b"", raw.request("GET", "/assistants", key=key), answers=1)


def guesses(port: int, key: str) -> Iterator[str]:
    """Guess the key 10,000 times, as fast as it is refused."""
    requests = [raw.request("GET", "/assistants", key=f"{key[:-5]}{number:05d}") for number in range(GUESSES)]
    yield from _at_once(port, requests, width=GUESSING)


def unread_streams(port: int, key: str) -> Iterator[str]:
    """Have 20 long answers streamed, and read none of them."""
    with raw.Connection(port, key=key) as connection:
        assistant = connection.get("POST", "/assistants", {"model": "any"})["id"]
        thread = {"messages": [{"role": "user", "content": "word " * WORDS}]}
        body = {"assistant_id": assistant, "thread": thread, "stream": True}
        readers: list[socket.socket] = []
        for _ in range(UNREAD):
            reader = socket.socket()
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
            reader.settimeout(GIVEN_UP)
            reader.connect(("127.0.0.1", port))
            reader.sendall(raw.request("POST", "/threads/runs", body, key=key))
            readers.append(reader)
        time.sleep(UNREAD_SECONDS)
        for reader in readers:
            begin = reader.recv(12)
            yield f"{begin[9:].decode()}, left unread after {UNREAD_SECONDS:g} s"
            reader.close()


ATTACKS: dict[str, Callable[[int, str], Iterable[str]]] = {
    "bodies of 100 MB": big_bodies,
    "bodies of 100 MB, chunked": chunked_bodies,
    "bodies in chunks of a byte": tiny_chunks,
    "chunks of a byte, wrong key": tiny_chunks_unasked,
    "bodies of 50 MB": large_bodies,
    "JSON 100,000 deep": deep_bodies,
    "1,000 slow heads": slow_heads,
    "1,000 slow bodies": slow_bodies,
    "1,000 idle connections": idle,
    "1,000 idle after an answer": idle_after_answer,
    "20 streams nobody reads": unread_streams,
    "10,000 guessed keys": guesses,
}


def _head(path: str, key: str, line: str) -> bytes:
    return (
        f"POST /v1{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nOpenAI-Beta: assistants=v2\r\n"
        f"Content-Type: application/json\r\n{line}\r\n\r\n"
    ).encode()


def _ending(answer: bytes | bytearray) -> str:
    """Say what an answer is: its status, and whether it has the form of the API's errors."""
    status = raw.complete(answer)
    if status is None:
        return CUT
    if status == 200:
        return "200"
    try:
        message = json.loads(answer.partition(raw.HEAD_END)[2])["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return f"{status} in no form"
    return f"{status} {message[:60]}"


class _Exchange:
    """A connection that sends one request after the other, never waiting for the answer before it reads."""

    def __init__(self, port: int, requests: Iterator[bytes]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), GIVEN_UP)
        self.socket.setblocking(False)
        self._requests = requests
        self.begin()

    def begin(self) -> bool:
        """Take the next request, if there is one."""
        self.received = bytearray()
        data = next(self._requests, None)
        self.left = memoryview(data or b"")
        return data is not None

    def write(self) -> None:
        """Send what there is room for."""
        try:
            self.left = self.left[self.socket.send(self.left[: 1 << 18]) :]
        except BlockingIOError:
            pass
        except OSError:
            self.left = self.left[:0]  # an answer may still be there to be read

    def read(self) -> str | None:
        """Read; give how the request ended, None while it has not."""
        try:
            piece = self.socket.recv(1 << 16)
        except BlockingIOError:
            return None
        except OSError:
            piece = b""
        self.received += piece
        if piece and raw.complete(self.received) is None:
            return None
        return _ending(self.received)


def _at_once(port: int, requests: list[bytes], *, width: int = AT_ONCE) -> Iterator[str]:
    """Make requests over some connections; one that is closed is opened again."""
    todo = iter(requests)
    left = len(requests)
    deadline = time.monotonic() + GIVEN_UP
    selector = selectors.DefaultSelector()
    for _ in range(min(width, left)):
        _register(selector, _Exchange(port, todo))
    while left and time.monotonic() < deadline:
        for key, events in selector.select(1.0):
            exchange: _Exchange = key.data
            if events & selectors.EVENT_WRITE:
                exchange.write()
                if not exchange.left:
                    selector.modify(exchange.socket, selectors.EVENT_READ, exchange)
            if events & selectors.EVENT_READ and (ending := exchange.read()) is not None:
                left -= 1
                yield ending
                selector.unregister(exchange.socket)
                is_over = ending == CUT or bool(exchange.left) or b"connection: close" in exchange.received.lower()
                if is_over:
                    exchange.socket.close()
                    exchange = _Exchange(port, todo)
                    if exchange.left:
                        _register(selector, exchange)
                elif exchange.begin():
                    _register(selector, exchange)
    yield from [OPEN] * left


def _register(selector: selectors.BaseSelector, exchange: _Exchange) -> None:
    selector.register(exchange.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, exchange)


def _slowly(port: int, data: bytes, first: bytes, *, answers: int = 0) -> Iterator[str]:
    """Open many connections and send over each, a byte a second; give how it ended.

    Args:
        port: the server's.
        data: what is sent byte by byte.
        first: what is sent before, at once.
        answers: how many answers are no ending yet.
    """
    selector = selectors.DefaultSelector()
    received: dict[socket.socket, bytearray] = {}
    for _ in range(CONNECTIONS):
        connection = socket.create_connection(("127.0.0.1", port), GIVEN_UP)
        connection.setblocking(False)
        selector.register(connection, selectors.EVENT_READ)
        received[connection] = bytearray()
        connection.send(first)
    start, sent = time.monotonic(), 0
    while received and (now := time.monotonic()) < start + GIVEN_UP:
        for key, _ in selector.select(0.1):
            assert isinstance(key.fileobj, socket.socket)
            connection = key.fileobj
            try:
                piece = connection.recv(1 << 16)
            except OSError:
                piece = b""
            received[connection] += piece
            if not piece or (not answers and raw.complete(received[connection]) is not None):
                selector.unregister(connection)
                ending = _ending(received.pop(connection))
                yield f"{ending}, then {CUT}" if answers else ending
                connection.close()
        if now - start > sent + 1 and sent < len(data):
            for connection in received:
                try:
                    connection.send(data[sent : sent + 1])
                except OSError:
                    continue  # it is read in the next round
            sent += 1
    yield from [OPEN] * len(received)


def main() -> None:
    """Read the attack's name, the port and a key from the command line; write the endings as JSON."""
    name, port, key = sys.argv[1:]
    print(json.dumps(attack(name, int(port), key)))


if __name__ == "__main__":
    main()
