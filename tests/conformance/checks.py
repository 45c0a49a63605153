"""Compare the package with the table of facts. Every check gives the differences it finds, a sentence each.

Types are followed from the operations and the answers inwards: whatever the table has at a place is compared with the
annotation at that place, and the classes met on the way are compared field by field with the schemas they stand for.
"""

from __future__ import annotations

import collections.abc
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Required, Union, get_args, get_origin, get_type_hints, is_typeddict

import attrs

from asyncassist import AsyncClient, models
from asyncassist._operations.listing import Listing
from asyncassist._wire.converter import structure, unstructure
from asyncassist.errors import DecodeError

from .table import Facts, Shape, body_fields, is_nullable, method_name, path_names, query_fields, resolve, sample

SCALARS = {"string": str, "integer": int, "number": float, "boolean": bool}

# Streams are operations of their own, so no operation takes the switch.
NOT_TAKEN = {"stream"}

# Public methods that begin like an operation and are none.
NOT_OPERATIONS = {"create_thread_run_and_wait"}
VERBS = ("create_", "get_", "modify_", "delete_", "list_", "cancel_", "submit_")

# Schemas whose class is not named after them.
RENAMED = {
    "AssistantToolsFileSearchTypeOnly": "AssistantToolsFileSearch",
    "Error": "ErrorObject",
    "ErrorResponse": "ErrorResponse",
    "FunctionObject": "FunctionObject",
    "ResponseFormatJsonObject": "ResponseFormatJsonObject",
    "RunStepCompletionUsage": "RunCompletionUsage",
    "TruncationObject": "Truncation",
}

# A vector store made along with an assistant or thread is given as a mapping; answers never hold one.
MAPPINGS_ONLY = {
    "CreateAssistantRequest.tool_resources.file_search.vector_stores[]",
    "CreateThreadRequest.tool_resources.file_search.vector_stores[]",
}

# Fields of a class that one of its schemas does not have.
UNUSED = {("AssistantToolsFileSearchTypeOnly", "file_search")}

# An empty list here takes the files away, so it has to be sent.
SENT_WHEN_EMPTY = {("ToolResourcesCodeInterpreter", "file_ids"), ("ToolResourcesFileSearch", "vector_store_ids")}

# Stream events are pairs of a name and one of the models, not models themselves.
EVENT_SUFFIX = "Event"


# --- operations -------------------------------------------------------------------------------------------------------

MODELS = {name: getattr(models, name) for name in models.__all__}  # they load on first use
NAMESPACE = {**vars(typing), **vars(collections.abc), **MODELS, "Listing": Listing}


def operation_problems(facts: Facts) -> Iterator[str]:
    """Compare the client's methods and their parameters with the operations."""
    expected = {method_name(operation) for operation in facts["operations"]}
    offered = {name for name in dir(AsyncClient) if name.startswith(VERBS)} - NOT_OPERATIONS
    yield from (f"{name} is no operation of the API" for name in sorted(offered - expected))
    for operation, entry in facts["operations"].items():
        name = method_name(operation)
        method = getattr(AsyncClient, name, None)
        if method is None:
            yield f"{name} is missing"
            continue
        yield from (f"{name}: {problem}" for problem in _parameter_problems(facts, operation, method))
        if is_listing(facts, entry) == inspect.iscoroutinefunction(method):
            yield f"{name}: only a listing is a plain function"


def raw_problems(facts: Facts) -> Iterator[str]:
    """Compare what ``with_raw_response`` offers with the operations."""
    expected = {method_name(operation) for operation in facts["operations"]}
    raw = AsyncClient(base_url="http://localhost", api_key="test").with_raw_response
    offered = {name for name in dir(raw) if not name.startswith("_") and callable(getattr(raw, name))}
    yield from (f"with_raw_response lacks {name}" for name in sorted(expected - offered))
    yield from (f"with_raw_response has {name}, which is no operation" for name in sorted(offered - expected))


def is_listing(facts: Facts, entry: Shape) -> bool:
    """Tell whether an operation gives pages."""
    return "has_more" in resolve(facts, entry["response"])["fields"]


def signature_of(method: Callable[..., Any]) -> inspect.Signature:
    """Give a method's signature with its annotations evaluated, those for type checkers only as well."""
    return inspect.signature(method, eval_str=True, locals=NAMESPACE)


def keywords_of(method: Callable[..., Any]) -> dict[str, tuple[Any, bool]]:
    """Give a method's keyword parameters with annotation and whether they must be given, those of a TypedDict too."""
    keywords: dict[str, tuple[Any, bool]] = {}
    for name, parameter in signature_of(method).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            keywords[name] = parameter.annotation, parameter.default is parameter.empty
        elif parameter.kind is parameter.VAR_KEYWORD:
            (params,) = get_args(parameter.annotation)
            keywords.update(keys_of(params))
    return keywords


