"""What a stream of a run is made of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from asyncassist._operations.reconcile import Creation
    from asyncassist._transport.byte_stream import ByteStream
    from asyncassist._wire.requests import Request
    from asyncassist.models import Message, Run, RunStep
    from asyncassist.runs.rounds import Rounds
    from asyncassist.runs.watch import OnCancel, Watch

__all__ = ["RunSource"]


@frozen
class RunSource:
    """How a stream is begun, and how the rest of the API is asked about its run."""

    open: Callable[[Request], Awaitable[ByteStream]]
    request: Request
    creation: Creation | None
    """Finds the run that the request has made; None where it carries no tag to find it by."""
    watch: Watch
    messages: Callable[[Run], Awaitable[Iterable[Message]]]
    steps: Callable[[Run], Awaitable[Iterable[RunStep]]]
    rounds: Rounds | None
    timeout: float | None
    on_cancel: OnCancel
    reconcile: bool

    async def begin(self) -> ByteStream | Run:
        """Send the request; return the stream, or the run that was found instead."""
        return await (self.open(self.request) if self.creation is None else self.creation.open())
