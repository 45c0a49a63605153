"""Derive ``facts.json`` from the API description.

Run it as ``python tests/conformance/make_facts.py PATH`` with the path of the OpenAPI document.

What is written are names, types, limits and references; sentences of the description are left behind. A *shape* is what
stands for one schema position: ``{"type": "string"}`` with its limits, or ``{"ref": NAME}``. Objects with fields and
unions are entries of ``schemas``. Those the description writes in place get a name made of where they stand::

    RunObject.required_action        a field
    CreateMessageRequest.content[]   the items of a list
    RunStreamEvent:thread.run.queued the member of a union with that tag
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FACTS = Path(__file__).with_name("facts.json")

LIMITS = ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems")
SILENT = {"default", "deprecated", "description", "example", "format", "summary", "title", "x-oaiTypeLabel"}
UNDERSTOOD = {
    *LIMITS,
    *SILENT,
    "$ref",
    "additionalProperties",
    "anyOf",
    "const",
    "enum",
    "items",
    "oneOf",
    "properties",
    "required",
    "type",
    "x-stainless-const",
}
TAGS = ("type", "event")
METHODS = ("get", "post", "put", "patch", "delete")
WIDTH = 120

Shape = dict[str, Any]


class Table:
    """The schemas met so far, by name."""

    def __init__(self, description: dict[str, Any]) -> None:
        self.source: dict[str, Any] = description["components"]["schemas"]
        self.schemas: dict[str, Shape] = {}

    def add(self, name: str, entry: Shape) -> None:
        """Keep an entry and refuse a name that is taken."""
        if name in self.schemas or (name in self.source and "." in name):
            raise ValueError(f"two schemas are called {name}")
        self.schemas[name] = entry

    def top(self, name: str, schema: dict[str, Any]) -> None:
        """Add a schema the description itself names."""
        shape = self.shape(name, schema, named=False)
        if shape.pop("ref", None) == name:
            self.schemas[name].update(shape)
        else:
            self.add(name, shape)

    def shape(self, name: str, schema: dict[str, Any], *, named: bool = True) -> Shape:
        """Describe the schema at a position; *name* is what an object or union written in place there is called."""
        if strange := set(schema) - UNDERSTOOD:
            raise ValueError(f"{name}: unknown keywords {sorted(strange)}")
        if "$ref" in schema:
            return {"ref": self.reference(schema["$ref"], "schemas")}
        members: list[dict[str, Any]] = schema.get("anyOf") or schema.get("oneOf") or []
        types = schema.get("type", [])
        types = types if isinstance(types, list) else [types]
        nullable = "null" in types or any(member.get("type") == "null" for member in members)
        members = [member for member in members if member.get("type") != "null"]
        only_required = bool(members) and all(set(member) == {"required"} for member in members)

        if "properties" in schema:
            shape = self.object(name, schema)
            if only_required:
                self.schemas[name]["exactly_one"] = sorted(member["required"] for member in members)
            elif members:
                raise ValueError(f"{name}: an object with fields and members")
        elif len(members) == 1 and nullable:
            shape = self.shape(name, members[0], named=named)
        elif members:
            shape = self.union(name, members)
        else:
            shape = self.scalar(name, schema, [kind for kind in types if kind != "null"])
        if nullable:
            shape["nullable"] = True
        return shape

    def object(self, name: str, schema: dict[str, Any]) -> Shape:
        """Add an object with fields."""
        required = set(schema.get("required", ()))
        if required - set(schema["properties"]):
            raise ValueError(f"{name}: requires a field it does not have")
        entry: Shape = {"fields": {}}
        self.add(name, entry)
        for field, value in schema["properties"].items():
            shape = self.shape(f"{name}.{field}", value)
            entry["fields"][field] = shape | ({"required": True} if field in required else {})
        extra = schema.get("additionalProperties", True)
        if extra is False:
            entry["closed"] = True
        elif extra is not True:
            raise ValueError(f"{name}: fields and a typed rest")
        return {"ref": name}

    def union(self, name: str, members: list[dict[str, Any]]) -> Shape:
        """Add a union, with the tag its object members are told apart by."""
        entry: Shape = {"union": []}
        self.add(name, entry)
        tags: list[str] = []
        for member in members:
            resolved = self.source[self.reference(member["$ref"], "schemas")] if "$ref" in member else member
            tag = next((t for t in TAGS if self.constant(resolved.get("properties", {}).get(t, {}))), None)
            if tag:
                tags.append(tag)
            own = f"{name}:{self.constant(resolved['properties'][tag])}" if tag else name
            entry["union"].append(self.shape(own, member))
        if tags and len(set(tags)) == 1:
            entry["tag"] = tags[0]
        entry["union"].sort(key=lambda shape: json.dumps(shape, sort_keys=True))
        return {"ref": name}

    def scalar(self, name: str, schema: dict[str, Any], types: list[str]) -> Shape:
        """Describe a list, a map, a free object or a plain value."""
        if len(types) != 1:
            raise ValueError(f"{name}: {len(types)} types")
        shape: Shape = {"type": types[0]}
        if "items" in schema:
            shape["items"] = self.shape(f"{name}[]", schema["items"])
        if (constant := self.constant(schema)) is not None:
            shape["const"] = constant
        elif "enum" in schema:
            shape["enum"] = sorted(schema["enum"])
        extra = schema.get("additionalProperties")
        if extra is not None:
            shape["values"] = {} if extra in (True, {}) else self.shape(f"{name}{{}}", extra)
        shape.update({limit: schema[limit] for limit in LIMITS if limit in schema})
        return shape

    @staticmethod
    def constant(schema: dict[str, Any]) -> Any:
        """Give the only value a schema allows, else None."""
        return schema["enum"][0] if schema.get("x-stainless-const") else schema.get("const")

    @staticmethod
    def reference(ref: str, room: str) -> str:
        """Give the last part of a reference into the same document."""
        return ref.removeprefix(f"#/components/{room}/")


def operations(description: dict[str, Any], table: Table) -> dict[str, Any]:
    """Describe each operation: where it is sent, what it takes and what it gives."""
    found: dict[str, Any] = {}
    for path, item in description["paths"].items():
        for method in METHODS:
            if method not in item:
                continue
            operation = item[method]
            name = operation["operationId"]
            entry: dict[str, Any] = {"method": method.upper(), "path": path, "parameters": {}}
            for parameter in operation.get("parameters", ()):
                key = parameter["name"]
                shape = table.shape(f"{name}.{key}", parameter["schema"]) | {"in": parameter["in"]}
                entry["parameters"][key] = shape | ({"required": True} if parameter.get("required") else {})
            if body := operation.get("requestBody"):
                entry["body"] = table.shape(f"{name}.body", body["content"]["application/json"]["schema"])
                if body.get("required"):
                    entry["body"]["required"] = True
            answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
            entry["response"] = table.shape(f"{name}.response", answer)
            found[name] = entry
    return found


def make(description: dict[str, Any]) -> dict[str, Any]:
    """Derive the whole table."""
    table = Table(description)
    for name, schema in table.source.items():
        table.top(name, schema)
    events = sorted(
        schema["fields"]["event"]["const"]
        for schema in table.schemas.values()
        if "const" in schema.get("fields", {}).get("event", {})
    )
    return {
        "events": events,
        "operations": operations(description, table),
        "schemas": table.schemas,
        "version": description["info"]["version"],
    }


def render(value: Any, depth: int = 0, used: int = 0) -> str:
    """Write JSON with sorted keys: a field a line, and more lines only where a field is longer than one.

    Args:
        used: what of the line is taken by indentation, key and comma.
    """
    flat = json.dumps(value, sort_keys=True)
    if not isinstance(value, (dict, list)) or not value:
        return flat
    parts = list(value.values()) if isinstance(value, dict) else value
    has_rows = depth < 3 or (depth == 3 and any(isinstance(part, dict) for part in parts))
    if not has_rows and used + len(flat) <= WIDTH:
        return flat
    pad = "\n" + " " * depth
    if isinstance(value, dict):
        keys = {key: f"{json.dumps(key)}: " for key in sorted(value)}
        rows = [name + render(value[key], depth + 1, depth + 2 + len(name)) for key, name in keys.items()]
        return "{" + ",".join(f"{pad} {row}" for row in rows) + pad + "}"
    return "[" + ",".join(f"{pad} {render(part, depth + 1, depth + 2)}" for part in value) + pad + "]"


def main(arguments: list[str]) -> None:
    """Read the API description named on the command line and write the table beside this script."""
    import yaml  # only whoever renews the table needs it

    (source,) = arguments
    description = yaml.safe_load(Path(source).read_text(encoding="utf-8"))
    FACTS.write_text(render(make(description)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
