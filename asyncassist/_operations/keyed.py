"""Creates that carry an idempotency key, for servers that honour it."""

from __future__ import annotations

from secrets import token_hex
from typing import TYPE_CHECKING

from attrs import evolve, frozen

from asyncassist._transport.sender import Channel
from asyncassist._wire.requests import Kind

if TYPE_CHECKING:
    from asyncassist._wire.requests import Request
    from asyncassist._wire.responses import Response

__all__ = ["KeyedChannel"]

_HEADER = "Idempotency-Key"


@frozen
class KeyedChannel(Channel):
    """Gives every create a key, the caller's where there is one, and says that it may be sent again."""

    async def __call__(self, request: Request, /) -> Response:
        options = self.options
        if request.kind is Kind.CREATE:
            request = evolve(request, kind=Kind.KEYED_CREATE)
            if all(name.lower() != _HEADER.lower() for name in options.headers):
                options = options.with_headers({_HEADER: token_hex(16)})
        return await self.sender.send(request, options)
