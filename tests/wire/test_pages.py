"""Walking a listing page by page, whatever the server's cursors do."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncassist._wire.pages import PageWalk
from asyncassist.errors import PaginationError
from asyncassist.models import Page

steady = settings(derandomize=True, deadline=None, max_examples=300, database=None)


@frozen
class Item:
    """Anything with an id."""

    id: str


def page(*ids: str, first: str | None = None, last: str | None = None, more: bool | None = None) -> Page[Item]:
    return Page(data=tuple(map(Item, ids)), first_id=first, last_id=last, has_more=more)


def ids(items: Sequence[Item]) -> list[str]:
    return [item.id for item in items]


# --- the cursor


@pytest.mark.parametrize("last", [None, ""])
def test_the_cursor_is_last_id_else_the_last_items(last: str | None) -> None:
    """A server's own cursor counts; without one the last item's id stands in."""
    walk = PageWalk[Item]({"limit": 2, "after": None})

    assert ids(walk.take(page("a", "b", last="cursor", more=True))) == ["a", "b"]
    assert walk.query == {"limit": 2, "after": "cursor"}
    walk.take(page("c", "d", last=last, more=True))
    assert walk.query == {"limit": 2, "after": "d"}
    assert not walk.is_finished


def test_backward_the_cursor_is_first_id_else_the_first_items() -> None:
    """With ``before`` the walk goes the other way: the item next to the starting point comes first."""
    walk = PageWalk[Item]({"before": "e"})

    assert ids(walk.take(page("c", "d", first="cursor", last="d", more=True))) == ["d", "c"]
    assert walk.query == {"before": "cursor"}
    assert ids(walk.take(page("a", "b", last="b", more=True))) == ["b", "a"]
    assert walk.query == {"before": "a"}


def test_with_both_ends_given_the_walk_is_forward() -> None:
    """``after`` moves and ``before`` stays: the window the caller asked for."""
    walk = PageWalk[Item]({"after": "a", "before": "z"})

    walk.take(page("b", "c"))

    assert walk.query == {"after": "c", "before": "z"}


def test_the_callers_query_is_left_alone() -> None:
    """A walk moves its own copy."""
    query = {"limit": 1}

    PageWalk[Item](query).take(page("a"))

    assert query == {"limit": 1}


@pytest.mark.parametrize("more", [True, False, None])
def test_an_empty_page_ends_the_walk(more: bool | None) -> None:
    """Whatever it says about more."""
    walk = PageWalk[Item]({})

    assert walk.take(page(more=more, last="x")) == ()
    assert walk.is_finished


def test_no_more_ends_the_walk() -> None:
    """``has_more: false`` is the end; left out, it is not."""
    walk = PageWalk[Item]({})
    walk.take(page("a"))
    assert not walk.is_finished
    walk.take(page("b", more=False))
    assert walk.is_finished


# --- servers that would never end


@pytest.mark.parametrize(
    "pages",
    [
        [page("a", "b"), page("a", "b")],
        [page("a", "b"), page("c"), page("d", "a", more=False)],
        [page("a", "b", last="1"), page("b", "c", last="2")],
        [page("a", "a", more=False)],
        [page("a", last="1"), page("b", last="2"), page("c", last="1")],
        [page("a", last="1"), page("b", last="1")],
        [page("b", last="start")],
    ],
)
@pytest.mark.parametrize("direction", ["after", "before"])
def test_repeated_items_and_cursors_are_errors(pages: list[Page[Item]], direction: str) -> None:
    """An item that came before, within a page too, and a cursor that was followed before are PaginationErrors."""
    walk = PageWalk[Item]({direction: "start"})
    if direction == "before":
        pages = [Page(data=p.data[::-1], first_id=p.last_id, has_more=p.has_more) for p in pages]
    for good in pages[:-1]:
        walk.take(good)

    with pytest.raises(PaginationError) as caught:
        walk.take(pages[-1])

    assert caught.value.field in ("data", "last_id" if direction == "after" else "first_id")


def test_the_message_names_the_item_shortly() -> None:
    """However long an id a server sends."""
    walk = PageWalk[Item]({})
    walk.take(page("x" * 10_000, last="1"))

    with pytest.raises(PaginationError, match=r"the server repeats 'xxx.*\.\.\.") as caught:
        walk.take(page("x" * 10_000, last="2"))

    assert len(str(caught.value)) < 200


def test_a_very_long_listing_is_walked_in_bounded_memory() -> None:
    """Beyond 100,000 ids the oldest are forgotten; the page before and all cursors are still compared."""
    walk = PageWalk[Item]({})
    for number in range(1001):
        walk.take(page(*(f"{number}.{row}" for row in range(100)), last=f"cursor {number}"))

    assert ids(walk.take(page("0.0", last="new"))) == ["0.0"]
    with pytest.raises(PaginationError, match=r"repeats '0\.0'"):
        walk.take(page("0.0", last="newer"))
    with pytest.raises(PaginationError, match="cursor 'cursor 7' does not move"):
        walk.take(page("other", last="cursor 7"))
    with pytest.raises(PaginationError, match=r"repeats '1000\.99'"):
        walk.take(page("1000.99", last="newest"))


def test_a_hostile_page_takes_no_time() -> None:
    """A page of 100,000 objects, the last of them twice, is refused in a fraction of a second."""
    many = [str(number) for number in range(100_000)]
    started = time.process_time()

    with pytest.raises(PaginationError, match="repeats '99999'"):
        PageWalk[Item]({}).take(page(*many, "99999"))

    assert time.process_time() - started < 2


# --- properties


@given(
    st.integers(0, 12),
    st.integers(1, 5),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.none() | st.integers(0, 12),
)
@steady
def test_a_walk_finds_every_item_once(
    count: int, size: int, with_cursors: bool, with_more: bool, is_backward: bool, start: int | None
) -> None:
    """Against a server that keeps to the rules, with and without its optional fields, in both directions."""
    everything = [f"id{number}" for number in range(count)]
    direction = "before" if is_backward else "after"
    beginning = None if start is None or start >= count else everything[start]

    def answer(query: Mapping[str, object]) -> Page[Item]:
        after, before = query.get("after"), query.get("before")
        low = everything.index(str(after)) + 1 if after else 0
        high = everything.index(str(before)) if before else count
        rest = everything[low:high]
        chosen = rest[-size:] if before else rest[:size]
        named = with_cursors and chosen
        return page(
            *chosen,
            first=chosen[0] if named else None,
            last=chosen[-1] if named else None,
            more=len(rest) > len(chosen) if with_more else None,
        )

    walk = PageWalk[Item]({direction: beginning, "limit": size})
    found: list[str] = []
    while not walk.is_finished:
        found += ids(walk.take(answer(walk.query)))

    if beginning is None:
        assert found == everything
    elif is_backward:
        assert found == everything[: everything.index(beginning)][::-1]
    else:
        assert found == everything[everything.index(beginning) + 1 :]


few = st.sampled_from("abcdef")
any_page = st.builds(
    lambda items, first, last, more: page(*items, first=first, last=last, more=more),
    st.lists(few, max_size=4),
    st.none() | few,
    st.none() | few,
    st.none() | st.booleans(),
)


@given(st.lists(any_page, min_size=7, max_size=7), st.sampled_from([{}, {"after": "a"}, {"before": "a"}]))
@steady
def test_a_walk_ends_whatever_the_server_sends(pages: list[Page[Item]], query: dict[str, object]) -> None:
    """Six items end after at most seven pages, in a proper end or a PaginationError, and none is given twice."""
    walk = PageWalk[Item](query)
    found: list[str] = []
    for sent in pages:
        try:
            found += ids(walk.take(sent))
        except PaginationError:
            break
        if walk.is_finished:
            break
    else:
        pytest.fail("the walk goes on")

    assert len(found) == len(set(found))
