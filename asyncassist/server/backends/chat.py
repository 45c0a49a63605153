"""A backend that asks a model: any server that speaks OpenAI's ``/chat/completions``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

import anyio
from attrs import evolve

from asyncassist._transport.connections import Carrier
from asyncassist._transport.loops import now
from asyncassist._transport.pacing import Pacing
from asyncassist._transport.sender import Channel, Sender
from asyncassist._transport.settings import (
    NO_KEY,
    BaseUrl,
    CallOptions,
    Credentials,
    Timeout,
    checked_body,
    checked_query,
    checked_retry,
)
from asyncassist._wire.requests import Kind, Request
from asyncassist._wire.retry import RetryBudget, RetryPolicy, retry_pause
from asyncassist.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    DecodeError,
    StreamError,
    UsageError,
    shown,
)
from asyncassist.server.backends.chat_failures import failure_of
from asyncassist.server.backends.chat_reader import AnswerReader
from asyncassist.server.backends.chat_request import ChatForm, chat_body, not_callable

if TYPE_CHECKING:
    import ssl

    import httpx

    from asyncassist._transport.byte_stream import ByteStream
    from asyncassist._transport.connections import TransportChoice
    from asyncassist._transport.environment import ClientCert
    from asyncassist._transport.settings import ApiKey
    from asyncassist.models import Run
    from asyncassist.server.backends.base import Reply, Turn
    from asyncassist.server.backends.chat_answer import ChatAnswer

__all__ = ["ChatCompletionsBackend"]

logger = logging.getLogger("asyncassist.server")

ModelMap: TypeAlias = "Mapping[str, str] | Callable[[str], str]"

_PATH = "/chat/completions"
_LAST_WORD_SECONDS = 2.0
"""How long a server may take, after its answer's last piece, to tell the usage and to end. Some never end."""
_MOST_WARNINGS = 1000


