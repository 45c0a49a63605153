"""The pieces in which a message arrives over a stream."""

from __future__ import annotations

from typing import Literal, TypeAlias

from attrs import field

from asyncassist.models._base import Model, Omittable, OmittableTuple, Unknown, frozen
from asyncassist.models.messages import ImageDetail, MessageRole

__all__ = [
    "AnnotationDelta",
    "FileCitationDelta",
    "FileReferenceDelta",
    "ImageFileDelta",
    "ImageUrlDelta",
    "MessageContentDelta",
    "MessageDelta",
    "MessageDeltaContentImageFile",
    "MessageDeltaContentImageUrl",
    "MessageDeltaContentRefusal",
    "MessageDeltaContentText",
    "MessageDeltaContentTextAnnotationsFileCitation",
    "MessageDeltaContentTextAnnotationsFilePath",
    "MessageDeltaDelta",
    "MessageDeltaText",
    "UnknownAnnotationDelta",
    "UnknownMessageContentDelta",
]


@frozen(kw_only=True)
class FileReferenceDelta(Model):
    """A file, by its id."""

    file_id: Omittable[str] = None


@frozen(kw_only=True)
class FileCitationDelta(Model):
    """The file a citation points to, and the passage it cites."""

    file_id: Omittable[str] = None
    quote: Omittable[str] = None


@frozen(kw_only=True)
class MessageDeltaContentTextAnnotationsFileCitation(Model):
    """A citation, or a piece of one."""

    index: int | None = None
    """Which annotation of the text this belongs to."""
    type: Literal["file_citation"] = "file_citation"
    text: Omittable[str] = None
    file_citation: Omittable[FileCitationDelta] = None
    start_index: Omittable[int] = None
    end_index: Omittable[int] = None


@frozen(kw_only=True)
class MessageDeltaContentTextAnnotationsFilePath(Model):
    """A file path, or a piece of one."""

    index: int | None = None
    """Which annotation of the text this belongs to."""
    type: Literal["file_path"] = "file_path"
    text: Omittable[str] = None
    file_path: Omittable[FileReferenceDelta] = None
    start_index: Omittable[int] = None
    end_index: Omittable[int] = None


@frozen(kw_only=True)
class UnknownAnnotationDelta(Unknown):
    """A piece of an annotation of a kind this version does not know."""


AnnotationDelta: TypeAlias = (
    MessageDeltaContentTextAnnotationsFileCitation | MessageDeltaContentTextAnnotationsFilePath | UnknownAnnotationDelta
)


@frozen(kw_only=True)
class MessageDeltaText(Model):
    """A piece of text, to be added to what came before."""

    value: Omittable[str] = None
    annotations: OmittableTuple[AnnotationDelta] = ()


@frozen(kw_only=True)
class MessageDeltaContentText(Model):
    """A piece of a text part."""

    index: int | None = None
    """Which content part of the message this belongs to."""
    type: Literal["text"] = "text"
    text: Omittable[MessageDeltaText] = None


@frozen(kw_only=True)
class MessageDeltaContentRefusal(Model):
    """A piece of a refusal."""

    index: int | None = None
    """Which content part of the message this belongs to."""
    type: Literal["refusal"] = "refusal"
    refusal: Omittable[str] = None


@frozen(kw_only=True)
class ImageFileDelta(Model):
    """An uploaded image."""

    file_id: Omittable[str] = None
    detail: Omittable[ImageDetail] = None


@frozen(kw_only=True)
class MessageDeltaContentImageFile(Model):
    """An uploaded image as a content part."""

    index: int | None = None
    """Which content part of the message this belongs to."""
    type: Literal["image_file"] = "image_file"
    image_file: Omittable[ImageFileDelta] = None


@frozen(kw_only=True)
class ImageUrlDelta(Model):
    """An image on the web."""

    url: Omittable[str] = None
    detail: Omittable[ImageDetail] = None


@frozen(kw_only=True)
class MessageDeltaContentImageUrl(Model):
    """An image on the web as a content part."""

    index: int | None = None
    """Which content part of the message this belongs to."""
    type: Literal["image_url"] = "image_url"
    image_url: Omittable[ImageUrlDelta] = None


@frozen(kw_only=True)
class UnknownMessageContentDelta(Unknown):
    """A piece of a content part of a kind this version does not know."""


MessageContentDelta: TypeAlias = (
    MessageDeltaContentText
    | MessageDeltaContentImageFile
    | MessageDeltaContentImageUrl
    | MessageDeltaContentRefusal
    | UnknownMessageContentDelta
)


@frozen(kw_only=True)
class MessageDeltaDelta(Model):
    """What changed in a message."""

    role: Omittable[MessageRole] = None
    content: OmittableTuple[MessageContentDelta] = ()


@frozen(kw_only=True)
class MessageDelta(Model):
    """A change to a message that is being written."""

    id: str
    """The message's id."""
    object: Literal["thread.message.delta"] | str = "thread.message.delta"
    delta: MessageDeltaDelta = field(factory=MessageDeltaDelta)

    @property
    def text(self) -> str:
        """The piece of text, or several joined; empty where there is none."""
        parts = [part.text for part in self.delta.content if isinstance(part, MessageDeltaContentText)]
        return "".join([text.value for text in parts if text and text.value])
