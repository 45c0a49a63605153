"""Shapes to JSON Schema."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

from asyncassist._wire._misfit import MisfitError
from asyncassist._wire.unstructure import unstructure
from asyncassist.errors import UsageError
from asyncassist.models import UNSET
from asyncassist.tools._encoding import plain
from asyncassist.tools._limits import Limits
from asyncassist.tools._shapes import (
    Choice,
    Entries,
    Field,
    Items,
    Noted,
    Null,
    OneOf,
    Raw,
    Record,
    Row,
    Scalar,
    Shape,
    Text,
    quoted,
    takes_null,
)
from asyncassist.tools._structuring import structure

__all__ = ["schema_of"]

_Schema: TypeAlias = dict[str, Any]

_TYPES: dict[type[object] | None, str] = {str: "string", int: "integer", float: "number", bool: "boolean", None: "null"}


def schema_of(parameters: Record, *, strict: bool) -> _Schema:
    """Return the JSON Schema of a function's parameters.

    Args:
        strict: keep to what strict mode knows: every property is required, what may be absent may be null instead,
            limits and defaults stand in the descriptions.

    Raises:
        MisfitError: strict mode cannot describe a part of them.
    """
    writer = _Writer(strict)
    schema = writer.record(parameters)
    writer.place_definitions(schema)
    return schema


class _Writer:
    """Writes one schema. Classes are definitions; those used once are put where they are used in the end."""

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self._names: dict[Record, str] = {}
        self._definitions: dict[str, _Schema] = {}
        self._references: dict[str, list[_Schema]] = {}

    def record(self, record: Record) -> _Schema:
        properties: _Schema = {}
        for field in record.fields:
            try:
                properties[field.name] = self._property(field)
            except MisfitError as misfit:
                misfit.segments.append(field.name)
                raise
        schema: _Schema = {"type": "object", "properties": properties}
        required = [field.name for field in record.fields if field.is_required or self._strict]
        if required:
            schema["required"] = required
        schema["additionalProperties"] = False
        return schema

    def _property(self, field: Field) -> _Schema:
        schema = self.schema(field.shape)
        default = _default(field)
        if not self._strict:
            if default is not UNSET:
                schema["default"] = default
            return schema
        if field.is_required or takes_null(field.shape):
            return schema
        words = [schema.pop("description")] if "description" in schema else []
        words.append("Null for the default." if default is UNSET else f"Null for the default: {_as_json(default)}.")
        members = schema["anyOf"] if schema.keys() == {"anyOf"} else [schema]
        return {"anyOf": [*members, {"type": "null"}], "description": "\n".join(words)}

    def schema(self, shape: Shape) -> _Schema:
        match shape:
            case Raw():
                if self._strict:
                    raise MisfitError("strict mode cannot describe a value of any type")
                return {}
            case Null():
                return {"type": "null"}
            case Scalar():
                return {"type": _TYPES[shape.type]}
            case Text():
                return self._text(shape)
            case Choice():
                return _choice(shape)
            case Items():
                schema: _Schema = {"type": "array", "items": self.schema(shape.item)}
                return schema if self._strict or not shape.is_unique else {**schema, "uniqueItems": True}
            case Row():
                return self._row(shape)
            case Entries():
                return self._entries(shape)
            case Record():
                return self._reference(shape)
            case OneOf():
                return {"anyOf": [self.schema(member) for member in shape.members]}
            case Noted():  # pragma: no branch
                return self._noted(shape)

    def _text(self, shape: Text) -> _Schema:
        schema: _Schema = {"type": "string"}
        if self._strict or shape.format is None:
            return {**schema, "description": f"{shape.name[0].upper()}{shape.name[1:]}."}
        return {**schema, "format": shape.format}

    def _row(self, shape: Row) -> _Schema:
        items = [self.schema(item) for item in shape.items]
        if not self._strict:
            size = len(items)
            rest = {"prefixItems": items, "minItems": size} if items else {}
            return {"type": "array", **rest, "items": False, "maxItems": size}
        distinct = [item for index, item in enumerate(items) if item not in items[:index]]
        if not distinct:
            raise MisfitError("strict mode cannot describe an empty tuple")
        item = distinct[0] if len(distinct) == 1 else {"anyOf": distinct}
        return {"type": "array", "items": item, "description": f"Exactly {len(items)} items."}

    def _entries(self, shape: Entries) -> _Schema:
        if self._strict:
            raise MisfitError("strict mode cannot describe a dict with any keys; use a class")
        schema: _Schema = {"type": "object", "additionalProperties": self.schema(shape.value)}
        return schema if isinstance(shape.key, Scalar) else {**schema, "propertyNames": self.schema(shape.key)}

    def _noted(self, shape: Noted) -> _Schema:
        schema = self.schema(shape.shape)
        words = [shape.description, schema.get("description")]
        if self._strict:
            rules = shape.limits.rules()
            words += [f"Must be {', '.join(rules)}."] if rules else []
        else:
            _limit(schema, shape.limits)
        if any(words):
            schema["description"] = "\n".join(filter(None, words))
        return schema

    def _reference(self, record: Record) -> _Schema:
        name = self._names.get(record)
        if name is None:
            name = self._names[record] = self._free_name(record.name)
            self._references[name] = []
            definition = self.record(record)
            if record.description:
                definition["description"] = record.description
            self._definitions[name] = definition
        reference: _Schema = {"$ref": f"#/$defs/{name}"}
        self._references[name].append(reference)
        return reference

    def _free_name(self, name: str) -> str:
        base = "".join(c if c.isalnum() and c.isascii() else "_" for c in name)
        name, count = base, 1
        while name in self._references:
            count += 1
            name = f"{base}_{count}"
        return name

    def place_definitions(self, schema: _Schema) -> None:
        kept: dict[str, _Schema] = {}
        for name, definition in self._definitions.items():
            references = self._references[name]
            if len(references) == 1:
                (reference,) = references
                del reference["$ref"]
                reference.update({**definition, **reference})
                continue
            kept[name] = definition
            for reference in references:
                if self._strict and len(reference) > 1:  # where $ref stands alone
                    reference["anyOf"] = [{"$ref": reference.pop("$ref")}]
        if kept:
            schema["$defs"] = kept


def _choice(shape: Choice) -> _Schema:
    values = [value for value, _ in shape.members]
    kinds = list(dict.fromkeys(_TYPES[None if value is None else type(value)] for value in values))
    return {"type": kinds[0] if len(kinds) == 1 else kinds, "enum": values}


def _limit(schema: _Schema, limits: Limits) -> None:
    for part in cast("list[_Schema]", schema.get("anyOf", [schema])):
        kind = part.get("type")
        if isinstance(kind, str):
            part.update(limits.keywords(kind))


def _default(field: Field) -> object:
    """Return a default as JSON, if it is one the schema itself would take."""
    if field.default is UNSET:
        return UNSET
    try:
        value = unstructure(plain(field.default))
        structure(field.shape, value)
    except (MisfitError, UsageError):
        return UNSET
    return value


def _as_json(value: object) -> str:
    from asyncassist._wire.json import dumps

    return dumps(value).decode() if not isinstance(value, str) else quoted(value)