class ChatCompletionsBackend:
    """Answers runs by asking a model, over any server with OpenAI's ``/chat/completions``.

    ::

        LocalServer(ChatCompletionsBackend("http://localhost:11434/v1", model_map={"*": "llama3.2"}))

    The model gets the run's instructions, the thread as far as its truncation strategy lets it be seen, and the tool
    calls of this run with their outputs; it gets the run's functions, never its ``code_interpreter`` and
    ``file_search``, which nobody runs here: they are left out with a warning in the log, and a run that has to use one
    fails. Images are passed on by their URL; in the place of uploaded files the model reads that it cannot see them.
    A ``tool_choice`` that demands a call holds for the run's first answer. ``temperature`` and ``top_p`` are sent
    where they are not 1, the API's default; ``parallel_tool_calls`` where it is False.

    A run fails with ``rate_limit_exceeded`` (429), ``invalid_prompt`` (400, 413, 422, or stopped by the content filter)
    or ``server_error`` (everything else); the log says more. A server is asked again, by the retry policy, only
    while nothing of its answer has been sent on, and never after a silence that was too long.

    It makes connections when it needs them, and closes them when its server is left; it belongs to one server at a
    time. Who uses it without a `LocalServer`, such as a backend that asks several others, has to call `aclose`.

    Args:
        base_url: where the model server is, without ``/chat/completions``, such as ``http://localhost:11434/v1``.
        api_key: the key, or a function, sync or async, that returns the key of each request. None, or NO_KEY, sends
            none; no environment variable is read.
        model_map: from a run's model to the server's: a mapping, whose ``"*"`` stands for all others, or a function.
            What it does not name, and everything where it is None, is passed on as it is.
        timeout: a `Timeout`, or the total as a number; None for no limit. ``idle`` is the longest silence within an
            answer; ``total`` ends where a streamed answer begins.
        retry: how failed requests are tried again.
        max_connections: how many runs may be asked about at once, 1-65536; the others wait.
        stream: False asks for whole answers; runs that are streamed then get theirs in one piece.
        limit_field: what ``max_completion_tokens`` is sent as; ``"max_tokens"`` for servers that know only that.
        instructions_role: ``"developer"`` for models that want no system message.
        extra_body: laid over the body of every request, for fields of a vendor. None as a value takes a field out, such
            as ``{"stream_options": None}`` for servers that refuse it.
        default_headers, default_query: sent with every request.
        proxy, verify, cert, transport: as `AsyncClient` takes them.

    Raises:
        UsageError: a value cannot be used.
    """

    def __init__(
        self,
        base_url: str | httpx.URL,
        *,
        api_key: ApiKey | None = None,
        model_map: ModelMap | None = None,
        timeout: Timeout | float | None = Timeout(attempt=None, idle=300.0),
        retry: RetryPolicy = RetryPolicy(),
        max_connections: int = 100,
        stream: bool = True,
        limit_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens",
        instructions_role: Literal["system", "developer"] = "system",
        extra_body: Mapping[str, object] | None = None,
        default_headers: Mapping[str, str] | None = None,
        default_query: Mapping[str, object] | None = None,
        proxy: str | httpx.Proxy | None = None,
        verify: bool | str | ssl.SSLContext = True,
        cert: ClientCert | None = None,
        transport: TransportChoice = None,
    ) -> None:
        credentials = Credentials(NO_KEY if api_key is None else api_key)
        del api_key  # tracebacks may show local variables
        credentials.check()
        if base_url is None:
            raise UsageError("base_url must be a str, got NoneType")
        base = BaseUrl(base_url)
        for name, value, known in (
            ("limit_field", limit_field, ("max_completion_tokens", "max_tokens")),
            ("instructions_role", instructions_role, ("system", "developer")),
        ):
            if value not in known:
                raise UsageError(f"{name} must be {' or '.join(map(repr, known))}, got {shown(value)}")
        if not isinstance(stream, bool):
            raise UsageError(f"stream must be True or False, got {shown(stream)}")
        extra = None if extra_body is None else checked_body(extra_body)
        self._form = ChatForm(_mapping_models(model_map), instructions_role, limit_field, stream, extra)
        self._retry = checked_retry(retry)
        self._budget = RetryBudget()
        self._pacing = Pacing()
        self._base_url = base.text
        # Each request is sent once: what comes after its answer has begun counts for retries here, too.
        options = CallOptions(Timeout.of(timeout), RetryPolicy(attempts=1), query=checked_query(default_query))
        self._options = options.with_headers(default_headers)
        carrier = partial(
            Carrier,
            base,
            http_client=None,
            transport=transport,
            max_connections=max_connections,
            max_streams=max_connections,
            proxy=proxy,
            verify=verify,
            cert=cert,
        )
        self._make_sender: Callable[[], Sender] = lambda: Sender(base, credentials, carrier(), self._pacing)
        self._sender: Sender | None = self._make_sender()  # now, so that wrong values are found now
        self._warned: set[tuple[str | None, str]] = set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {getattr(self, '_base_url', '')}>"

    async def aclose(self) -> None:
        """Close all connections. Asked again, it opens new ones."""
        sender, self._sender = self._sender, None
        if sender is not None:
            await sender.aclose()

    async def answer(self, turn: Turn) -> Reply:
        self._warn_of_tools(turn.run)
        rounds = await turn.rounds()
        body = chat_body(turn.run, await turn.messages(), rounds, self._form)
        try:
            answer = await self._ask(Request(Kind.READ, "POST", _PATH, body=body), turn)
            return answer.reply({call.id for round in rounds for call in round.calls})
        except (APIConnectionError, APIStatusError, DecodeError, StreamError) as error:
            logger.warning("the model server failed at run %s: %s", turn.run.id, error)
            raise failure_of(error, self._base_url) from error

    def _warn_of_tools(self, run: Run) -> None:
        for kind in not_callable(run):
            if (run.assistant_id, kind) not in self._warned and len(self._warned) < _MOST_WARNINGS:
                self._warned.add((run.assistant_id, kind))
                logger.warning("assistant %s has the tool %s, which is left out here", run.assistant_id, kind)

    async def _ask(self, request: Request, turn: Turn) -> ChatAnswer:
        self._budget.deposit()
        total = self._options.timeout.total
        deadline = float("inf") if total is None else now() + total
        attempt = 0
        while True:
            attempt += 1
            reader = AnswerReader()
            try:
                await self._attempt(request, reader, turn, deadline)
            except (APIConnectionError, APIStatusError) as error:
                pause = None if reader.answer.has_text else self._pause(attempt, error)
                if pause is None or now() + pause >= deadline or not self._budget.allows(error):
                    raise
                logger.debug("run %s: %s; trying again in %.2f s", turn.run.id, error, pause)
            else:
                self._budget.reward()
                return reader.answer
            await self._pacing.sleep(pause)

    def _pause(self, attempt: int, error: APIConnectionError | APIStatusError) -> float | None:
        if isinstance(error, APITimeoutError) and error.sent:
            return None  # what thinks slowly would only have more to think about
        return retry_pause(self._retry, attempt, error, Kind.READ, self._pacing.random())

    async def _attempt(self, request: Request, reader: AnswerReader, turn: Turn, deadline: float) -> None:
        if self._sender is None:
            self._sender = self._make_sender()
        timeout = self._options.timeout
        if timeout.total is not None:
            timeout = evolve(timeout, total=max(0.001, deadline - now()))
        channel = Channel(self._sender, evolve(self._options, timeout=timeout))
        if not self._form.stream:
            response = await channel(request)
            with _redacting(response.redact):
                await _say(turn, reader.feed(response.body))
                await _say(turn, reader.finish())
        else:
            stream = await channel.open(request)
            try:
                with _redacting(stream.redact):
                    await self._listen(stream, reader, turn)
            finally:
                await stream.aclose()
        if not reader.is_whole:
            text = f"{request.method} {request.path}: the answer of {self._base_url} ended before it was complete"
            raise APIConnectionError(text, method=request.method, path=request.path)

    async def _listen(self, stream: ByteStream, reader: AnswerReader, turn: Turn) -> None:
        while not reader.is_whole and (data := await stream.read()):
            await _say(turn, reader.feed(data))
        if reader.is_whole:
            await _say(turn, await _last_words(stream, reader))
        else:
            await _say(turn, reader.finish())


