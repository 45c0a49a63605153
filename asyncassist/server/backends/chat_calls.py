"""The tool calls of a chat completion, put together from their pieces, however a server numbers and names them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import cast

from attrs import define, field

from asyncassist._wire.json import dumps, loads
from asyncassist.errors import DecodeError, StreamError
from asyncassist.server.backends.base import FunctionCall

__all__ = ["ToolCalls", "array_of", "object_of", "text_of"]


def object_of(value: object) -> Mapping[str, object]:
    """A JSON object, an empty one for anything else."""
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def array_of(value: object) -> Sequence[object]:
    """A JSON array, an empty one for anything else."""
    return cast("list[object]", value) if isinstance(value, list) else ()


def text_of(value: object) -> str:
    """A JSON string, an empty one for anything else."""
    return value if isinstance(value, str) else ""


def _is_whole(arguments: str) -> bool:
    try:
        return isinstance(loads(arguments), dict)
    except DecodeError:
        return False


@define
class _Call:
    index: int | None
    id: str = ""
    name: str = ""
    pieces: list[str] = field(factory=list[str])

    @property
    def arguments(self) -> str:
        return "".join(self.pieces)

    def goes_on_with(self, new: _Call) -> bool:
        """Whether a piece is one of this call. Some servers number all calls 0, some none, some name each piece."""
        if not new.name:
            return True  # whatever its id is: vLLM used to make one for each piece
        if new.id and self.id:
            return False
        if new.name != self.name:
            return not self.pieces and new.index is not None  # the rest of the name
        # The cheap check first: a long call may come in thousands of pieces.
        return not ((new.index is None or _is_whole(new.arguments)) and _is_whole(self.arguments))

    def add(self, new: _Call) -> None:
        self.id = self.id or new.id
        if new.name.startswith(self.name):
            self.name = new.name
        elif new.name and not self.pieces:
            self.name += new.name
        if not (new.arguments.startswith("{") and new.arguments == self.arguments and _is_whole(self.arguments)):
            self.pieces += new.pieces  # else the call is said twice


class ToolCalls:
    """The calls as far as they have come."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def __len__(self) -> int:
        return len(self._calls)

    def take(self, entries: object, *, are_whole: bool = False) -> None:
        """Fold in what a delta has under ``tool_calls``.

        Args:
            entries: the JSON value.
            are_whole: each is a call of its own, as in an answer that is not streamed.
        """
        for entry in map(object_of, array_of(entries)):
            new = _piece(entry)
            call = None if are_whole else self._call_of(new)
            if call is None:
                self._calls.append(new)
            else:
                call.add(new)

    def _call_of(self, new: _Call) -> _Call | None:
        newest_first = self._calls[::-1]
        same_id = next((call for call in newest_first if new.id and call.id == new.id), None)
        if same_id is not None:
            return same_id
        numbered = (call for call in newest_first if new.index is None or call.index in (None, new.index))
        call = next(numbered, None)
        return call if call is not None and call.goes_on_with(new) else None

    def made(self, used: Collection[str]) -> list[FunctionCall]:
        """The calls, those without a usable id with none.

        Args:
            used: ids the run's earlier calls have. Some servers number the calls of each answer anew.

        Raises:
            StreamError: one has no name.
        """
        seen = set(used)
        calls: list[FunctionCall] = []
        for call in self._calls:
            if not call.name:
                raise StreamError("the answer has a tool call without a name")
            id = call.id if call.id and call.id not in seen else None
            seen.add(call.id)
            calls.append(FunctionCall(call.name, call.arguments.strip() or "{}", id))
        return calls


def _piece(entry: Mapping[str, object]) -> _Call:
    function = object_of(entry.get("function"))
    index = entry.get("index")
    arguments = function.get("arguments")
    text = dumps(cast("object", arguments)).decode() if isinstance(arguments, dict) else text_of(arguments)
    return _Call(
        index if isinstance(index, int) else None,
        text_of(entry.get("id")),
        text_of(function.get("name")),
        [text] if text else [],
    )
