"""How a client's requests go out, by what its policy says of creates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncassist._transport.sender import Channel

if TYPE_CHECKING:
    from asyncassist._operations.base import Caller
    from asyncassist._operations.reconcile import Creation
    from asyncassist._transport.sender import Sender
    from asyncassist._transport.settings import CallOptions
    from asyncassist._wire.requests import Request

__all__ = ["channel_for", "creation_of"]


def channel_for(sender: Sender, options: CallOptions) -> Channel:
    """Return what sends the requests of a client or of a copy with these options."""
    # Few need the others, which are loaded when they are asked for.
    if options.retry.creates == "reconcile":
        from asyncassist._operations.reconcile import ReconcilingChannel

        return ReconcilingChannel(sender, options)
    if options.retry.creates == "idempotency_key":
        from asyncassist._operations.keyed import KeyedChannel

        return KeyedChannel(sender, options)
    return Channel(sender, options)


def creation_of(send: Caller, request: Request) -> Creation | None:
    """Return what settles a create that gets no clear answer; None where the client does not want it settled."""
    if type(send) is Channel:
        return None
    from asyncassist._operations.reconcile import ReconcilingChannel

    return send.creation(request) if isinstance(send, ReconcilingChannel) else None
