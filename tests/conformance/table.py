"""Read the table of facts: follow its references, name its operations, make values of its shapes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FACTS = Path(__file__).with_name("facts.json")

Facts = dict[str, Any]
Shape = dict[str, Any]

# The description misspells one name; the client does not.
REPAIRED = {"submit_tool_ouputs_to_run": "submit_tool_outputs_to_run"}


def load() -> Facts:
    """Read the table, fresh each time, so that a test may alter its copy."""
    facts: Facts = json.loads(FACTS.read_text(encoding="utf-8"))
    return facts


def method_name(operation: str) -> str:
    """Give the name an operation has on the client."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
    return REPAIRED.get(name, name)


def path_names(path: str) -> list[str]:
    """Give the ids of a path in URL order."""
    return re.findall(r"\{(\w+)\}", path)


def resolve(facts: Facts, shape: Shape) -> Shape:
    """Follow a reference to what it names; null is allowed where either side allows it."""
    while name := shape.get("ref"):
        target = facts["schemas"][name]
        shape = target | {key: shape[key] for key in ("nullable", "required") if key in shape}
    return shape


def is_nullable(facts: Facts, shape: Shape) -> bool:
    """Tell whether null fits a shape."""
    return bool(resolve(facts, shape).get("nullable"))


def body_fields(facts: Facts, operation: str) -> dict[str, Shape]:
    """Give the fields of an operation's body, none where it takes no body."""
    body = facts["operations"][operation].get("body")
    fields: dict[str, Shape] = resolve(facts, body)["fields"] if body else {}
    return fields


def query_fields(facts: Facts, operation: str) -> dict[str, Shape]:
    """Give the query parameters of an operation under the names the client uses for them."""
    parameters: dict[str, Shape] = facts["operations"][operation]["parameters"]
    return {name.removesuffix("[]"): shape for name, shape in parameters.items() if shape["in"] == "query"}


def references(shape: Any) -> Iterator[str]:
    """Give every schema name a part of the table refers to."""
    if isinstance(shape, dict):
        if isinstance(shape.get("ref"), str):
            yield shape["ref"]
        for part in shape.values():
            yield from references(part)
    elif isinstance(shape, list):
        for part in shape:
            yield from references(part)


def sample(facts: Facts, shape: Shape, what: str = "everything") -> Any:
    """Make a value of a shape; a list has one item of each kind.

    Args:
        what: ``"everything"`` for all fields there are, ``"the least"`` for those that are required, ``"nulls"`` for
            all with null wherever null fits.
    """
    shape = resolve(facts, shape)
    if what == "nulls" and shape.get("nullable"):
        return None
    if "const" in shape:
        return shape["const"]
    if "enum" in shape:
        return shape["enum"][0]
    if "union" in shape:
        return sample(facts, shape["union"][0], what)
    if "fields" in shape:
        left_out = {name for choice in shape.get("exactly_one", [])[1:] for name in choice}
        if what == "the least":
            left_out = {name for name, field in shape["fields"].items() if not field.get("required")}
        return {name: sample(facts, field, what) for name, field in shape["fields"].items() if name not in left_out}
    if "items" in shape:
        items = resolve(facts, shape["items"])
        kinds = items.get("union", [items])
        return [sample(facts, kind, what) for kind in kinds]
    if "values" in shape:
        return {"key": sample(facts, shape["values"]) if shape["values"] else "text"}
    whole = max(shape.get("minimum", 0), 1)
    return {"integer": whole, "number": whole / 2, "boolean": True, "object": {}, "string": "text"}[shape["type"]]
