"""The client: all operations over one pool of connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from attrs import evolve

from asyncassist._operations.assistants import AssistantOperations, RawAssistantOperations
from asyncassist._operations.creates import channel_for
from asyncassist._operations.messages import RawMessageOperations
from asyncassist._operations.misuse import ClientMisuse
from asyncassist._operations.run_steps import RawRunStepOperations
from asyncassist._operations.runs import RawRunOperations
from asyncassist._operations.threads import RawThreadOperations
from asyncassist._transport.connections import Carrier
from asyncassist._transport.pacing import Pacing, PollTurns
from asyncassist._transport.sender import Channel, Sender
from asyncassist._transport.settings import (
    BaseUrl,
    CallOptions,
    Credentials,
    Timeout,
    checked_body,
    checked_limits,
    checked_query,
    checked_rate,
    checked_retry,
    from_environment,
)
from asyncassist._wire.limits import Limits, TokenBudget
from asyncassist._wire.retry import RetryPolicy
from asyncassist.batch.starting import Batching, end_batches
from asyncassist.conversation.starting import Conversing
from asyncassist.errors import ClientClosedError
from asyncassist.models import UNSET, Unset

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from types import TracebackType

    import httpx

    from asyncassist._transport.byte_stream import ByteStream
    from asyncassist._transport.connections import TransportChoice
    from asyncassist._transport.environment import ClientCert
    from asyncassist._transport.middleware import Middleware
    from asyncassist._transport.settings import ApiKey
    from asyncassist._wire.requests import Request

__all__ = ["AsyncClient", "RawClient"]


class RawClient(
    RawAssistantOperations, RawThreadOperations, RawMessageOperations, RawRunOperations, RawRunStepOperations
):
    """The operations of a client, each returning a `RawResponse`: status, headers, request id and the object."""


class AsyncClient(AssistantOperations, Batching, Conversing, ClientMisuse):
    """A client for servers that speak the Assistants API.

    Use it as ``async with AsyncClient(...) as client``, or call `aclose` in the end. One client serves any number of
    tasks of one event loop at once; share it instead of making one per request. All times are float seconds.

    Args:
        api_key: the key, or a function, sync or async, that returns the key of each request, or `NO_KEY` to send none.
            None reads ASYNCASSIST_API_KEY, then OPENAI_API_KEY.
        base_url: where the server is; a path prefix is kept. None reads ASYNCASSIST_BASE_URL, then OPENAI_BASE_URL;
            else the API description's own host, which retired the API on 2026-08-26.
        organization, project: sent as OpenAI-Organization and OpenAI-Project. None reads OPENAI_ORG_ID and
            OPENAI_PROJECT_ID.
        default_headers, default_query: sent with every request, such as Azure's ``{"api-version": "v1"}``.
        beta: the value of the OpenAI-Beta header; None leaves it out.
        timeout: a `Timeout`, or the total as a number; None for no limit.
        retry: how failed requests are tried again.
        max_connections: for calls and polls, 1-65536.
        max_streams: connections for streams, beside the others, 1-65536.
        limits: what all calls together may ask of the server, `Limits`; by default they slow down together when it
            answers 429.
        middleware: ``async def middleware(request, call_next)``, each called around every attempt of every call, the
            first of the list outermost: it awaits ``call_next(request)`` once and returns what that gives. It sees an
            `AttemptRequest`, to which it may add headers, and an `AttemptResponse`, whatever its status, or the error
            of the connection. What it raises itself ends the call. Its time counts into the total timeout.
        max_polls_per_second: how often all waits of this client together look at their runs, at most; None sets no
            limit.
        proxy: a URL or httpx.Proxy. None reads HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY.
        verify: False checks no certificates; a str is a file or folder of authorities; or an ssl.SSLContext.
        cert: the client's certificate: path, (path, key path), or (path, key path, password).
        http_client: an httpx.AsyncClient to send with. It is used as it is and never closed; its own pool's behaviour
            is then its own.
        transport: an httpx transport to send with, likewise; or ``"aiohttp"`` for connections of aiohttp (extra
            ``aiohttp``) instead of our own.

    Raises:
        UsageError: a value cannot be used; nothing has been sent.
    """

    def __init__(
        self,
        *,
        api_key: ApiKey | None = None,
        base_url: str | httpx.URL | None = None,
        organization: str | None = None,
        project: str | None = None,
        default_headers: Mapping[str, str] | None = None,
        default_query: Mapping[str, object] | None = None,
        beta: str | None = "assistants=v2",
        timeout: Timeout | float | None = Timeout(),
        retry: RetryPolicy = RetryPolicy(),
        max_connections: int = 100,
        max_streams: int = 1000,
        limits: Limits = Limits(),
        middleware: Iterable[Middleware] | None = None,
        max_polls_per_second: float | None = None,
        proxy: str | httpx.Proxy | None = None,
        verify: bool | str | ssl.SSLContext = True,
        cert: ClientCert | None = None,
        http_client: httpx.AsyncClient | None = None,
        transport: TransportChoice = None,
    ) -> None:
        credentials = Credentials(api_key)
        del api_key  # tracebacks may show local variables
        credentials.check()
        own = {
            "OpenAI-Beta": beta,
            "OpenAI-Organization": organization or from_environment("OPENAI_ORG_ID"),
            "OpenAI-Project": project or from_environment("OPENAI_PROJECT_ID"),
        }
        options = CallOptions(Timeout.of(timeout), checked_retry(retry), query=checked_query(default_query))
        options = options.with_headers({name: value for name, value in own.items() if value is not None})
        options = options.with_headers(default_headers)
        base = BaseUrl(base_url)
        carrier = Carrier(
            base,
            http_client=http_client,
            transport=transport,
            max_connections=max_connections,
            max_streams=max_streams,
            proxy=proxy,
            verify=verify,
            cert=cert,
        )
        a_minute = checked_limits(limits).tokens_per_minute
        tokens = None if a_minute is None else TokenBudget(a_minute)
        pacing = Pacing(turns=PollTurns(checked_rate(max_polls_per_second)), tokens=tokens)
        self._sender = Sender(base, credentials, carrier, pacing, limits, _checked_middleware(middleware))
        self._options = options
        self._send = channel_for(self._sender, options)
        self._base_url = base.text
        self._batches = set()

    def __repr__(self) -> str:
        if not hasattr(self, "_base_url"):  # its construction failed, and this is in the traceback
            return f"<{type(self).__name__}>"
        state = " closed" if self._sender.is_closed else ""
        return f"<{type(self).__name__} {self._base_url}{state}>"

    @property
    def base_url(self) -> str:
        """Where requests go."""
        return self._base_url

    @property
    def is_closed(self) -> bool:
        """Whether the client was closed; calls then raise ClientClosedError."""
        return self._sender.is_closed

    @property
    def _pacing(self) -> Pacing:
        return self._sender.pacing

    @property
    def _open(self) -> Callable[[Request], Awaitable[ByteStream]]:
        assert isinstance(self._send, Channel)  # set above
        return self._send.open

    @property
    def with_raw_response(self) -> RawClient:
        """The same operations, giving status, headers and request id with the object."""
        return RawClient(self._send)

    def with_options(
        self,
        *,
        timeout: Timeout | float | Unset | None = UNSET,
        retry: RetryPolicy | Unset = UNSET,
        headers: Mapping[str, str] | None = None,
        extra_query: Mapping[str, object] | None = None,
        extra_body: Mapping[str, object] | None = None,
    ) -> Self:
        """Return a light copy with other options. It shares connections, retry budget and life with this client.

        Args:
            timeout, retry: instead of this client's.
            headers: added to this client's; a name given again replaces the old value.
            extra_query: added to the query of every request.
            extra_body: merged into the body of every request that creates or changes something, for fields of a vendor.
        """
        options = self._options.with_headers(headers)
        if not isinstance(timeout, Unset):
            options = evolve(options, timeout=Timeout.of(timeout))
        if not isinstance(retry, Unset):
            options = evolve(options, retry=checked_retry(retry))
        if extra_query is not None:
            options = evolve(options, query={**options.query, **checked_query(extra_query)})
        if extra_body is not None:
            options = evolve(options, body={**(options.body or {}), **checked_body(extra_body)})
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy._options = options
        copy._send = channel_for(self._sender, options)
        return copy

    async def __aenter__(self) -> Self:
        if self.is_closed:
            raise ClientClosedError("the client is closed; create a new one")
        return self

    async def __aexit__(
        self, cls: type[BaseException] | None, error: BaseException | None, frames: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the client: cancels on their way may finish, other calls end with ClientClosedError; batches are ended.

        Bounded in time, and harmless when called again. A caller's own http_client or transport stays open.
        """
        if self._batches:
            await end_batches(self._batches)
        await self._sender.aclose()


def _checked_middleware(middleware: Iterable[Middleware] | None) -> tuple[Middleware, ...]:
    if middleware is None:
        return ()
    from asyncassist._transport.middleware import checked_middleware  # few need it

    return checked_middleware(middleware)
