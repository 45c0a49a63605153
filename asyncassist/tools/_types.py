"""Python's types to shapes."""

from __future__ import annotations

import collections.abc as abc
import dataclasses
import datetime
import decimal
import enum
import inspect
import pathlib
import types
import typing
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import attrs
import msgspec

from asyncassist._wire._misfit import MisfitError
from asyncassist.models import UNSET, Model
from asyncassist.tools._docstrings import read_docstring
from asyncassist.tools._limits import ANY_KIND, NO_LIMITS, Limits, read_metadata
from asyncassist.tools._shapes import (
    Choice,
    Entries,
    Field,
    Items,
    Noted,
    Null,
    OneOf,
    Raw,
    Record,
    Row,
    Scalar,
    Shape,
    Text,
    expected,
)

__all__ = ["TypeReader", "described", "evaluating"]


def _reader_of(type_: Any) -> Callable[[str], object]:
    def read(text: str) -> object:
        try:
            return msgspec.convert(text, type_)
        except msgspec.ValidationError as error:
            raise ValueError(str(error)) from None

    return read


def _read_decimal(text: str) -> decimal.Decimal:
    try:
        number = decimal.Decimal(text)
    except decimal.InvalidOperation:
        raise ValueError("no number") from None
    if not number.is_finite():
        raise ValueError("NaN or infinite")
    return number


_TEXTS: dict[object, Text] = {
    datetime.datetime: Text("a date and time (ISO 8601)", "date-time", _reader_of(datetime.datetime)),
    datetime.date: Text("a date (YYYY-MM-DD)", "date", _reader_of(datetime.date)),
    datetime.time: Text("a time (HH:MM:SS)", "time", _reader_of(datetime.time)),
    datetime.timedelta: Text("a duration (ISO 8601)", "duration", _reader_of(datetime.timedelta)),
    uuid.UUID: Text("a UUID", "uuid", _reader_of(uuid.UUID)),
    decimal.Decimal: Text("a decimal number", None, _read_decimal),
    pathlib.Path: Text("a path", None, pathlib.Path),
    pathlib.PurePath: Text("a path", None, pathlib.PurePath),
}
_LISTS = (list, abc.Sequence, abc.MutableSequence, abc.Collection, abc.Iterable)
_SETS = (set, abc.Set, abc.MutableSet)
_DICTS = (dict, abc.Mapping, abc.MutableMapping)
_UNIONS = (Union, types.UnionType)
_MARKS = tuple(getattr(typing, name) for name in ("Required", "NotRequired", "ReadOnly") if hasattr(typing, name))
_SUPPORTED = (
    "str, int, float, bool, None, Any, Literal, Enum, unions, Annotated, list, tuple, set, dict, dates and times, "
    "UUID, Decimal, Path, attrs classes, dataclasses, TypedDict and NamedTuple"
)


