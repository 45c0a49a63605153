"""One page of a listing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Generic, Literal, Never, TypeVar, overload

from asyncassist.models._base import Model, frozen

__all__ = ["Page"]

_Item = TypeVar("_Item")


@frozen(kw_only=True)
class Page(Model, Generic[_Item]):
    """One page of a listing, in the order the server gave.

    Attributes:
        data: the objects; ``for``, ``len()`` and ``page[0]`` take them from the page too.
        first_id: the cursor for ``before``; None on an empty page.
        last_id: the cursor for ``after``; None on an empty page.
        has_more: whether there is more beyond this page; None when the server did not say.
    """

    object: Literal["list"] | str = "list"
    data: tuple[_Item, ...] = ()
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool | None = None

    def __iter__(self) -> Iterator[_Item]:
        """Iterate over the objects of this page alone; ``async for`` over the listing gives those of all pages."""
        return iter(self.data)

    def __len__(self) -> int:
        """Count the objects of this page."""
        return len(self.data)

    @overload
    def __getitem__(self, index: int) -> _Item: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[_Item, ...]: ...
    def __getitem__(self, index: int | slice) -> _Item | tuple[_Item, ...]:
        """Return an object of this page, or several, by its place."""
        return self.data[index]

    # Hidden from type checkers, which report the mistake themselves.
    if not TYPE_CHECKING:  # pragma: no branch

        def __aiter__(self) -> Never:
            raise TypeError(
                "a Page is here already: loop over it with `for`; "
                "for the objects of all pages loop over the listing itself, with `async for` and without `await`"
            )
