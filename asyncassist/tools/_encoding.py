"""What tools return, to text for the model."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import pathlib
import uuid
from collections.abc import Mapping, Sequence, Set
from typing import Any, cast

import attrs
import msgspec

from asyncassist._wire._misfit import MAX_DEPTH, MisfitError
from asyncassist._wire.json import dumps
from asyncassist.errors import UsageError
from asyncassist.models import Model

__all__ = ["plain", "text_of"]

_BY_MSGSPEC = (datetime.date, datetime.time, datetime.timedelta, uuid.UUID, decimal.Decimal)


def text_of(value: object) -> str:
    """Write what a tool has returned as an output: a str as it is, anything else as JSON, None as ``null``.

    Raises:
        UsageError: it cannot be written.
    """
    if isinstance(value, str) and not isinstance(value, enum.Enum):
        return str.__str__(value)
    return dumps(plain(value)).decode()


def plain(value: object) -> object:
    """Turn classes, enums, sets, dates and the like into what JSON has, everywhere in a value.

    Raises:
        UsageError: something in it has no place in JSON; the message names its path.
    """
    try:
        return _plain(value, 0)
    except MisfitError as misfit:
        raise UsageError(f"{misfit.path}: {misfit.reason}" if misfit.path else misfit.reason) from None
    except RecursionError:
        raise UsageError("the value is nested too deeply to be sent as JSON") from None


def _plain(value: Any, depth: int) -> object:
    if value is None or type(value) in (str, int, float, bool) or isinstance(value, Model):
        return value
    if depth > MAX_DEPTH:
        raise MisfitError("nested too deeply, or inside itself")
    if isinstance(value, enum.Enum):
        return _plain(value.value, depth + 1)
    if isinstance(value, _BY_MSGSPEC):
        return msgspec.to_builtins(value)
    if isinstance(value, pathlib.PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return _entries({_key(key): item for key, item in cast("Mapping[object, object]", value).items()}, depth)
    kind: Any = type(cast("object", value))
    if attrs.has(kind):
        return _entries({item.alias: getattr(value, item.name) for item in attrs.fields(kind)}, depth)
    if dataclasses.is_dataclass(kind):
        return _entries({item.name: getattr(value, item.name) for item in dataclasses.fields(kind)}, depth)
    if issubclass(kind, tuple) and hasattr(cast("Any", kind), "_asdict"):
        return _entries(value._asdict(), depth)
    if issubclass(kind, (Sequence, Set)) and not issubclass(kind, (str, bytes, bytearray, memoryview)):
        return _items(value, depth)
    return value  # to be refused by name, or taken for the plain type it derives from, when it is written


def _items(values: Sequence[object] | Set[object], depth: int) -> list[object]:
    result: list[object] = []
    try:
        for value in values:
            result.append(_plain(value, depth + 1))
    except MisfitError as misfit:
        misfit.segments.append(len(result))
        raise
    return result


def _entries(values: Mapping[str, object], depth: int) -> dict[str, object]:
    result: dict[str, object] = {}
    for name, value in values.items():
        try:
            result[name] = _plain(value, depth + 1)
        except MisfitError as misfit:
            misfit.segments.append(name)
            raise
    return result


def _key(key: object) -> Any:
    """Write a key as text where its type has one obvious form."""
    while isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, int) and not isinstance(key, bool):
        return str(int(key))
    if isinstance(key, _BY_MSGSPEC):
        return msgspec.to_builtins(key)
    return key  # a str, or to be refused when it is written
