"""Bytes to JSON values and back, friendly and hostile."""

from __future__ import annotations

import contextlib
import json
import math
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncassist._wire.json import dumps, loads
from asyncassist.errors import DecodeError, UsageError

steady = settings(derandomize=True, deadline=None, max_examples=100, database=None)
# A high surrogate right before a low one would be one character, escaped or not.
any_text = st.text(max_size=8) | st.characters(categories=["Cs"]).map("a{}b".format)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | any_text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(any_text, inner, max_size=4),
    max_leaves=15,
)


@given(json_values)
@steady
def test_round_trip(value: object) -> None:
    """Whatever JSON can carry comes back as it was, lone surrogates and long integers included."""
    assert loads(dumps(value)) == value


@given(json_values, st.booleans())
@steady
def test_reads_as_json_does(value: object, escape: bool) -> None:
    """A document reads as with the standard library."""
    text = json.dumps(value, ensure_ascii=escape)

    assert loads(text) == value
    assert loads(text.encode("utf-8", "replace")) == json.loads(text.encode("utf-8", "replace"))


@given(st.binary(max_size=30) | json_values.map(lambda value: json.dumps(value).encode()[:-1]))
@steady
def test_any_bytes(data: bytes) -> None:
    """Any bytes are either JSON or a DecodeError."""
    with contextlib.suppress(DecodeError):
        loads(data)


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"\xef\xbb\xbf{}", {}),
        ("\ufeff{}", {}),
        (b'"\\ud800"', "\ud800"),
        (b'{"\\udc00": "\xc3\xa9"}', {"\udc00": "é"}),
        ('"\ud800"', "\ud800"),
        (b"[Infinity, -Infinity]", [math.inf, -math.inf]),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"18446744073709551616", 2**64),
        (b"-9223372036854775809", -(2**63) - 1),
        (b"[NaN, 123456789012345678901234567890]", None),
        (b"1e308", 1e308),
        (b"1e-400", 0.0),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_survives(data: bytes | str, expected: object) -> None:
    """Texts that a strict reader refuses, and numbers that a quick one changes, are read as they are."""
    value = loads(data)

    if expected is None:
        assert repr(value) == "[nan, 123456789012345678901234567890]"
    else:
        assert (type(value), value) == (type(expected), expected)


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "the body is empty"),
        ("", "the body is empty"),
        (b" \n", "the body is not JSON: Expecting value"),
        (b"<html>", "the body is not JSON: Expecting value"),
        (b'{"a": 1', "the body is not JSON: Expecting ',' delimiter"),
        (b"{} x", "the body is not JSON: Extra data"),
        (b'"\xff"', "the body is not UTF-8: invalid start byte at byte 1"),
        (b'"\xed\xa0\x80"', "the body is not UTF-8: invalid continuation byte at byte 1"),
        ("{}".encode("utf-16"), "the body is not UTF-8"),
        (b"1" * 5000, "the body is not JSON: Exceeds the limit"),
        (b"1e400", "the body is not JSON: a number is out of range"),
        (b"[-1e999999999999]", "the body is not JSON: a number is out of range"),
        (b"1" * 400 + b".5", "the body is not JSON: a number is out of range"),
        (b"[" * 100_000 + b"]" * 100_000, "the body is nested too deeply"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "the body is nested too deeply"),
        (b"\xef\xbb\xbf" + b"[" * 100_000 + b"]" * 100_000, "the body is nested too deeply"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_refused(data: bytes | str, message: str) -> None:
    """Anything else is a DecodeError that says what is wrong, and nothing else escapes."""
    with pytest.raises(DecodeError) as caught:
        loads(data)

    assert caught.value.message.startswith(message)
    assert caught.value.__cause__ is None


def test_writes_compactly() -> None:
    """What is sent is UTF-8 without spaces; only a lone surrogate brings escapes."""
    assert dumps({"é": [1, 2.5, None, True]}) == '{"é":[1,2.5,null,true]}'.encode()
    assert dumps({"é": "\ud800"}) == b'{"\\u00e9":"\\ud800"}'


def test_long_integers() -> None:
    """Integers are exact up to the number of digits Python reads and writes; longer ones are refused both ways."""
    digits = b"9" * 4300

    assert dumps(loads(digits)) == digits
    for value in (10**5000, [{"a": -(10**5000)}, "\ud800"], ["\ud800", 10**5000]):
        with pytest.raises(UsageError, match="too many digits"):
            dumps(value)


def test_limit_on_digits() -> None:
    """The limit on digits is Python's own, so that it can be raised."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(6000)
    try:
        assert dumps(loads(b"1" * 5000)) == b"1" * 5000
    finally:
        sys.set_int_max_str_digits(limit)
