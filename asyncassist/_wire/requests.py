"""What is asked of the server: operations, paths, queries, bodies."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import cast
from urllib.parse import quote, urlencode

from attrs import field, frozen

from asyncassist.errors import UsageError, shown
from asyncassist.models import UNSET, Model, Unset

__all__ = ["Kind", "Request", "check_parameters", "merge", "named", "query_string", "request_for"]


class Kind(enum.Enum):
    """What an operation does to the server's state: decides retries, queueing and connection reuse."""

    READ = "read"
    POLL = "poll"
    DELETE = "delete"
    CANCEL = "cancel"
    CREATE = "create"
    KEYED_CREATE = "keyed create"
    """With an idempotency key that the server honours: it creates once, however often it is asked."""
    MODIFY = "modify"
    SUBMIT = "submit"

    @property
    def is_safe(self) -> bool:
        """Whether doing it twice is the same as doing it once."""
        return self in _SAFE

    @property
    def is_urgent(self) -> bool:
        """Whether a run on the server waits for it, so that it goes ahead of other calls."""
        return self is Kind.CANCEL or self is Kind.SUBMIT


_SAFE = frozenset({Kind.READ, Kind.POLL, Kind.DELETE, Kind.CANCEL, Kind.KEYED_CREATE})
_KIND_OF_METHOD = {"GET": Kind.READ, "DELETE": Kind.DELETE, "POST": Kind.CREATE}


@frozen
class Request:
    """One operation, ready to be sent any number of times."""

    kind: Kind
    method: str
    path: str
    """Quoted, starts with a slash, relative to the base URL."""
    query: tuple[tuple[str, str], ...] = ()
    body: object = field(default=UNSET, repr=False)
    """The JSON value to send, or UNSET for a request without a body."""


@lru_cache(maxsize=256)
def _route(template: str) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    method, path = template.split(" ")
    pieces = re.split(r"\{(\w+)\}", path)
    return method, tuple(pieces[0::2]), tuple(pieces[1::2])


# Ids as servers make them pass unquoted; anything else takes the slow way.
_PLAIN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_\-]*", re.ASCII).fullmatch
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]").search


