"""What answers the runs: the interface of a backend."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from attrs import field, frozen
from attrs.validators import deep_iterable, in_, instance_of, optional

from asyncassist._wire.json import dumps
from asyncassist.errors import UsageError
from asyncassist.models import RunCompletionUsage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from asyncassist.models import Message, Run, RunStepDetailsToolCallsFunction

__all__ = ["Backend", "BackendError", "FunctionCall", "Reply", "ToolRound", "Turn"]


@frozen
class ToolRound:
    """Calls a backend asked for at once, with their outputs."""

    calls: tuple[RunStepDetailsToolCallsFunction, ...]
    """Each with its id, name and arguments, and its output in ``call.function.output``."""
    message_id: str | None = None
    """The message the run wrote before it asked for these calls; None where it wrote none."""
    usage: RunCompletionUsage | None = None
    """Tokens of the answer that asked for them; None where nothing is known of them."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """What came of the calls, in their order."""
        return tuple([call.function.output or "" for call in self.calls])


async def _no_rounds() -> Sequence[ToolRound]:
    return ()


async def _to_nobody(piece: str) -> None:
    pass


@frozen
class Turn:
    """What a backend is asked: a run, with the thread it is to answer.

    A run whose tool calls have been answered is a turn again, with these calls among its `rounds`.
    """

    run: Run
    """Model, instructions, tools and limits, the assistant's and the run's own together."""
    _history: Callable[[int | None], Awaitable[Sequence[Message]]] = field(repr=False)
    _rounds: Callable[[], Awaitable[Sequence[ToolRound]]] = field(default=_no_rounds, repr=False)
    _emit: Callable[[str], Awaitable[None]] = field(default=_to_nobody, repr=False)

    async def messages(self, last: int | None = None) -> Sequence[Message]:
        """The thread's messages as far as the run's truncation strategy lets them be seen, oldest first.

        What the run itself has said before it asked for tools is among them, with the run's id. It does not count for
        the strategy: a run that is to see one message does not lose its question to its own words.

        Args:
            last: how many of the newest; None for all.
        """
        truncation = self.run.truncation_strategy
        limit = truncation.last_messages if truncation is not None else None
        if limit is not None:
            limit += sum([round.message_id is not None for round in await self._rounds()])
        return await self._history(min((count for count in (last, limit) if count is not None), default=None))

    async def rounds(self) -> Sequence[ToolRound]:
        """The tool calls this run has asked for so far, all answered, in the order it asked."""
        return await self._rounds()

    async def emit(self, text: str) -> None:
        """Send a piece of the answer, which is seen at once by those who stream the run.

        The pieces are one message, in the order of the calls. An empty piece is none.

        Raises:
            RuntimeError: the turn is over: the backend has returned or raised.
        """
        if not isinstance(text, str):
            raise TypeError(f"a piece of an answer is a str, not {type(text).__name__}")
        await self._emit(text)


def _as_json(arguments: str | Mapping[str, object]) -> str:
    return dumps(arguments).decode() if isinstance(arguments, Mapping) else arguments


def _is(what: str, *kinds: type) -> Callable[[object, Any, object], None]:
    """Return what refuses the values of a field that are of other types, in words a caller understands."""

    def check(instance: object, attribute: Any, value: object) -> None:
        if not isinstance(value, kinds):
            of = f"{attribute.name} of a {type(instance).__name__}"
            raise TypeError(f"{of} must be {what}, got {type(value).__name__}")

    return check


def _not_empty(instance: object, attribute: Any, value: str) -> None:
    if not value:
        raise UsageError(f"{attribute.name} of a {type(instance).__name__} is empty")


@frozen
class FunctionCall:
    """A call of one of the run's functions, to be made by whoever started the run.

    Attributes:
        name: the function's name.
        arguments: JSON text, passed on as it is; may be given as a mapping.
        id: None lets the server make one.
    """

    name: str = field(validator=[_is("a str", str), _not_empty])
    arguments: str = field(default="{}", converter=_as_json, validator=_is("a mapping, or JSON text in a str", str))
    id: str | None = field(default=None, validator=_is("a str or None", str, NoneType))


def _as_tuple(calls: Iterable[FunctionCall]) -> tuple[FunctionCall, ...]:
    return tuple(calls)


@frozen
class Reply:
    """What a backend answers: text, and it is done; or calls of functions whose outputs it needs first."""

    text: str | None = field(default=None, validator=optional(instance_of(str)))
    """The whole answer. None when it was emitted, or where there is nothing to say beside tool calls."""
    usage: RunCompletionUsage = field(
        factory=lambda: RunCompletionUsage(prompt_tokens=0, completion_tokens=0, total_tokens=0),
        validator=instance_of(RunCompletionUsage),
    )
    """Tokens of this answer; the run's are the sum over its turns."""
    stopped_by: Literal["max_completion_tokens", "max_prompt_tokens"] | None = field(
        default=None, validator=in_((None, "max_completion_tokens", "max_prompt_tokens"))
    )
    """The limit that cut the text short; None for a complete one."""
    tool_calls: tuple[FunctionCall, ...] = field(
        default=(), converter=_as_tuple, validator=deep_iterable(_is("FunctionCalls", FunctionCall))
    )
    """The calls the run is to wait for. None of them may have the id of another."""

    def __attrs_post_init__(self) -> None:
        ids = [call.id for call in self.tool_calls if call.id is not None]
        if len(ids) != len(set(ids)):
            raise ValueError("two tool calls of a reply have the same id")
        if self.tool_calls and self.stopped_by is not None:
            raise ValueError("a reply that was cut short asks for no tool calls")


class BackendError(Exception):
    """A backend cannot answer. The run fails with this code and message, which the API's users will see.

    Any other exception of a backend fails the run too, but tells its users nothing; it is logged.
    """

    def __init__(self, message: str, *, code: str = "server_error") -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class Backend(Protocol):
    """Answers one run at a time, many runs concurrently.

    A backend that holds something, such as connections, may have methods ``async def open(self)`` and
    ``async def aclose(self)``. A server calls the first before it drives any run and the second when it drives none any
    more, each time it is entered and left.
    """

    async def answer(self, turn: Turn) -> Reply:
        """Answer the turn. It is cancelled when its run is cancelled or expires, and when the server is closed.

        Text can be sent while it is made, with `Turn.emit`; what was emitted must be the text of the reply, or the
        reply leaves its text out. A reply with tool calls is asked for once more when these have been answered.

        Raises:
            BackendError: it cannot be answered.
        """
        ...
