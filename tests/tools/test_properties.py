"""What holds for every type an argument may have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import hypothesis
import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from asyncassist._wire.json import dumps
from asyncassist.tools._encoding import plain
from asyncassist.tools._parameters import ArgumentsError

from .helpers import bound, tool_of
from .strategies import Case, cases

SLOW = hypothesis.settings(deadline=None, suppress_health_check=list(hypothesis.HealthCheck), max_examples=200)


def checked(schema: dict[str, Any], values: object) -> None:
    """Check that a schema is one, and that values validate against it."""
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(values)


def written(value: object) -> str:
    """Write a value as a model writes it."""
    return dumps({"x": plain(value)}).decode()


@SLOW
@given(st.data(), cases())
def test_values_fit_the_schema_and_come_back(data: st.DataObject, case: Case) -> None:
    """Any value of any type validates against the type's schema, and is structured back to an equal one."""
    value = data.draw(case.values)
    made = tool_of(case.type)

    checked(made.parameters, json.loads(written(value)))
    result = bound(made, written(value))
    assert value == result
    assert type(result) is type(value)


@SLOW
@given(st.data(), cases().filter(lambda case: case.fits_strict))
def test_strict_schemas(data: st.DataObject, case: Case) -> None:
    """They keep to what strict mode knows; null stands for what may be absent."""
    value, default = data.draw(case.values), data.draw(case.values)
    made = tool_of(case.type, default, strict=True)

    only_strict_words(made.parameters)
    full = filled(made.parameters, json.loads(written(value)))
    checked(made.parameters, full)
    assert value == bound(made, json.dumps(full))
    if value is not None:
        checked(made.parameters, {"x": None})
        assert (None if case.takes_none else default) == bound(made, '{"x": null}')


STRICT_WORDS = {"type", "properties", "required", "additionalProperties", "items", "enum", "anyOf"}
STRICT_WORDS |= {"$ref", "$defs", "description"}


def schemas_in(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a schema and all inside of it."""
    yield schema
    for name in ("properties", "$defs"):
        for inner in schema.get(name, {}).values():
            yield from schemas_in(inner)
    for inner in [*schema.get("anyOf", []), *([schema["items"]] if "items" in schema else [])]:
        yield from schemas_in(inner)


def only_strict_words(schema: dict[str, Any]) -> None:
    """Check that every part of a schema is one that strict mode takes."""
    for part in schemas_in(schema):
        assert part.keys() <= STRICT_WORDS
        assert "$ref" not in part or len(part) == 1
        assert part.keys() & {"type", "anyOf", "$ref"}
        if part.get("type") == "object":
            assert part["additionalProperties"] is False
            assert list(part["properties"]) == part.get("required", [])


def filled(schema: dict[str, Any], value: Any) -> Any:
    """Put null where a value leaves something out, as a model in strict mode does."""

    def fill(part: dict[str, Any], value: Any) -> Any:
        part = schema["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part
        for member in part.get("anyOf", []):
            candidate = fill(member, value)
            if jsonschema.Draft202012Validator({**member, "$defs": schema.get("$defs", {})}).is_valid(candidate):
                return candidate
        if isinstance(value, list):
            return [fill(part.get("items", {}), item) for item in value]
        if isinstance(value, dict):
            return {
                name: fill(part.get("properties", {}).get(name, {}), value.get(name))
                for name in part.get("properties", value)
            }
        return value

    return fill(schema, value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["one", "two", "tag", "value", "x"]), inner)
    ),
    max_leaves=5,
)


@SLOW
@given(cases(), JSON)
def test_any_json_fits_or_is_refused(case: Case, value: object) -> None:
    """What does not validate is refused in words, never by a crash; what is taken validates, formats apart."""
    made = tool_of(case.type)
    try:
        bound(made, dumps({"x": value}).decode())
    except ArgumentsError as error:
        assert str(error).startswith("x")
    else:
        checked(made.parameters, json.loads(dumps({"x": value})))


@SLOW
@given(cases(), st.text() | st.binary().map(lambda data: data.decode("latin-1")) | JSON.map(json.dumps))
def test_any_text_fits_or_is_refused(case: Case, text: str) -> None:
    """Whatever a model writes, it is told what is wrong."""
    try:
        bound(tool_of(case.type), text)
    except ArgumentsError as error:
        assert str(error)
