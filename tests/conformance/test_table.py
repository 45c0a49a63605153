"""The table of facts itself: complete in itself, bare, and what its two scripts make of each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from . import make_facts, make_openapi, table


def strings(part: Any) -> Iterator[str]:
    """Give every string in a part of the table, keys included."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict):
        for key, value in part.items():
            yield key
            yield from strings(value)
    elif isinstance(part, list):
        for value in part:
            yield from strings(value)


def with_prose(part: Any) -> Any:
    """Add sentences wherever an OpenAPI document may carry them."""
    if isinstance(part, list):
        return [with_prose(value) for value in part]
    if not isinstance(part, dict):
        return part
    copy = {key: with_prose(value) for key, value in part.items()}
    for keyword in ("type", "anyOf", "operationId"):
        if isinstance(part.get(keyword), (str, list)):
            copy |= {"description": "Some words.", "title": "More words", "x-oaiTypeLabel": "a word"}
    return copy | {"summary": "Yet more words."} if "operationId" in part else copy


def test_holds_all_operations_and_events() -> None:
    """The table has the 23 operations of the API and the 25 names of stream events."""
    facts = table.load()

    assert len(facts["operations"]) == 23
    assert len(facts["events"]) == 25
    assert sorted(set(facts["events"])) == facts["events"]


def test_holds_no_prose() -> None:
    """No string in the table has a space, so none is a sentence."""
    assert not [string for string in strings(table.load()) if len(string.split()) != 1]


def test_refers_only_to_what_it_has() -> None:
    """Every reference leads to a schema of the table."""
    facts = table.load()

    assert not set(table.references(facts["operations"])) - facts["schemas"].keys()
    assert not set(table.references(facts["schemas"])) - facts["schemas"].keys()


def test_is_as_its_script_writes_it() -> None:
    """The file is formatted and sorted as the script leaves it."""
    assert make_facts.render(table.load()) + "\n" == table.FACTS.read_text(encoding="utf-8")


def test_every_line_is_short() -> None:
    """No line of the file is longer than a line of code."""
    assert not [line for line in table.FACTS.read_text(encoding="utf-8").splitlines() if len(line) > 120]


def test_openapi_document_loses_nothing() -> None:
    """The table derived from the document written from the table is the table."""
    facts = table.load()

    assert facts == make_facts.make(make_openapi.make(facts))


def test_prose_is_left_behind() -> None:
    """Descriptions, titles and summaries of an API description do not change the table."""
    facts = table.load()

    assert facts == make_facts.make(with_prose(make_openapi.make(facts)))


@pytest.mark.parametrize(
    ("schema", "complaint"),
    [
        ({"type": "string", "nullable": True}, "unknown keywords"),
        ({"type": ["string", "integer"]}, "2 types"),
        ({"type": "object", "properties": {}, "required": ["a"]}, "does not have"),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "oneOf": [{"type": "object"}]}, "and members"),
        ({"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {}}, "typed rest"),
    ],
)
def test_refuses_what_it_would_lose(schema: dict[str, Any], complaint: str) -> None:
    """A description that says more than the table can hold is refused, not cut down."""
    description = {"info": {"version": "1"}, "paths": {}, "components": {"schemas": {"Thing": schema}}}

    with pytest.raises(ValueError, match=complaint):
        make_facts.make(description)


def test_openapi_document_has_no_prose() -> None:
    """The written document has no sentence either."""
    document = make_openapi.make(table.load())

    assert not [string for string in strings(document) if len(string.split()) > 1]