class TypeReader:
    """Takes types apart; each class once, so that classes may refer to themselves."""

    def __init__(self, names: Mapping[str, object] | None = None) -> None:
        """Start without any class known.

        Args:
            names: what annotations may refer to besides their module's names: the local names where a function or
                class was made.
        """
        self._names = names
        self._records: dict[object, Record] = {}

    def shape(self, type_: Any) -> Shape:
        """Return a type's shape.

        Raises:
            MisfitError: values of the type cannot be arguments.
            NameError: an annotation inside it cannot be resolved.
        """
        origin, args = get_origin(type_), get_args(type_)
        if origin is Annotated:
            return _noted(self.shape(args[0]), *read_metadata(args[1:]))
        if isinstance(type_, typing.NewType):
            return self.shape(type_.__supertype__)
        if type(type_).__name__ == "TypeAliasType":  # ``type X = ...`` of Python 3.12
            return self.shape(type_.__value__)
        if type_ is Any or type_ is object:
            return Raw()
        if type_ is None or type_ is types.NoneType:
            return Null()
        if origin in _UNIONS:
            return OneOf(tuple(self.shape(arg) for arg in args))
        if origin is Literal:
            return _choice([(value.value if isinstance(value, enum.Enum) else value, value) for value in args], type_)
        if type_ in (str, int, float, bool):
            return Scalar(type_)
        if isinstance(type_, TypeVar):
            raise MisfitError(f"the type variable {type_} has no value")
        if type_ == tuple[()]:
            return Row(())
        container = self._container(origin or type_, args)
        if container is not None:
            return container
        cls: Any = origin or type_
        if isinstance(cls, type):
            if cls in _TEXTS:
                return _TEXTS[cls]
            if issubclass(cls, enum.Enum):
                return _choice([(member.value, member) for member in cls], cls)
            if issubclass(cls, Model):
                raise MisfitError(f"{cls.__name__} is what the server sends, no type of an argument")
            if type_ in self._records:
                return self._records[type_]
            if (describe := _describer(cls)) is not None:
                return self._record(type_, cls, describe)
        raise MisfitError(f"{_name_of(type_)} cannot be the type of an argument; these can: {_SUPPORTED}")

    def _container(self, origin: Any, args: tuple[Any, ...]) -> Shape | None:
        if origin in _LISTS:
            return Items(self.shape(args[0]) if args else Raw(), list)
        if origin in _SETS or origin is frozenset:
            make = frozenset if origin in (frozenset, abc.Set) else set
            return Items(self.shape(args[0]) if args else Raw(), make, is_unique=True)
        if origin is tuple:
            if len(args) == 2 and args[1] is ...:
                return Items(self.shape(args[0]), tuple)
            return Row(tuple(self.shape(arg) for arg in args)) if args else Items(Raw(), tuple)
        if origin in _DICTS:
            key, value = (self.shape(arg) for arg in args) if args else (Scalar(str), Raw())
            if not _is_text(key):
                raise MisfitError("the keys of a dict must be strings, as they are in JSON")
            return Entries(key, value)
        return None

    def _record(self, type_: Any, cls: Any, describe: _Describer) -> Record:
        name = _name_of(type_)
        doc = _own_docstring(cls)
        description, notes = read_docstring(doc) if doc else (None, {})
        make = dict if _is_typed_dict(cls) else cls
        hints = self._hints(cls)
        values = _type_arguments(type_)
        fields: list[Field] = []
        record = self._records[type_] = Record(name, make, description)
        try:
            for attribute, alias, is_required, default in describe(cls):
                try:
                    if attribute not in hints:
                        raise MisfitError("has no type hint; Any takes every JSON value")
                    hint, is_required = _unmarked(_filled(hints[attribute], values), is_required)
                    shape = self.shape(hint)
                except MisfitError as misfit:
                    misfit.segments.append(attribute)
                    raise
                fields.append(Field(alias, alias, described(shape, notes.get(attribute)), is_required, default))
        except BaseException:
            del self._records[type_]
            raise
        record.fields = fields
        return record

    def _hints(self, cls: type[Any]) -> dict[str, Any]:
        # Classes made inside of functions may refer to what is local there; others see their module alone.
        names = dict(self._names) if self._names and "<locals>" in cls.__qualname__ else None
        with evaluating(f"the type hints of {cls.__name__}"):
            return get_type_hints(cls, localns=names, include_extras=True)


@contextmanager
def evaluating(what: str) -> Generator[None]:
    """Turn whatever the text of a type hint may raise, names that are missing apart, into one error."""
    try:
        yield
    except NameError:
        raise
    except Exception as error:
        raise MisfitError(f"{what} cannot be evaluated: {error}") from None


def described(shape: Shape, description: str | None) -> Shape:
    """Add a description from a docstring, unless the annotation has one of its own."""
    if description is None or (isinstance(shape, Noted) and shape.description is not None):
        return shape
    return Noted(shape, description, NO_LIMITS)


def _noted(shape: Shape, description: str | None, limits: Limits) -> Shape:
    """Add what an annotation says, where it says something."""
    if description is None and limits is NO_LIMITS:
        return shape
    kinds = _kinds(shape)
    for rules, kinds_it_binds in limits.by_kind():
        if not kinds & kinds_it_binds:
            raise MisfitError(f"the limit {rules[0]!r} does not apply to {expected(shape)}")
    return Noted(shape, description, limits)


def _kinds(shape: Shape) -> frozenset[str]:
    """What limits are told apart by."""
    match shape:
        case Raw() | Choice():
            return ANY_KIND
        case Scalar():
            return frozenset({"string" if shape.type is str else "boolean" if shape.type is bool else "number"})
        case Text():
            return frozenset({"ordered"})
        case Items() | Row():
            return frozenset({"array"})
        case Entries():
            return frozenset({"object"})
        case OneOf():
            return frozenset(kind for member in shape.members for kind in _kinds(member))
        case Noted():
            return _kinds(shape.shape)
        case Null() | Record():  # pragma: no branch
            return frozenset()


def _is_text(shape: Shape) -> bool:
    match shape:
        case Scalar():
            return shape.type is str
        case Choice():
            return all(isinstance(value, str) for value, _ in shape.members)
        case Noted():
            return _is_text(shape.shape)
        case _:
            return False


