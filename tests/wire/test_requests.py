"""What is asked of the server: paths no id can break out of, queries, parameter names, merged bodies."""

from __future__ import annotations

import enum
from typing import Any, TypedDict
from urllib.parse import parse_qsl, unquote

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncassist._wire.requests import Kind, Request, check_parameters, merge, query_string, request_for
from asyncassist.errors import UsageError, shown
from asyncassist.models import UNSET

steady = settings(derandomize=True, deadline=None, max_examples=200, database=None)
HUGE = 10**5000  # repr and str refuse integers of so many digits

ROUTE = "GET /threads/{thread_id}/messages/{message_id}"


# --- paths


def test_ids_fill_the_route_in_url_order() -> None:
    """Ids take the places of the route from left to right."""
    assert request_for(ROUTE, "thread_1", "msg-2") == Request(Kind.READ, "GET", "/threads/thread_1/messages/msg-2")


@pytest.mark.parametrize(
    ("template", "kind"),
    [("GET /assistants", Kind.READ), ("DELETE /assistants", Kind.DELETE), ("POST /assistants", Kind.CREATE)],
)
def test_the_method_tells_the_kind_unless_it_is_given(template: str, kind: Kind) -> None:
    """GET reads, DELETE deletes, POST creates; cancels, polls and the like say so."""
    assert request_for(template).kind is kind
    assert request_for(template, kind=Kind.CANCEL).kind is Kind.CANCEL


@given(st.text(st.characters(), min_size=1) | st.text("./\\%?#;:@&=+ ~-_a\x00\x7f\x85\ud800é", max_size=6))
@example("..")
@example(".")
@example("...")
@example("%2e%2e")
@example("../../assistants")
@example("a/b?c=d#e")
@example("-")
@example("a\n")
@example("é")
@example("\u2028")
@example("\ud83d")
@steady
def test_an_id_is_one_segment_of_the_path_or_refused(id_: str) -> None:
    """Any str either becomes one segment that decodes to it, for the HTTP library too, or is a UsageError."""
    try:
        request = request_for(ROUTE, id_, "msg_1")
    except UsageError:
        assert id_ in ("", ".", "..") or not id_.isprintable()
        return

    before, threads, segment, messages, last = request.path.split("/")
    assert (before, threads, messages, last) == ("", "threads", "messages", "msg_1")
    assert unquote(segment, errors="strict") == id_
    assert segment.isascii()
    assert httpx.URL("http://host/v1" + request.path).raw_path == b"/v1" + request.path.encode()


@pytest.mark.parametrize(
    "id_", ["", ".", "..", "a\r\nb", "\x00", "\x7f", "a\x85", "\ud800", "\ud800" * 100_000], ids=shown
)
def test_refused_ids(id_: str) -> None:
    """Empty ids, control characters, steps of a path and broken Unicode are refused, in a short message."""
    with pytest.raises(UsageError, match=r"^message_id ") as caught:
        request_for(ROUTE, "thread_1", id_)

    assert len(str(caught.value)) < 250
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("id_", [None, 1, b"thread_1", ["thread_1"], UNSET, True, 1.5, HUGE], ids=shown)
def test_an_id_that_is_no_str_is_a_type_error(id_: Any) -> None:
    """A wrong type is a wrong call; the message names the argument and the type."""
    with pytest.raises(TypeError, match=rf"^thread_id must be a str, got {type(id_).__name__}$"):
        request_for(ROUTE, id_, "msg_1")


def test_the_body_is_not_shown() -> None:
    """A request can be logged without what users wrote."""
    assert "private" not in repr(request_for("POST /threads", body={"metadata": {"note": "private"}}))


# --- queries


class Order(str, enum.Enum):  # noqa: UP042 - the older form, whose str() is the name
    """How people spell it."""

    NEWEST = "desc"


class Size(enum.IntEnum):
    """How people spell it."""

    SMALL = 5


@pytest.mark.parametrize(
    ("query", "pairs"),
    [
        (None, ()),
        ({}, ()),
        ({"after": None, "before": UNSET, "limit": None}, ()),
        ({"limit": 100, "order": "asc", "after": "a b"}, (("limit", "100"), ("order", "asc"), ("after", "a b"))),
        ({"limit": Size.SMALL, "order": Order.NEWEST}, (("limit", "5"), ("order", "desc"))),
        ({"include": ["x[*].y", "z"]}, (("include[]", "x[*].y"), ("include[]", "z"))),
        ({"include": ()}, ()),
        ({"after": ""}, (("after", ""),)),
    ],
)
def test_a_query_has_what_was_given(query: dict[str, object] | None, pairs: tuple[tuple[str, str], ...]) -> None:
    """None and UNSET are left out; arrays repeat their name with brackets; enums stand for their values."""
    assert request_for("GET /assistants", query=query).query == pairs


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "20"},
        {"limit": 2.0},
        {"limit": True},
        {"after": 5},
        {"after": b"a"},
        {"order": True},
        {"order": 1.5},
        {"include": {"a"}},
        {"include": ["a", None]},
        {"include": [["a"]]},
        {"include": {"a": "b"}},
    ],
)
def test_a_value_of_a_wrong_type_is_a_type_error(query: dict[str, object]) -> None:
    """Nothing is turned into text that was none; the message names the parameter."""
    with pytest.raises(TypeError, match=rf"^{next(iter(query))} must be "):
        request_for("GET /assistants", query=query)