def keys_of(params: Any) -> dict[str, tuple[Any, bool]]:
    """Give the keys of a TypedDict with annotation and whether they must be given."""
    hints = get_type_hints(params, include_extras=True)
    return {
        name: (get_args(hint)[0], True) if get_origin(hint) is Required else (hint, False)
        for name, hint in hints.items()
    }


def _parameter_problems(facts: Facts, operation: str, method: Callable[..., Any]) -> Iterator[str]:
    parameters = list(signature_of(method).parameters.values())[1:]
    positional = [parameter.name for parameter in parameters if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    ids = path_names(facts["operations"][operation]["path"])
    if positional != ids:
        yield f"takes the ids {positional}, the path has {ids}"
    yield from (f"the id {p.name} has a default" for p in parameters if p.name in ids and p.default is not p.empty)

    query, body = query_fields(facts, operation), body_fields(facts, operation)
    expected = {name: shape for name, shape in {**query, **body}.items() if name not in NOT_TAKEN}
    keywords = keywords_of(method)
    yield from (f"does not take {name}" for name in sorted(expected.keys() - keywords.keys()))
    yield from (f"takes {name}, which the API does not" for name in sorted(keywords.keys() - expected.keys()))
    for name in sorted(expected.keys() & keywords.keys()):
        hint, must_be_given = keywords[name]
        if must_be_given != expected[name].get("required", False):
            yield f"{name} {'must' if must_be_given else 'need not'} be given"
        if name in body and accepts_none(hint) != is_nullable(facts, expected[name]):
            yield f"{name} {'takes' if accepts_none(hint) else 'refuses'} None"


# --- types ------------------------------------------------------------------------------------------------------------


def members_of(hint: Any) -> list[Any]:
    """Give the members of a union, else the type alone; None, Unset and marks are left out."""
    if get_origin(hint) is Annotated:
        return members_of(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return [member for part in get_args(hint) for member in members_of(part)]
    return [] if hint in (None, NoneType, models.Unset) else [hint]


def accepts_none(hint: Any) -> bool:
    """Tell whether a type takes None."""
    if get_origin(hint) is Annotated:
        return accepts_none(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return any(accepts_none(part) for part in get_args(hint))
    return hint in (None, NoneType)


def names_in(hint: Any) -> set[str]:
    """Give the names a type lists as literals."""
    return {name for member in members_of(hint) if get_origin(member) is Literal for name in get_args(member)}


def is_class(member: Any, base: type = models.Model) -> bool:
    """Tell whether a type is a model, a page of models included."""
    cls = get_origin(member) or member
    return isinstance(cls, type) and issubclass(cls, base)


def fields_of(cls: Any) -> dict[str, Any]:
    """Give the annotations of a model's or TypedDict's fields."""
    if is_typeddict(cls):
        return {name: hint for name, (hint, _) in keys_of(cls).items()}
    hints = get_type_hints(get_origin(cls) or cls, include_extras=True)
    arguments = get_args(cls) or (object,)
    fields = {name: hint for name, hint in hints.items() if not name.startswith("_")}
    return {name: hint[arguments] if getattr(hint, "__parameters__", ()) else hint for name, hint in fields.items()}


def class_name(schema: str) -> str:
    """Give the name of the class of a schema the description names."""
    if schema in RENAMED:
        return RENAMED[schema]
    if schema.startswith("Delete"):
        return schema.removeprefix("Delete").removesuffix("Response") + "Deleted"
    return schema.removesuffix("Object")


class Comparison:
    """One walk through all types, from the operations inwards."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.problems: list[str] = []
        self.met: dict[tuple[str, Any], None] = {}
        """Each schema that was met, with the class that stands for it."""
        self.keywords: list[set[str]] = []
        """The keyword parameters of each operation."""
        self.literals: dict[tuple[str, str], tuple[set[str], set[str]]] = {}
        """Names known to a class's field and to the table."""

    def run(self) -> list[str]:
        """Compare everything and give the differences."""
        for operation, entry in self.facts["operations"].items():
            name = method_name(operation)
            if not (method := getattr(AsyncClient, name, None)):
                continue
            keywords = keywords_of(method)
            self.keywords.append(set(keywords))
            for key, shape in {**query_fields(self.facts, operation), **body_fields(self.facts, operation)}.items():
                if key in keywords:
                    self.compare(name, key, shape, keywords[key][0])
            answer = signature_of(method).return_annotation
            if get_origin(answer) is Listing:
                answer = models.Page[get_args(answer)[0]]  # type: ignore[misc]
            self.compare(name, "the answer", entry["response"], answer)
        for schema in self.facts["schemas"]:
            cls = getattr(models, class_name(schema), None)
            if schema.isalnum() and isinstance(cls, type) and issubclass(cls, models.Model):
                self.meet(schema, cls, "models")
        for schema, cls in self.met:
            self.compare_class(schema, cls)
        self.compare_literals()
        self.compare_coverage()
        return list(dict.fromkeys(self.problems))

    def complain(self, where: str, field: str, what: str) -> None:
        """Note a difference."""
        self.problems.append(f"{where}: {field} {what}")

    def compare(self, where: str, field: str, shape: Shape, hint: Any) -> None:
        """Compare one shape with the type at the same place."""
        name = shape.get("ref", "")
        shape = resolve(self.facts, shape)
        members = members_of(hint)
        if "fields" in shape:
            found = [m for m in members if is_typeddict(m) or (is_class(m) and not is_class(m, models.Unknown))]
            if len(found) == 1:
                self.meet(name, found[0], where)
            elif not (name in MAPPINGS_ONLY and Mapping[str, object] in members):
                self.complain(where, field, f"has {len(found)} classes for {name}")
        elif "union" in shape:
            self.compare_union(where, field, shape, members)
        elif "items" in shape:
            lists = [member for member in members if get_origin(member) in (tuple, collections.abc.Sequence)]
            if len(lists) != 1:
                self.complain(where, field, "is no list")
            else:
                self.compare(where, field, shape["items"], get_args(lists[0])[0])
        elif shape["type"] == "object":
            mapping: Any = Mapping[str, str] if shape.get("values") else Mapping[str, object]
            if mapping not in members:
                self.complain(where, field, "is no mapping")
        elif known := ("enum" in shape or "const" in shape) and names_in(hint):
            ours, theirs = self.literals.setdefault((where, field), (set(), set()))
            ours |= known
            theirs |= set(shape.get("enum", [shape.get("const")]))
        elif SCALARS[shape["type"]] not in members:
            self.complain(where, field, f"is no {shape['type']}")

    def compare_union(self, where: str, field: str, shape: Shape, members: Sequence[Any]) -> None:
        """Compare the members of a union: classes by their tag, other members by their type."""
        classes = [member for member in members if is_class(member)]
        unknown = [member for member in classes if is_class(member, models.Unknown)]
        by_tag = {name: cls for cls in classes if cls not in unknown for name in names_in(fields_of(cls)["type"])}
        left = [cls for cls in classes if cls not in unknown]
        tagged = 0
        for part in shape["union"]:
            target = resolve(self.facts, part)
            if "fields" not in target:
                plain = [member for member in members if not is_class(member)]
                self.compare(where, field, target, reduce(or_, plain) if plain else None)
                continue
            tag = target["fields"].get("type", {}).get("const")
            tagged += tag is not None
            cls = by_tag.get(tag) if tag else next(iter(left), None)
            if cls is None:
                self.complain(where, field, f"has no class for {part['ref']}")
            else:
                left = [other for other in left if other is not cls]
                self.meet(part["ref"], cls, where)
        for cls in left:
            self.complain(where, field, f"may be of {cls.__name__}, which the API does not have there")
        if tagged and not unknown and Mapping[str, object] not in members:
            self.complain(where, field, "has no class for what is unknown")

    def meet(self, schema: str, cls: Any, where: str) -> None:
        """Note that a class stands for a schema, and follow its fields the first time."""
        if (schema, cls) in self.met:
            return
        self.met[schema, cls] = None
        name = (get_origin(cls) or cls).__name__
        expected = "Page" if is_class(cls, models.Page) else class_name(schema)
        if schema.isalnum() and not is_typeddict(cls) and name != expected:
            self.complain(where, schema, f"is a {name}, not a {expected}")
        hints = fields_of(cls)
        for field, shape in self.facts["schemas"][schema]["fields"].items():
            if field in hints:
                self.compare(name, field, shape, hints[field])

    def compare_class(self, schema: str, cls: Any) -> None:
        """Compare the fields of a class with those of a schema it stands for."""
        name = (get_origin(cls) or cls).__name__
        expected: dict[str, Shape] = self.facts["schemas"][schema]["fields"]
        hints = fields_of(cls)
        in_mappings = {field for field, shape in expected.items() if shape.get("items", {}).get("ref") in MAPPINGS_ONLY}
        for field in sorted(expected.keys() - hints.keys() - in_mappings - NOT_TAKEN):
            self.complain(name, field, f"is missing, {schema} has it")
        for field in sorted(hints.keys() - expected.keys()):
            if (schema, field) not in UNUSED:
                self.complain(name, field, f"is no field of {schema}")
        for field in sorted(hints.keys() & expected.keys()):
            if is_typeddict(cls):
                self.compare_key(cls, field, expected[field])
            else:
                self.compare_field(cls, field, expected[field], hints[field])

    def compare_field(self, cls: Any, field: str, shape: Shape, hint: Any) -> None:
        """Compare whether a model's field may be null or absent with the schema."""
        name = (get_origin(cls) or cls).__name__
        required = shape.get("required", False)
        is_collection = any(get_origin(m) in (tuple, collections.abc.Mapping) for m in members_of(hint))
        if is_nullable(self.facts, shape) and not (accepts_none(hint) or is_collection):
            self.complain(name, field, "may be null")
        if "enum" in resolve(self.facts, shape) and str not in members_of(hint):
            self.complain(name, field, "is closed to new names")
        attributes = attrs.fields_dict(get_origin(cls) or cls)
        if attributes[field].default is attrs.NOTHING:
            if not required:
                self.complain(name, field, "need not be sent")
            return
        needed = {name: "text" for name, a in attributes.items() if a.default is attrs.NOTHING}
        encoded = unstructure(cls(**needed))
        assert isinstance(encoded, dict)
        if field in encoded and not (required or (name, field) in SENT_WHEN_EMPTY):
            self.complain(name, field, "is not required, but sent when empty")
        if field not in encoded and (required or (name, field) in SENT_WHEN_EMPTY):
            self.complain(name, field, "is left out when empty")

    def compare_key(self, params: Any, key: str, shape: Shape) -> None:
        """Compare whether a key of a TypedDict may be null or absent with the schema."""
        hint, must_be_given = keys_of(params)[key]
        if must_be_given != shape.get("required", False):
            self.complain(params.__name__, key, f"{'must' if must_be_given else 'need not'} be given")
        if accepts_none(hint) != is_nullable(self.facts, shape):
            self.complain(params.__name__, key, f"{'takes' if accepts_none(hint) else 'refuses'} None")

    def compare_literals(self) -> None:
        """Compare the names known to each field with those of all the schemas its class stands for."""
        for (where, field), (ours, theirs) in self.literals.items():
            if ours != theirs:
                self.complain(where, field, f"knows {sorted(ours - theirs)} and does not know {sorted(theirs - ours)}")

    def compare_coverage(self) -> None:
        """Find schemas without a class and classes without a schema."""
        known = {schema for schema, _ in self.met}
        known |= {entry["body"]["ref"] for entry in self.facts["operations"].values() if "body" in entry}
        for schema, shape in self.facts["schemas"].items():
            is_event = schema.partition(":")[0].endswith(EVENT_SUFFIX)
            is_mapping = any(schema.startswith(name) for name in MAPPINGS_ONLY)
            if "fields" in shape and schema not in known and not is_event and not is_mapping:
                self.complain("models", schema, "has no class")
        used = {get_origin(cls) or cls for _, cls in self.met}
        for name in models.__all__:
            cls = getattr(models, name)
            if is_typeddict(cls):
                is_used = cls in used or any(fields_of(cls).keys() <= keywords for keywords in self.keywords)
            else:
                is_used = cls in used or not is_class(cls) or cls is models.Model or is_class(cls, models.Unknown)
            if not is_used:
                self.complain("models", name, "stands for no schema")


def model_problems(facts: Facts) -> list[str]:
    """Compare the models, their fields and the types of all parameters with the schemas."""
    return Comparison(facts).run()


def decoding_problems(facts: Facts) -> list[str]:
    """Decode and encode values of every schema: full ones, the least ones, and ones with every null there may be."""
    comparison = Comparison(facts)
    comparison.run()
    problems: list[str] = []
    for schema, cls in comparison.met:
        if is_typeddict(cls):
            continue
        for what in ("everything", "the least", "nulls"):
            value = sample(facts, facts["schemas"][schema], what)
            if value is None:
                continue
            try:
                model = structure(value, cls)
            except DecodeError as error:
                problems.append(f"{schema} with {what}: {error.field} cannot be decoded")
                continue
            if unstructure(model) != value:
                problems.append(f"{schema} with {what}: {value} became {unstructure(model)}")
            if unused := model.extra_fields:
                problems.append(f"{schema} with {what}: {sorted(unused)} are not known")
    return problems
