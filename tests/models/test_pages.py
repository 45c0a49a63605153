"""A page as a collection of its objects."""

from __future__ import annotations

import asyncio

import pytest

from asyncassist import Page, Thread


def test_a_page_is_a_collection() -> None:
    """It can be looped over, counted, taken from by place, and asked whether it has anything."""
    page = Page(data=(Thread(id="thread_1"), Thread(id="thread_2")))

    assert [thread.id for thread in page] == ["thread_1", "thread_2"]
    assert len(page) == 2
    assert page[-1].id == "thread_2"
    assert page[:1] == (Thread(id="thread_1"),)
    assert list(reversed(page)) == [*page][::-1]
    assert page
    assert not Page()


def test_a_page_is_no_listing() -> None:
    """``async for`` over a page, which would miss all other pages in silence, is an error that says how to go on."""

    async def loop() -> None:
        async for _ in Page(data=(Thread(id="thread_1"),)):  # type: ignore[attr-defined]
            pytest.fail("a page was looped over with async for")

    with pytest.raises(TypeError, match=r"a Page is here already: .* with `async for` and without `await`"):
        asyncio.run(loop())