@pytest.mark.parametrize("limit", [0, -1, HUGE, -HUGE], ids=shown)
def test_a_page_size_out_of_range_is_refused(limit: int) -> None:
    """A page has at least one object, and a size of 5,000 digits is no size."""
    with pytest.raises(UsageError, match="limit is the page size"):
        request_for("GET /assistants", query={"limit": limit})


def test_brackets_stay_readable() -> None:
    """Servers and logs see ``include[]``; all else is quoted, spaces as %20."""
    assert query_string((("include[]", "a[*] b&c"), ("after", "é/+"))) == "include[]=a[%2A]%20b%26c&after=%C3%A9%2F%2B"


@given(st.lists(st.tuples(st.text(min_size=1, max_size=5), st.text(max_size=5)), max_size=4))
@steady
def test_a_query_string_decodes_to_its_pairs(pairs: list[tuple[str, str]]) -> None:
    """Any text survives, or is a UsageError where it is no Unicode."""
    try:
        text = query_string(tuple(pairs))
    except UsageError:
        assert any("\ud800" <= letter <= "\udfff" for pair in pairs for letter in "".join(pair))
        return

    assert parse_qsl(text, keep_blank_values=True, strict_parsing=bool(pairs)) == pairs
    assert text.isascii()


def test_a_query_that_is_no_unicode_is_refused() -> None:
    """A lone surrogate cannot be sent."""
    with pytest.raises(UsageError, match="not valid Unicode"):
        query_string((("after", "\ud800"),))


# --- parameters and bodies


class Params(TypedDict, total=False):
    """Postponed annotations, as in the package."""

    name: str


class MoreParams(Params, total=False):
    """Inherits."""

    model: str


def test_known_parameter_names_pass() -> None:
    """A TypedDict's own names and the inherited ones are known."""
    check_parameters("create", MoreParams, {"name": "a", "model": "b"})
    check_parameters("create", MoreParams, {})


def test_streaming_is_named_as_what_is_missing() -> None:
    """Who passes stream=True, as to the openai package, is told why it is refused."""
    with pytest.raises(TypeError, match="use stream_run"):
        check_parameters("create", MoreParams, {"stream": True})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("nam", "did you mean 'name'?"),
        ("Model", "did you mean 'model'?"),
        ("polls", "did you mean 'poll'?"),
        ("timeout", "that is an option of the client for all calls: client.with_options(timeout=...)"),
        ("extra_headers", "that is an option of the client for all calls: client.with_options(headers=...)"),
        ("poll_interval_ms", "give run_and_wait poll=PollPolicy.every(seconds)"),
        (
            "toolset",
            "a toolset is given to what follows a run: run_and_wait, wait_for_run, stream_run, conversation",
        ),
    ],
)
def test_what_is_meant_is_named(name: str, hint: str) -> None:
    """A name that is nearly one, of a parameter or an option, or that belongs elsewhere, comes with the right one."""
    with pytest.raises(TypeError) as caught:
        check_parameters("create", MoreParams, {name: 1}, besides=("poll",))

    assert str(caught.value) == f"create() got an unexpected keyword argument {name!r}; {hint}"


@pytest.mark.parametrize("name", ["Nuance", "", "self"])
def test_an_unknown_parameter_name_is_a_type_error(name: str) -> None:
    """As with any function, in Python's own words."""
    with pytest.raises(TypeError) as caught:
        check_parameters("create", MoreParams, {"model": "a", name: 1})

    assert str(caught.value) == f"create() got an unexpected keyword argument {name!r}"


@pytest.mark.parametrize(
    ("body", "extra", "merged"),
    [
        (UNSET, None, UNSET),
        (UNSET, {}, UNSET),
        (UNSET, {"a": 1}, {"a": 1}),
        ({"a": 1}, None, {"a": 1}),
        ({"a": 1, "b": UNSET}, {"a": 2, "b": 3, "c": None}, {"a": 2, "b": 3, "c": None}),
    ],
)
def test_extra_fields_are_merged(body: object, extra: dict[str, object] | None, merged: object) -> None:
    """A vendor's fields are added and win; without any the body is left as it is, absent ones too."""
    assert merge(body, extra) == merged


def test_merging_leaves_the_callers_mappings_alone() -> None:
    """Neither the body nor the extra fields are changed."""
    body: dict[str, object] = {"a": 1}
    extra: dict[str, object] = {"a": 2}

    assert merge(body, extra) == {"a": 2}
    assert merge(UNSET, extra) is not extra
    assert (body, extra) == ({"a": 1}, {"a": 2})


# --- kinds


def test_kinds() -> None:
    """Doing reads, polls, deletes, cancels and creates with a key twice is doing them once.

    Runs wait for cancels and tool outputs.
    """
    safe = {Kind.READ, Kind.POLL, Kind.DELETE, Kind.CANCEL, Kind.KEYED_CREATE}
    assert {kind for kind in Kind if kind.is_safe} == safe
    assert {kind for kind in Kind if kind.is_urgent} == {Kind.CANCEL, Kind.SUBMIT}


def test_a_bare_str_is_no_include_list() -> None:
    """A single str for `include` is a wrong call: each of its characters would be a value."""
    with pytest.raises(TypeError, match="include must be a list"):
        request_for("GET /threads", query={"include": "step_details"})
