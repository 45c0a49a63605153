"""Metadata with values that are no strings, as some servers send it."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import attrs
import pytest

from asyncassist import DecodeError, Message, Page, Thread, from_dict, to_dict

MIXED: dict[str, Any] = {"name": "a", "count": 5, "is_new": True, "gone": None, "list": [1, {"x": 2.5}], "last": "z"}
THREAD: dict[str, Any] = {"id": "thread_1", "created_at": 1, "metadata": MIXED, "colour": "blue"}


def test_the_strings_are_the_metadata() -> None:
    """Its type is kept: the other values are beside it, as they came."""
    thread = from_dict(Thread, THREAD)

    assert thread.metadata == {"name": "a", "last": "z"}
    assert thread.extra_fields == {
        "colour": "blue",
        "metadata": {"count": 5, "is_new": True, "gone": None, "list": [1, {"x": 2.5}]},
    }
    assert (thread.id, thread.created_at) == ("thread_1", 1)


@pytest.mark.parametrize(
    "metadata", [MIXED, {"only": 1}, {"null": None}, {"": {}, "a": ""}, {"a": "b"}, {}, None], ids=repr
)
def test_nothing_is_lost(metadata: Any) -> None:
    """Encoding gives what was received, alone and deep inside a page."""
    data = THREAD | {"metadata": metadata}
    page = {"data": [data, {"id": "thread_2", "metadata": metadata}], "has_more": False}

    assert to_dict(from_dict(Thread, data)) == data
    assert to_dict(from_dict(Page[Thread], page)) == page


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value)), attrs.evolve])
def test_copies(duplicate: Any) -> None:
    """A copy has all values, and equality looks at all of them."""
    thread = from_dict(Thread, THREAD)

    assert duplicate(thread) == thread
    assert to_dict(duplicate(thread)) == THREAD
    assert thread != from_dict(Thread, THREAD | {"metadata": MIXED | {"count": 6}})


def test_a_string_wins() -> None:
    """Metadata set by hand goes out instead of a value of the same name that was received."""
    thread = attrs.evolve(from_dict(Thread, {"id": "t", "metadata": {"a": 1, "b": 2}}), metadata={"a": "x"})

    assert to_dict(thread) == {"id": "t", "metadata": {"a": "x", "b": 2}}


def test_other_fields_by_hand() -> None:
    """An extra field of that name that is no object stays behind the metadata, as any extra field does."""
    thread = from_dict(Thread, {"id": "t", "metadata": {"a": "b"}})

    assert to_dict(attrs.evolve(thread, extra_fields={"metadata": 5})) == {"id": "t", "metadata": {"a": "b"}}
    assert to_dict(attrs.evolve(thread, extra_fields={"id": {"x": 1}})) == {"id": "t", "metadata": {"a": "b"}}


@pytest.mark.parametrize("metadata", [[], "a", 5, True])
def test_what_is_no_object(metadata: object) -> None:
    """Metadata that is no object at all is an error, as it is in any field."""
    with pytest.raises(DecodeError, match="expected an object") as caught:
        from_dict(Thread, {"id": "t", "metadata": metadata})
    assert caught.value.field == "metadata"


def test_errors_beside_it() -> None:
    """Mixed metadata hides no error, and has limits of its own."""
    deep: object = 1
    for _ in range(201):
        deep = [deep]
    with pytest.raises(DecodeError) as caught:
        from_dict(Message, {"id": "m", "thread_id": "t", "metadata": MIXED, "role": 7})
    assert caught.value.field == "role"
    with pytest.raises(DecodeError, match="nested more than 200 levels deep") as caught:
        from_dict(Page[Thread], {"data": [{"id": "t", "metadata": {"deep": deep}}]})
    assert caught.value.field == "data[0].metadata"
