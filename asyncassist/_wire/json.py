"""Bytes to JSON values and back.

msgspec does the work: it is nearly as fast as orjson and, unlike orjson, which turns integers beyond 64 bits into
floats, keeps integers of any size. What it refuses the standard library looks at again, for the sake of texts that
servers do send: with a byte order mark, with lone surrogates, with NaN or Infinity.
"""

from __future__ import annotations

import json
import math

import msgspec

from asyncassist._wire.unstructure import unstructure
from asyncassist.errors import DecodeError, UsageError

__all__ = ["dumps", "loads"]

_fast_decode = msgspec.json.Decoder().decode
_fast_encode = msgspec.json.Encoder().encode


def loads(data: bytes | str) -> object:
    """Read a JSON document in UTF-8.

    A byte order mark, lone surrogates, NaN and Infinity are let through. Of duplicate keys the last one counts.

    Raises:
        DecodeError: it is no JSON, is nested too deeply, or holds a number Python cannot keep as it is.
    """
    try:
        return _fast_decode(data)
    except (msgspec.MsgspecError, UnicodeError):
        return _tolerant_loads(data)
    except RecursionError:
        raise DecodeError("the body is nested too deeply") from None


def _tolerant_loads(data: bytes | str) -> object:
    try:
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        return _tolerant_decode(text.removeprefix("\ufeff"))
    except UnicodeDecodeError as error:
        raise DecodeError(f"the body is not UTF-8: {error.reason} at byte {error.start}") from None
    except RecursionError:
        raise DecodeError("the body is nested too deeply") from None
    except ValueError as error:
        raise DecodeError(f"the body is not JSON: {error}" if data else "the body is empty") from None


def _finite_float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError("a number is out of range")
    return number


_tolerant_decode = json.JSONDecoder(parse_float=_finite_float).decode


def dumps(value: object) -> bytes:
    """Write a value, and the models inside it, as compact JSON in UTF-8.

    Raises:
        UsageError: something in it cannot be JSON; the message names its path.
    """
    plain = unstructure(value)
    try:
        try:
            return _fast_encode(plain)
        except UnicodeError:
            # A lone surrogate has no UTF-8 form, but it has an escape.
            return json.dumps(plain, separators=(",", ":")).encode("ascii")
    except ValueError:
        raise UsageError("an integer has too many digits to be sent as JSON") from None
