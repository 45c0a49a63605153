"""The payloads to test with, and the model each of them is."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from asyncassist import models
from asyncassist.models import (
    Assistant,
    AssistantDeleted,
    ErrorObject,
    ErrorResponse,
    Message,
    MessageDeleted,
    MessageDelta,
    Page,
    Run,
    RunStep,
    RunStepDelta,
    Thread,
    ThreadDeleted,
)

PAYLOADS = Path(__file__).parent.parent / "payloads"

# The first part of a file's name that fits decides.
MODEL_BY_NAME: dict[str, Any] = {
    "assistant.": Assistant,
    "deleted.assistant": AssistantDeleted,
    "deleted.message": MessageDeleted,
    "deleted.thread": ThreadDeleted,
    "error.4": ErrorResponse,
    "error.5": ErrorResponse,
    "list.assistants": Page[Assistant],
    "list.empty": Page[Run],
    "list.messages": Page[Message],
    "list.run_steps": Page[RunStep],
    "list.runs": Page[Run],
    "message.": Message,
    "run.": Run,
    "run_step.": RunStep,
    "thread.": Thread,
}

# Files and vector stores are not there yet; the last one is no object of this API at all.
NOT_MODELS = ("file.", "list.files", "list.vector_store", "vector_store", "request.", "error.not_json_wrapped")

MODEL_BY_EVENT: dict[str, Any] = {
    "error": ErrorObject,
    "thread.created": Thread,
    "thread.message.delta": MessageDelta,
    "thread.message.": Message,
    "thread.run.step.delta": RunStepDelta,
    "thread.run.step.": RunStep,
    "thread.run.": Run,
}


def first_fitting(table: dict[str, Any], name: str) -> Any:
    """Give the entry of the first key that ``name`` starts with, None if there is none."""
    return next((entry for start, entry in table.items() if name.startswith(start)), None)


def own_objects() -> Iterator[tuple[str, Any, bytes]]:
    """Give name, model and content of every object among the payloads kept here."""
    for path in sorted(PAYLOADS.rglob("*.json")):
        if not path.name.startswith(NOT_MODELS):
            yield path.name, first_fitting(MODEL_BY_NAME, path.name), path.read_bytes()


def own_requests() -> Iterator[tuple[str, bytes]]:
    """Give name and content of every request among the payloads kept here."""
    for path in sorted(PAYLOADS.rglob("request.*.json")):
        yield path.name, path.read_bytes()


def own_events() -> Iterator[tuple[str, Any, bytes]]:
    """Give name, model and data of every event of the streams kept here."""
    for path in sorted(PAYLOADS.rglob("*.sse")):
        yield from events_of(path)


def events_of(path: Path) -> Iterator[tuple[str, Any, bytes]]:
    """Give name, model and data of every event of a stream whose data is a whole JSON document."""
    for number, block in enumerate(path.read_text(encoding="utf-8").replace("\r\n", "\n").split("\n\n")):
        fields = [line.partition(":")[::2] for line in block.split("\n")]
        event = "".join(value.strip() for field, value in fields if field == "event")
        data = "\n".join(value.removeprefix(" ") for field, value in fields if field == "data")
        model = first_fitting(MODEL_BY_EVENT, event)
        if model is not None and data.endswith("}"):
            yield f"{path.name}-{number}-{event}", model, data.encode()


def published() -> Iterator[tuple[str, Any, bytes]]:
    """Give name, model and content of the API description's own examples, where a folder of them is at hand."""
    folder = os.environ.get("ASYNCASSIST_SPEC")
    if folder:
        for row in json.loads(Path(folder, "index.json").read_bytes()):
            path = Path(folder, row["file"])
            model = _model_of_schema(row.get("schema") or "")
            if path.suffix == ".sse":
                yield from events_of(path)
            elif model is not None:
                yield row["file"], model, path.read_bytes()


def _model_of_schema(schema: str) -> Any:
    """Give the model of a schema by name; None for requests, files and vector stores."""
    if schema.startswith("List"):
        item: Any = getattr(models, schema.removeprefix("List").removesuffix("sResponse"), None)
        return item and Page[item]
    if schema.startswith("Delete"):
        return getattr(models, schema.removeprefix("Delete").removesuffix("Response") + "Deleted", None)
    return getattr(models, schema.removesuffix("Object"), None) or getattr(models, schema, None)
