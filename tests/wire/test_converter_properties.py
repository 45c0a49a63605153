"""Whatever a server sends becomes a model that goes back out as it came, or a DecodeError."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from models.strategies import TYPES, json_values, model_json, places, same_json, scalars, steady

from asyncassist._wire.converter import structure, unstructure
from asyncassist._wire.json import dumps, loads
from asyncassist.errors import DecodeError, UsageError


@pytest.mark.parametrize("type_", TYPES, ids=str)
@given(data=st.data())
@steady
def test_round_trip(type_: Any, data: st.DataObject) -> None:
    """An object that fits is decoded and encoded without change: unknown fields, names and members, absent and null."""
    value = data.draw(model_json(type_))

    decoded = structure(value, type_)

    assert same_json(unstructure(decoded), value)
    assert same_json(loads(dumps(decoded)), value)
    assert structure(unstructure(decoded), type_) == decoded


@pytest.mark.parametrize("type_", TYPES, ids=str)
@given(data=st.data())
@steady
def test_one_field_wrong(type_: Any, data: st.DataObject) -> None:
    """With anything in the place of anything, an object still comes through whole or is refused."""
    value = data.draw(model_json(type_))
    spots = places(value)
    container, key = data.draw(st.sampled_from(spots)) if spots else (value, "extra")
    container[key] = data.draw(json_values)

    try:
        decoded = structure(value, type_)
    except DecodeError as error:
        assert error.message.startswith(error.field or "the body")
    else:
        assert same_json(unstructure(decoded), value)


@pytest.mark.parametrize("type_", TYPES, ids=str)
@given(value=json_values)
@steady
def test_any_value(type_: Any, value: object) -> None:
    """Any JSON value at all is decoded or refused, and nothing else happens."""
    try:
        decoded = structure(value, type_)
    except DecodeError:
        return

    assert same_json(unstructure(decoded), value)


junk = st.recursive(
    scalars | st.floats() | st.binary(max_size=3) | st.just(object()) | st.just(datetime.date(2026, 8, 26)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.none(), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(value=junk)
@steady
def test_anything_given(value: object) -> None:
    """Any value given to be sent becomes JSON that reads as the same, or is refused."""
    try:
        sent = dumps(value)
    except UsageError:
        return

    assert loads(sent) == unstructure(value)
