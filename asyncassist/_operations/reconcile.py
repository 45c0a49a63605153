"""Creates that got no clear answer: whether they have been done is found out by the tag they carry in their metadata.

A run or a message is created by a POST and listed by a GET at the same path, which is all this has to know of them.

The server may be at work on a request whose connection has broken, so one look that shows nothing proves nothing: it is
looked for over at least as long as the request had taken (`look_pause`), before it is sent again with the same tag. Of
runs the lock of the thread guards what is left of that race: a second one is refused while the first is active, and
then the first is found. A message that the server makes later than that is there twice.

A 2xx that cannot be read says that the request was answered, but not by whom: one look is enough, and nothing is sent
again.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, cast

from attrs import evolve, field, frozen

from asyncassist import models
from asyncassist._transport.failures import NOT_SENT_AGAIN
from asyncassist._transport.loops import now
from asyncassist._transport.sender import Channel, Sender
from asyncassist._wire.json import dumps
from asyncassist._wire.pages import PageWalk
from asyncassist._wire.requests import Kind, Request, merge, request_for
from asyncassist._wire.responses import Response, decode
from asyncassist._wire.retry import is_ambiguous, is_retriable, look_pause
from asyncassist.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    DecodeError,
    PaginationError,
    UsageError,
)
from asyncassist.models import UNSET

if TYPE_CHECKING:
    from asyncassist._operations.base import Caller
    from asyncassist._transport.byte_stream import ByteStream
    from asyncassist._transport.settings import CallOptions
    from asyncassist.models import Message, Run

__all__ = ["TAG", "Creation", "Found", "ReconcilingChannel", "find_tagged_run", "tagged"]

TAG = "asyncassist"
"""The metadata key of the tag."""

_MOST_PAIRS = 16
_MOST_PAGES = 100
"""Pages of one look, of 100 objects each: a listing may have no end."""
_is_random = re.compile(r"call-[0-9a-f]{32}").fullmatch
"""Tells the tags that are made here from those of callers."""
_SKEW = 5.0
"""Seconds by which an object may seem to be older than the request that made it."""
_MARGIN = 300.0
"""Seconds before the request from where on nothing it made is looked for."""

Failure: TypeAlias = APIConnectionError | APIStatusError
E = TypeVar("E", APIConnectionError | APIStatusError, DecodeError)
Made = TypeVar("Made", bound="Run | Message")
A = TypeVar("A", Response, "ByteStream")


async def find_tagged_run(send: Caller, thread_id: str, tag: str) -> Run | None:
    """Return the newest run of a thread whose metadata has this tag, None where there is none.

    Raises:
        APIConnectionError, APIStatusError, DecodeError: the runs cannot be listed.
    """
    listing = request_for("GET /threads/{thread_id}/runs", thread_id)
    found = (await _search(send, listing, models.Run, tag)).found
    return None if found is None else found.object


@frozen
class ReconcilingChannel(Channel):
    """Sends requests as others do, and settles the creates of runs and messages that got no clear answer."""

    async def __call__(self, request: Request, /) -> Response:
        creation = self.creation(request)
        if creation is None:
            return await self.sender.send(request, self.options)
        return await creation.send()

    def creation(self, request: Request) -> Creation | None:
        """Return what carries out the create of a run or a message; None for any other request.

        Raises:
            UsageError: its metadata cannot take a tag.
        """
        listed = _LISTED(request.path) if request.kind is Kind.CREATE else None
        if listed is None:
            return None
        return Creation(self.sender, self.options, request, models.Run if listed[1] == "runs" else models.Message)


_LISTED = re.compile(r"/threads/[^/]+/(runs|messages)").fullmatch


@frozen
class Found(Generic[Made]):
    """What a create has made, as a listing shows it."""

    object: Made
    response: Response = field(repr=False)
    """The page it is on."""

    def as_response(self) -> Response:
        """Return the object as the answer to its create, with what came around the page."""
        return evolve(self.response, body=dumps(self.object))


class Creation:
    """One create, with its tag, from the first attempt to a clear end.

    Raises:
        UsageError: its metadata cannot take a tag.
    """

    def __init__(self, sender: Sender, options: CallOptions, request: Request, kind: type[Run] | type[Message]) -> None:
        body, self._tag = tagged(cast("Mapping[str, object]", merge(request.body, options.body)))
        self._sender = sender
        self._options = evolve(options, body=None)  # merged above
        self._request = evolve(request, body=body)
        self._body = body
        self._kind = kind
        self._began, self._deadline = now(), float("inf")
        self._is_lost = False

    async def send(self) -> Response:
        """Create it once, and return the server's answer, or the page of a listing that shows it.

        Raises:
            APIConnectionError, APIStatusError: it was refused, or nobody knows whether it was done, which the message
                says.
            DecodeError: the answer cannot be read, and the thread does not show what it was about.
        """
        made = await self._carry_out(self._send)
        return made.as_response() if isinstance(made, Found) else made

    async def open(self) -> ByteStream | Run:
        """Create a run likewise, and return its stream, or the run where only a listing shows it."""
        made = await self._carry_out(self._sender.open)
        return made.object if isinstance(made, Found) else made

    async def find(self) -> Run | None:
        """Look for the run whose stream has broken before it said which run it is.

        Once it is known not to be there, it is not looked for again.

        Raises:
            APIConnectionError: nobody knows whether there is one.
        """
        if self._is_lost:
            return None
        self._deadline = float("inf")  # that of the call is over when the stream begins
        doubt = APIConnectionError(f"{self._request.method} {self._request.path}: the stream broke before its run came")
        found = await self._look(doubt, now() - self._began)
        self._is_lost = found is None
        return None if found is None else found.object

    async def _send(self, request: Request, options: CallOptions) -> Response:
        response = await self._sender.send(request, options)
        decode(request, response, self._kind)  # whoever called does this too, when nothing can be done any more
        return response

    async def _carry_out(self, send: Callable[[Request, CallOptions], Awaitable[A]]) -> A | Found[Any]:
        policy, total = self._options.retry, self._options.timeout.total
        self._began = now()  # the block of a stream may be entered late
        self._deadline = float("inf") if total is None else self._began + total
        attempts = 0
        doubt: Failure | None = None
        while True:
            sent = now()
            try:
                return await send(self._request, self._within(policy.attempts - attempts))
            except (APIConnectionError, APIStatusError) as error:
                failure = error
            except DecodeError as error:
                if (found := await self._look_behind(error)) is None:
                    raise
                return found
            failure.attempts = attempts = attempts + failure.attempts
            if is_ambiguous(failure):
                doubt = failure
            elif doubt is None:
                raise _with_hint(failure)
            found = await self._look(doubt, now() - sent)
            if found is not None:
                return found
            if failure is not doubt:
                raise failure from doubt
            if attempts >= policy.attempts or not is_retriable(failure, Kind.READ):
                times = "once" if attempts == 1 else f"{attempts} times"
                raise _adding(failure, f"; it was sent {times}, and the thread shows nothing with {self._named}")
            if not self._sender.may_retry(failure):
                raise self._unsettled(failure, "the retry budget is used up")

    async def _look_behind(self, unread: DecodeError) -> Found[Any] | None:
        """Look once for what was answered with something that cannot be read; say in its error what was seen."""
        try:
            sighting = await self._search()
        except (APIConnectionError, APIStatusError, DecodeError) as error:
            self._unsettled(unread, f"the thread cannot be listed: {error}")
            return None
        if sighting.unclear:
            self._unsettled(unread, sighting.unclear)
        elif sighting.found is None:
            _adding(unread, f"; the thread shows nothing with {self._named}")
        return sighting.found

    async def _look(self, doubt: Failure, taken: float) -> Found[Any] | None:
        """Look for what has been made, until it is there or there is no reason any more to wait for it.

        Args:
            doubt: the failure that left it open.
            taken: seconds from sending the request to that failure.

        Raises:
            APIConnectionError, APIStatusError: the ``doubt``, which cannot be settled.
        """
        policy, pacing = self._options.retry, self._sender.pacing
        if isinstance(doubt, APIStatusError) and (doubt.retry_after or 0) > policy.max_retry_after:
            raise self._unsettled(doubt, f"the server asks for a pause of {doubt.retry_after:g} s")
        looks = 0
        unclear = ""
        while (pause := look_pause(policy, looks, taken, doubt, pacing.random())) is not None:
            if now() + pause >= self._deadline:
                raise self._unsettled(doubt, "the total timeout leaves no time to look")
            if pause:
                await self._sender.pause(pause, self._request)
            if not self._sender.may_retry(doubt):
                raise self._unsettled(doubt, "the retry budget is used up")
            try:
                sighting = await self._search()
            except (APIConnectionError, APIStatusError, DecodeError) as error:
                unclear = f"the thread cannot be listed: {error}"
                if not _may_pass(error):
                    break
            else:
                # A look is a burden on a server that is in trouble, which this one is not.
                self._sender.refund_retry()
                if sighting.found is not None:
                    return sighting.found
                unclear = sighting.unclear
            looks += 1
        if unclear:
            raise self._unsettled(doubt, unclear)
        return None

    async def _search(self) -> _Sighting[Any]:
        listing = evolve(self._request, kind=Kind.READ, method="GET", query=(), body=UNSET)
        create = _Create(self._body, now() - self._began, self._sender.pacing.clock())
        return await _search(self._list, listing, self._kind, self._tag, create)

    async def _list(self, request: Request, /) -> Response:
        return await self._sender.send(request, self._within(self._options.retry.attempts))

    def _within(self, attempts: int) -> CallOptions:
        """Return the options of a request that may take so many attempts, and the time that is left."""
        retry = evolve(self._options.retry, attempts=attempts)
        timeout = self._options.timeout
        if self._deadline < float("inf"):
            timeout = evolve(timeout, total=max(self._deadline - now(), 0.001))
        return evolve(self._options, retry=retry, timeout=timeout)

    @property
    def _named(self) -> str:
        return f"the tag {self._tag!r} in its metadata"

    def _unsettled(self, doubt: E, why: str) -> E:
        text = f"; whether the server has acted is unknown, because {why}; what it has made would have {self._named}"
        return _adding(doubt, text)


def tagged(body: Mapping[str, object]) -> tuple[dict[str, object], str]:
    """Return a body with a tag in its metadata, and the tag: the caller's own where there is one.

    A tag that was made here is another object's, whose metadata the caller has copied: a new one takes its place.

    Raises:
        UsageError: there is no room for it, or it is no tag.
    """
    given = body.get("metadata")
    if given is None or given is UNSET:
        given = {}
    if not isinstance(given, Mapping):
        raise UsageError(f"metadata must be a mapping of str to str to take a tag, got {type(given).__name__}")
    metadata = dict(cast("Mapping[str, object]", given))
    if _is_random(str(metadata.get(TAG))):
        del metadata[TAG]
    if TAG not in metadata and len(metadata) >= _MOST_PAIRS:
        raise UsageError(
            f"metadata has {len(metadata)} pairs, which leaves no room for the key {TAG!r}: creates='reconcile' takes "
            f"one of the {_MOST_PAIRS} for the tag by which it finds the object again"
        )
    tag = metadata.setdefault(TAG, f"call-{token_hex(16)}")
    if not isinstance(tag, str) or not tag:
        raise UsageError(
            f"metadata[{TAG!r}] is the tag by which the object is found again; it must be a str, not empty"
        )
    return {**body, "metadata": metadata}, tag


@frozen
class _Create:
    """The create whose object is looked for."""

    body: Mapping[str, object]
    age: float
    """Seconds since it was sent."""
    clock: float
    """The time by our clock, in Unix seconds, for servers that do not tell theirs."""


@frozen
class _Sighting(Generic[Made]):
    """What a thread shows."""

    found: Found[Made] | None
    twin: Made | None = None
    """What may have been made by the request, on a thread that shows no metadata at all."""

    @property
    def unclear(self) -> str:
        """Why what was not found may have been made nevertheless; "" where it has not."""
        if self.twin is None:
            return ""
        return f"{self.twin.id} may be what it has made, but has no metadata, which this server may not keep"


def _may_come_of(item: Run | Message, body: Mapping[str, object], since: float) -> bool:
    """Tell whether an object may come from this body, by its age and by what servers do not change."""
    if item.created_at is not None and item.created_at < since:
        return False
    if isinstance(item, models.Run):
        return item.assistant_id in (None, body.get("assistant_id"))
    content = body.get("content")
    has_text = not isinstance(content, str) or item.text.strip() == content.strip()
    return item.role == body.get("role") and has_text


async def _search(
    send: Caller, listing: Request, kind: type[Made], tag: str, create: _Create | None = None
) -> _Sighting[Made]:
    """Go through a thread from its newest object, up to the one with the tag.

    Args:
        create: what is to have made it, so that what is much older need not be seen; None goes through all.

    Raises:
        PaginationError: the listing has too many pages; nobody knows what is on the others.
    """
    walk: PageWalk[Made] = PageWalk({"limit": "100", "order": "desc"})
    twin: Made | None = None
    is_tagless, is_over = True, False
    for _ in range(_MOST_PAGES):
        request = evolve(listing, query=tuple(cast("Mapping[str, str]", walk.query).items()))
        response = await send(request)
        page = walk.take(decode(request, response, models.Page[kind]))  # type: ignore[valid-type]
        for item in page:
            if item.metadata.get(TAG) == tag:
                return _Sighting(Found(item, response))
        is_tagless = is_tagless and not any(item.metadata for item in page)
        if create is not None:
            began = _time_of(response, create.clock) - create.age
            if twin is None:
                twin = next((item for item in page if _may_come_of(item, create.body, began - _SKEW)), None)
            is_over = _ends_before(page, began - _MARGIN)
        if is_over or walk.is_finished:
            return _Sighting(None, twin if is_tagless else None)
    raise PaginationError(
        f"GET {listing.path}: the listing goes on after {_MOST_PAGES} pages",
        field="has_more",
        method="GET",
        path=listing.path,
    )


def _time_of(response: Response, otherwise: float) -> float:
    """Return the time by the server's clock, in Unix seconds."""
    try:
        date = parsedate_to_datetime(response.headers.get("date", ""))
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return otherwise


def _ends_before(page: Sequence[Run | Message], moment: float) -> bool:
    """Tell whether all that follows a page is older. Servers that do not put the newest first do not say."""
    first, last = (page[0].created_at, page[-1].created_at) if page else (None, None)
    return first is not None and last is not None and last < min(first, moment)


def _may_pass(error: Failure | DecodeError) -> bool:
    """Tell whether another look may show what this one did not, in a time that can be waited."""
    if isinstance(error, DecodeError | APITimeoutError) or not is_retriable(error, Kind.READ):
        return False
    return not isinstance(error, APIStatusError) or error.retry_after is None


def _with_hint(error: Failure) -> Failure:
    is_refused = isinstance(error, APIStatusError) and error.status in (400, 422)
    if is_refused and "metadata" in (cast("APIStatusError", error).param or error.message):
        return _adding(error, f"; creates='reconcile' adds the key {TAG!r} to the metadata")
    return error


def _adding(error: E, text: str) -> E:
    """Say more in an error's message."""
    error.message = error.message.removesuffix(NOT_SENT_AGAIN) + text
    error.args = (error.message,)
    return error
