"""One page of a listing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Literal, TypeVar

from attrs import frozen

from asyncassist.models._base import Model

__all__ = ["Page"]

_Item = TypeVar("_Item")


@frozen(kw_only=True)
class Page(Model, Generic[_Item]):
    """One page of a listing, in the order the server gave."""

    object: Literal["list"] | str = "list"
    data: tuple[_Item, ...] = ()
    first_id: str | None = None
    """The cursor for ``before``; None on an empty page."""
    last_id: str | None = None
    """The cursor for ``after``; None on an empty page."""
    has_more: bool | None = None
    """Whether there is more beyond this page; None when the server did not say."""

    def __iter__(self) -> Iterator[_Item]:
        """Iterate over the objects of this page alone; ``async for`` over the listing gives those of all pages."""
        return iter(self.data)
