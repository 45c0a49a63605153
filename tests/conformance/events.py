"""Compare the events of a stream with the table of facts: their names, and the data each name promises."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

from asyncassist import models
from asyncassist._wire.converter import unstructure
from asyncassist._wire.events import decode_event
from asyncassist._wire.sse import ServerSentEvent
from asyncassist.errors import StreamError
from asyncassist.models import events

from .checks import class_name, fields_of, names_in
from .table import Facts, Shape, resolve, sample

# On the wire an event has a name and data. The description gives one of them another field, which has no place there.
NO_PLACE = {("thread.created", "enabled")}


def event_classes() -> dict[str, Any]:
    """Give the class of each event by name."""
    classes = [getattr(events, name) for name in events.__all__ if name not in ("StreamEvent", "UnknownEvent")]
    return {name: cls for cls in classes for name in sorted(names_in(fields_of(cls)["event"]))}


def described(facts: Facts, shape: Shape) -> dict[str, dict[str, Shape]]:
    """Give the fields of every event in a union of unions, by the event's name."""
    shape = resolve(facts, shape)
    if "union" in shape:
        return {name: fields for part in shape["union"] for name, fields in described(facts, part).items()}
    return {shape["fields"]["event"]["const"]: shape["fields"]}


def event_problems(facts: Facts) -> Iterator[str]:
    """Compare names and data of the events, and decode one of each name."""
    classes = event_classes()
    expected = described(facts, {"ref": "AssistantStreamEvent"})
    yield from (f"{name} has no class" for name in sorted({*expected, *facts["events"]} - classes.keys()))
    yield from (f"{name} is no event of the API" for name in sorted(classes.keys() - expected.keys()))
    given = set(get_args(models.StreamEvent))
    for cls in {*classes.values(), models.UnknownEvent} ^ given ^ {models.ErrorEvent}:
        yield f"{cls.__name__} is {'' if cls in given else 'not '}among what a stream gives"
    for name in sorted(classes.keys() & expected.keys()):
        for field in sorted(expected[name].keys() - fields_of(classes[name]).keys()):
            if (name, field) not in NO_PLACE:
                yield f"{name}: {field} is missing"
        yield from (f"{name}: {problem}" for problem in _data_problems(facts, name, expected[name]["data"]))


def _data_problems(facts: Facts, name: str, shape: Shape) -> Iterator[str]:
    cls = event_classes()[name]
    data = fields_of(cls)["data"]
    if "ref" not in shape:
        if names_in(data) != {shape["const"]}:
            yield f"data is {sorted(names_in(data))}, not {shape['const']}"
    elif data.__name__ != class_name(shape["ref"]):
        yield f"data is a {data.__name__}, not a {class_name(shape['ref'])}"
    for what in ("everything", "the least", "nulls"):
        value = sample(facts, shape, what)
        frame = ServerSentEvent(name, value if isinstance(value, str) else json.dumps(value))
        try:
            event = decode_event(frame)
        except StreamError as error:
            said = {"code": error.code, "message": error.message.rpartition(": ")[2]}
            said |= {"param": error.param, "type": error.type}
            if name != "error" or said != value:
                yield f"with {what}: {error.message}"
        else:
            if not isinstance(event, cls) or event.event != name:
                yield f"with {what}: is a {type(event).__name__}"
            elif unstructure(event.data) != value or getattr(event.data, "extra_fields", None):
                yield f"with {what}: {value} became {unstructure(event.data)}"
