"""The one converter between JSON values and models.

Structuring checks and never coerces: a string is no number, a boolean is no integer; a float without a fraction is an
integer, because some servers write timestamps so. What stands in for an absent or null field is the field's default.

The hooks are registered from simple types to composed ones; cattrs tries the latest first and remembers its choice, so
each type is taken apart once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

import attrs
from cattrs import Converter

from asyncassist._wire._annotations import field_types
from asyncassist._wire._misfit import MAX_DEPTH, MisfitError, kind_of
from asyncassist._wire.unstructure import default_of, unstructure
from asyncassist.errors import DecodeError
from asyncassist.models import UNSET, Model, Unknown
from asyncassist.models._base import OMIT

__all__ = ["converter", "structure", "unstructure"]

_T = TypeVar("_T")
_Json: TypeAlias = dict[str, Any] | list[Any] | str | int | float | bool | None
_Hook: TypeAlias = Callable[[Any, Any], Any]

converter = Converter(detailed_validation=False)


def structure(data: object, type_: type[_T]) -> _T:
    """Turn a JSON value into a model, such as ``Run`` or ``Page[Message]``.

    Raises:
        DecodeError: the value is not of that shape; ``field`` is the path of the part that does not fit.
    """
    try:
        model: _T = converter.get_structure_hook(type_)(data, type_)
        return model
    except MisfitError as misfit:
        raise DecodeError(f"{misfit.path or 'the body'}: {misfit.reason}", field=misfit.path) from None
    except RecursionError:
        raise DecodeError("the body is nested too deeply") from None


# --- values without structure ----------------------------------------------------------------------------------------

_LARGEST_EXACT_FLOAT = 2.0**53


def _structure_str(value: _Json, _: object) -> str:
    if not isinstance(value, str):
        raise MisfitError(f"expected a string, got {kind_of(value)}")
    return value


def _structure_int(value: _Json, _: object) -> int:
    if isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST_EXACT_FLOAT:
        return int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise MisfitError(f"expected an integer, got {value if isinstance(value, float) else kind_of(value)}")
    return value


def _structure_float(value: _Json, _: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise MisfitError(f"expected a number, got {kind_of(value)}")
    return value


def _structure_bool(value: _Json, _: object) -> bool:
    if not isinstance(value, bool):
        raise MisfitError(f"expected a boolean, got {kind_of(value)}")
    return value


def _as_object(value: _Json) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MisfitError(f"expected an object, got {kind_of(value)}")
    return value


def _check_depth(value: _Json, level: int) -> None:
    """Refuse raw JSON nested so deeply that comparing, printing or sending it could exhaust the stack."""
    items: Iterable[Any]
    if isinstance(value, dict):
        items = value.values()
    elif isinstance(value, list):
        items = value
    else:
        return
    if level >= MAX_DEPTH:
        raise MisfitError(f"nested more than {MAX_DEPTH} levels deep")
    for item in items:
        _check_depth(item, level + 1)


def _structure_raw(value: _Json, _: object) -> object:
    _check_depth(value, 0)
    return value


def _structure_object(value: _Json, _: object) -> dict[str, object]:
    values = _as_object(value)
    _check_depth(values, 0)
    return values


class _OtherValuesError(Exception):
    """A mapping of strings has values of other kinds."""


def _structure_strings(value: _Json, _: object) -> dict[str, Any]:
    values = _as_object(value)
    for item in values.values():
        if not isinstance(item, str):
            _check_depth(values, 0)
            raise _OtherValuesError
    return values


converter.register_structure_hook(str, _structure_str)
converter.register_structure_hook(int, _structure_int)
converter.register_structure_hook(float, _structure_float)
converter.register_structure_hook(bool, _structure_bool)
converter.register_structure_hook_func(lambda type_: type_ is object, _structure_raw)
converter.register_structure_hook_func(lambda type_: type_ == Mapping[str, object], _structure_object)
converter.register_structure_hook_func(lambda type_: type_ == Mapping[str, str], _structure_strings)


# --- names: one fixed tag, or known names among any ------------------------------------------------------------------


def _is_union(type_: object) -> bool:
    return get_origin(type_) in (Union, UnionType)


def _known_names(type_: object) -> list[str]:
    """The names in the Literal members of a type."""
    members = get_args(type_) if _is_union(type_) else (type_,)
    return [name for member in members if get_origin(member) is Literal for name in get_args(member)]


def _is_tag(type_: Any) -> bool:
    return get_origin(type_) is Literal


def _make_tag_hook(type_: object) -> _Hook:
    (tag,) = _known_names(type_)

    def structure_tag(value: _Json, _: object) -> str:
        if value != tag:
            raise MisfitError(f"expected {tag!r}, got {'another string' if isinstance(value, str) else kind_of(value)}")
        return tag

    return structure_tag


def _is_open_name(type_: object) -> bool:
    return _is_union(type_) and all(m is str or get_origin(m) is Literal for m in get_args(type_))


def _make_name_hook(type_: object) -> _Hook:
    # Known names are replaced by one shared copy: thousands of models say "assistant" or "completed".
    known = {name: name for name in _known_names(type_)}

    def structure_name(value: _Json, _: object) -> str:
        return known.get(name := _structure_str(value, str), name)

    return structure_name


converter.register_structure_hook_factory(_is_tag, _make_tag_hook)
converter.register_structure_hook_factory(_is_open_name, _make_name_hook)


# --- lists -----------------------------------------------------------------------------------------------------------


def _is_tuple(type_: Any) -> bool:
    return get_origin(type_) is tuple


def _make_tuple_hook(type_: Any) -> _Hook:
    item_type = get_args(type_)[0]
    structure_item = converter.get_structure_hook(item_type)

    def structure_tuple(value: _Json, _: object) -> tuple[object, ...]:
        if not isinstance(value, list):
            raise MisfitError(f"expected an array, got {kind_of(value)}")
        items: list[object] = []
        try:
            for item in value:
                items.append(structure_item(item, item_type))
        except MisfitError as misfit:
            misfit.segments.append(len(items))
            raise
        return tuple(items)

    return structure_tuple


converter.register_structure_hook_factory(_is_tuple, _make_tuple_hook)


# --- models ----------------------------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class _Field:
    """How one field of a model is structured."""

    name: str
    scalar: type[object] | None
    """Values of exactly this type need no hook."""
    known: dict[Any, str] | None
    """Shared copies of the names the field is known to take."""
    hook: _Hook
    type: object
    put: Callable[[Model, object], None]
    """Fills the field's slot."""
    make_default: Callable[[], object] | None
    """Makes what stands in for an absent or null value; None: the field must be there."""
    takes_null: bool
    """Whether null is None, and None is encoded as null again."""
    omits: bool
    """Whether the field is left out of the JSON while it is None or empty."""


