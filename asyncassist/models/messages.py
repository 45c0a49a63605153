"""Messages, their content and annotations, and their parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Required, TypeAlias, TypedDict

from attrs import field

from asyncassist.models._base import JsonObject, Metadata, Model, Omittable, OmittableTuple, Unknown, frozen
from asyncassist.models.tools import AssistantToolsCode, AssistantToolsFileSearch, UnknownTool

if TYPE_CHECKING:
    from asyncassist.models._citations import Citations

__all__ = [
    "Annotation",
    "FileReference",
    "ImageDetail",
    "ImageFile",
    "ImageUrl",
    "Message",
    "MessageAttachment",
    "MessageContent",
    "MessageContentImageFile",
    "MessageContentImageUrl",
    "MessageContentParam",
    "MessageContentRefusal",
    "MessageContentText",
    "MessageContentTextAnnotationsFileCitation",
    "MessageContentTextAnnotationsFilePath",
    "MessageDeleted",
    "MessageIncompleteDetails",
    "MessageIncompleteReason",
    "MessageParam",
    "MessageParams",
    "MessageRequestContentText",
    "MessageRole",
    "MessageStatus",
    "MessageText",
    "UnknownAnnotation",
    "UnknownMessageContent",
]

MessageRole: TypeAlias = Literal["user", "assistant"] | str
MessageStatus: TypeAlias = Literal["in_progress", "incomplete", "completed"] | str
MessageIncompleteReason: TypeAlias = (
    Literal["content_filter", "max_tokens", "run_cancelled", "run_expired", "run_failed"] | str
)
ImageDetail: TypeAlias = Literal["auto", "low", "high"] | str


@frozen(kw_only=True)
class FileReference(Model):
    """A file, by its id."""

    file_id: str | None = None


@frozen(kw_only=True)
class MessageContentTextAnnotationsFileCitation(Model):
    """A mark in the text that cites a file found by file search."""

    type: Literal["file_citation"] = "file_citation"
    text: str | None = None
    """The mark as it stands in the text."""
    file_citation: FileReference | None = None
    start_index: int | None = None
    """Where the mark starts, in characters of the text."""
    end_index: int | None = None
    """Where the mark ends, exclusive."""


@frozen(kw_only=True)
class MessageContentTextAnnotationsFilePath(Model):
    """A path in the text that stands for a file the code interpreter made."""

    type: Literal["file_path"] = "file_path"
    text: str | None = None
    """The path as it stands in the text."""
    file_path: FileReference | None = None
    start_index: int | None = None
    """Where the path starts, in characters of the text."""
    end_index: int | None = None
    """Where the path ends, exclusive."""


@frozen(kw_only=True)
class UnknownAnnotation(Unknown):
    """An annotation of a kind this version does not know."""


Annotation: TypeAlias = (
    MessageContentTextAnnotationsFileCitation | MessageContentTextAnnotationsFilePath | UnknownAnnotation
)


@frozen(kw_only=True)
class ImageFile(Model):
    """An uploaded image."""

    file_id: str | None = None
    detail: Omittable[ImageDetail] = None


@frozen(kw_only=True)
class ImageUrl(Model):
    """An image on the web."""

    url: str | None = None
    detail: Omittable[ImageDetail] = None


@frozen(kw_only=True)
class MessageContentImageFile(Model):
    """A content part that is an uploaded image."""

    type: Literal["image_file"] = "image_file"
    image_file: ImageFile | None = None


@frozen(kw_only=True)
class MessageContentImageUrl(Model):
    """A content part that is an image on the web."""

    type: Literal["image_url"] = "image_url"
    image_url: ImageUrl | None = None


@frozen(kw_only=True)
class MessageText(Model):
    """Text with its annotations."""

    value: str = ""
    annotations: tuple[Annotation, ...] = ()


@frozen(kw_only=True)
class MessageContentText(Model):
    """A content part that is text."""

    type: Literal["text"] = "text"
    text: MessageText = field(factory=MessageText)


@frozen(kw_only=True)
class MessageContentRefusal(Model):
    """A content part in which the model declines to answer."""

    type: Literal["refusal"] = "refusal"
    refusal: str | None = None


@frozen(kw_only=True)
class UnknownMessageContent(Unknown):
    """A content part of a kind this version does not know."""


MessageContent: TypeAlias = (
    MessageContentText
    | MessageContentImageFile
    | MessageContentImageUrl
    | MessageContentRefusal
    | UnknownMessageContent
)


@frozen(kw_only=True)
class MessageRequestContentText(Model):
    """Text as a content part of a message to create."""

    type: Literal["text"] = "text"
    text: str = ""


@frozen(kw_only=True)
class MessageAttachment(Model):
    """A file attached to a message, and the tools it is given to."""

    file_id: Omittable[str] = None
    tools: OmittableTuple[AssistantToolsCode | AssistantToolsFileSearch | UnknownTool] = ()


@frozen(kw_only=True)
class MessageIncompleteDetails(Model):
    """Why a message is incomplete."""

    reason: MessageIncompleteReason | None = None


@frozen(kw_only=True)
class Message(Model):
    """A message of a thread.

    Attributes:
        created_at, completed_at, incomplete_at: Unix seconds; None for what has not happened.
        status: None when the server did not say.
        incomplete_details: why the message is ``incomplete``.
        role: who speaks, ``"user"`` or ``"assistant"``.
        content: the parts in order; `text` has the text of all.
        assistant_id: the assistant that wrote it; None for messages of users.
        run_id: the run that wrote it; None for messages created by hand.
        attachments: files, each with the tools it was given to.
    """

    id: str
    object: Literal["thread.message"] | str = "thread.message"
    created_at: int | None = None
    thread_id: str
    status: MessageStatus | None = None
    incomplete_details: MessageIncompleteDetails | None = None
    completed_at: int | None = None
    incomplete_at: int | None = None
    role: MessageRole
    content: tuple[MessageContent, ...] = ()
    assistant_id: str | None = None
    run_id: str | None = None
    attachments: tuple[MessageAttachment, ...] = ()
    metadata: Metadata = field(factory=dict[str, str])

    @property
    def text(self) -> str:
        """The text of all text parts, joined; empty when there is none."""
        return "".join([part.text.value for part in self.content if isinstance(part, MessageContentText)])

    def render(self, citations: Citations = "footnotes", *, names: Mapping[str, str] | None = None) -> str:
        """Return the text for people to read: without the marks that cite files, such as ``【4:0†source】``.

        Marks are found by what they say, not only by where an annotation says they are, which is often wrong. Paths of
        files the code interpreter made stand in links: only a function is asked about them.

        Args:
            citations: ``"footnotes"`` puts ``[1]`` where a source is cited, and the sources below the text; ``"strip"``
                leaves the marks out; a function is called with each annotation and the number of its source, and
                returns what stands there instead.
            names: of files, by their ids, for the footnotes; others go by their ids.

        Raises:
            UsageError: ``citations`` is none of these.
        """
        from asyncassist.models._citations import render  # few need it

        return render([self], citations, names)


@frozen(kw_only=True)
class MessageDeleted(Model):
    """The answer to deleting a message."""

    id: str
    object: Literal["thread.message.deleted"] | str = "thread.message.deleted"
    deleted: bool | None = None


MessageContentParam: TypeAlias = (
    MessageRequestContentText | MessageContentImageFile | MessageContentImageUrl | JsonObject
)


class MessageParams(TypedDict, total=False):
    """What a message is made of. An absent key is not sent; None is JSON's ``null``."""

    role: Required[MessageRole]
    content: Required[str | Sequence[MessageContentParam]]
    attachments: Sequence[MessageAttachment | JsonObject] | None
    metadata: Metadata | None


MessageParam: TypeAlias = MessageParams | JsonObject
"""A message inside another request: a mapping."""
