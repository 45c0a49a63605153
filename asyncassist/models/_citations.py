"""The text of messages for people to read: what annotations mark is replaced, and the sources are told below.

An annotation says where its mark stands, and what it is. Servers get the place wrong (they count in other units, or
have changed the text since), so the mark itself decides where it is; the place chooses among several equal marks.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from asyncassist.errors import UsageError, shown
from asyncassist.models.messages import (
    Annotation,
    MessageContentText,
    MessageContentTextAnnotationsFileCitation,
    UnknownAnnotation,
)

if TYPE_CHECKING:
    from asyncassist.models.messages import Message, MessageText

__all__ = ["Citations", "render"]

Citations: TypeAlias = Literal["footnotes", "strip"] | Callable[[Annotation, int], str]
"""What becomes of the marks of a text."""

_Source: TypeAlias = tuple[str, str]

# The marks file search writes. Nobody else writes these brackets with a dagger in between, so that one without an
# annotation is still a mark, and an annotated one means the same wherever it stands.
_MARK = re.compile(r"【[^【】†]{0,40}†[^【】]{0,200}】")

_MOST_SEARCHED = 100_000_000
"""How many characters of one text are looked through for marks whose indices are wrong; there may be many of both."""


def render(messages: Iterable[Message], citations: Citations, names: Mapping[str, str] | None = None) -> str:
    """Return the text of messages, parted by empty lines.

    Args:
        messages: the oldest first.
        citations: ``"footnotes"`` puts ``[1]`` where a source is cited, and the sources below the text; ``"strip"``
            leaves the marks out; a function is called with each annotation and the number of its source, and returns
            what stands there instead.
        names: of files, by their ids, for the footnotes.

    Raises:
        UsageError: ``citations`` is none of these.
    """
    numbers: dict[_Source, int] = {}

    def number_of(annotation: Annotation) -> int:
        return numbers.setdefault(_source(annotation), len(numbers) + 1)

    if citations == "strip":
        return _joined([_rendered(message, lambda annotation: "", strips_bare=True) for message in messages])
    if citations == "footnotes":
        texts = [_rendered(message, lambda annotation: f"[{number_of(annotation)}]") for message in messages]
        notes = [f"[{number}] {_note(source, names or {})}" for source, number in numbers.items()]
        return _joined([*texts, "\n".join(notes)])
    if not callable(citations):
        raise UsageError(f'citations must be "footnotes", "strip" or a function, got {shown(citations)}')
    stand_in = citations

    def replace(annotation: Annotation) -> str:
        text = stand_in(annotation, number_of(annotation))
        if not isinstance(text, str):
            raise TypeError(f"what stands for a citation must be a str, got {type(text).__name__}")
        return text

    return _joined([_rendered(message, replace, takes_paths=True) for message in messages])


def _joined(texts: Iterable[str]) -> str:
    return "\n\n".join(filter(None, texts))


def _rendered(
    message: Message, replace: Callable[[Annotation], str], *, strips_bare: bool = False, takes_paths: bool = False
) -> str:
    """Return a message's text with its marks replaced.

    Args:
        strips_bare: whether to leave out marks without an annotation.
        takes_paths: whether paths of files are marks too. They stand in links, which would break without them.
    """
    pieces: list[str] = []
    for part in message.content:
        if isinstance(part, MessageContentText):
            pieces.extend(_pieces(part.text, replace, strips_bare, takes_paths))
    return "".join(pieces)


def _pieces(
    text: MessageText, replace: Callable[[Annotation], str], strips_bare: bool, takes_paths: bool
) -> Iterator[str]:
    marks = [annotation for annotation in text.annotations if _is_mark(annotation, takes_paths)]
    placed, unplaced = _places(text.value, marks)
    position = 0
    for start, end, holders in placed:
        between = text.value[position:start]
        yield _MARK.sub("", between) if strips_bare else between
        yield from [replace(annotation) for annotation in holders]
        position = end
    rest = text.value[position:]
    yield _MARK.sub("", rest) if strips_bare else rest
    for annotation in unplaced:
        replace(annotation)  # its source counts, though nothing in the text is to be replaced


def _is_mark(annotation: Annotation, takes_paths: bool) -> bool:
    if isinstance(annotation, UnknownAnnotation):
        # Of other kinds only what looks like a mark is taken for one: some annotate the words themselves.
        return _MARK.fullmatch(_text_of(annotation)) is not None
    return takes_paths or isinstance(annotation, MessageContentTextAnnotationsFileCitation)


def _text_of(annotation: Annotation) -> str:
    text = annotation.raw.get("text") if isinstance(annotation, UnknownAnnotation) else annotation.text
    return text if isinstance(text, str) else ""


def _range_of(annotation: Annotation) -> tuple[int, int]:
    if isinstance(annotation, UnknownAnnotation):
        start, end = annotation.raw.get("start_index"), annotation.raw.get("end_index")
    else:
        start, end = annotation.start_index, annotation.end_index
    return (start if isinstance(start, int) else -1), (end if isinstance(end, int) else -1)


# Where the marks are.


class _Taken:
    """The stretches of a text that marks take, which do not overlap, each with its annotations by their sources."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: dict[int, int] = {}
        self.holders: dict[int, dict[_Source, Annotation]] = {}

    def is_free(self, start: int, end: int) -> bool:
        index = bisect_right(self._starts, start)
        if index and self._ends[self._starts[index - 1]] > start:
            return False
        return index == len(self._starts) or self._starts[index] >= end

    def is_held(self, start: int, end: int) -> bool:
        return self._ends.get(start) == end

    def take(self, start: int, end: int, holders: dict[_Source, Annotation]) -> None:
        self._starts.insert(bisect_right(self._starts, start), start)
        self._ends[start] = end
        self.holders[start] = holders

    def __iter__(self) -> Iterator[tuple[int, int, list[Annotation]]]:
        return iter([(start, self._ends[start], [*self.holders[start].values()]) for start in self._starts])