def _without_none(type_: Any) -> Any:
    if not _is_union(type_):
        return type_
    members = tuple(member for member in get_args(type_) if member is not NoneType)
    return Union[members]  # noqa: UP007 - made of a tuple


def _describe_field(cls: type[Model], attribute: attrs.Attribute[Any], annotation: Any) -> _Field:
    omits = get_origin(annotation) is Annotated and OMIT in annotation.__metadata__
    type_ = _without_none(annotation.__origin__ if get_origin(annotation) is Annotated else annotation)
    is_name = _is_open_name(type_)
    return _Field(
        name=attribute.name,
        scalar=str if is_name else type_ if type_ in (str, int, float, bool) else None,
        known={name: name for name in _known_names(type_)} if is_name else None,
        hook=converter.get_structure_hook(type_),
        type=type_,
        put=getattr(cls, attribute.name).__set__,
        make_default=default_of(attribute),
        takes_null=attribute.default is None and not omits,
        omits=omits,
    )


def _make_model_hook(type_: Any) -> _Hook:
    cls: type[Model] = get_origin(type_) or type_
    items = get_args(type_) or (object,)
    fields: list[_Field] = []
    for name, hint in field_types(cls).items():
        attribute = getattr(attrs.fields(cls), name)
        fields.append(_describe_field(cls, attribute, hint[items] if getattr(hint, "__parameters__", ()) else hint))
    return _model_hook(cls, fields)


