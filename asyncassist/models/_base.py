"""What every model is made of: the base class, UNSET, and the words its fields are declared with.

A field's annotation says what may come; its default says what stands in for an absent or null value.
How the field goes back out follows from both:

- a plain field is always encoded, None as ``null``: the API's schema requires it;
- a field declared `Omittable` (or `OmittableTuple`) is left out while it is None (or empty).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias, TypeVar

import attrs
from attrs import field

if TYPE_CHECKING:
    from collections.abc import Callable

    from attrs import frozen
else:

    def frozen(**options: object) -> Callable[[type], type]:
        """Do as `attrs.frozen`, without making methods that `Model` has for all: that took half of the import time."""
        return attrs.frozen(**options, eq=False, repr=False)


__all__ = [
    "OMIT",
    "UNSET",
    "JsonObject",
    "Metadata",
    "Model",
    "Omittable",
    "OmittableTuple",
    "Unknown",
    "Unset",
    "frozen",
]

_T = TypeVar("_T")


class Unset(enum.Enum):
    """The type of `UNSET`. An enum, so that type checkers narrow on ``is UNSET`` and copies stay the same object."""

    UNSET = "UNSET"

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return self.name

    __str__ = __repr__


UNSET: Final = Unset.UNSET
"""Not there at all, where None is JSON's ``null``. Falsy."""

OMIT: Final = "omit"
"""Marks an annotation: the field is left out of the JSON while it is None or empty."""

Omittable: TypeAlias = Annotated[_T | None, OMIT]
"""A value or None; None is left out of the JSON."""

OmittableTuple: TypeAlias = Annotated[tuple[_T, ...], OMIT]
"""Any number of values; the empty tuple is left out of the JSON."""

JsonObject: TypeAlias = Mapping[str, object]
"""A JSON object as it came, a plain dict at run time."""

Metadata: TypeAlias = Mapping[str, str]
"""Up to 16 pairs of an object's own notes; keys of at most 64 characters, values of at most 512.

What a server sends as another kind of value is not among them, but in ``extra_fields["metadata"]``.
"""


def _none_if_empty(fields: JsonObject | None) -> JsonObject | None:
    return fields or None


@frozen(kw_only=True)
class Model:
    """Base of everything the API sends: frozen, slotted, compared by content.

    Fields the API added after this version was made are kept, take part in comparison, and go back out. Models with a
    mapping inside cannot be hashed. Change a copy with ``attrs.evolve(model, field=value)``. Make JSON of a model with
    `asyncassist.to_dict`; ``attrs.asdict`` also shows what is kept of how it was received.
    """

    _extra: JsonObject | None = field(default=None, alias="extra_fields", converter=_none_if_empty, repr=False)
    # Where the JSON this came from differs from what encoding would make of it: the name of a known field with the
    # empty value that was sent for it, or with UNSET where it was absent. It applies while the field has its default.
    _received: Mapping[str, object] | None = field(default=None, alias="_received", eq=False, repr=False)

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        assert isinstance(other, Model)
        return _content(self) == _content(other)

    def __hash__(self) -> int:
        return hash((type(self), _content(self)))

    def __repr__(self) -> str:
        shown = [f"{a.name}={getattr(self, a.name)!r}" for a in attrs.fields(type(self)) if a.repr]
        return f"{type(self).__qualname__}({', '.join(shown)})"

    @property
    def extra_fields(self) -> JsonObject:
        """What was received and has no place in the model, as raw JSON by name.

        These are the fields this version does not know, and under ``"metadata"`` the pairs whose value is no string.
        """
        return {} if self._extra is None else self._extra


def _content(model: Model) -> tuple[object, ...]:
    return tuple([getattr(model, a.name) for a in attrs.fields(type(model)) if a.eq])


@frozen(kw_only=True)
class Unknown(Model):
    """A member of a union whose ``type`` this version does not know; it goes back out as it came."""

    type: str | None = None
    """The tag as sent; None when there was none."""
    raw: JsonObject = field(factory=dict[str, object])
    """The whole object as sent, its ``type`` included."""
