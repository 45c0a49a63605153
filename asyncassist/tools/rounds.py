"""Answering the tool calls of a run, round by round."""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, TypeVar, cast

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar
from attrs import frozen

from asyncassist.errors import ToolError, UsageError, shown
from asyncassist.models import Run, RunToolCall, ToolOutput
from asyncassist.tools._encoding import text_of
from asyncassist.tools._parameters import ArgumentsError, decode_arguments
from asyncassist.tools.approval import Allow, BeforeCall, Deny, PendingCall, Replace
from asyncassist.tools.functions import Tool

__all__ = ["Rules", "ToolRounds"]

_T = TypeVar("_T")
_Key: TypeAlias = tuple[str, str, str]
"""What a call is known by: its id, its tool's name, its arguments."""

logger = logging.getLogger("asyncassist")

_SENDING_SECONDS = 5.0
"""How long before a run expires its outputs must be ready to be sent; at most a tenth of the time that is left."""
_LONGEST_MESSAGE = 1000
"""How many characters of an exception's message the model is told."""
_THREADS = 40
"""How many sync functions run at a time in one event loop, apart from the application's own threads."""
_threads: RunVar[anyio.CapacityLimiter] = RunVar("asyncassist.tools.threads")


@frozen(kw_only=True)
class Rules:
    """How calls are answered; see `Toolset`."""

    tools: Mapping[str, Tool[..., Any]]
    max_concurrency: int | None
    timeout: float | None
    max_rounds: int | None
    on_error: Literal["output", "raise"]
    before_call: BeforeCall | None


class _ToolFailure(Exception):
    """A tool has not given an output."""


