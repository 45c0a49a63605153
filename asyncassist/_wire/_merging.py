"""JSON that comes in pieces, put together.

The rules are those of `asyncassist._wire.snapshots`. Merged values are plain JSON, but for the text that grows and the
lists whose entries do, which stay in pieces until they are asked for.
"""

from __future__ import annotations

from operator import itemgetter
from typing import Any, Final, TypeAlias, TypeGuard, cast

__all__ = ["Entries", "Growing", "Json", "growing_at", "is_list_of_objects", "merge", "with_indices", "written"]

Json: TypeAlias = dict[str, Any]

_GROWING: Final = frozenset({"value", "refusal", "input", "logs", "arguments"})
_LISTS: Final = frozenset({"content", "annotations", "tool_calls", "outputs"})
# Entries of these types come whole. One without an index is a new one, not the rest of the one before.
_WHOLE: Final = frozenset({"image_file", "image_url", "image", "file_citation", "file_path"})


class Growing(list[str]):
    """The pieces of a text."""


class Entries:
    """A list whose entries come in pieces."""

    def __init__(self) -> None:
        self._entries: list[tuple[int, Json]] = []
        # The newest entry at an index with a type; under None the newest with any type.
        self._places: dict[tuple[int, str | None], Json] = {}
        self._ids: dict[str, Json] = {}
        self._end = 0

    def add(self, piece: Json) -> None:
        """Merge a piece into its entry, or begin a new one."""
        index, type_, id_ = _int(piece.pop("index", None)), _str(piece.get("type")), _str(piece.get("id"))
        entry = None if id_ is None else self._ids.get(id_)
        if entry is None:
            entry = self._newest(type_) if index is None else self.at(index, type_)
            if entry is None or (id_ is not None and entry.get("id", id_) != id_):
                entry = self._begin(self._end if index is None else index, type_)
            if id_ is not None:
                self._ids[id_] = entry
        merge(entry, piece)

    def at(self, index: int, type_: str | None) -> Json | None:
        """Give the newest entry at an index, that of a type if one is named."""
        return self._places.get((index, type_))

    def written(self) -> list[Json]:
        """Give the entries as far as they have come."""
        return [written(entry) for _, entry in sorted(self._entries, key=itemgetter(0))]

    def _newest(self, type_: str | None) -> Json | None:
        if not self._entries:
            return None
        _, entry = self._entries[-1]
        return entry if type_ is None or (type_ == entry.get("type") and type_ not in _WHOLE) else None

    def _begin(self, index: int, type_: str | None) -> Json:
        entry: Json = {}
        self._entries.append((index, entry))
        self._places[index, type_] = self._places[index, None] = entry
        self._end = max(self._end, index + 1)
        return entry


def _int(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _str(value: object) -> str | None:
    return value if isinstance(value, str) else None


def is_list_of_objects(value: object) -> TypeGuard[list[Json]]:
    """Tell whether a JSON value is a list of nothing but objects."""
    return isinstance(value, list) and all(isinstance(item, dict) for item in cast("list[object]", value))


def merge(target: Json, piece: Json) -> None:
    """Add a piece to merged values, which may keep parts of it."""
    for name, value in piece.items():
        before = target.get(name)
        if value is None:
            target.setdefault(name, None)
        elif name in _GROWING and isinstance(value, str):
            if isinstance(before, Growing):
                before.append(value)
            else:
                target[name] = Growing([value])
        elif name in _LISTS and is_list_of_objects(value):
            entries = before if isinstance(before, Entries) else Entries()
            target[name] = entries
            for item in value:
                entries.add(item)
        elif isinstance(value, dict):
            inner: Json = cast("Json", before) if isinstance(before, dict) else {}
            target[name] = inner
            merge(inner, cast("Json", value))
        else:
            target[name] = value


def written(values: Json) -> Json:
    """Give merged values as plain JSON."""
    plain: Json = {}
    for name, value in values.items():
        if isinstance(value, Growing):
            # Joined once, not again each time someone asks.
            value[:] = ["".join(value)]
            plain[name] = value[0]
        elif isinstance(value, Entries):
            plain[name] = value.written()
        elif isinstance(value, dict):
            plain[name] = written(cast("Json", value))
        else:
            plain[name] = value
    return plain


def growing_at(values: object, *path: str) -> Growing | None:
    """Give the text that grows at a place of merged values; None if there is none."""
    for name in path:
        values = cast("Json", values).get(name) if isinstance(values, dict) else None
    return values if isinstance(values, Growing) else None


def with_indices(values: Json) -> Json:
    """Give the lists of a full object the indices that deltas refer to."""
    indexed: Json = {}
    for name, value in values.items():
        if name in _LISTS and is_list_of_objects(value):
            indexed[name] = [{**with_indices(item), "index": index} for index, item in enumerate(value)]
        elif isinstance(value, dict):
            indexed[name] = with_indices(cast("Json", value))
        else:
            indexed[name] = value
    return indexed
