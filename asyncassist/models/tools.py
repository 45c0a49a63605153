"""Tools an assistant can use, how a run chooses among them, and the format of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol, TypeAlias

from attrs import field

from asyncassist.models._base import JsonObject, Model, Omittable, Unknown, frozen

__all__ = [
    "AssistantTool",
    "AssistantToolsCode",
    "AssistantToolsFileSearch",
    "AssistantToolsFileSearchOptions",
    "AssistantToolsFunction",
    "AssistantsNamedToolChoice",
    "AssistantsNamedToolChoiceFunction",
    "DefinesTool",
    "FileSearchRanker",
    "FileSearchRankingOptions",
    "FunctionObject",
    "ResponseFormat",
    "ResponseFormatJsonObject",
    "ResponseFormatJsonSchema",
    "ResponseFormatJsonSchemaDefinition",
    "ResponseFormatParam",
    "ResponseFormatText",
    "ToolChoice",
    "ToolChoiceParam",
    "ToolOutput",
    "ToolOutputParam",
    "ToolParam",
    "ToolResources",
    "ToolResourcesCodeInterpreter",
    "ToolResourcesFileSearch",
    "ToolResourcesParam",
    "UnknownResponseFormat",
    "UnknownTool",
]

FileSearchRanker: TypeAlias = Literal["auto", "default_2024_08_21"] | str


@frozen(kw_only=True)
class FileSearchRankingOptions(Model):
    """How file search ranks what it finds."""

    ranker: Omittable[FileSearchRanker] = None
    score_threshold: float | None = None
    """0-1: results below it are dropped."""


@frozen(kw_only=True)
class AssistantToolsCode(Model):
    """The code interpreter."""

    type: Literal["code_interpreter"] = "code_interpreter"


@frozen(kw_only=True)
class AssistantToolsFileSearchOptions(Model):
    """Settings of file search."""

    max_num_results: Omittable[int] = None
    """1-50."""
    ranking_options: Omittable[FileSearchRankingOptions] = None


@frozen(kw_only=True)
class AssistantToolsFileSearch(Model):
    """File search. An attachment's tools carry its ``type`` alone."""

    type: Literal["file_search"] = "file_search"
    file_search: Omittable[AssistantToolsFileSearchOptions] = None


@frozen(kw_only=True)
class FunctionObject(Model):
    """A function the model may ask the caller to run."""

    name: str = ""
    """Letters, digits, underscores and dashes, at most 64."""
    description: Omittable[str] = None
    """What the function does and when to call it; the model decides by it."""
    parameters: Omittable[JsonObject] = None
    """The arguments as a JSON Schema object; None for a function without arguments."""
    strict: Omittable[bool] = None
    """Whether the arguments follow ``parameters`` exactly."""


@frozen(kw_only=True)
class AssistantToolsFunction(Model):
    """A function of the caller's own."""

    type: Literal["function"] = "function"
    function: FunctionObject = field(factory=FunctionObject)


@frozen(kw_only=True)
class UnknownTool(Unknown):
    """A tool of a kind this version does not know."""


AssistantTool: TypeAlias = AssistantToolsCode | AssistantToolsFileSearch | AssistantToolsFunction | UnknownTool


class DefinesTool(Protocol):
    """What is sent as the definition of a tool, as functions marked ``@tool`` are."""

    def __asyncassist_definition__(self) -> AssistantToolsFunction:
        """Return what is sent."""
        ...


ToolParam: TypeAlias = AssistantTool | DefinesTool | JsonObject
"""A tool as a parameter: a model, a mapping, or a function marked ``@tool``."""


@frozen(kw_only=True)
class AssistantsNamedToolChoiceFunction(Model):
    """The function to call."""

    name: str = ""


@frozen(kw_only=True)
class AssistantsNamedToolChoice(Model):
    """Names the one tool the model must use."""

    type: Literal["function", "code_interpreter", "file_search"] | str = "function"
    function: Omittable[AssistantsNamedToolChoiceFunction] = None
    """Which function; only with ``type="function"``."""


ToolChoice: TypeAlias = Literal["none", "auto", "required"] | str | AssistantsNamedToolChoice
ToolChoiceParam: TypeAlias = ToolChoice | JsonObject


@frozen(kw_only=True)
class ResponseFormatText(Model):
    """Plain text."""

    type: Literal["text"] = "text"


@frozen(kw_only=True)
class ResponseFormatJsonObject(Model):
    """Any valid JSON object. The instructions must ask for JSON too."""

    type: Literal["json_object"] = "json_object"


@frozen(kw_only=True)
class ResponseFormatJsonSchemaDefinition(Model):
    """The schema an answer must follow."""

    name: str = ""
    """Letters, digits, underscores and dashes, at most 64."""
    description: Omittable[str] = None
    schema: Omittable[JsonObject] = None
    """A JSON Schema object."""
    strict: Omittable[bool] = None


@frozen(kw_only=True)
class ResponseFormatJsonSchema(Model):
    """JSON that follows a schema."""

    type: Literal["json_schema"] = "json_schema"
    json_schema: ResponseFormatJsonSchemaDefinition = field(factory=ResponseFormatJsonSchemaDefinition)


@frozen(kw_only=True)
class UnknownResponseFormat(Unknown):
    """A response format this version does not know."""


ResponseFormat: TypeAlias = (
    Literal["auto"]
    | str
    | ResponseFormatText
    | ResponseFormatJsonObject
    | ResponseFormatJsonSchema
    | UnknownResponseFormat
)
ResponseFormatParam: TypeAlias = ResponseFormat | JsonObject


@frozen(kw_only=True)
class ToolResourcesCodeInterpreter(Model):
    """Files for the code interpreter."""

    file_ids: tuple[str, ...] = ()
    """At most 20."""


@frozen(kw_only=True)
class ToolResourcesFileSearch(Model):
    """Vector stores for file search.

    To have a store made along with an assistant or a thread, give a mapping in place of this class:
    ``{"file_search": {"vector_stores": [{"file_ids": [...]}]}}``.
    """

    vector_store_ids: tuple[str, ...] = ()
    """At most one."""


@frozen(kw_only=True)
class ToolResources(Model):
    """What the tools of an assistant or thread work on, by tool."""

    code_interpreter: Omittable[ToolResourcesCodeInterpreter] = None
    file_search: Omittable[ToolResourcesFileSearch] = None


ToolResourcesParam: TypeAlias = ToolResources | JsonObject


@frozen(kw_only=True)
class ToolOutput(Model):
    """The answer to one tool call of a run."""

    tool_call_id: Omittable[str] = None
    output: Omittable[str] = None


ToolOutputParam: TypeAlias = ToolOutput | Mapping[str, object]
