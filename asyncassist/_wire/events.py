"""Server-sent events to typed events, or to the error the server reports in one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, cast, get_args, get_type_hints

from asyncassist._wire.converter import structure
from asyncassist._wire.json import loads
from asyncassist._wire.sse import ServerSentEvent
from asyncassist.errors import DecodeError, StreamError
from asyncassist.models import Model
from asyncassist.models.events import (
    DoneEvent,
    MessageDeltaEvent,
    MessageEvent,
    RunEvent,
    RunStepDeltaEvent,
    RunStepEvent,
    StreamEvent,
    ThreadEvent,
    UnknownEvent,
)
from asyncassist.models.message_deltas import MessageDelta, MessageDeltaContentText, MessageDeltaDelta, MessageDeltaText

__all__ = ["decode_event"]

_Redact: TypeAlias = Callable[[str], str]

_CLASSES: tuple[type[Any], ...] = (
    MessageDeltaEvent,
    RunStepDeltaEvent,
    MessageEvent,
    RunStepEvent,
    RunEvent,
    ThreadEvent,
)
# Name of an event -> its class and the class of its data.
_KINDS: dict[str, tuple[Callable[..., StreamEvent], type[Model]]] = {
    name: (cls, hints["data"])
    for cls in _CLASSES
    for hints in [get_type_hints(cls)]
    for name in get_args(hints["event"])
}

_DELTA = "thread.message.delta"
_DONE = "[DONE]"
_ERROR = "error"
_NAMELESS = "message"
_LONGEST_MESSAGE = 2000
_LONGEST_FACT = 200


def decode_event(event: ServerSentEvent, *, redact: _Redact = str) -> StreamEvent:
    """Turn a server-sent event into a typed one.

    An event without a name may hold name and data itself, as ``{"event": ..., "data": ...}``. Names this version does
    not know are kept as `UnknownEvent`.

    Args:
        redact: removes secrets from what the server says about an error.

    Raises:
        StreamError: the event reports an error, or its data is not what its name promises.
    """
    name, text = event.event, event.data
    try:
        data = loads(text)
    except DecodeError as error:
        if text.strip() == _DONE and name != _ERROR:
            return DoneEvent()
        if name in _KINDS or (name == _NAMELESS and text.lstrip().startswith("{")):
            raise _unreadable(name, error) from error
        data = text
    if name == _NAMELESS and isinstance(data, dict):
        name, data = _unwrap(cast("dict[str, object]", data))
    if name in _KINDS:
        try:
            return _decode_known(name, data)
        except DecodeError as error:
            raise _unreadable(name, error) from error
    if name == _ERROR:
        raise _reported(data, redact)
    if name == "done":
        return DoneEvent()
    try:
        return UnknownEvent(name=name, data=structure(data, object))
    except DecodeError:  # nested too deeply
        return UnknownEvent(name=name, data=text)


def _unwrap(values: dict[str, object]) -> tuple[str, object]:
    """Give name and data of an event that came without a name."""
    name = values.get("event")
    if isinstance(name, str) and "data" in values:
        return name, values["data"]
    return (_ERROR if values.get("error") else _NAMELESS), values


def _decode_known(name: str, data: Any) -> StreamEvent:
    if name == _DELTA:
        try:
            event = _decode_text_delta(data)
        except (LookupError, TypeError, ValueError):
            event = None
        if event is not None:
            return event
    cls, model = _KINDS[name]
    return cls(event=name, data=structure(data, model))


# --- errors ----------------------------------------------------------------------------------------------------------


def _unreadable(name: str, error: DecodeError) -> StreamError:
    return StreamError(f"the data of a {name} event cannot be read: {error.message}", event=name, field=error.field)


def _reported(data: object, redact: _Redact) -> StreamError:
    """Make the error of what a server reports: an error object, one inside ``{"error": ...}``, or mere text."""
    fields = _object(data)
    fields = _object(fields.get("error")) or fields
    texts = (fields.get("message"), fields.get("error"), fields.get("detail"), data)
    message = next((text for text in texts if text and isinstance(text, str)), "it does not say which")
    code = fields.get("code")
    return StreamError(
        f"the server reported an error in the stream: {_quoted(message, redact, _LONGEST_MESSAGE)}",
        code=_fact(str(code) if type(code) is int else code, redact),
        param=_fact(fields.get("param"), redact),
        type=_fact(fields.get("type"), redact),
        event=_ERROR,
    )


def _object(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _fact(value: object, redact: _Redact) -> str | None:
    return _quoted(value, redact, _LONGEST_FACT) if isinstance(value, str) else None


def _quoted(text: str, redact: _Redact, limit: int) -> str:
    # Secrets go before anything is cut. A lone surrogate, which JSON can carry, would make printing the error fail.
    text = redact(text).encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= limit else text[:limit] + "..."


# --- a piece of text, and nothing else ------------------------------------------------------------------------------
# Nine events of ten are this one, and the converter's way takes twice as long. What it makes is the same to the last
# slot; whatever looks different in any respect is left to the converter.


def _setter(cls: type[Any], name: str) -> Callable[[object, object], None]:
    setter: Callable[[object, object], None] = getattr(cls, name).__set__
    return setter


_put_event = _setter(MessageDeltaEvent, "event")
_put_event_data = _setter(MessageDeltaEvent, "data")
_put_reconciled = _setter(MessageDeltaEvent, "reconciled")
_put_id = _setter(MessageDelta, "id")
_put_object = _setter(MessageDelta, "object")
_put_delta = _setter(MessageDelta, "delta")
_put_role = _setter(MessageDeltaDelta, "role")
_put_content = _setter(MessageDeltaDelta, "content")
_put_index = _setter(MessageDeltaContentText, "index")
_put_type = _setter(MessageDeltaContentText, "type")
_put_text = _setter(MessageDeltaContentText, "text")
_put_value = _setter(MessageDeltaText, "value")
_put_annotations = _setter(MessageDeltaText, "annotations")
# These two are slots of the base class, the same for every model.
_put_extra = _setter(Model, "_extra")
_put_received = _setter(Model, "_received")


def _decode_text_delta(values: Any) -> MessageDeltaEvent | None:
    id_, delta = values["id"], values["delta"]
    (part,) = delta["content"]
    index, content = part["index"], part["text"]
    value = content["value"]
    if not (
        len(values) == 3
        and len(delta) == 1
        and len(part) == 3
        and values["object"] == _DELTA
        and part["type"] == "text"
        and type(id_) is str
        and type(index) is int
        and type(value) is str
    ):
        return None
    received: dict[str, object] | None = None
    if len(content) != 1:
        if len(content) != 2 or content["annotations"] != []:
            return None
        received = {"annotations": []}

    text = MessageDeltaText.__new__(MessageDeltaText)
    _put_value(text, value)
    _put_annotations(text, ())
    _put_extra(text, None)
    _put_received(text, received)
    text_part = MessageDeltaContentText.__new__(MessageDeltaContentText)
    _put_index(text_part, index)
    _put_type(text_part, "text")
    _put_text(text_part, text)
    _put_extra(text_part, None)
    _put_received(text_part, None)
    changes = MessageDeltaDelta.__new__(MessageDeltaDelta)
    _put_role(changes, None)
    _put_content(changes, (text_part,))
    _put_extra(changes, None)
    _put_received(changes, None)
    message = MessageDelta.__new__(MessageDelta)
    _put_id(message, id_)
    _put_object(message, _DELTA)
    _put_delta(message, changes)
    _put_extra(message, None)
    _put_received(message, None)
    event = MessageDeltaEvent.__new__(MessageDeltaEvent)
    _put_event(event, _DELTA)
    _put_event_data(event, message)
    _put_reconciled(event, False)
    return event
