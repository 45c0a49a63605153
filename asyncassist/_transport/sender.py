"""Sending: one loop that attempts, decides by the retry policy, and waits."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, TypeVar

import anyio
import httpx
from anyio.lowlevel import checkpoint
from attrs import frozen

from asyncassist._transport.answers import ACCEPT_STREAM, WHOLE, Form, Refusal, log_answer, user_agent, whole
from asyncassist._transport.bodies import BodyStream
from asyncassist._transport.byte_stream import ByteStream, close_streams
from asyncassist._transport.connections import Carrier
from asyncassist._transport.failures import CONNECTION_FAILURES, connection_error, without_frames
from asyncassist._transport.guards import Guard, Guards
from asyncassist._transport.lanes import Lane
from asyncassist._transport.limiter import Limiter, Stage, Ticket
from asyncassist._transport.loops import now
from asyncassist._transport.pacing import Pacing
from asyncassist._transport.pool import EXTENSION, KEEP_IDLE, Exchange
from asyncassist._transport.urls import Urls
from asyncassist._wire.json import dumps
from asyncassist._wire.limits import Limits
from asyncassist._wire.requests import Kind, Request, merge, query_string
from asyncassist._wire.responses import Response, error_for
from asyncassist._wire.retry import RetryBudget, may_resend_at_once, retry_pause
from asyncassist.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ClientClosedError,
    DecodeError,
    UsageError,
)
from asyncassist.models import UNSET

if TYPE_CHECKING:
    from asyncassist._transport.middleware import Middleware
    from asyncassist._transport.settings import BaseUrl, CallOptions, Credentials, Secrets

__all__ = ["Channel", "Sender"]

A = TypeVar("A", Response, "ByteStream")

logger = logging.getLogger("asyncassist")

_FRESH_IDLE = 2.0
"""Creates, modifications and tool outputs take no connection unused for longer: servers drop idle ones after 5 s and
more, and a request lost on such a connection must not be sent again."""

_CANCEL_SECONDS = 2.0
"""How long closing waits for cancels on their way."""
_CLOSE_SECONDS = 4.0
"""How long closing waits for all that is under way."""
_STEPS = 10
"""Steps of the event loop closing leaves to those whose streams it has closed."""

_LANES = {Kind.CANCEL: Lane.URGENT, Kind.SUBMIT: Lane.URGENT, Kind.POLL: Lane.POLL}


class Sender:
    """Carries requests of one client to one server.

    Args:
        pacing: the clock, the sleep and the dice.
        limits: what all requests together may ask of the server.
        middleware: what each attempt passes, the outermost first.
    """

    def __init__(
        self,
        base_url: BaseUrl,
        credentials: Credentials,
        carrier: Carrier,
        pacing: Pacing | None = None,
        limits: Limits = Limits(),
        middleware: tuple[Middleware, ...] = (),
    ) -> None:
        self._base = base_url
        self._credentials = credentials
        self.carrier = carrier
        self.pacing = pacing or Pacing()
        self.limiter = Limiter(limits, self.pacing.tokens)
        self._middleware = middleware
        self._budget = RetryBudget()
        self._is_closed = False
        self._is_shut = False
        self._guards = Guards()
        self._streams: set[ByteStream] = set()
        self._agent = user_agent().encode("ascii")
        self._urls = Urls(base_url.text)

    @property
    def is_closed(self) -> bool:
        """Whether the client was closed."""
        return self._is_closed

    async def send(self, request: Request, options: CallOptions) -> Response:
        """Send a request, again where that is safe and may help, and return its 2xx answer.

        Raises:
            APIConnectionError, APIStatusError, DecodeError, ClientClosedError, UsageError
        """
        return await self._deliver(request, options, WHOLE)

    async def open(self, request: Request, options: CallOptions) -> ByteStream:
        """Send a request likewise, and return its 2xx answer as soon as it begins. Whoever gets it must close it.

        Raises:
            APIConnectionError, APIStatusError, DecodeError, ClientClosedError, UsageError
        """
        return await self._deliver(request, options, Form(self._opened, ACCEPT_STREAM, b"identity", is_stream=True))

    async def _deliver(self, request: Request, options: CallOptions, form: Form[A]) -> A:
        content = self._content(request, options)
        self._budget.deposit()
        total = options.timeout.total
        deadline = now() + total if total is not None else float("inf")
        attempt = resent = 0
        ticket = self.limiter.ticket(request, is_stream=form.is_stream)
        make = self._hooked if self._middleware else self._attempt
        try:
            while True:
                attempt += 1
                try:
                    answer = await make(
                        request, content, options, form, deadline, attempt + resent, ticket, anew=bool(resent)
                    )
                    self._budget.reward()
                    ticket.is_done = True
                    return answer
                except (APIConnectionError, APIStatusError) as error:
                    if ticket.is_final:
                        raise
                    if not resent and may_resend_at_once(error, request.kind):
                        resent, attempt = 1, attempt - 1
                        continue
                    pause = retry_pause(options.retry, attempt, error, request.kind, self.pacing.random())
                    if pause is None or now() + pause >= deadline or not self._budget.allows(error):
                        raise
                    logger.debug("%s %s: %s; trying again in %.2f s", request.method, request.path, error, pause)
                await self.pause(pause, request)
        finally:
            self.limiter.end(ticket)

    def _content(self, request: Request, options: CallOptions) -> bytes | None:
        body = merge(request.body, options.body) if request.method == "POST" else UNSET
        return None if body is UNSET else dumps(body)

    def may_retry(self, error: APIConnectionError | APIStatusError) -> bool:
        """Take what one more request after this failure costs from the retry budget; False where nothing is left."""
        return self._budget.allows(error)

    def refund_retry(self) -> None:
        """Give back what was taken for a request that has been answered well."""
        self._budget.refund()

    async def pause(self, seconds: float, request: Request) -> None:
        """Wait before the next attempt at a request.

        Raises:
            ClientClosedError: the client was closed meanwhile.
        """
        with self._guard(float("inf"), request) as scope:
            await self.limiter.sleep(seconds, self.pacing.sleep)
        if scope.cancelled_caught:
            raise ClientClosedError(f"{request.method} {request.path}: the client was closed before the next attempt")

    def _guard(self, deadline: float, request: Request) -> Guard:
        # A cancel may still go out while the client is closing.
        if self._is_closed and (self._is_shut or request.kind is not Kind.CANCEL):
            raise ClientClosedError(f"{request.method} {request.path}: the client is closed; create a new one")
        return Guard(self._guards, anyio.CancelScope(deadline=deadline), request.kind)

    async def _attempt(
        self,
        request: Request,
        content: bytes | None,
        options: CallOptions,
        form: Form[A],
        deadline: float,
        attempt: int,
        ticket: Ticket,
        *,
        anew: bool,
    ) -> A:
        started = time.perf_counter()
        limit = options.timeout.attempt
        with self._guard(deadline, request) as scope:

            def on_start() -> None:
                if limit is not None:
                    scope.deadline = min(deadline, now() + limit)

            max_idle = KEEP_IDLE if request.kind.is_safe else _FRESH_IDLE
            if anew:
                max_idle = -1.0  # other idle connections are likely to be as dead
            lane = Lane.STREAM if form.is_stream else _LANES.get(request.kind, Lane.CALL)
            exchange = Exchange(lane, max_idle, on_start)
            pool = self.carrier.pool
            try:
                secrets = await self._let_in(ticket, exchange, options)
                while not self.limiter.begin(ticket):
                    # Others were refused while it waited for its connection.
                    if pool is not None:
                        pool.leave(exchange)
                    scope.deadline = deadline
                    exchange = Exchange(lane, max_idle, on_start)
                    secrets = await self._let_in(ticket, exchange, options)
                outgoing = self._build(request, content, options, form, exchange, secrets)
                answer = await self._exchange(outgoing, request, form, exchange, secrets, attempt)
            finally:
                if pool is not None:
                    pool.leave(exchange)
                self.limiter.leave(ticket)
        if scope.cancelled_caught:
            if ticket.stage == Stage.SENT and now() < deadline:  # else it may have been sent a moment ago
                self.limiter.unanswered(ticket)
            raise self._gave_up(request, deadline, attempt, ticket)
        if logger.isEnabledFor(logging.DEBUG):
            seen = answer.response if isinstance(answer, Refusal) else answer
            log_answer(request, seen, attempt, time.perf_counter() - started, secrets)
        if not isinstance(answer, Refusal):
            self.limiter.answered(ticket, answer, self.pacing.clock)
            return answer
        error = error_for(
            request,
            answer.response,
            host=self._base.host,
            is_default=self._base.is_default,
            now=self.pacing.clock(),
            redact=secrets.redact,
            attempts=attempt,
        )
        self.limiter.refused(ticket, error, self.pacing.clock)
        raise error

    async def _hooked(
        self,
        request: Request,
        content: bytes | None,
        options: CallOptions,
        form: Form[A],
        deadline: float,
        attempt: int,
        ticket: Ticket,
        *,
        anew: bool,
    ) -> A:
        from asyncassist._transport.middleware import Passage, attempt_request  # few need it

        def send(added: Mapping[str, str]) -> Awaitable[A]:
            changed = options.with_headers(added) if added else options
            return self._attempt(request, content, changed, form, deadline, attempt, ticket, anew=anew)

        seen = attempt_request(request, content, options, attempt, is_stream=form.is_stream)
        passage = Passage(self._middleware, seen, send, lambda: self.limiter.now() - ticket.sent_at)
        ticket.stage = Stage.SENT
        with self._guard(deadline, request) as scope:
            try:
                return await passage.go()
            except (APIConnectionError, APIStatusError) as error:
                # What a middleware raises is nothing of the server's, whatever it looks like.
                ticket.is_final = error is not passage.failure
                raise
            finally:
                passage.failure = None
        assert scope.cancelled_caught
        raise self._gave_up(request, deadline, attempt, ticket)

    async def _let_in(self, ticket: Ticket, exchange: Exchange, options: CallOptions) -> Secrets:
        """Wait until a request may be sent, and return the secrets to send it with."""
        ticket.stage = Stage.LIMITS
        await self.limiter.enter(ticket, self.pacing.sleep)
        ticket.stage = Stage.KEY
        secrets = await self._credentials.secrets(options.headers)
        ticket.stage = Stage.CONNECTION
        if self.carrier.pool is None:
            exchange.start()
        else:
            await self.carrier.pool.enter(exchange)
        ticket.stage = Stage.SENT
        return secrets

    async def _exchange(
        self,
        outgoing: httpx.Request,
        request: Request,
        form: Form[A],
        exchange: Exchange,
        secrets: Secrets,
        attempt: int,
    ) -> A | Refusal:
        what = f"{request.method} {request.path}"
        http = self.carrier.http
        incoming: httpx.Response | None = None
        try:
            if self.carrier.is_foreign:
                incoming = await http.send(outgoing, stream=True, follow_redirects=False)
            else:
                incoming = await http.send(outgoing, stream=True, follow_redirects=False, auth=None)
            if 200 <= incoming.status_code < 300:
                return await form.take(incoming, request, secrets)
            return Refusal(await whole(incoming, request, secrets))
        except DecodeError as error:
            assert incoming is not None  # only reading its body raises this
            fault = DecodeError(
                f"{what}: {secrets.redact(error.message)}",
                status=incoming.status_code,
                request_id=secrets.redact(incoming.headers.get("x-request-id", "")) or None,
                method=request.method,
                path=request.path,
            )
        except CONNECTION_FAILURES as failure:
            without_frames(failure)
            if self._is_closed and request.kind is not Kind.CANCEL:
                raise ClientClosedError(f"{what}: the client was closed meanwhile") from None
            stale = incoming is None and exchange.is_reused
            raise connection_error(
                request, failure, target=self._base.named, attempts=attempt, stale=stale
            ) from failure
        except RuntimeError as error:
            if not http.is_closed:
                raise
            without_frames(error)
            raise ClientClosedError(f"{what}: the http_client this client was given has been closed") from None
        raise fault  # here, without the error it was made of: that may quote what the server sent

    async def _opened(self, incoming: httpx.Response, request: Request, secrets: Secrets) -> ByteStream:
        def broken(failure: Exception) -> Exception:
            if self._is_closed:
                return ClientClosedError(f"{request.method} {request.path}: the client was closed meanwhile")
            return connection_error(request, failure, target=self._base.named, attempts=1)

        stream = ByteStream(incoming, broken, secrets.redact, self._streams)
        await stream.start()
        return stream

    def _build(
        self,
        request: Request,
        content: bytes | None,
        options: CallOptions,
        form: Form[A],
        exchange: Exchange,
        secrets: Secrets,
    ) -> httpx.Request:
        url = self._url(request, options)  # first: what fails must not show the headers in its frames
        headers = [
            (b"Accept", form.accept),
            (b"Accept-Encoding", form.accept_encoding),
            (b"User-Agent", self._agent),
        ]
        if content is not None:
            headers.append((b"Content-Type", b"application/json"))
        names = {name.lower() for name in options.headers}
        if "authorization" not in names:
            secrets.authorize(headers)
        if names:
            headers = [pair for pair in headers if pair[0].lower().decode() not in names]
            headers += [
                (name.encode("ascii"), value.encode("ascii"))
                for name, value in options.headers.items()
                if content is not None or name.lower() != "content-type"
            ]
        idle = options.timeout.idle if form.is_stream else None
        timeouts = {"connect": options.timeout.connect, "read": idle, "write": None, "pool": None}
        extensions = {EXTENSION: exchange, "timeout": timeouts}
        if self.carrier.is_foreign:
            # Their client adds what it was set up to add: headers, cookies, parameters, auth.
            http = self.carrier.http
            params = url.params if http.params else None  # httpx would put its own in the place of those in the URL
            return http.build_request(
                request.method, url, params=params, headers=headers, content=content, extensions=extensions
            )
        outgoing = httpx.Request(request.method, url, headers=headers, content=content, extensions=extensions)
        outgoing.stream = BodyStream(content)
        return outgoing

    def _url(self, request: Request, options: CallOptions) -> httpx.URL:
        pairs = request.query
        if options.query:
            pairs = (*options.query.items(), *(pair for pair in pairs if pair[0] not in options.query))
        try:
            return self._urls.make(request.path, query_string(pairs) if pairs else "")
        except httpx.InvalidURL as error:
            without_frames(error)
            raise UsageError(f"an id or a query parameter makes no URL: {error}") from None

    def _gave_up(self, request: Request, deadline: float, attempt: int, ticket: Ticket) -> Exception:
        what = f"{request.method} {request.path}"
        if self._is_closed:
            return ClientClosedError(f"{what}: the client was closed before the answer came")
        method, path = request.method, request.path
        if ticket.stage == Stage.LIMITS:
            text = f"{what}: held back within the total timeout by the limits of the server or of the client"
            return APITimeoutError(text, phase="queue", method=method, path=path, sent=False, attempts=attempt)
        if ticket.stage == Stage.KEY:
            text = f"{what}: the function given as api_key returned no key within the total timeout"
            return APITimeoutError(text, phase="total", method=method, path=path, sent=False, attempts=attempt)
        if ticket.stage == Stage.CONNECTION:
            text = f"{what}: no connection was free in the total timeout; raise max_connections or call less at once"
            return APITimeoutError(text, phase="queue", method=method, path=path, sent=False, attempts=attempt)
        phase = "total" if now() >= deadline else "attempt"
        text = f"{what}: no complete answer within the {phase} timeout"
        return APITimeoutError(text, phase=phase, method=method, path=path, attempts=attempt)

    async def aclose(self) -> None:
        """End what is under way, bounded in time: cancels may finish, everything else fails. Then close connections."""
        self._is_closed = True
        try:
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                self._guards.stop(lambda kind: kind is not Kind.CANCEL)
                await close_streams(self._streams)
                for _ in range(_STEPS):  # whoever read them wakes up and cancels the run
                    await checkpoint()
                with anyio.move_on_after(_CANCEL_SECONDS):
                    await self._guards.until_none()
                self._is_shut = True  # what began from here on would open connections nobody closes
                self._guards.stop(lambda kind: True)
                await self._guards.until_none()
        finally:
            self._is_shut = True
            await self.carrier.aclose()


@frozen
class Channel:
    """A sender with the options of one client or copy: what operations send their requests through."""

    sender: Sender
    options: CallOptions

    async def __call__(self, request: Request, /) -> Response:
        return await self.sender.send(request, self.options)

    async def open(self, request: Request, /) -> ByteStream:
        """Send a request whose answer comes bit by bit."""
        return await self.sender.open(request, self.options)
