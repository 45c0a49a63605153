"""Models to plain JSON values and back, for those who keep or pass them on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar, cast, get_origin

from asyncassist._wire.converter import structure, unstructure
from asyncassist.errors import shown
from asyncassist.models import Model

__all__ = ["from_dict", "to_dict"]

M = TypeVar("M", bound=Model)


def to_dict(model: Model) -> dict[str, object]:
    """Turn a model into plain JSON values, as ``json.dumps`` takes them.

    A model that was received gives the same JSON again, with the fields this version does not know; one made by hand
    leaves out what the API leaves out. `from_dict` makes an equal model of it.

    Raises:
        UsageError: something was put into it that cannot be JSON; the message names its path.
    """
    if not isinstance(model, Model):
        raise TypeError(f"to_dict() takes a model of the API, got {type(model).__name__}")
    values = unstructure(model)
    assert isinstance(values, dict)  # every model is a JSON object
    return cast("dict[str, object]", values)


def from_dict(type_: type[M], data: Mapping[str, object]) -> M:
    """Make a model of plain JSON values: of what `to_dict` gave, or of the API's own JSON, as a webhook may bring it.

    The values are checked as those of an answer. Nothing in the model is shared with ``data``.

    Args:
        type_: a class of `asyncassist.models`, such as ``Run`` or ``Page[Message]``.

    Raises:
        DecodeError: the values are not of that shape; ``field`` is the path of the part that does not fit.
        UsageError: something among them is no JSON.
    """
    cls: object = get_origin(type_) or type_
    if not isinstance(cls, type) or not issubclass(cls, Model):
        raise TypeError(f"from_dict() takes a model class and its values, got {shown(type_)}")
    return structure(unstructure(data), type_)