class ToolRounds:
    """Answers the tool calls of one run. Not for two tasks at once."""

    def __init__(self, rules: Rules, clock: Callable[[], float]) -> None:
        self._rules = rules
        self._clock = clock
        self._outputs: dict[_Key, ToolOutput] = {}
        self._begun: set[_Key] = set()
        self._attempted: list[str] = []
        self._completed: list[str] = []
        self._rounds = 0
        self._has_met_unknown = False
        self._is_answering = False

    @property
    def attempted(self) -> tuple[str, ...]:
        """The ids of the calls whose functions were called, in the order they began. They may have had effects."""
        return tuple(self._attempted)

    @property
    def completed(self) -> tuple[str, ...]:
        """The ids of the calls whose functions returned or raised, in that order."""
        return tuple(self._completed)

    async def answer(self, run: Run) -> tuple[ToolOutput, ...]:
        """Make the calls a run requires and return their outputs, in the order of the calls.

        No call is made twice: asked again for one it has answered, it returns the same output. A run that requires no
        action gives no outputs. Cancelled, it adds a note to the exception that tells which calls were made.

        Raises:
            ToolError: the run requires something else than calls of functions, asks once more for a tool that does not
                exist, or for more rounds than ``max_rounds``; or, by choice, a tool has failed.
            UsageError: another task is at it already.
        """
        if self._is_answering:
            raise UsageError(f"the calls of run {run.id} are being answered already")
        self._is_answering = True
        try:
            calls = self._required_calls(run)
            new = [call for call in calls if _key(call) not in self._outputs]
            if new:
                await self._answer_round(new, run)
            return tuple(self._outputs[_key(call)] for call in calls)
        except anyio.get_cancelled_exc_class() as cancellation:
            cancellation.add_note(f"while tools were called for run {run.id}: {self._account()}")
            raise
        finally:
            self._is_answering = False

    def _required_calls(self, run: Run) -> Sequence[RunToolCall]:
        action = run.required_action
        if action is not None and action.type != "submit_tool_outputs":
            raise self._error(f"run {run.id} requires an action of the unknown type {shown(action.type)}", run)
        calls = list({_key(call): call for call in run.required_tool_calls}.values())
        if not calls and run.status == "requires_action":
            raise self._error(f"run {run.id} requires an action but names no tool call", run)
        for call in calls:
            if call.type != "function":
                raise self._error(f"run {run.id} requires a call of the unknown type {shown(call.type)}", run, call)
        return calls

    async def _answer_round(self, calls: Sequence[RunToolCall], run: Run) -> None:
        rules = self._rules
        if rules.max_rounds is not None and self._rounds >= rules.max_rounds:
            raise self._error(f"run {run.id} asks for tools again after max_rounds={rules.max_rounds} rounds", run)
        self._rounds += 1
        unknown = [call for call in calls if call.function.name not in rules.tools]
        if unknown and self._has_met_unknown:
            name = shown(unknown[0].function.name)
            raise self._error(f"run {run.id} asks again for a tool that does not exist: {name}", run, unknown[0])
        self._has_met_unknown = self._has_met_unknown or bool(unknown)

        failures: list[tuple[RunToolCall, Exception]] = []
        deadline = anyio.current_time() + self._seconds_left(run)
        slots = anyio.Semaphore(rules.max_concurrency or len(calls))

        async def answer(call: RunToolCall) -> None:
            try:
                output = await self._output_in_time(call, run, deadline)
            except Exception as error:  # raised below, outside of the task group
                failures.append((call, error))
                group.cancel_scope.cancel()
            else:
                self._outputs[_key(call)] = ToolOutput(tool_call_id=call.id, output=output)
            finally:
                slots.release()

        async with anyio.create_task_group() as group:
            for call in calls:
                await slots.acquire()  # here and not in the tasks, so that calls begin in their order
                group.start_soon(answer, call)
        if failures:
            call, error = failures[0]
            for other, unraised in failures[1:]:
                logger.warning("tool %s failed too (call %s)", other.function.name, other.id, exc_info=unraised)
            if isinstance(error, _ToolFailure):
                raise self._error(f"tool {call.function.name} {error}", run, call) from error.__cause__
            raise error

    def _seconds_left(self, run: Run) -> float:
        """How long calls may take so that the outputs still arrive before the run expires."""
        left = math.inf if run.expires_at is None else run.expires_at - self._clock()
        # A run that asks for outputs has not expired. If it seems so, the clocks differ, and its time tells nothing.
        return math.inf if left <= 0 else left - min(_SENDING_SECONDS, left / 10)

    async def _output_in_time(self, call: RunToolCall, run: Run, deadline: float) -> str:
        if anyio.current_time() >= deadline:
            return self._failed(call, run, "was not called because the run is about to expire")
        with anyio.CancelScope(deadline=deadline):
            return await self._output(call, run)
        return self._failed(call, run, "was given up because the run is about to expire")

    async def _output(self, call: RunToolCall, run: Run) -> str:
        tool = self._rules.tools.get(call.function.name)
        if tool is None:
            names = ", ".join(self._rules.tools) or "none"
            return f"Error: there is no tool {shown(call.function.name)}; the tools are: {names}"
        if _key(call) in self._begun:
            return "Error: the call was interrupted before it gave an output; it may have had effects"
        try:
            arguments = tool.bind(decode_arguments(call.function.arguments))
        except ArgumentsError as error:
            logger.info("the arguments of call %s of tool %s in run %s do not fit", call.id, tool.name, run.id)
            return f"Error: the arguments do not fit: {error}"
        except Exception as error:  # a class or a predicate among the tool's types may raise anything
            return self._failed(call, run, f"could not take the arguments: {_said_by(error)}", error)
        if self._rules.before_call is not None:
            verdict = await self._verdict(self._rules.before_call, call, run)
            if isinstance(verdict, Deny):
                return f"Error: the call was denied{': ' if verdict.reason else ''}{verdict.reason}"
            if isinstance(verdict, Replace):
                if verdict.arguments is None:
                    return text_of(verdict.output)
                try:
                    arguments = tool.bind(verdict.arguments)
                except ArgumentsError as error:
                    raise UsageError(f"before_call has replaced the arguments of tool {tool.name}: {error}") from None
        return await self._result(tool, arguments, call, run)

    async def _verdict(self, ask: BeforeCall, call: RunToolCall, run: Run) -> Allow | Deny | Replace:
        arguments = decode_arguments(call.function.arguments)
        verdict = ask(PendingCall(id=call.id, name=call.function.name, arguments=arguments, run=run))
        if inspect.isawaitable(verdict):
            verdict = await _settled(verdict)
        if verdict is None or isinstance(verdict, bool):
            return Deny() if verdict is False else Allow()
        if not isinstance(verdict, (Allow, Deny, Replace)):
            raise TypeError(f"before_call must return Allow, Deny, Replace, a bool or None, got {shown(verdict)}")
        return verdict

    async def _result(self, tool: Tool[..., Any], arguments: Any, call: RunToolCall, run: Run) -> str:
        """Call the tool and return what it gives as text."""
        seconds = tool.timeout if tool.timeout is not None else self._rules.timeout
        result: object = None
        with anyio.move_on_after(seconds) as scope:
            self._begun.add(_key(call))
            self._attempted.append(call.id)
            try:
                result = await _call(tool, *arguments)
            except Exception as error:
                self._completed.append(call.id)
                return self._failed(call, run, f"failed: {_said_by(error)}", error)
            self._completed.append(call.id)
        if scope.cancelled_caught:
            return self._failed(call, run, f"did not end within {seconds} s")
        try:
            return text_of(result)
        except Exception as error:  # an object's own methods may raise anything
            reason = str(error) if isinstance(error, UsageError) else _said_by(error)
            return self._failed(call, run, f"returned what cannot be sent: {reason}", error)

    def _failed(self, call: RunToolCall, run: Run, how: str, error: Exception | None = None) -> str:
        if self._rules.on_error == "raise":
            raise _ToolFailure(how) from error
        logger.warning("tool %s %s (call %s of run %s)", call.function.name, how, call.id, run.id, exc_info=error)
        return f"Error: the tool {how}"

    def _error(self, message: str, run: Run, call: RunToolCall | None = None) -> ToolError:
        return ToolError(
            message,
            tool=None if call is None else call.function.name,
            call_id=None if call is None else call.id,
            attempted=self.attempted,
            completed=self.completed,
            run=run,
        )

    def _account(self) -> str:
        open_ = [id_ for id_ in self._attempted if id_ not in self._completed]
        parts = [
            f"attempted: {', '.join(self._attempted) or 'none'}",
            f"completed: {', '.join(self._completed) or 'none'}",
        ]
        return "; ".join([*parts, *([f"may have had effects: {', '.join(open_)}"] if open_ else [])])


