"""What can go wrong with a request to a server under test."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from anyio.lowlevel import checkpoint
from attrs import field, frozen

from asyncassist.errors import UsageError, shown
from asyncassist.server import errors
from asyncassist.testing.answers import Cut, Rewrite, broken, dropping, rewritten
from asyncassist.testing.backend import runs_expire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Self

    from asyncassist.testing.exchange import Exchange

__all__ = ["Fault"]


@frozen
class Fault:
    """Something that goes wrong with a request: made by one of the class methods, and planned with `Faults.add`."""

    name: str
    _act: Callable[[Exchange], Awaitable[None]] = field(repr=False, eq=False)
    fits: frozenset[str] | None = field(default=None, repr=False)
    """The operations it can be for; None for all."""

    async def act(self, exchange: Exchange) -> None:
        """Go wrong."""
        await self._act(exchange)

    # Answers with an error status: the server does not act.

    @classmethod
    def status(
        cls,
        status: int,
        message: str = "This is a planned fault.",
        *,
        code: str | None = None,
        type: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Self:
        """Answer with a status and an error in the API's form.

        Args:
            status: 300-599.
            message, code, type, param: the fields of the error. A type of None is the one that goes with the status.
            headers: of the answer, beside the usual ones.

        Raises:
            UsageError: ``status`` is none, or not one of an error.
        """
        if isinstance(status, bool) or not isinstance(status, int) or not 300 <= status <= 599:
            raise UsageError(f"status must be an int from 300 to 599, got {shown(status)}")
        if type is None:
            type = "server_error" if status >= 500 else errors.INVALID_REQUEST
        error = errors.ApiError(status, message, code=code, type=type, param=param, headers=headers)
        return cls(f"status {status}", partial(_refuse, error))

    @classmethod
    def rate_limit(cls, retry_after: float | None = 0.05, *, limit: int = 60) -> Self:
        """Answer 429, as a server does that is asked too often.

        Args:
            retry_after: the seconds it asks its client to wait; None for an answer that does not say.
            limit: the requests a minute it says it allows.

        Raises:
            UsageError: ``retry_after`` cannot be meant.
        """
        headers = {"x-ratelimit-limit-requests": str(limit), "x-ratelimit-remaining-requests": "0"}
        if retry_after is not None:
            _check_seconds("retry_after", retry_after)
            milliseconds = math.ceil(retry_after * 1000)
            headers["retry-after"] = str(math.ceil(retry_after))
            headers["retry-after-ms"] = str(milliseconds)
            headers["x-ratelimit-reset-requests"] = f"{milliseconds}ms"
        message = f"Rate limit reached: Limit {limit} requests per minute. Please try again later."
        return cls.status(429, message, code="rate_limit_exceeded", type="requests", headers=headers)

    @classmethod
    def retired(cls) -> Self:
        """Answer 404, as a host that does not serve the API any more. Plan it with ``times=None``.

        Clients raise ``NotFoundError``; for ``ServiceRetiredError`` the host has to be OpenAI's own:
        ``server.client(base_url="https://api.openai.com/v1")``, which asks this server nevertheless.
        """
        return cls("retired", _retired)

    # What happens to the connection.

    @classmethod
    def drop(cls, *, after_acting: bool = False) -> Self:
        """Drop the connection without an answer.

        Args:
            after_acting: whether the server does what it was asked first, which the client cannot know.
        """
        return cls("drop after acting" if after_acting else "drop", _drop_after if after_acting else _drop)

    @classmethod
    def cut(cls, events: int = 0) -> Self:
        """Drop the connection in the middle of an answer: of a stream after some events, of any other half-way.

        The server acts, and a run that is streamed goes on.

        Args:
            events: how many get through.

        Raises:
            UsageError: ``events`` is no count.
        """
        if isinstance(events, bool) or not isinstance(events, int) or events < 0:
            raise UsageError(f"events must be an int, 0 or more, got {shown(events)}")
        return cls(f"cut after {events} events", partial(_cut, events))

    @classmethod
    def slow(cls, seconds: float) -> Self:
        """Wait before acting, by the server's clock. Where the client leaves meanwhile, nothing is done.

        Raises:
            UsageError: ``seconds`` cannot be meant.
        """
        _check_seconds("seconds", seconds)
        return cls(f"slow by {seconds} s", partial(_wait, seconds))

    # What is wrong with the answer, or the run.

    @classmethod
    def change(cls, function: Callable[[Any], object] | None = None, /, **fields: object) -> Self:
        """Change the JSON of the answer, of a stream the JSON of every event.

        Args:
            function: is given the JSON and returns what to send in its place.
            fields: set where an object has a field of that name: ``status="something_new"``.
        """
        if not fields and not callable(function):
            raise TypeError("give a function or fields to change")

        def change(value: dict[str, Any]) -> object:
            value = {name: fields.get(name, old) for name, old in value.items()}
            return value if function is None else function(value)

        return cls("changed answer", partial(_rewrite, partial(rewritten, change)))

    @classmethod
    def invalid_json(cls) -> Self:
        """Send JSON that breaks off half-way, as the answer or as the data of every event."""
        return cls("invalid JSON", partial(_rewrite, broken))

    @classmethod
    def expire(cls) -> Self:
        """Let the run that is created or gone on with expire: the server's clock is moved on until it has.

        For the operations ``create_run``, ``create_thread_and_run`` and ``submit_tool_outputs_to_run``.
        """
        return cls("expire", _expire, frozenset({"create_run", "create_thread_and_run", "submit_tool_outputs_to_run"}))


def _check_seconds(name: str, seconds: float) -> None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        raise UsageError(f"{name} must be a finite number of seconds, 0 or more, got {shown(seconds)}")


async def _refuse(error: errors.ApiError, exchange: Exchange) -> None:
    await exchange.answer(error.status, error.envelope(), error.headers)


async def _retired(exchange: Exchange) -> None:
    await _refuse(errors.unknown_route(exchange.request.method, exchange.request.path), exchange)


async def _drop(exchange: Exchange) -> None:
    await exchange.drop()


async def _drop_after(exchange: Exchange) -> None:
    await exchange.forward(dropping)
    await exchange.drop()


async def _cut(events: int, exchange: Exchange) -> None:
    await exchange.forward(partial(Cut, events))
    await exchange.drop()


async def _wait(seconds: float, exchange: Exchange) -> None:
    watching = anyio.CancelScope()

    async def watch() -> None:
        with watching:
            await exchange.until_gone()
            task_group.cancel_scope.cancel()

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(watch)
        await exchange.clock.sleep(seconds)
        watching.cancel()
        await checkpoint()  # from here on it is the app that listens
        await exchange.forward()


async def _rewrite(change: Callable[[bytes], bytes], exchange: Exchange) -> None:
    await exchange.forward(partial(Rewrite, change))


async def _expire(exchange: Exchange) -> None:
    token = runs_expire.set(True)
    try:
        await exchange.forward()
    finally:
        runs_expire.reset(token)
