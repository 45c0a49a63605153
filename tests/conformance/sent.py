"""Call every operation and compare what is sent, and what is made of the answer, with the table of facts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import attrs
import httpx

from asyncassist import AsyncAssistError, AsyncClient
from asyncassist._wire.converter import unstructure

from .checks import NOT_TAKEN, is_listing
from .table import Facts, body_fields, is_nullable, method_name, path_names, query_fields, sample

BASE = "http://localhost/prefix/v1"
PREFIX = "/prefix/v1"


@attrs.frozen
class Call:
    """One way to call an operation."""

    operation: str
    what: str
    ids: dict[str, str]
    query: dict[str, Any]
    body: dict[str, Any]


def calls(facts: Facts) -> Iterator[Call]:
    """Give the ways to call each operation: with what it needs, with all it takes, with null wherever null fits."""
    for operation, entry in facts["operations"].items():
        ids = {name: f"{name}-1" for name in path_names(entry["path"])}
        query = {name: sample(facts, shape) for name, shape in query_fields(facts, operation).items()}
        fields = {name: shape for name, shape in body_fields(facts, operation).items() if name not in NOT_TAKEN}
        values = {name: sample(facts, shape) for name, shape in fields.items()}
        needed = {name: values[name] for name, shape in fields.items() if shape.get("required")}
        nulls = {name: None for name, shape in fields.items() if is_nullable(facts, shape)}
        yield Call(operation, "the least", ids, {}, needed)
        yield Call(operation, "everything", ids, query, values)
        yield Call(operation, "nulls", ids, {}, needed | nulls)


def query_pairs(facts: Facts, call: Call) -> list[tuple[str, str]]:
    """Give the query as the table has it: lists under a name with brackets, once for each item."""
    pairs: list[tuple[str, str]] = []
    for name in facts["operations"][call.operation]["parameters"]:
        if (value := call.query.get(name.removesuffix("[]"))) is not None:
            pairs += [(name, str(item)) for item in (value if isinstance(value, list) else [value])]
    return sorted(pairs)


async def sent_problems(facts: Facts) -> list[str]:
    """Make every call and give the differences between what is sent and the table, and what is lost of the answer."""
    problems: list[str] = []
    requests: list[httpx.Request] = []
    answers: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json=answers[-1])

    async with AsyncClient(base_url=BASE, api_key="test", transport=httpx.MockTransport(answer)) as client:
        for call in calls(facts):
            name = method_name(call.operation)
            answers.append(sample(facts, facts["operations"][call.operation]["response"]))
            requests.clear()
            try:
                result = await getattr(client, name)(*call.ids.values(), **call.query, **call.body)
            except (TypeError, AsyncAssistError) as error:
                problems.append(f"{name} with {call.what}: {type(error).__name__}: {error}")
                continue
            (request,) = requests
            differences = list(_differences(facts, call, request))
            if unstructure(result) != answers[-1]:
                differences.append(f"the answer became {unstructure(result)}")
            problems += [f"{name} with {call.what}: {difference}" for difference in differences]
    return problems


def _differences(facts: Facts, call: Call, request: httpx.Request) -> Iterator[str]:
    entry = facts["operations"][call.operation]
    path = PREFIX + entry["path"].format(**call.ids)
    if (request.method, request.url.path) != (entry["method"], path):
        yield f"sent {request.method} {request.url.path}, not {entry['method']} {path}"
    if (query := sorted(parse_qsl(request.url.query.decode()))) != query_pairs(facts, call):
        yield f"sent the query {query}"
    if "body" not in entry:
        if request.content:
            yield f"sent a body: {request.content!r}"
    elif request.content or entry["body"].get("required") or call.body:
        body = json.loads(request.content or "null")
        if body != call.body:
            yield f"sent the body {body}"


async def unknown_parameter_problems(facts: Facts, unknown: str = "nonsense") -> list[str]:
    """Call every operation with a parameter that does not exist; each has to refuse it and to send nothing."""
    problems: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        problems.append(f"{request.method} {request.url.path} was sent")
        return httpx.Response(400)

    async with AsyncClient(base_url=BASE, api_key="test", transport=httpx.MockTransport(answer)) as client:
        for call in [call for call in calls(facts) if call.what == "the least"]:
            for form in (client, client.with_raw_response):
                try:
                    await getattr(form, method_name(call.operation))(*call.ids.values(), **call.body, **{unknown: {}})
                except TypeError as error:
                    if unknown not in str(error):
                        problems.append(f"{method_name(call.operation)}: {error}")
                except AsyncAssistError:
                    problems.append(f"{method_name(call.operation)} takes {unknown}")
    return problems


async def raw_answer_problems(facts: Facts) -> list[str]:
    """Make every call through ``with_raw_response`` and compare what it gives with the answer."""
    problems: list[str] = []
    body: list[Any] = [None]

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(201, json=body[0], headers={"X-Request-Id": "req-1", "X-Steady": "yes"})

    async with AsyncClient(base_url=BASE, api_key="test", transport=httpx.MockTransport(answer)) as client:
        for call in calls(facts):
            entry = facts["operations"][call.operation]
            body[0] = sample(facts, entry["response"])
            operation = getattr(client.with_raw_response, method_name(call.operation))
            try:
                raw = await operation(*call.ids.values(), **call.query, **call.body)
            except AsyncAssistError as error:
                problems.append(f"{method_name(call.operation)}: {type(error).__name__}: {error}")
                continue
            if (raw.status, raw.request_id, raw.headers.get("x-steady")) != (201, "req-1", "yes"):
                problems.append(f"{method_name(call.operation)}: {raw.status} {raw.request_id} {dict(raw.headers)}")
            if unstructure(raw.data) != body[0]:
                problems.append(f"{method_name(call.operation)}: the answer became {unstructure(raw.data)}")
            if is_listing(facts, entry) != hasattr(raw.data, "has_more"):
                problems.append(f"{method_name(call.operation)}: the data is {type(raw.data).__name__}")
    return problems
