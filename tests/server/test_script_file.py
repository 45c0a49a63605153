"""Scripts of the offline backend in YAML files."""

from __future__ import annotations

import re
from pathlib import Path

import anyio
import pytest

from asyncassist import UsageError
from asyncassist.server import Failure, FunctionCall, LocalServer, OfflineBackend, Rule, load_script
from asyncassist.server.backends import script_file
from asyncassist.server.backends.yaml_values import parse_yaml

EVERYTHING = r"""
# Every field there is.
- when: weather
  calls:
    - name: where
    - - {name: get_weather, arguments: {city: Paris, days: [1, 2.5, null, true]}, id: call_1}
      - {name: time, arguments: '{"x": 1}'}
  say: "It is {outputs[0]}."
  delay: 0.5
- pattern: (?i)\bbye\b
  fail: {code: rate_limit_exceeded, message: Not now.}
- when: a story
  say: Once upon a
  stopped_by: max_completion_tokens
  delay: 2
- fail: {}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rules.yaml"


def test_a_file_says_all_a_rule_can(path: Path) -> None:
    """The rules of a file are those that could be written in Python."""
    path.write_text(EVERYTHING, "utf-8")

    assert load_script(path) == [
        Rule(
            "weather",
            calls=[
                FunctionCall("where"),
                [
                    FunctionCall("get_weather", {"city": "Paris", "days": [1, 2.5, None, True]}, id="call_1"),
                    FunctionCall("time", '{"x": 1}'),
                ],
            ],
            say="It is {outputs[0]}.",
            delay=0.5,
        ),
        Rule(re.compile(r"(?i)\bbye\b"), fail=Failure("Not now.", code="rate_limit_exceeded")),
        Rule("a story", say="Once upon a", stopped_by="max_completion_tokens", delay=2),
        Rule(fail=Failure()),
    ]


def test_the_example_of_the_documentation(path: Path) -> None:
    """What the module shows can be copied into a file."""
    example = (script_file.__doc__ or "").partition("::\n")[2].rpartition("\n\n")[0]
    path.write_text(example, "utf-8")

    assert [rule.when for rule in load_script(str(path))] == ["weather", re.compile(r"(?i)\bbye\b"), "a story", None]


@pytest.mark.anyio
async def test_a_file_drives_a_server(path: Path) -> None:
    """A run is answered by the first rule that matches."""
    await anyio.Path(path).write_text("- {when: hello, say: Good day.}\n- say: What?\n", "utf-8")
    async with LocalServer(OfflineBackend(load_script(path))) as server, server.client() as client:
        assistant = await client.create_assistant(model="m")
        talk = client.conversation(assistant_id=assistant.id)
        texts = [(await talk.ask(text)).text for text in ("hello", "other")]

    assert texts == ["Good day.", "What?"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a script is a list of rules, with at least one"),
        ("[]", "a script is a list of rules, with at least one"),
        ("rules: []", "a script is a list of rules, with at least one"),
        ("- say: a\n- text", "rule 2: Expected `object`, got `str`"),
        ("- say: 3", "rule 1: say: Expected `str`, got `int`"),
        ("- say:", "rule 1: say: Expected `str`, got `null`"),
        ("- sya: x", "rule 1: Object contains unknown field `sya`"),
        ("- calls: f", "rule 1: calls: Expected `array`, got `str`"),
        ("- calls: [f]", "rule 1: calls[0]: Expected `object | array`, got `str`"),
        ("- calls: [{name: 3}]", "rule 1: calls[0].name: Expected `str`, got `int`"),
        ("- calls: [{arguments: {}}]", "rule 1: calls[0]: Object missing required field `name`"),
        ("- calls: [{name: f, arguments: [1]}]", "rule 1: calls[0].arguments: Expected `str | object`, got `array`"),
        ("- calls: [[{name: f}, {name: f, x: 1}]]", "rule 1: calls[0][1]: Object contains unknown field `x`"),
        ("- calls: [{name: f}, [{name: f}, {name: ''}]]", "rule 1: calls[1][1]: "),
        ("- calls: [{name: f, arguments: {a: 1e999}}]", "rule 1: calls[0]: a: inf cannot be sent as JSON"),
        ("- calls: [[]]", "rule 1: calls: a round of tool calls needs at least one call"),
        ("- say: '{outputs[0]}'", "rule 1: say: {outputs[0]}: the rule has 0 tool calls"),
        ("- {when: a, pattern: b}", "rule 1: pattern: a rule has either `when` or `pattern`"),
        ("- pattern: (", "rule 1: pattern: missing ), unterminated subpattern"),
        ("- fail: {cod: x}", "rule 1: fail: Object contains unknown field `cod`"),
        ("- stopped_by: me", "rule 1: stopped_by: Invalid enum value 'me'"),
        ("- delay: -1", "rule 1: delay must be a finite number of seconds, got -1.0"),
        ("- delay: 1e999", "rule 1: delay must be a finite number of seconds, got inf"),
        ("- delay: soon", "rule 1: delay: Expected `float`, got `str`"),
        ("- say: x\n  say: y", "line 2, column 3: say is there twice"),
        ("- calls: [{name: f, arguments: {1: 2}}]", "line 1, column 33: a key has to be text"),
        ("- {{a: b}: c}", "line 1, column 4: a key has to be text"),
        ("- say: &a x\n- say: *a", "line 2, column 8: aliases and tags are not taken here"),
        ("- say: !!python/name:os.system", "line 1, column 8: aliases and tags are not taken here"),
        ("- &a [*a, *a]", "line 1, column 7: aliases and tags are not taken here"),
        ("- say: x\n---\n- say: y", "line 2, column 1: expected a single document in the stream, but found another"),
        ("- say: 'x", "line 1, column 10: while scanning a quoted scalar, found unexpected end of stream"),
        ("\t- x", "line 1, column 1: "),
        ("- say: \x00", "this is not YAML: "),
        ("- delay: " + "9" * 5000, "this is not YAML: "),
        ("[" * 100_000, "the lists in it are nested too deeply"),
        ("#" * (1024 * 1024 + 1), "a script is no larger than 1048576 bytes"),
    ],
)
def test_what_is_wrong_is_named(path: Path, text: str, message: str) -> None:
    """The error names the file, then the rule and its field, or the line."""
    path.write_text(text, "utf-8")

    with pytest.raises(UsageError) as caught:
        load_script(path)

    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize("content", [b"- say: \xff", b"\xff\xfe\xff"])
def test_what_is_no_text_is_named(path: Path, content: bytes) -> None:
    """Bytes that are no UTF-8 are a UsageError as well."""
    path.write_bytes(content)

    with pytest.raises(UsageError, match="this is not YAML"):
        load_script(path)


@pytest.mark.parametrize("name", [".", "nothing.yaml", "\x00"])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    """A directory, a file that is not there, and a name that cannot be one are UsageErrors."""
    with pytest.raises(UsageError, match="the script cannot be read: "):
        load_script(tmp_path / name)


def test_text_stays_text() -> None:
    """Only JSON's words and numbers are something else than text, whatever older YAML made of them."""
    texts = "no, yes, on, 12:30, 2024-01-01, 007, 0x10, 1_000, +5, nan, .inf, <<, =, 1e, -, ~x"

    assert parse_yaml(f"[{texts}]".encode()) == texts.split(", ")
    assert parse_yaml(b"[0, -12, 1.5, .5, 1., 2e3, -1.5E-3, +0.5]") == [0, -12, 1.5, 0.5, 1.0, 2000.0, -0.0015, 0.5]
    assert parse_yaml(b"[true, false, null, ~, '1', \"true\"]") == [True, False, None, None, "1", "true"]
