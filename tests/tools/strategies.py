"""Types an argument may have, each with values of it."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import itertools
import pathlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, Optional, TypedDict, Union

import annotated_types
import attrs
import msgspec
from hypothesis import strategies as st

__all__ = ["Case", "cases"]


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.Enum):
    SMALL = 1
    LARGE = 2.5


@attrs.frozen
class Case:
    """A type and a strategy for its values."""

    type: Any
    values: st.SearchStrategy[Any]
    is_hashable: bool = False
    fits_strict: bool = True
    takes_none: bool = False


_count = itertools.count()
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_INT = st.integers(-(2**70), 2**70)
_FLOAT = st.floats(allow_nan=False, allow_infinity=False)
_JSON = st.recursive(st.none() | _TEXT | _INT | _FLOAT, lambda s: st.lists(s) | st.dictionaries(_TEXT, s))
_TIMES = {"timezones": st.none() | st.just(datetime.UTC)}

LEAVES = [
    Case(str, _TEXT, True),
    Case(int, _INT, True),
    Case(float, _FLOAT, True),
    Case(bool, st.booleans(), True),
    Case(type(None), st.none(), True, takes_none=True),
    Case(Color, st.sampled_from(Color), True),
    Case(Size, st.sampled_from(Size), True),
    Case(Literal["a", 1, True, None], st.sampled_from(["a", 1, True, None]), takes_none=True),
    Case(Literal[Color.RED, "x"], st.sampled_from([Color.RED, "x"]), True),
    Case(datetime.date, st.dates(), True),
    Case(datetime.datetime, st.datetimes(**_TIMES), True),  # type: ignore[arg-type]
    Case(datetime.time, st.times(**_TIMES), True),  # type: ignore[arg-type]
    Case(datetime.timedelta, st.timedeltas(datetime.timedelta(-9999), datetime.timedelta(9999)), True),
    Case(uuid.UUID, st.uuids(), True),
    Case(decimal.Decimal, st.decimals(allow_nan=False, allow_infinity=False), True),
    Case(pathlib.PurePath, _TEXT.map(pathlib.PurePath), True),
    Case(Annotated[int, annotated_types.Interval(ge=-3, lt=5)], st.integers(-3, 4), True),
    Case(Annotated[int, msgspec.Meta(multiple_of=3, gt=0)], st.integers(1, 9).map(lambda n: 3 * n), True),
    Case(Annotated[str, annotated_types.Len(1, 3), "short"], _TEXT.filter(lambda s: 1 <= len(s) <= 3), True),
    Case(Annotated[str, msgspec.Meta(pattern="^[ab]+$")], st.from_regex(r"\A[ab]+\Z"), True),
    Case(Any, _JSON, fits_strict=False, takes_none=True),
]


@st.composite
def cases(draw: st.DrawFn, depth: int = 2) -> Case:
    """Draw a type, containers and classes in one another up to a depth."""
    if depth == 0 or draw(st.booleans()):
        return draw(st.sampled_from(LEAVES))
    one, two = draw(cases(depth - 1)), draw(cases(depth - 1))
    make = draw(st.sampled_from([*_CONTAINERS, *_PAIRS]))
    if make in _CONTAINERS:
        return make(one)
    case = make(draw, one, two)
    return attrs.evolve(case, fits_strict=case.fits_strict and one.fits_strict and two.fits_strict)


def _listing(case: Case) -> Case:
    return Case(list[case.type], st.lists(case.values, max_size=3), False, case.fits_strict)


def _sequence(case: Case) -> Case:
    limited = Annotated[Sequence[case.type], annotated_types.Len(1, 2)]  # type: ignore[name-defined]
    return Case(limited, st.lists(case.values, min_size=1, max_size=2), False, case.fits_strict)


def _tuple(case: Case) -> Case:
    values = st.lists(case.values, max_size=3).map(tuple)
    return Case(tuple[case.type, ...], values, case.is_hashable, case.fits_strict)  # type: ignore[name-defined]


def _set(case: Case) -> Case:
    if not case.is_hashable:
        return _listing(case)
    return Case(frozenset[case.type], st.frozensets(case.values, max_size=3), True, case.fits_strict)


def _mapping(case: Case) -> Case:
    return Case(dict[str, case.type], st.dictionaries(_TEXT, case.values, max_size=3), False, False)  # type: ignore[name-defined]


def _colors(case: Case) -> Case:
    values = st.dictionaries(st.sampled_from(Color), case.values, max_size=2)
    return Case(Mapping[Color, case.type], values, False, False)  # type: ignore[name-defined]


def _optional(case: Case) -> Case:
    return Case(Optional[case.type], st.none() | case.values, case.is_hashable, case.fits_strict, True)  # noqa: UP045


def _described(case: Case) -> Case:
    return attrs.evolve(case, type=Annotated[case.type, "what it is"])


def _row(draw: st.DrawFn, one: Case, two: Case) -> Case:
    values = st.tuples(one.values, two.values)
    return Case(tuple[one.type, two.type], values, one.is_hashable and two.is_hashable)  # type: ignore[name-defined]


def _attrs_class(draw: st.DrawFn, one: Case, two: Case) -> Case:
    fields = {"_one": attrs.field(type=one.type), "two": attrs.field(type=two.type, default=draw(two.values))}
    cls = attrs.make_class(f"A{next(_count)}", fields)
    return Case(cls, st.builds(cls, one.values) | st.builds(cls, one.values, two.values))


def _dataclass(draw: st.DrawFn, one: Case, two: Case) -> Case:
    default = draw(two.values)
    fields = [("one", one.type), ("two", two.type, dataclasses.field(default_factory=lambda: default))]
    cls = dataclasses.make_dataclass(f"D{next(_count)}", fields)
    return Case(cls, st.builds(cls, one.values, two.values))


def _named_tuple(draw: st.DrawFn, one: Case, two: Case) -> Case:
    cls = NamedTuple(f"N{next(_count)}", [("one", one.type), ("two", two.type)])  # type: ignore[misc]  # noqa: UP014
    return Case(cls, st.builds(cls, one.values, two.values))


def _typed_dict(draw: st.DrawFn, one: Case, two: Case) -> Case:
    cls = TypedDict(f"T{next(_count)}", {"one": one.type, "two": NotRequired[two.type]})  # type: ignore[misc]  # noqa: UP013
    values = st.fixed_dictionaries({"one": one.values}, optional={"two": two.values})
    return Case(cls, values, fits_strict=not two.takes_none)  # where null cannot stand for both


def _union(draw: st.DrawFn, one: Case, two: Case) -> Case:
    """Members a JSON value tells apart by itself, or by their tags."""
    tagged = [
        attrs.make_class(
            f"U{next(_count)}", {"tag": attrs.field(type=Literal[tag]), "value": attrs.field(type=case.type)}
        )
        for tag, case in (("one", one), ("two", two))
    ]
    members = [
        (str, _TEXT),
        (bool, st.booleans()),
        (int, _INT),
        (list[one.type], st.lists(one.values, max_size=2)),  # type: ignore[name-defined]
        (tagged[0], st.builds(tagged[0], st.just("one"), one.values)),
        (tagged[1], st.builds(tagged[1], st.just("two"), two.values)),
    ]
    chosen = draw(st.lists(st.sampled_from(members), min_size=2, unique_by=lambda member: str(member[0])))
    return Case(Union[tuple(type_ for type_, _ in chosen)], st.one_of([values for _, values in chosen]))  # noqa: UP007


_CONTAINERS: list[Any] = [_listing, _sequence, _tuple, _set, _mapping, _colors, _optional, _described]
_PAIRS: list[Any] = [_row, _attrs_class, _dataclass, _named_tuple, _typed_dict, _union]
