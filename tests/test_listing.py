"""Listings over a fetch in memory: what is asked when, and how walks end."""

from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from types import AsyncGeneratorType
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from attrs import frozen

from asyncassist import Listing, PaginationError, UsageError
from asyncassist.models import Page

pytestmark = pytest.mark.anyio


@frozen
class Item:
    """Anything with an id."""

    id: str


ALL = tuple("abcdefg")


class Server:
    """Answers pages of the letters a to g, and remembers what it was asked."""

    def __init__(self, size: int = 3) -> None:
        self.size = size
        self.asked: list[dict[str, object]] = []
        self.failures: list[Exception] = []
        self.gate: anyio.Event | None = None

    async def fetch(self, query: Mapping[str, object]) -> Page[Item]:
        self.asked.append(dict(query))
        await anyio.lowlevel.checkpoint()
        if self.gate is not None:
            await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        low = ALL.index(str(query["after"])) + 1 if query.get("after") else 0
        high = ALL.index(str(query["before"])) if query.get("before") else len(ALL)
        rest = ALL[low:high]
        chosen = rest[-self.size :] if query.get("before") else rest[: self.size]
        return Page(
            data=tuple(map(Item, chosen)),
            first_id=chosen[0] if chosen else None,
            last_id=chosen[-1] if chosen else None,
            has_more=len(chosen) < len(rest),
        )

    def listing(self, **query: object) -> Listing[Item]:
        return Listing(self.fetch, query)

    @property
    def cursors(self) -> list[object]:
        return [query.get("after") or query.get("before") for query in self.asked]


async def letters(listing: Listing[Item]) -> str:
    return "".join([item.id async for item in listing])


# --- what is asked when


async def test_nothing_is_asked_before_first_use() -> None:
    """Making a listing, its iterators and its repr costs no request."""
    server = Server()
    listing = server.listing(limit=3)

    aiter(listing)
    listing.pages()

    assert repr(listing) == "<Listing {'limit': 3}>"
    assert server.asked == []


async def test_a_loop_follows_the_cursor_to_the_end() -> None:
    """Every object once, in order, each page asked for with the query it began with."""
    server = Server()

    assert await letters(server.listing(limit=3, order="asc")) == "abcdefg"
    assert server.asked == [
        {"limit": 3, "order": "asc"},
        {"limit": 3, "order": "asc", "after": "c"},
        {"limit": 3, "order": "asc", "after": "f"},
    ]


async def test_a_loop_starts_after_a_given_object() -> None:
    """``after`` is where the walk begins."""
    assert await letters(Server().listing(after="d")) == "efg"


async def test_a_loop_goes_backward() -> None:
    """With ``before`` the object next to it comes first, and the start of the listing last."""
    server = Server()

    assert await letters(server.listing(before="g")) == "fedcba"
    assert server.cursors == ["g", "d"]


async def test_an_empty_listing() -> None:
    """One request, no object, no page."""
    server = Server()
    listing = server.listing(after="g")

    assert await letters(listing) == ""
    assert [page async for page in listing.pages()] == []
    assert await listing.collect() == []
    assert len(server.asked) == 3


async def test_pages_come_only_when_they_are_needed() -> None:
    """The next page is asked for with the first object beyond the one before."""
    server = Server()
    items = aiter(server.listing())

    for _ in range(3):
        await anext(items)
    assert len(server.asked) == 1
    await anext(items)
    assert len(server.asked) == 2


async def test_await_gives_the_first_page() -> None:
    """As the server sent it, and again when awaited again."""
    server = Server()
    listing = server.listing()

    page = await listing

    assert (page.data, page.last_id, page.has_more) == ((Item("a"), Item("b"), Item("c")), "c", True)
    assert await listing == page
    assert server.cursors == [None, None]


async def test_pages() -> None:
    """Whole pages in walking order, each in the server's own order."""
    assert [[i.id for i in page.data] async for page in Server().listing().pages()] == [[*"abc"], [*"def"], ["g"]]
    assert [[i.id for i in page.data] async for page in Server().listing(before="f").pages()] == [[*"cde"], [*"ab"]]