def _key(call: RunToolCall) -> _Key:
    # Some servers number the calls of each round from the start.
    return call.id, call.function.name, call.function.arguments


async def _call(tool: Tool[..., Any], positional: list[object], named: dict[str, object]) -> object:
    if tool.is_async:
        return await _settled(tool(*positional, **named))
    is_waited_for = True

    def call() -> tuple[object]:
        try:
            return (tool(*positional, **named),)  # a coroutine by itself would be refused by trio
        except Exception:
            if not is_waited_for:
                logger.warning("tool %s failed when nobody waited for it any longer", tool.name, exc_info=True)
            raise

    try:
        (result,) = await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=_thread_limiter())
    finally:
        is_waited_for = False
    return await _settled(result) if inspect.isawaitable(result) else result


async def _settled(awaitable: Awaitable[_T]) -> _T:
    """Await something of the caller's. A cancellation from inside of it, which is not ours, is a failure of its own."""
    try:
        return await awaitable
    except anyio.get_cancelled_exc_class():
        if anyio.current_effective_deadline() == -math.inf:
            raise
        raise RuntimeError("what it waited for was cancelled") from None


def _thread_limiter() -> anyio.CapacityLimiter:
    try:
        return _threads.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(_THREADS)
        _threads.set(limiter)
        return limiter


def _said_by(error: Exception) -> str:
    group: object = error
    if isinstance(group, ExceptionGroup):  # of a task group inside of the tool
        errors = cast("ExceptionGroup[Exception]", group).exceptions
        if len(errors) == 1:
            return _said_by(errors[0])
    try:
        text = str(error)
    except Exception:  # its own __str__ fails
        text = ""
    text = text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
