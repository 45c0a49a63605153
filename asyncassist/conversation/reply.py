"""What came of a turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import anyio
from attrs import field, frozen

from asyncassist.models import (
    Annotation,
    Message,
    MessageContentImageFile,
    MessageContentText,
    MessageContentTextAnnotationsFileCitation,
    MessageContentTextAnnotationsFilePath,
    Run,
)
from asyncassist.models._citations import Citations, render

if TYPE_CHECKING:
    from asyncassist.models import FileReference, ImageFile

__all__ = ["Reply"]


def _as_tuple(messages: Sequence[Message]) -> tuple[Message, ...]:
    return tuple(messages)


@frozen
class Reply:
    """The answer of one turn of a conversation.

    Attributes:
        run: the run that gave it, completed.
        messages: what the run said, the oldest first.
    """

    run: Run
    messages: tuple[Message, ...] = field(converter=_as_tuple)

    @property
    def text(self) -> str:
        """The text as the server sent it; several messages are parted by an empty line."""
        return "\n\n".join([message.text for message in self.messages if message.text])

    def render(self, citations: Citations = "footnotes", *, names: Mapping[str, str] | None = None) -> str:
        """Return the text for people to read; see `Message.render`. Footnotes stand below the last message.

        Args:
            citations: ``"footnotes"``, ``"strip"``, or a function called with each annotation and the number of its
                source.
            names: of files, by their ids, such as `file_names` gives.

        Raises:
            UsageError: ``citations`` is none of these.
        """
        return render(self.messages, citations, names)

    @property
    def files(self) -> tuple[str, ...]:
        """The ids of the files that were made for the reply, images included, each once, in order."""
        images = [
            _id_of(part.image_file)
            for message in self.messages
            for part in message.content
            if isinstance(part, MessageContentImageFile)
        ]
        paths = [
            _id_of(annotation.file_path)
            for annotation in self._annotations()
            if isinstance(annotation, MessageContentTextAnnotationsFilePath)
        ]
        return tuple(dict.fromkeys(filter(None, [*images, *paths])))

    @property
    def cited_files(self) -> tuple[str, ...]:
        """The ids of the files the reply cites, each once, in the order of their annotations."""
        ids = [
            _id_of(annotation.file_citation)
            for annotation in self._annotations()
            if isinstance(annotation, MessageContentTextAnnotationsFileCitation)
        ]
        return tuple(dict.fromkeys(filter(None, ids)))

    async def file_names(self, look_up: Callable[[str], Awaitable[str]]) -> dict[str, str]:
        """Return the names of the files the reply cites, by their ids, for `render`.

        Args:
            look_up: gives the name of a file. It is called once for each, for all at the same time, and what it raises
                passes through.
        """
        names: dict[str, str] = {}
        failures: list[Exception] = []

        async def ask(file_id: str) -> None:
            try:
                names[file_id] = await look_up(file_id)
            except Exception as error:  # raised below, outside of the task group
                failures.append(error)
                group.cancel_scope.cancel()

        async with anyio.create_task_group() as group:
            for file_id in self.cited_files:
                group.start_soon(ask, file_id)
        if failures:
            raise failures[0]
        return names

    def _annotations(self) -> Iterator[Annotation]:
        for message in self.messages:
            for part in message.content:
                if isinstance(part, MessageContentText):
                    yield from part.text.annotations


def _id_of(reference: FileReference | ImageFile | None) -> str | None:
    return None if reference is None else reference.file_id
