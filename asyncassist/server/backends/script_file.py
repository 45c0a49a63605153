"""The rules of an offline backend, read from a YAML file.

::

    # The first rule that matches the last message says what happens. Without `when` and `pattern` it matches all.
    - when: weather                  # a text the message contains
      calls:                         # rounds of tool calls: one call, or a list of calls made at once
        - name: get_weather
          arguments: {city: Paris}
      say: "It is {outputs[0]} in Paris."
      delay: 0.5                     # seconds, before each round and before the answer
    - pattern: (?i)\\bbye\\b         # a regular expression found in the message
      fail: {code: rate_limit_exceeded, message: Not now.}
    - when: a story
      say: Once upon a
      stopped_by: max_completion_tokens
    - say: I only know about the weather.

The fields are those of `Rule`, `FunctionCall` and `Failure`; only a function to make the text cannot be written here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec
from msgspec import UNSET, UnsetType

from asyncassist.errors import UsageError
from asyncassist.server.backends.base import FunctionCall
from asyncassist.server.backends.script import Failure, Rule
from asyncassist.server.backends.yaml_values import parse_yaml

if TYPE_CHECKING:
    import os

__all__ = ["load_script"]

#: Bytes a script may have.
_MAX_SIZE = 1024 * 1024


class _Call(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    arguments: dict[str, Any] | str | UnsetType = UNSET
    id: str | UnsetType = UNSET


class _Failure(msgspec.Struct, forbid_unknown_fields=True):
    message: str | UnsetType = UNSET
    code: str | UnsetType = UNSET


class _Rule(msgspec.Struct, forbid_unknown_fields=True):
    """A rule as it stands in the file. No field may be null: what is not wanted is left out."""

    when: str | UnsetType = UNSET
    pattern: str | UnsetType = UNSET
    calls: list[_Call | list[_Call]] | UnsetType = UNSET
    say: str | UnsetType = UNSET
    fail: _Failure | UnsetType = UNSET
    stopped_by: Literal["max_completion_tokens", "max_prompt_tokens"] | UnsetType = UNSET
    delay: float | UnsetType = UNSET


def load_script(path: str | os.PathLike[str]) -> list[Rule]:
    """Read the rules of an offline backend from a YAML file.

    Args:
        path: the file. It holds a list of rules, in UTF-8.

    Raises:
        UsageError: it cannot be read, or is no such list; the message names the file, the rule and the field.
    """
    try:
        rules = parse_yaml(_read(Path(path)))
        if not isinstance(rules, list) or not rules:
            raise UsageError("a script is a list of rules, with at least one")
        return [_rule(number, rule) for number, rule in enumerate(cast("list[object]", rules), 1)]
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error.__cause__


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_SIZE + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"the script cannot be read: {reason}") from error
    if len(content) > _MAX_SIZE:
        raise UsageError(f"a script is no larger than {_MAX_SIZE} bytes")
    return content


def _rule(number: int, raw: object) -> Rule:
    try:
        return _as_rule(msgspec.convert(raw, _Rule))
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        field = f"{where.removesuffix('`')}: " if where else ""
        raise UsageError(f"rule {number}: {field}{what}") from None
    except (ValueError, TypeError) as error:
        raise UsageError(f"rule {number}: {error}") from None


def _as_rule(written: _Rule) -> Rule:
    given = _given(written)
    pattern = given.pop("pattern", None)
    if pattern is not None:
        if "when" in given:
            raise UsageError("pattern: a rule has either `when` or `pattern`")
        try:
            given["when"] = re.compile(pattern)
        except re.error as error:
            raise UsageError(f"pattern: {error}") from None
    if written.calls is not UNSET:
        given["calls"] = [_as_round(round, f"calls[{index}]") for index, round in enumerate(written.calls)]
    if written.fail is not UNSET:
        given["fail"] = Failure(**_given(written.fail))
    return Rule(**given)


def _as_round(written: _Call | list[_Call], where: str) -> FunctionCall | list[FunctionCall]:
    if isinstance(written, list):
        return [_as_call(call, f"{where}[{index}]") for index, call in enumerate(written)]
    return _as_call(written, where)


def _as_call(written: _Call, where: str) -> FunctionCall:
    try:
        return FunctionCall(**_given(written))
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None


def _given(written: msgspec.Struct) -> dict[str, Any]:
    """The fields that are in the file."""
    return {name: value for name, value in msgspec.structs.asdict(written).items() if value is not UNSET}