async def test_every_loop_starts_anew() -> None:
    """A listing can be used any number of times, at once too."""
    listing = Server().listing()
    first, second = aiter(listing), aiter(listing)

    assert [(await anext(first)).id, (await anext(second)).id, (await anext(first)).id] == ["a", "a", "b"]
    assert await letters(listing) == "abcdefg"
    assert await letters(listing) == "abcdefg"


@pytest.mark.parametrize(
    ("max_items", "found", "requests"),
    [
        (None, "abcdefg", 3),
        (0, "", 0),
        (1, "a", 1),
        (3, "abc", 1),
        (4, "abcd", 2),
        (7, "abcdefg", 3),
        (99, "abcdefg", 3),
    ],
)
async def test_collect(max_items: int | None, found: str, requests: int) -> None:
    """As many objects as asked for, with no request beyond them."""
    server = Server()

    items = await server.listing().collect(max_items)

    assert "".join(item.id for item in items) == found
    assert len(server.asked) == requests


async def test_collect_backward() -> None:
    """The objects nearest to the starting point."""
    assert [item.id for item in await Server().listing(before="f").collect(max_items=4)] == [*"edcb"]


@pytest.mark.parametrize("max_items", [-1, 1.0, "3", True, -(10**5000)], ids=["-1", "float", "str", "bool", "huge"])
async def test_collect_refuses_what_is_no_count(max_items: int) -> None:
    """Before anything is asked."""
    server = Server()

    with pytest.raises(UsageError, match="max_items must be an int"):
        await server.listing().collect(max_items)

    assert server.asked == []


# --- used as a list


@pytest.mark.parametrize(
    "use", [list, len, lambda listing: listing[0], lambda listing: listing[:3], lambda listing: [*listing], reversed]
)
async def test_a_listing_is_no_list(use: Callable[[Any], object]) -> None:
    """Whoever takes it for one is told what to write, and nothing is asked."""
    server = Server()

    with pytest.raises(TypeError, match=r"loop over it with `async for`, .*`await listing\.collect\(\)`"):
        use(server.listing())

    assert server.asked == []


async def test_pages_are_no_list() -> None:
    """They are told to be asked for one by one."""
    with pytest.raises(TypeError, match="`async for page in listing.pages"):
        list(Server().listing().pages())  # type: ignore[call-overload]


async def test_a_listing_is_true() -> None:
    """Whatever is in it: asking is another thing."""
    assert bool(Server().listing()) is True


# --- ends


async def test_an_iterator_stays_at_its_end() -> None:
    """Asked again it says so again, without a request."""
    server = Server()
    items, pages = aiter(server.listing()), server.listing().pages()
    async for _ in items:
        pass
    async for _ in pages:
        pass

    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await anext(items)
        with pytest.raises(StopAsyncIteration):
            await anext(pages)
    assert len(server.asked) == 6


async def test_an_error_ends_the_iteration() -> None:
    """As with a generator: the error once, then the end; the listing itself can be walked again."""
    server = Server()
    listing = server.listing()
    items = aiter(listing)
    for _ in range(3):
        await anext(items)
    server.failures = [ConnectionError("cut")]

    with pytest.raises(ConnectionError):
        await anext(items)
    with pytest.raises(StopAsyncIteration):
        await anext(items)
    assert await letters(listing) == "abcdefg"


async def test_an_error_on_the_first_page() -> None:
    """It comes out of every form of use."""
    server = Server()
    server.failures = [ConnectionError(str(number)) for number in range(4)]
    listing = server.listing()

    with pytest.raises(ConnectionError):
        await listing
    with pytest.raises(ConnectionError):
        await letters(listing)
    with pytest.raises(ConnectionError):
        await anext(listing.pages())
    with pytest.raises(ConnectionError):
        await listing.collect()


async def test_a_server_that_repeats_itself() -> None:
    """A server that ignores the cursor ends the walk with an error, after its page was given."""
    asked = 0

    async def fetch(query: Mapping[str, object]) -> Page[Item]:
        nonlocal asked
        asked += 1
        return Page(data=(Item("a"), Item("b")), has_more=True)

    listing = Listing(fetch, {})
    found: list[str] = []

    with pytest.raises(PaginationError):
        async for item in listing:
            found.append(item.id)

    assert found == ["a", "b"]
    assert asked == 2
    with pytest.raises(PaginationError):
        await listing.collect()
    assert len(await listing.collect(max_items=2)) == 2


