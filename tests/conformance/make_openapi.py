"""Write an OpenAPI 3.1 document from ``facts.json``, for mock servers that check requests against one.

Run it as ``python tests/conformance/make_openapi.py PATH`` with the path of the file to write. It carries names, types
and limits only. Schemas the table names after the place they stand in are written back into that place.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

FACTS = Path(__file__).with_name("facts.json")

COPIED = ("type", "const", "enum", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems")

Shape = dict[str, Any]


def schema_of(shape: Shape, schemas: dict[str, Shape]) -> dict[str, Any]:
    """Give the JSON schema of one shape of the table."""
    schema: dict[str, Any] = {key: shape[key] for key in COPIED if key in shape}
    if name := shape.get("ref"):
        in_place = re.search(r"\W", name)
        schema = schema_of(schemas[name], schemas) if in_place else {"$ref": f"#/components/schemas/{name}"}
    if members := shape.get("union"):
        schema["anyOf"] = [schema_of(member, schemas) for member in members]
    if fields := shape.get("fields"):
        schema["type"] = "object"
        schema["properties"] = {field: schema_of(value, schemas) for field, value in fields.items()}
        if required := [field for field, value in fields.items() if value.get("required")]:
            schema["required"] = required
        if shape.get("closed"):
            schema["additionalProperties"] = False
    if choices := shape.get("exactly_one"):
        schema["oneOf"] = [{"required": choice} for choice in choices]
    if "items" in shape:
        schema["items"] = schema_of(shape["items"], schemas)
    if "values" in shape:
        schema["additionalProperties"] = schema_of(shape["values"], schemas)
    return {"anyOf": [schema, {"type": "null"}]} if shape.get("nullable") else schema


def operation_of(name: str, operation: dict[str, Any], schemas: dict[str, Shape]) -> dict[str, Any]:
    """Give the OpenAPI form of one operation."""
    written: dict[str, Any] = {
        "operationId": name,
        "parameters": [
            {
                "name": key,
                "in": shape["in"],
                "required": shape.get("required", False),
                "schema": schema_of(shape, schemas),
            }
            for key, shape in operation["parameters"].items()
        ],
        "responses": {
            "200": {
                "description": "",
                "content": {"application/json": {"schema": schema_of(operation["response"], schemas)}},
            }
        },
    }
    if body := operation.get("body"):
        written["requestBody"] = {
            "required": body.get("required", False),
            "content": {"application/json": {"schema": schema_of(body, schemas)}},
        }
    return written


def make(facts: dict[str, Any]) -> dict[str, Any]:
    """Give the whole document."""
    schemas: dict[str, Shape] = facts["schemas"]
    paths: dict[str, Any] = {}
    for name, operation in facts["operations"].items():
        item = paths.setdefault(operation["path"], {})
        item[operation["method"].lower()] = operation_of(name, operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "facts", "version": facts["version"]},
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": {
                name: schema_of(entry, schemas) for name, entry in schemas.items() if not re.search(r"\W", name)
            },
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def write(target: Path) -> None:
    """Write the document of the table beside this script."""
    facts = json.loads(FACTS.read_text(encoding="utf-8"))
    target.write_text(json.dumps(make(facts), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
