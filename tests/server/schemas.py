"""Hold the server's answers against the table of facts: what there must be, what may be null, and which values."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, cast

from attrs import define, field
from conformance.table import Facts, Shape, load, resolve

from asyncassist._wire.json import loads
from asyncassist._wire.sse import SSEDecoder
from asyncassist.errors import DecodeError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: What the server answers beside the API's operations.
OTHERS: dict[tuple[str, str], Shape] = {
    ("GET", "/health"): {"fields": {"status": {"const": "ok", "required": True}}},
    ("GET", "/threads"): {"ref": "ListThreads"},
}

_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "array": (list,),
}


@cache
def facts() -> Facts:
    """The table, with the listing of threads, which the API does not have."""
    table = load()
    listing = table["schemas"]["ListRunsResponse"]
    threads = {"items": {"ref": "ThreadObject"}, "required": True, "type": "array"}
    table["schemas"]["ListThreads"] = {"fields": listing["fields"] | {"data": threads}}
    return table


# One value


def problems(value: object, shape: Shape, path: str = "") -> Iterator[str]:
    """Say where a value differs from a shape, a sentence each."""
    shape = resolve(facts(), shape)
    if value is None:
        if not shape.get("nullable"):
            yield f"{path or 'it'} is null"
    elif "const" in shape or "enum" in shape:
        if value not in shape.get("enum", [shape.get("const")]):
            yield f"{path} is {value!r}"
    elif "union" in shape:
        yield from _union_problems(value, shape, path)
    elif not _is_a(value, shape):
        yield f"{path or 'it'} is no {shape.get('type', 'object')}"
    elif "fields" in shape:
        yield from _field_problems(cast("dict[str, object]", value), shape["fields"], path)
    elif "items" in shape:
        for index, item in enumerate(cast("list[object]", value)):
            yield from problems(item, shape["items"], f"{path}[{index}]")
    elif shape.get("values"):
        for name, item in cast("dict[str, object]", value).items():
            yield from problems(item, shape["values"], f"{path}.{name}")


def _is_a(value: object, shape: Shape) -> bool:
    kinds = _KINDS["object" if "fields" in shape else shape["type"]]
    return isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))


def _field_problems(value: Mapping[str, object], fields: Mapping[str, Shape], path: str) -> Iterator[str]:
    for name, shape in fields.items():
        where = f"{path}.{name}" if path else name
        if name not in value:
            if shape.get("required"):
                yield f"{where} is missing"
        else:
            yield from problems(value[name], shape, where)


def _union_problems(value: object, shape: Shape, path: str) -> Iterator[str]:
    """The member is the one that has the value's tag; without tags, any that fits."""
    members = [resolve(facts(), member) for member in shape["union"]]
    tag = shape.get("tag")
    if tag and isinstance(value, dict):
        given = cast("dict[str, object]", value).get(tag)
        members = [member for member in members if _has_tag(member, tag, given)]
        if not members:
            yield f"{path} has the {tag} {given!r}"
            return
    found = [list(problems(value, member, path)) for member in members]
    if all(found):
        yield from found[-1]


def _has_tag(member: Shape, tag: str, given: object) -> bool:
    return cast("Shape", member.get("fields", {})).get(tag, {}).get("const") == given


# Answers and events


@cache
def _operations() -> dict[tuple[str, re.Pattern[str]], Shape]:
    answers = {(entry["method"], entry["path"]): entry["response"] for entry in facts()["operations"].values()}
    # Paths without an id first: /threads/runs is no thread.
    ordered = sorted((OTHERS | answers).items(), key=lambda entry: entry[0][1].count("{"))
    return {(method, re.compile(re.sub(r"{\w+}", "[^/]+", path))): response for (method, path), response in ordered}


def answer_problems(method: str, path: str, status: int, body: bytes) -> Iterator[str]:
    """Say how an answer in JSON differs from what the operation, or an error, answers."""
    shape: Shape | None = {"ref": "ErrorResponse"}
    if status < 400:
        # Whatever the API is mounted under.
        inner = path[match.start() :] if (match := re.search("/(assistants|threads|health)(/|$)", path)) else path
        fitting = (shape for (verb, way), shape in _operations().items() if verb == method and way.fullmatch(inner))
        shape = next(fitting, None)
    where = f"{method} {path} {status}"
    if shape is None:
        yield f"{where}: no such operation"
        return
    try:
        value = loads(body)
    except DecodeError:
        yield f"{where}: no JSON"
        return
    yield from (f"{where}: {problem}" for problem in problems(value, shape))


@cache
def _events() -> dict[str, Shape]:
    found: dict[str, Shape] = {}
    unions = [facts()["schemas"]["AssistantStreamEvent"]]
    while unions:
        for member in unions.pop()["union"]:
            shape = resolve(facts(), member)
            if "union" in shape:
                unions.append(shape)
            else:
                found[shape["fields"]["event"]["const"]] = shape["fields"]["data"]
    return found


def event_problems(name: str, data: str) -> Iterator[str]:
    """Say how the data of an event differ from what events of this name carry."""
    shape = _events().get(name)
    if shape is None:
        yield f"{name}: no such event"
        return
    try:
        value = data if name == "done" else loads(data.encode("utf-8", "surrogatepass"))
    except DecodeError:
        yield f"{name}: no JSON"
        return
    yield from (f"{name}: {problem}" for problem in problems(value, shape))


# Watching a server


@define
class Findings:
    """What was checked, and what was wrong with it."""

    checked: Counter[str] = field(factory=Counter[str])
    """How many ``answers``, and how many ``events``."""
    problems: list[str] = field(factory=list[str])

    def note(self, what: str, problems: Iterator[str]) -> None:
        """Count one more, with its problems."""
        self.checked[what] += 1
        self.problems += problems


class Watched:
    """An app whose answers and events are checked as they are sent."""

    def __init__(self, app: ASGIApp, findings: Findings) -> None:
        self._app = app
        self._findings = findings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] == "HEAD":
            await self._app(scope, receive, send)
            return
        status = 0
        body = bytearray()
        decoder: SSEDecoder | None = None

        async def watching(message: Message) -> None:
            nonlocal status, decoder
            if message["type"] == "http.response.start":
                status = message["status"]
                if any(value.startswith(b"text/event-stream") for _, value in message["headers"]):
                    decoder = SSEDecoder()
            elif decoder is not None:
                for event in decoder.feed(message.get("body", b"")):
                    self._findings.note("events", event_problems(event.event or "", event.data))
            else:
                body.extend(message.get("body", b""))
                if not message.get("more_body", False) and not _is_for_nobody(status, body):
                    problems = answer_problems(scope["method"], scope["path"], status, bytes(body))
                    self._findings.note("answers", problems)
            await send(message)

        await self._app(scope, receive, watching)


def _is_for_nobody(status: int, body: bytearray) -> bool:
    """Whether this ends an exchange whose client has gone: it is never sent."""
    return status == 400 and not body
