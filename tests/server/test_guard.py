"""What is counted of a connection before its request is there, with a connection and a clock moved by hand."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import define, field

from asyncassist.server.guard import HEAD_SECONDS, MAX_HEAD, MAX_REST, Guard


@define
class Exchange:
    response_complete: bool = False
    more_body: bool = False


@define(eq=False)
class Connection:
    """What a guard sees of a connection of uvicorn, with a transport that can be closed only."""

    cycle: Exchange | None = None
    timeout_keep_alive_task: object = None
    is_closed: bool = False
    received: list[bytes] = field(factory=list[bytes])
    data_received: Any = None

    def __attrs_post_init__(self) -> None:
        self.data_received = self.received.append

    @property
    def transport(self) -> Any:
        return self

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize(
    ("cycle", "most"),
    [
        (None, MAX_HEAD),
        (Exchange(response_complete=True), MAX_HEAD),
        (Exchange(response_complete=True, more_body=True), MAX_REST),
    ],
)
def test_what_comes_before_a_request_is_bounded(cycle: Exchange | None, most: int) -> None:
    """A head may have its size, the rest of a refused body more; with one byte too many the connection is closed."""
    connection: Any = Connection(cycle)
    Guard().watch(connection)
    half = b"x" * (most // 2)

    connection.data_received(half)
    connection.data_received(half)
    assert not connection.is_closed
    connection.data_received(b"x")

    assert connection.is_closed
    assert connection.received == [half, half, b"x"]


def test_a_request_is_not_bounded_here() -> None:
    """While a request is being read and answered nothing is counted, and the next head is counted from its start."""
    connection: Any = Connection()
    Guard().watch(connection)
    for _ in range(3):
        connection.cycle = Exchange(more_body=True)
        connection.data_received(b"x" * (MAX_HEAD + 1))
        connection.cycle = Exchange(response_complete=True)
        connection.data_received(b"x" * MAX_HEAD)

    assert not connection.is_closed


def test_connections_without_a_request_are_closed_in_time() -> None:
    """The time counts from when a connection was first seen without a request; others are left to uvicorn."""
    waiting: Any = Connection()
    answering: Any = Connection(Exchange())
    just_answered: Any = Connection(Exchange(response_complete=True), timeout_keep_alive_task=object())
    late: Any = Connection(Exchange())
    guard = Guard()
    for now in (0.0, 1.0):
        guard.sweep([waiting, answering, just_answered, late], now)
    late.cycle = None

    guard.sweep([waiting, answering, just_answered, late], HEAD_SECONDS)
    assert not waiting.is_closed
    guard.sweep([waiting, answering, just_answered, late], HEAD_SECONDS + 0.1)

    assert waiting.is_closed
    assert not any(each.is_closed for each in (answering, just_answered, late))