def _model_hook(cls: type[Model], fields: list[_Field]) -> _Hook:
    # The slots are filled one by one: the generated __init__ takes twice as long.
    table = [(f.name, f.scalar, f.known, f.takes_null, f.put, f.hook, f.type, f) for f in fields]
    names = frozenset(f.name for f in fields)
    new = cls.__new__
    put_extra: Callable[[Model, object], None] = getattr(cls, "_extra").__set__  # noqa: B009 - private
    put_received: Callable[[Model, object], None] = getattr(cls, "_received").__set__  # noqa: B009 - private

    def structure_model(data: _Json, _: object) -> Model:
        values = _as_object(data)
        get = values.get
        model = new(cls)
        missing = 0
        received: dict[str, object] | None = None
        extra: dict[str, object] | None = None
        name = ""
        try:
            for name, scalar, known, takes_null, put, hook, type_, field in table:
                value = get(name, UNSET)
                if type(value) is scalar:
                    put(model, known.get(value, value) if known else value)
                elif value is None and takes_null:
                    put(model, None)
                elif value is None or value is UNSET:
                    if field.make_default is None:
                        raise MisfitError("is null" if value is None else "is missing")
                    put(model, field.make_default())
                    if value is None or not field.omits:
                        received = received or {}
                        received[name] = value
                    missing += value is UNSET
                else:
                    value = hook(value, type_)
                    put(model, value)
                    if value == () and field.omits:
                        received = received or {}
                        received[name] = []
            if len(values) + missing > len(table):
                extra = {}
                for name, value in values.items():
                    if name not in names:
                        extra[name] = _structure_raw(value, object)
        except MisfitError as misfit:
            misfit.segments.append(name)
            raise
        except _OtherValuesError:
            # Once more, with the strings alone; the rest is kept as fields are that this version does not know.
            pairs: dict[str, Any] = values[name]
            strings = {key: item for key, item in pairs.items() if isinstance(item, str)}
            model = structure_model({**values, name: strings}, cls)
            others = {key: item for key, item in pairs.items() if key not in strings}
            put_extra(model, {**model.extra_fields, name: others})
            return model
        put_extra(model, extra)
        put_received(model, received)
        return model

    return structure_model


def _is_model(type_: object) -> bool:
    cls = get_origin(type_) or type_
    return isinstance(cls, type) and issubclass(cls, Model)


def _make_unknown_hook(type_: Any) -> _Hook:
    cls: type[Unknown] = type_

    def structure_unknown(data: _Json, _: object) -> Unknown:
        raw = _structure_object(data, Mapping)
        tag = raw.get("type")
        return cls(type=tag if isinstance(tag, str) else None, raw=raw)

    return structure_unknown


converter.register_structure_hook_factory(_is_model, _make_model_hook)
converter.register_structure_hook_factory(
    lambda type_: isinstance(type_, type) and issubclass(type_, Unknown), _make_unknown_hook
)


# --- unions ----------------------------------------------------------------------------------------------------------


def _is_model_union(type_: object) -> bool:
    return _is_union(type_) and any(_is_model(member) for member in get_args(type_))


def _make_union_hook(type_: Any) -> _Hook:
    """Tell the models of a union by their ``type``; strings, where the union has them, stay strings."""
    members = [member for member in get_args(type_) if _is_model(member)]
    tags = {member: field_types(member)["type"] for member in members}
    by_tag = {
        _known_names(tag)[0]: (converter.get_structure_hook(member), member)
        for member, tag in tags.items()
        if _is_tag(tag)
    }
    (untagged,) = (member for member, tag in tags.items() if not _is_tag(tag))
    fallback = (converter.get_structure_hook(untagged), untagged)
    takes_str = str in get_args(type_)
    known = {name: name for name in _known_names(type_)}

    def structure_union(value: _Json, _: object) -> object:
        if takes_str and isinstance(value, str):
            return known.get(value, value)
        if not isinstance(value, dict):
            raise MisfitError(f"expected an object{' or a string' if takes_str else ''}, got {kind_of(value)}")
        tag = value.get("type")
        hook, member = by_tag.get(tag, fallback) if isinstance(tag, str) else fallback
        return hook(value, member)

    return structure_union


converter.register_structure_hook_factory(_is_model_union, _make_union_hook)