def _segment(name: str, value: object) -> str:
    """Return an id as one path segment; an id can never leave its place in the path."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, got {named(name, value)}")
    if _PLAIN_ID(value):
        return value
    if not value:
        raise UsageError(f"{name} is empty; pass the id the server gave")
    if _CONTROL(value) or value in (".", ".."):
        raise UsageError(f"{name} {shown(value)} cannot be an id: it has control characters or is a path of its own")
    try:
        return quote(value, safe="")
    except UnicodeEncodeError:
        raise UsageError(f"{name} {shown(value)} cannot be an id: it is not valid Unicode") from None


def named(name: str, value: object) -> str:
    """Name the type of a value that stands where a str is due; of an object of the API, also the field to give."""
    kind = type(value).__name__
    if not isinstance(value, Model):
        return kind
    kind = _with_article(kind)
    tag = getattr(value, "object", None)
    own_id = f"{tag.rpartition('.')[2]}_id" if isinstance(tag, str) else ""
    if own_id and name in (own_id, "after", "before"):
        return f"{kind}; give its .id"
    return f"{kind}; give its .{name}" if isinstance(getattr(value, name, None), str) else kind


def _with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'AEIOU' else 'a'} {noun}"


def request_for(
    template: str,
    *ids: str,
    kind: Kind | None = None,
    query: Mapping[str, object] | None = None,
    body: object = UNSET,
) -> Request:
    """Build a request from a route such as ``GET /threads/{thread_id}``, the ids in URL order, query and body.

    Raises:
        TypeError, UsageError: an id, a query value or the body cannot be sent.
    """
    if body is not UNSET:
        refuse_answers(cast("Mapping[str, object]", body))  # every body of this API is a JSON object
    method, pieces, names = _route(template)
    path = pieces[0]
    for name, value, piece in zip(names, ids, pieces[1:], strict=True):
        path += _segment(name, value) + piece
    return Request(kind or _KIND_OF_METHOD[method], method, path, _query_pairs(query) if query else (), body)


def _query_pairs(query: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        if value is None or value is UNSET:
            continue
        if name == "limit":
            pairs.append((name, _page_size(value)))
        elif name == "include" and isinstance(value, str):
            raise TypeError("include must be a list of str, got a single str")
        elif isinstance(value, list | tuple):
            # `include[]=a&include[]=b`, the array form of this API.
            pairs.extend((f"{name}[]", _text(name, item)) for item in cast("Sequence[object]", value))
        else:
            pairs.append((name, _text(name, value)))
    return tuple(pairs)


# Far above what any server allows.
_LARGEST_PAGE = 1_000_000


def _page_size(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"limit must be an int, got {type(value).__name__}")
    if not 1 <= value <= _LARGEST_PAGE:
        raise UsageError(f"limit is the page size, at least 1 (the API allows up to 100), got {shown(value)}")
    return str(int(value))


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, or a list of str where it has several, got {named(name, value)}")
    # An enum's own str() would be its name.
    return str.__str__(value)


def query_string(pairs: tuple[tuple[str, str], ...]) -> str:
    """Encode query pairs; brackets of array names stay readable.

    Raises:
        UsageError: a value is not valid Unicode.
    """
    try:
        return urlencode(pairs, safe="[]", quote_via=quote)
    except UnicodeEncodeError:
        raise UsageError("a query parameter is not valid Unicode") from None


@lru_cache(maxsize=64)
def _names(params_type: type) -> frozenset[str]:
    # Postponed annotations leave __required_keys__ empty; __annotations__ has every name, the inherited ones too.
    return frozenset(params_type.__annotations__)


_OF_ALL_CALLS = "that is an option of the client for all calls: client.with_options({}=...)"
# Names that people know from other clients or other methods of this one, with what they are looking for.
_ELSEWHERE = {
    "stream": "to follow a run event by event, use stream_run",
    "toolset": "a toolset is given to what follows a run: run_and_wait, wait_for_run, stream_run, conversation",
    "timeout": _OF_ALL_CALLS.format("timeout"),
    "extra_headers": _OF_ALL_CALLS.format("headers"),
    "extra_query": _OF_ALL_CALLS.format("extra_query"),
    "extra_body": _OF_ALL_CALLS.format("extra_body"),
    "poll_interval_ms": "give run_and_wait poll=PollPolicy.every(seconds)",
}


def check_parameters(
    operation: str, params_type: type, params: Mapping[str, object], *, besides: Sequence[str] = ()
) -> None:
    """Refuse parameter names the operation does not have.

    Args:
        besides: the names it has apart from those parameters, which may be meant too.

    Raises:
        TypeError: as a wrong keyword argument of any function.
    """
    known = _names(params_type)
    for name in params:
        if name not in known:
            hint = _ELSEWHERE.get(name) or _nearest(name, [*known, *besides])
            raise TypeError(f"{operation}() got an unexpected keyword argument {name!r}{hint and '; '}{hint}")


def _nearest(name: str, known: Sequence[str]) -> str:
    from difflib import get_close_matches  # only for a mistake

    found = get_close_matches(name, known, n=1, cutoff=0.75)
    return f"did you mean {found[0]!r}?" if found else ""


# Objects of the API and parts of them that people put where a request wants something else, with what it wants.
_INSTEAD = {
    "Message": 'give {"role": message.role, "content": message.text}',
    "MessageContentRefusal": "give MessageRequestContentText(text=part.refusal)",
    "MessageContentText": "give MessageRequestContentText(text=part.text.value)",
    "RunToolCall": "give ToolOutput(tool_call_id=call.id, output=...)",
    "Thread": 'give what a new thread is made of, such as {"messages": [...]}; create_run takes the .id of an old one',
}
_HOLDERS = ("thread", "messages", "additional_messages", "content", "tool_outputs")


def refuse_answers(body: Mapping[str, object], path: str = "", depth: int = 0) -> None:
    """Refuse what the server answers with where a request has parts of its own: it has fields no request takes.

    Raises:
        TypeError: it names the place, and what to give instead.
    """
    for name, value in body.items():
        if isinstance(value, Model):
            _refuse_answer(value, path + name)
        elif name not in _HOLDERS or isinstance(value, str):
            continue
        elif isinstance(value, Mapping) and depth < len(_HOLDERS):
            refuse_answers(cast("Mapping[str, object]", value), f"{path}{name}.", depth + 1)
        elif isinstance(value, Sequence) and depth < len(_HOLDERS):
            for index, item in enumerate(cast("Sequence[object]", value)):
                where = f"{path}{name}[{index}]"
                if isinstance(item, Model):
                    _refuse_answer(item, where)
                elif isinstance(item, Mapping):
                    refuse_answers(cast("Mapping[str, object]", item), f"{where}.", depth + 1)


def _refuse_answer(model: Model, path: str) -> None:
    kind = type(model).__name__
    instead = _INSTEAD.get(kind)
    if instead is not None or isinstance(getattr(model, "object", None), str):
        message = f"{path} cannot be {_with_article(kind)}, which is what the server answers"
        raise TypeError(f"{message}; {instead}" if instead else message)


def merge(body: object, extra: Mapping[str, object] | None) -> object:
    """Merge a vendor's extra fields into a body; a given field wins over an absent one, extra wins over both."""
    if not extra:
        return body
    if isinstance(body, Unset):
        return dict(extra)
    assert isinstance(body, Mapping)  # every body of this API is a JSON object
    return {**cast("Mapping[str, object]", body), **extra}