async def _last_words(stream: ByteStream, reader: AnswerReader) -> list[str]:
    """Read on for the usage and the end. Whatever happens to the connection now, the answer is there."""
    texts: list[str] = []
    with anyio.move_on_after(_LAST_WORD_SECONDS), suppress(APIConnectionError, DecodeError):
        while not reader.is_done and (data := await stream.read()):
            texts += reader.feed(data)
        texts += reader.finish()
        await stream.drain()  # so that the connection can be used again
    return texts


async def _say(turn: Turn, texts: Iterable[str]) -> None:
    for text in texts:
        if text:
            await turn.emit(text)


@contextmanager
def _redacting(redact: Callable[[str], str]) -> Generator[None, None, None]:
    """Take the request's secrets out of what a server says in the middle of its answer."""
    try:
        yield
    except StreamError as error:
        raise StreamError(redact(error.message), code=error.code, type=error.type) from None


def _mapping_models(model_map: ModelMap | None) -> Callable[[str], str]:
    if model_map is None:
        return str
    if callable(model_map):
        return model_map
    if not isinstance(model_map, Mapping):
        raise UsageError(f"model_map must be a mapping, a function or None, got {type(model_map).__name__}")
    models = dict(model_map)
    if not all(isinstance(name, str) for pair in models.items() for name in pair):
        raise UsageError("model_map must name models by str")
    return lambda model: models.get(model, models.get("*", model))
