"""What the API sends comes through unchanged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asyncassist._wire.converter import structure, unstructure
from asyncassist._wire.json import dumps, loads

from .payloads import PAYLOADS, own_events, own_objects, own_requests, published
from .strategies import same_json

OBJECTS = list(own_objects())
EVENTS = list(own_events())
PUBLISHED = list(published())


@pytest.mark.parametrize("model, content", [row[1:] for row in OBJECTS], ids=[row[0] for row in OBJECTS])
def test_objects(model: Any, content: bytes) -> None:
    """An object is decoded and encoded again without any change, absent and null fields included."""
    decoded = structure(loads(content), model)

    assert same_json(json.loads(content), unstructure(decoded))
    assert same_json(json.loads(content), json.loads(dumps(decoded)))


@pytest.mark.parametrize("model, content", [row[1:] for row in EVENTS], ids=[row[0] for row in EVENTS])
def test_events(model: Any, content: bytes) -> None:
    """The data of a stream's event is decoded and encoded again without any change."""
    decoded = structure(loads(content), model)

    assert same_json(json.loads(content), json.loads(dumps(decoded)))


@pytest.mark.parametrize("content", [row[1] for row in own_requests()], ids=[row[0] for row in own_requests()])
def test_requests(content: bytes) -> None:
    """A request given as plain mappings is sent as it is."""
    assert same_json(json.loads(content), json.loads(dumps(json.loads(content))))


def test_nothing_forgotten() -> None:
    """Every payload kept here is tested, files and vector stores and one page that is no JSON of this API excepted."""
    names = {path.name for path in PAYLOADS.rglob("*.*")}
    tested = {row[0] for row in OBJECTS} | {row[0] for row in own_requests()} | {row[0].split("-")[0] for row in EVENTS}

    assert {name for name in names - tested if "file" not in name and "vector_store" not in name} == {
        "error.not_json_wrapped.json"
    }


@pytest.mark.skipif(not PUBLISHED, reason="ASYNCASSIST_SPEC names no folder with the published examples")
def test_published() -> None:
    """The examples of the API description, most of which break its own schemas, come through without any change."""
    assert len(PUBLISHED) > 130
    for name, model, content in PUBLISHED:
        decoded = structure(loads(content), model)

        assert same_json(json.loads(content), json.loads(dumps(decoded))), name
