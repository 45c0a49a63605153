"""The keyword arguments that errors share, for type checkers."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ConnectionFacts", "StatusFacts", "StreamFacts"]


class ConnectionFacts(TypedDict, total=False):
    """The keyword arguments of `APIConnectionError`."""

    method: str | None
    path: str | None
    sent: bool
    stale: bool
    attempts: int


class StatusFacts(TypedDict, total=False):
    """The keyword arguments of `APIStatusError`, its status apart."""

    code: str | None
    param: str | None
    type: str | None
    request_id: str | None
    retry_after: float | None
    method: str | None
    path: str | None
    body: str
    headers: Mapping[str, str] | None
    attempts: int


class StreamFacts(TypedDict, total=False):
    """The keyword arguments of `StreamError`."""

    code: str | None
    param: str | None
    type: str | None
    event: str | None
    field: str
