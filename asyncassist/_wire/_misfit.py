"""Errors inside a JSON value, which learn their path on the way out."""

from __future__ import annotations

__all__ = ["MAX_DEPTH", "MisfitError", "kind_of"]

MAX_DEPTH = 200
"""How deep raw JSON inside a model may be nested, both ways. Schemas in the field stay below 20."""

_SHOWN_SEGMENTS = 24


class MisfitError(Exception):
    """A value does not fit. Each level it passes on its way out adds its own path segment, innermost first."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.segments: list[str | int] = []

    @property
    def path(self) -> str:
        """Where the value stands, such as ``data[3].content[0].text.value``."""
        parts: list[str] = []
        for segment in reversed(self.segments[-_SHOWN_SEGMENTS:]):
            if isinstance(segment, str) and segment.isidentifier():
                parts.append(f".{segment}" if parts else segment)
            else:
                parts.append(f"[{ascii(segment)[:80]}]")
        if len(self.segments) > _SHOWN_SEGMENTS:
            parts.append("...")
        return "".join(parts)


def kind_of(value: object) -> str:
    """Name a value's kind as JSON does, without showing the value: it may be private."""
    return _KINDS.get(type(value), type(value).__name__)


_KINDS: dict[type[object], str] = {
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    list: "an array",
    dict: "an object",
}