def _choice(members: list[tuple[Any, object]], type_: object) -> Choice:
    if not members:
        raise MisfitError(f"{_name_of(type_)} has no values")
    for value, _ in members:
        if value is not None and type(value) not in (str, int, float, bool):
            raise MisfitError(f"{_name_of(type_)} has a value that is no string, number, boolean or None")
    return Choice(tuple(members))


def _name_of(type_: object) -> str:
    if args := get_args(type_):
        return "_".join(_name_of(part) for part in (get_origin(type_), *args))
    return str(getattr(type_, "__name__", type_))


# --- classes ---------------------------------------------------------------------------------------------------------

_Row = tuple[str, str, bool, object]
_Describer = Callable[[Any], Sequence[_Row]]
"""Gives name, name as an argument, whether it must be given, and default of each field of a class."""


def _describer(cls: Any) -> _Describer | None:
    if attrs.has(cls):
        return _describe_attrs
    if dataclasses.is_dataclass(cls):
        return _describe_dataclass
    if _is_typed_dict(cls):
        return _describe_typed_dict
    if issubclass(cls, tuple) and hasattr(cast("Any", cls), "_fields"):
        return _describe_named_tuple
    return None


def _describe_attrs(cls: Any) -> list[_Row]:
    if hasattr(cls, "__attrs_init__"):
        raise _own_init(cls)
    rows: list[_Row] = []
    for item in attrs.fields(cls):
        if item.init:
            is_plain = item.default is attrs.NOTHING or isinstance(item.default, attrs.Factory)  # type: ignore[arg-type]
            rows.append((item.name, item.alias, item.default is attrs.NOTHING, UNSET if is_plain else item.default))
    return rows


def _own_init(cls: type[Any]) -> MisfitError:
    return MisfitError(f"{cls.__name__} has an __init__ of its own")


def _describe_dataclass(cls: Any) -> list[_Row]:
    rows: list[_Row] = []
    for name, parameter in inspect.signature(cls).parameters.items():
        if name not in cls.__dataclass_fields__:
            raise _own_init(cls)
        field: dataclasses.Field[Any] = cls.__dataclass_fields__[name]
        has_factory = field.default_factory is not dataclasses.MISSING
        is_required = parameter.default is parameter.empty
        rows.append((name, name, is_required, UNSET if is_required or has_factory else field.default))
    return rows


def _is_typed_dict(cls: type[Any]) -> bool:
    # That of typing_extensions is unknown to typing.is_typeddict().
    return issubclass(cls, dict) and hasattr(cast("Any", cls), "__required_keys__")


def _describe_typed_dict(cls: Any) -> list[_Row]:
    return [(name, name, name in cls.__required_keys__, UNSET) for name in cls.__annotations__]


def _describe_named_tuple(cls: Any) -> list[_Row]:
    defaults: Mapping[str, object] = cls._field_defaults
    return [(name, name, name not in defaults, defaults.get(name, UNSET)) for name in cls._fields]


def _unmarked(hint: Any, is_required: bool) -> tuple[Any, bool]:
    """Take the marks of a TypedDict's key or of a dataclass's field off its type."""
    if isinstance(hint, dataclasses.InitVar):
        return cast("Any", hint).type, is_required
    origin = get_origin(hint)
    if origin in _MARKS:
        is_required = {typing.Required: True, typing.NotRequired: False}.get(origin, is_required)
        return _unmarked(get_args(hint)[0], is_required)
    if origin is Annotated and get_origin(hint.__origin__) in _MARKS:
        inner, is_required = _unmarked(hint.__origin__, is_required)
        return Annotated[(inner, *hint.__metadata__)], is_required
    return hint, is_required


def _own_docstring(cls: type[Any]) -> str | None:
    doc = cls.__dict__.get("__doc__")
    # Dataclasses and named tuples write one themselves, which is their signature.
    return None if not doc or doc.startswith(f"{cls.__name__}(") else inspect.cleandoc(doc)


def _type_arguments(type_: Any) -> dict[Any, Any]:
    """Return what the type variables of a generic class and of its bases stand for."""
    cls = get_origin(type_) or type_
    found: dict[Any, Any] = dict(zip(getattr(cls, "__parameters__", ()), get_args(type_), strict=False))
    for base in getattr(cls, "__orig_bases__", ()):
        if get_args(base) and get_origin(base) not in (typing.Generic, typing.Protocol):
            found = {**_type_arguments(_filled(base, found)), **found}
    return found


def _filled(hint: Any, values: Mapping[Any, Any]) -> Any:
    if isinstance(hint, TypeVar):
        return values.get(hint, hint)
    parameters = getattr(hint, "__parameters__", ())
    if not parameters or isinstance(hint, type):
        return hint
    return hint[tuple(values.get(parameter, parameter) for parameter in parameters)]