def _places(value: str, marks: Iterable[Annotation]) -> tuple[_Taken, list[Annotation]]:
    """Find what each annotation marks. Returns the places, and the annotations that have none."""
    taken = _Taken()
    firsts: dict[str, int] = {}
    wanting: dict[str, list[Annotation]] = {}
    # Long ones first, or a short one could take a part of theirs.
    for annotation in sorted(marks, key=lambda annotation: -len(_text_of(annotation))):
        text = _text_of(annotation)
        place = _own_place(value, annotation)
        if place is not None and taken.is_free(*place):
            taken.take(*place, {_source(annotation): annotation})
            firsts.setdefault(text, place[0])
        elif place is not None and taken.is_held(*place) and _source(annotation) not in taken.holders[place[0]]:
            taken.holders[place[0]][_source(annotation)] = annotation  # one mark for two sources
        else:
            wanting.setdefault(text, []).append(annotation)
    unplaced = wanting.pop("", [])
    marks_by_text = _marks_by_text(value)
    budget = max(_MOST_SEARCHED, len(value))
    for text in sorted({*wanting, *(firsts.keys() & marks_by_text.keys())}, key=len, reverse=True):
        starts = marks_by_text.get(text)
        if starts is None:
            budget -= len(value)
            starts = [*_occurrences(value, text)] if budget >= 0 else []
        free = [start for start in starts if taken.is_free(start, start + len(text))]
        for annotation in wanting.get(text, ()):
            if free:
                start = _pop_nearest(free, _range_of(annotation)[0])
                taken.take(start, start + len(text), {_source(annotation): annotation})
                firsts.setdefault(text, start)
            elif text in firsts:
                taken.holders[firsts[text]].setdefault(_source(annotation), annotation)
            else:
                unplaced.append(annotation)
        if free and text in marks_by_text:
            source, annotation = next(iter(taken.holders[firsts[text]].items()))
            for start in free:
                taken.take(start, start + len(text), {source: annotation})
    return taken, unplaced


def _own_place(value: str, annotation: Annotation) -> tuple[int, int] | None:
    """Return where an annotation says its mark is, if that is so."""
    start, end = _range_of(annotation)
    if text := _text_of(annotation):
        return (start, start + len(text)) if start >= 0 and value.startswith(text, start) else None
    return (start, end) if 0 <= start < end <= len(value) else None


def _marks_by_text(value: str) -> Mapping[str, list[int]]:
    found: dict[str, list[int]] = {}
    for match in _MARK.finditer(value):
        found.setdefault(match[0], []).append(match.start())
    return found


def _occurrences(value: str, text: str) -> Iterator[int]:
    start = value.find(text)
    while start >= 0:
        yield start
        start = value.find(text, start + len(text))


def _pop_nearest(starts: list[int], wanted: int) -> int:
    index = bisect_left(starts, wanted)
    if index and (index == len(starts) or wanted - starts[index - 1] <= starts[index] - wanted):
        index -= 1
    return starts.pop(index)


# What the marks stand for.


def _source(annotation: Annotation) -> _Source:
    """Return what an annotation stands for; equal ones share a number."""
    if isinstance(annotation, UnknownAnnotation):
        return annotation.type or "unknown", _title_of(annotation)
    if isinstance(annotation, MessageContentTextAnnotationsFileCitation):
        reference = annotation.file_citation
    else:
        reference = annotation.file_path
    file_id = None if reference is None else reference.file_id
    return (annotation.type, file_id) if file_id else ("", annotation.text or "")


def _title_of(annotation: UnknownAnnotation) -> str:
    """Return what an annotation of a kind this version does not know says of its source."""
    inner = annotation.raw.get(annotation.type or "")
    fields = cast("Mapping[str, object]", inner) if isinstance(inner, Mapping) else annotation.raw
    said = [fields.get(name) for name in ("title", "url", "file_id")]
    return " ".join([text for text in said if isinstance(text, str) and text]) or _text_of(annotation)


def _note(source: _Source, names: Mapping[str, str]) -> str:
    kind, about = source
    return names.get(about, about) if kind else "a file the server did not name"