async def test_cancellation_in_the_middle_of_a_page() -> None:
    """The cancelled iterator is at its end; the listing can be walked again."""
    server = Server()
    listing = server.listing()
    items = aiter(listing)
    await anext(items)
    await anext(items)
    await anext(items)
    server.gate = anyio.Event()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anext, items)
        while len(server.asked) < 2:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()

    with pytest.raises(StopAsyncIteration):
        await anext(items)
    server.gate.set()
    assert await letters(listing) == "abcdefg"


async def test_two_tasks_cannot_advance_one_iterator() -> None:
    """The second is told so, as by a generator; the first is not disturbed."""
    server = Server()
    server.gate = anyio.Event()
    listing = server.listing()
    items, pages = aiter(listing), listing.pages()
    found: list[object] = []

    async def advance(iterator: AsyncIterator[object]) -> None:
        found.append(await anext(iterator))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(advance, items)
        tasks.start_soon(advance, pages)
        while len(server.asked) < 2:
            await anyio.lowlevel.checkpoint()
        with pytest.raises(RuntimeError, match="already being advanced by another task"):
            await anext(items)
        with pytest.raises(RuntimeError, match="already being advanced by another task"):
            await anext(pages)
        server.gate.set()

    assert len(found) == 2
    assert [item.id async for item in items] == [*"bcdefg"]


# --- the interface of an async generator


async def test_aclose_ends_the_iterator() -> None:
    """Without a request, any number of times, before its start too."""
    server = Server()
    items = aiter(server.listing())

    async with aclosing(items):
        assert (await anext(items)).id == "a"
    await items.aclose()

    with pytest.raises(StopAsyncIteration):
        await anext(items)
    fresh = aiter(server.listing())
    await fresh.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(fresh)
    assert len(server.asked) == 1


async def test_asend_gives_the_next_object() -> None:
    """There is nothing to send to a listing."""
    items = aiter(Server().listing())

    assert [(await items.asend(None)).id, (await anext(items)).id] == ["a", "b"]


@pytest.mark.parametrize(
    ("thrown", "text"),
    [
        ((KeyError("k"),), "'k'"),
        ((KeyError,), ""),
        ((KeyError, "v"), "'v'"),
        ((KeyError, KeyError("w")), "'w'"),
    ],
)
async def test_athrow_raises_and_ends(thrown: tuple[type[KeyError]], text: str) -> None:
    """In all forms a generator takes."""
    items = aiter(Server().listing())
    await anext(items)

    with pytest.raises(KeyError) as caught:
        await items.athrow(*thrown)

    assert str(caught.value) == text
    with pytest.raises(StopAsyncIteration):
        await anext(items)


async def test_athrow_keeps_a_traceback() -> None:
    """The frames given with an error stay on it."""
    try:
        raise KeyError("k")
    except KeyError as error:
        frames = error.__traceback__

    with pytest.raises(KeyError) as caught:
        await aiter(Server().listing()).athrow(KeyError, KeyError("k"), frames)

    link = caught.value.__traceback__
    while link is not None and link is not frames:
        link = link.tb_next
    assert link is frames


async def test_it_is_an_async_generator_to_those_who_ask() -> None:
    """By its interface, not by its type: event loops keep no track of it."""
    items = aiter(Server().listing())

    assert isinstance(items, AsyncGenerator)
    assert not isinstance(items, AsyncGeneratorType)
    assert aiter(items) is items


def test_leaving_a_loop_early_leaves_nothing_behind(anyio_backend: str) -> None:
    """A bare ``break`` and a dropped iterator cause no warning, in the loop or after it."""

    async def main() -> None:
        async for _ in Server().listing():
            break
        async for _ in Server().listing().pages():
            break
        dropped = aiter(Server().listing())
        await anext(dropped)
        del dropped
        gc.collect()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        anyio.run(main, backend=anyio_backend)
        gc.collect()

    assert [str(warning.message) for warning in caught] == []


def test_a_page_iterates_over_its_own_objects() -> None:
    """Looping over a page gives the objects of that page, in order."""
    page = Page(data=("a", "b"))

    assert ["a", "b"] == list(page)
