"""The say a program has before a tool is called."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from attrs import field, frozen

from asyncassist.models import UNSET, Run

__all__ = ["Allow", "BeforeCall", "Deny", "PendingCall", "Replace", "Verdict"]


@frozen(kw_only=True)
class PendingCall:
    """A call a model asks for, before it is made. Its arguments fit the tool's parameters."""

    id: str
    name: str
    """The tool's."""
    arguments: Mapping[str, object] = field(repr=False)
    """Decoded JSON, as the model wrote it. The call's own copy: changing it changes nothing."""
    run: Run = field(repr=False)
    """The run that waits for the output."""


@frozen
class Allow:
    """Make the call."""


@frozen
class Deny:
    """Do not make the call; tell the model that it was denied."""

    reason: str = ""
    """For the model."""


@frozen(kw_only=True)
class Replace:
    """Answer the call with an output of your own, or make it with other arguments. Give exactly one of the two.

    Raises:
        TypeError: both are given, or none.
    """

    output: object = UNSET
    """Anything a tool may return; the tool is not called."""
    arguments: Mapping[str, object] | None = None
    """As decoded JSON."""

    def __attrs_post_init__(self) -> None:
        if (self.output is UNSET) == (self.arguments is None):
            raise TypeError("Replace takes either an output or arguments")


Verdict: TypeAlias = Allow | Deny | Replace | bool | None
"""None and True mean `Allow`, False means `Deny`."""

BeforeCall: TypeAlias = Callable[[PendingCall], Verdict | Awaitable[Verdict]]
