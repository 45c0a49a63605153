"""Listings: cursors in both directions, compared with a plain list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncassist.models import Assistant
from asyncassist.server import MemoryStore, PageQuery

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from .helpers import Api

Order = Literal["asc", "desc"]


T = TypeVar("T")


def run_now(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine of the memory store: it never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    raise AssertionError("the store waited")


def expected(ids: list[str], query: PageQuery) -> tuple[list[str], bool]:
    """What a listing of these ids, oldest first, has to answer: the definition, word by word."""
    listing = ids if query.order == "asc" else ids[::-1]
    if any(cursor is not None and cursor not in listing for cursor in (query.after, query.before)):
        return [], False
    if query.after is not None:
        listing = listing[listing.index(query.after) + 1 :]
    if query.before is not None:
        listing = listing[: listing.index(query.before)] if query.before in listing else []
    if query.after is None and query.before is not None:
        page = listing[-query.limit :] if query.limit else []
    else:
        page = listing[: query.limit]
    return page, query.limit > 0 and len(page) < len(listing)


cursors = st.none() | st.integers(1, 12).map(lambda number: f"asst_{number}")


@given(
    size=st.integers(0, 10),
    removed=st.sets(st.integers(1, 10)),
    limit=st.integers(0, 12),
    order=st.sampled_from(["asc", "desc"]),
    after=cursors,
    before=cursors,
)
def test_pages_are_those_of_a_plain_list(
    size: int, removed: set[int], limit: int, order: Order, after: str | None, before: str | None
) -> None:
    """Any cursors, in any order, after any deletions, give the page the definition gives."""
    store = MemoryStore()
    for number in range(1, size + 1):
        run_now(store.add(Assistant(id=f"asst_{number}")))
    for number in removed:
        run_now(store.delete(Assistant, f"asst_{number}"))
    ids = [f"asst_{number}" for number in range(1, size + 1) if number not in removed]
    query = PageQuery(limit, order, after, before)

    page = run_now(store.page(Assistant, query))

    found = [assistant.id for assistant in page.data]
    assert expected(ids, query) == (found, page.has_more)
    assert (found[0] if found else None, found[-1] if found else None) == (page.first_id, page.last_id)


@pytest.mark.anyio
@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_following_after_gives_everything_once(api: Api, order: str) -> None:
    """Walking forwards by ``last_id`` ends, and gives each object once, in order."""
    ids = [await api.assistant() for _ in range(7)]
    seen: list[str] = []
    query: dict[str, object] = {"limit": 3, "order": order}

    while True:
        page = await api.get("/assistants", **query)
        seen += [assistant["id"] for assistant in page["data"]]
        if not page["has_more"]:
            break
        query["after"] = page["last_id"]

    assert seen == (ids if order == "asc" else ids[::-1])


@pytest.mark.anyio
async def test_following_before_walks_back(api: Api) -> None:
    """Walking backwards by ``first_id`` gives the pages in front, nearest first."""
    ids = [await api.assistant() for _ in range(7)]
    pages: list[list[str]] = []
    query: dict[str, object] = {"limit": 3, "order": "asc", "before": ids[-1]}

    while True:
        page = await api.get("/assistants", **query)
        pages.append([assistant["id"] for assistant in page["data"]])
        if not page["has_more"]:
            break
        query["before"] = page["first_id"]

    assert [ids[3:6], ids[0:3]] == pages


@pytest.mark.anyio
async def test_twenty_of_the_newest_first_by_default(api: Api) -> None:
    """Without parameters a listing gives twenty objects, the newest first."""
    ids = [await api.assistant() for _ in range(21)]

    page = await api.get("/assistants", limit="", order="", after="", before="")

    assert ids[:0:-1] == [assistant["id"] for assistant in page["data"]]
    assert (ids[-1], ids[1], True) == (page["first_id"], page["last_id"], page["has_more"])


@pytest.mark.anyio
@pytest.mark.parametrize("query", [{"limit": 0}, {"after": "asst_none"}, {"before": "asst_none"}])
async def test_what_is_not_there_is_an_empty_page(api: Api, query: dict[str, object]) -> None:
    """A limit of 0 and an unknown cursor give an empty page, no error and nothing more."""
    await api.assistant()

    page = await api.get("/assistants", **query)

    assert page == {"object": "list", "data": [], "first_id": "", "last_id": "", "has_more": False}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("query", "code", "param"),
    [
        ({"limit": 101}, "integer_above_max_value", "limit"),
        ({"limit": -1}, "integer_below_min_value", "limit"),
        ({"limit": "ten"}, "invalid_type", "limit"),
        ({"limit": "1.5"}, "invalid_type", "limit"),
        ({"limit": "9" * 5000}, "invalid_type", "limit"),
        ({"order": "newest"}, "invalid_value", "order"),
    ],
)
@pytest.mark.parametrize(
    "listing", ["/assistants", "/threads", "messages", "messages?run_id=run_none", "runs", "steps"]
)
async def test_bad_queries_are_refused(api: Api, listing: str, query: dict[str, object], code: str, param: str) -> None:
    """A limit outside 0-100, no number, or an order there is not, is an error that names the parameter."""
    if not listing.startswith("/"):
        run = await api.run()
        listing = f"runs/{run['id']}/steps" if listing == "steps" else listing
        listing = f"/threads/{run['thread_id']}/{listing}"
    separator = "&" if "?" in listing else "?"

    error = await api.refused("GET", f"{listing}{separator}{'&'.join(f'{k}={v}' for k, v in query.items())}")

    assert (code, param) == (error["code"], error["param"])
