"""Models as plain JSON values, and back."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from asyncassist import DecodeError, Message, Page, Run, Thread, UsageError, from_dict, to_dict
from asyncassist.models import UnknownTool


def test_there_and_back() -> None:
    """What was received goes through a dict, and through JSON text, without any loss."""
    data: dict[str, Any] = {
        "id": "msg_1",
        "thread_id": "thread_1",
        "role": "user",
        "content": [{"type": "text", "text": {"value": "hi", "annotations": []}}, {"type": "video", "frames": 7}],
        "metadata": None,
        "colour": {"of": ["the", "future"]},
    }
    message = from_dict(Message, data)

    assert message.text == "hi"
    assert to_dict(message) == data
    assert from_dict(Message, json.loads(json.dumps(to_dict(message)))) == message


def test_pages() -> None:
    """A page is read with the type of its objects."""
    page = from_dict(Page[Thread], {"data": [{"id": "thread_1"}]})

    assert page.data == (Thread(id="thread_1"),)
    assert to_dict(page) == {"data": [{"id": "thread_1"}]}
    assert to_dict(from_dict(UnknownTool, {"type": "web", "x": 1})) == {"type": "web", "x": 1}


def test_nothing_is_shared() -> None:
    """Changing the values given, or those returned, changes no model."""
    data = {"id": "thread_1", "metadata": {"a": "b"}, "colour": ["blue"]}
    thread = from_dict(Thread, data)
    data["metadata"]["a"] = "c"  # type: ignore[index]
    data["colour"].append("red")  # type: ignore[attr-defined]
    given: Any = to_dict(thread)
    given["metadata"]["a"] = "d"
    given["colour"].clear()

    assert to_dict(thread) == {"id": "thread_1", "metadata": {"a": "b"}, "colour": ["blue"]}


def test_values_that_do_not_fit() -> None:
    """They are refused as in an answer, with the path of the part."""
    with pytest.raises(DecodeError, match=r"^status: is missing$") as caught:
        from_dict(Run, {"id": "run_1", "thread_id": "thread_1"})
    assert caught.value.field == "status"
    with pytest.raises(DecodeError, match="expected an object, got an array"):
        from_dict(Run, [])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^metadata: set cannot be sent as JSON$"):
        from_dict(Run, {"metadata": {1}})


def test_what_is_no_model() -> None:
    """Another class, or another value, is a wrong call."""
    with pytest.raises(TypeError, match=r"to_dict\(\) takes a model of the API, got dict"):
        to_dict({"id": "run_1"})  # type: ignore[arg-type]
    for wrong in (dict, dict[str, str], "Run", None):
        with pytest.raises(TypeError, match=r"from_dict\(\) takes a model class and its values, got "):
            from_dict(wrong, {})  # type: ignore[type-var]


def test_attrs_functions_show_more() -> None:
    """``attrs.asdict`` is for Python: it has the two slots that keep what JSON needs; `to_dict` has not."""
    thread = from_dict(Thread, {"id": "thread_1", "colour": "blue"})

    assert {name for name in attrs.asdict(thread) if name.startswith("_")} == {"_extra", "_received"}
    assert list(to_dict(thread)) == ["id", "colour"]
