"""What the fields of a model are annotated with."""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncassist.models import Model

__all__ = ["field_types"]


def field_types(cls: type[Model]) -> dict[str, Any]:
    """Return the types of a model's public fields by name, with what they are `Annotated` with.

    `typing.get_type_hints` gives the same and takes four times as long, which first calls would feel.
    """
    types: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        for attribute in base.__dict__.get("__attrs_attrs__", ()):
            if not attribute.inherited and not attribute.name.startswith("_"):
                type_: Any = attribute.type
                types[attribute.name] = _evaluate(type_, base.__module__) if isinstance(type_, str) else type_
    return types


@lru_cache(maxsize=512)
def _evaluate(annotation: str, module: str) -> Any:
    return eval(annotation, vars(sys.modules[module]))  # the text of this package's own source, or a subclass's
