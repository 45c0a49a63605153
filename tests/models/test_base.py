"""What all models have in common."""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any, get_type_hints

import attrs
import pytest

from asyncassist import models
from asyncassist._wire._annotations import field_types
from asyncassist._wire.converter import structure, unstructure
from asyncassist.models import (
    UNSET,
    Assistant,
    AssistantToolsCode,
    FunctionObject,
    Message,
    MessageContentText,
    MessageRequestContentText,
    MessageText,
    Model,
    Page,
    Run,
    RunStep,
    Thread,
    UnknownMessageContent,
    Unset,
)

MODELS = [
    value for name in models.__all__ if isinstance(value := getattr(models, name), type) and issubclass(value, Model)
]
COPIES: list[Callable[[Any], Any]] = [
    copy.copy,
    copy.deepcopy,
    lambda value: pickle.loads(pickle.dumps(value)),
    attrs.evolve,
]


def test_exports() -> None:
    """Every public name is there, once, and no other is."""
    assert len(set(models.__all__)) == len(models.__all__)
    assert all(hasattr(models, name) for name in models.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Runs'"):
        _ = models.Runs  # type: ignore[attr-defined]


def test_models_load_late() -> None:
    """A module of models is loaded when a name of it is used, with what it needs itself."""
    script = """
import sys
from asyncassist import models
loaded = lambda: {name.rpartition(".")[2] for name in sys.modules if name.startswith("asyncassist.models.")}
assert loaded() == {"_base"}, loaded()
models.ToolOutput
assert loaded() == {"_base", "tools"}, loaded()
models.Run
assert not {"messages", "threads", "run_steps"} & loaded(), loaded()
models.Message
assert not {"run_params", "run_steps", "message_deltas"} & loaded(), loaded()
from asyncassist.models import RunStepDelta
assert "run_step_deltas" in loaded()
"""

    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("model", MODELS)
def test_defaults(model: type[Model]) -> None:
    """A model is made from nothing but its id and the few fields an object cannot do without."""
    needed = {field.name for field in attrs.fields(model) if field.default is attrs.NOTHING}

    made = model(**dict.fromkeys(needed, "x"))  # type: ignore[arg-type]

    assert needed <= {"id", "thread_id", "status", "role"}
    assert made == structure(dict.fromkeys(needed, "x"), model)
    assert made.extra_fields == {}


def test_documented() -> None:
    """Every model says what it is."""
    assert [model.__name__ for model in MODELS if "." not in (model.__doc__ or "")] == []


def test_frozen_and_slotted() -> None:
    """A model takes no assignment and no attributes of other names."""
    thread = Thread(id="thread_1")

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        thread.id = "thread_2"  # type: ignore[misc]
    assert not hasattr(thread, "__dict__")


@pytest.mark.parametrize("duplicate", COPIES, ids=["copy", "deepcopy", "pickle", "evolve"])
def test_copies(duplicate: Callable[[Any], Any]) -> None:
    """A copy equals the original and is encoded as the original came."""
    data = {"id": "thread_1", "created_at": 1, "metadata": None, "colour": "blue"}
    thread = structure(data, Thread)

    copied = duplicate(thread)

    assert copied == thread
    assert unstructure(copied) == data


def test_evolved_field_wins() -> None:
    """A changed field is encoded as changed, however it came before; the others stay as they came."""
    thread = structure({"id": "thread_1", "metadata": None}, Thread)

    changed = attrs.evolve(thread, metadata={"key": "value"})

    assert unstructure(changed) == {"id": "thread_1", "metadata": {"key": "value"}}


def test_equality() -> None:
    """Content and unknown fields are compared; whether an empty field was null, absent or made here is not."""
    made = Thread(id="thread_1")

    assert made == structure({"id": "thread_1"}, Thread) == structure({"id": "thread_1", "metadata": None}, Thread)
    assert made == Thread(id="thread_1", extra_fields={})
    assert made != Thread(id="thread_2")
    assert made != structure({"id": "thread_1", "colour": "blue"}, Thread)


def test_hash() -> None:
    """Models without mappings inside can be hashed, others cannot."""
    assert hash(AssistantToolsCode()) == hash(AssistantToolsCode())
    with pytest.raises(TypeError, match="unhashable"):
        hash(Thread(id="thread_1"))


def test_extra_fields() -> None:
    """Fields added by hand go out besides the known ones and never instead of them."""
    thread = Thread(id="thread_1", extra_fields={"colour": "blue", "id": "other"})

    assert thread.extra_fields == {"colour": "blue", "id": "other"}
    assert unstructure(thread) == {
        "id": "thread_1",
        "object": "thread",
        "created_at": None,
        "tool_resources": None,
        "metadata": {},
        "colour": "blue",
    }


def test_required_and_omitted() -> None:
    """What the API requires is encoded as null when it is None; everything else is left out."""
    encoded: Any = unstructure(Assistant(id="asst_1", tools=(AssistantToolsCode(),)))

    assert encoded["name"] is None
    assert encoded["tools"] == [{"type": "code_interpreter"}]
    assert not {"temperature", "top_p", "tool_resources", "response_format"} & set(encoded)
    assert unstructure(FunctionObject(name="f")) == {"name": "f"}
    assert unstructure(MessageRequestContentText(text="hi")) == {"type": "text", "text": "hi"}


def test_unset() -> None:
    """UNSET is one falsy object, also after copying and pickling."""
    assert not UNSET
    assert f"{UNSET} {UNSET!r}" == "UNSET UNSET"
    assert copy.deepcopy(UNSET) is pickle.loads(pickle.dumps(UNSET)) is UNSET is Unset.UNSET


def test_unset_attribute() -> None:
    """A field set to UNSET is left out where None would be null."""
    assert unstructure(Thread(id="thread_1", created_at=UNSET, tool_resources=UNSET)) == {  # type: ignore[arg-type]
        "id": "thread_1",
        "object": "thread",
        "metadata": {},
    }


def test_message_text() -> None:
    """A message's text is that of its text parts."""
    message = Message(
        id="msg_1",
        thread_id="thread_1",
        role="assistant",
        content=(
            MessageContentText(text=MessageText(value="one ")),
            UnknownMessageContent(type="video", raw={"type": "video"}),
            MessageContentText(text=MessageText(value="two")),
        ),
    )

    assert message.text == "one two"
    assert attrs.evolve(message, content=()).text == ""


def test_known_names_are_shared() -> None:
    """Decoding keeps one copy of a name that thousands of objects carry."""
    first, second = (
        structure({"id": "r", "thread_id": "t", "status": "".join(["comp", end])}, Run) for end in ("leted", "leted")
    )

    assert first.status is second.status


@pytest.mark.parametrize("model", MODELS)
def test_annotations(model: type[Model]) -> None:
    """The types the converter goes by are those of `typing.get_type_hints`."""
    hints = get_type_hints(model, include_extras=True)

    assert field_types(model) == {name: hint for name, hint in hints.items() if not name.startswith("_")}


def test_annotations_of_a_subclass() -> None:
    """A subclass, of another module and with types instead of texts, has the fields of its base too."""
    Own = attrs.make_class(
        "Own", {"size": attrs.field(type=int, default=0)}, bases=(Thread,), frozen=True, kw_only=True, slots=True
    )

    assert field_types(Own) == field_types(Thread) | {"size": int}
    assert structure({"id": "t", "size": 3, "x": 1}, Own) == Own(id="t", size=3, extra_fields={"x": 1})


@pytest.mark.parametrize("model", [Assistant, Thread, Message, Run, RunStep, Page])
def test_fields_are_described(model: type[Model]) -> None:
    """``help()`` tells what the fields of the main objects mean, and names only fields there are."""
    (section,) = re.findall(r"\n    Attributes:\n((?:        .*\n)+)", model.__doc__ or "")
    named = {name for names in re.findall(r"^        ([\w, ]+):", section, re.M) for name in names.split(", ")}

    assert named <= {field.name for field in attrs.fields(model)}
    times = {field.name for field in attrs.fields(model) if field.name.endswith("_at")}
    assert times <= named


def test_repr() -> None:
    """A model shows its fields as attrs classes do, and not what is kept for encoding."""
    thread = structure({"id": "thread_1", "colour": "blue"}, Thread)

    assert repr(thread) == ("Thread(id='thread_1', object='thread', created_at=None, tool_resources=None, metadata={})")
    assert eval(repr(thread)) == Thread(id="thread_1")


def test_models_of_two_classes_are_never_equal() -> None:
    """Nor is a model equal to a subclass's or to another kind of value."""

    class Special(Thread):
        __slots__ = ()

    assert Thread(id="t") != Special(id="t")
    assert Thread(id="t") != models.ThreadDeleted(id="t")
    assert Thread(id="t") != "t"
    assert AssistantToolsCode() != models.AssistantToolsFileSearch()
