"""The operations of the API: one method each, from ids and a checked body to the object that is the answer.

A body is the JSON object that came, as ``bodies.py`` let it through. New objects are put together as JSON, with every
field of the API, and go through the one converter: so they go out with the nulls and defaults the API has, and fields
a model does not declare (``reasoning_effort``) stay with them.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from attrs import evolve

from asyncassist._wire.converter import structure, unstructure
from asyncassist.models import (
    Assistant,
    AssistantDeleted,
    Message,
    MessageDeleted,
    Page,
    Run,
    RunStep,
    Thread,
    ThreadDeleted,
)
from asyncassist.server import errors
from asyncassist.server.bodies import page_query
from asyncassist.server.engine import EngineClosed
from asyncassist.server.states import IllegalTransition
from asyncassist.server.store.base import ParentMissing, ThreadBusy
from asyncassist.server.streaming import EventStream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from asyncassist.server.engine import Engine
    from asyncassist.server.store.base import Store

__all__ = ["Body", "Operations"]

Body: TypeAlias = "dict[str, Any]"
Query: TypeAlias = "Mapping[str, str]"

_R = TypeVar("_R", Assistant, Thread, Message, Run, RunStep)
_M = TypeVar("_M", Message, Run)

_KINDS: dict[type[object], str] = {
    Assistant: "assistant",
    Thread: "thread",
    Message: "message",
    Run: "run",
    RunStep: "run step",
}

_ASSISTANT: Body = {
    "object": "assistant",
    "name": None,
    "description": None,
    "instructions": None,
    "tools": [],
    "tool_resources": {},
    "metadata": {},
    "temperature": 1.0,
    "top_p": 1.0,
    "response_format": "auto",
}
_THREAD: Body = {"object": "thread", "tool_resources": {}, "metadata": {}}
_MESSAGE: Body = {
    "object": "thread.message",
    "status": "completed",
    "incomplete_details": None,
    "incomplete_at": None,
    "assistant_id": None,
    "run_id": None,
    "attachments": [],
    "metadata": {},
}
_RUN: Body = {
    "object": "thread.run",
    "status": "queued",
    "required_action": None,
    "last_error": None,
    "started_at": None,
    "cancelled_at": None,
    "failed_at": None,
    "completed_at": None,
    "incomplete_details": None,
    "metadata": {},
    "usage": None,
    "max_prompt_tokens": None,
    "max_completion_tokens": None,
    "truncation_strategy": {"type": "auto", "last_messages": None},
    "tool_choice": "auto",
    "parallel_tool_calls": True,
}
#: What a run takes over from its assistant unless it is given its own.
_FROM_ASSISTANT = ("model", "instructions", "tools", "temperature", "top_p", "response_format", "reasoning_effort")
#: Fields of the bodies that make a run which say what is to be done, not what the run is.
_NOT_OF_THE_RUN = frozenset({"additional_instructions", "additional_messages", "thread", "stream"})


class Operations:
    """What the server does, without HTTP. Errors are ``ApiError``.

    Args:
        store: where the objects are kept.
        engine: what drives the runs.
        clock: gives the time in Unix seconds.
        new_id: makes an id that starts with a prefix.
        run_seconds: how long a run may take before it expires.
    """

    def __init__(
        self,
        store: Store,
        engine: Engine,
        *,
        clock: Callable[[], float],
        new_id: Callable[[str], str],
        run_seconds: float,
    ) -> None:
        self._store = store
        self._engine = engine
        self._clock = clock
        self._new_id = new_id
        self._run_seconds = run_seconds

    # Assistants

    async def create_assistant(self, body: Body) -> Assistant:
        assistant = structure(_ASSISTANT | self._born("asst_") | _given(body), Assistant)
        await self._store.add(assistant)
        return assistant

    async def get_assistant(self, assistant_id: str) -> Assistant:
        return await self._get(Assistant, assistant_id)

    async def modify_assistant(self, assistant_id: str, body: Body) -> Assistant:
        return await self._modify(Assistant, assistant_id, body, _ASSISTANT)

    async def delete_assistant(self, assistant_id: str) -> AssistantDeleted:
        if not await self._store.delete(Assistant, assistant_id):
            raise _not_found(Assistant, assistant_id)
        return AssistantDeleted(id=assistant_id, deleted=True)

    async def list_assistants(self, query: Query) -> Page[Assistant]:
        return _answered(await self._store.page(Assistant, page_query(query)))

    # Threads

    async def create_thread(self, body: Body) -> Thread:
        thread = self._new_thread(body)
        await self._store.add(thread, *self._new_messages(thread.id, body.get("messages")))
        return thread

    async def get_thread(self, thread_id: str) -> Thread:
        return await self._get(Thread, thread_id)

    async def modify_thread(self, thread_id: str, body: Body) -> Thread:
        return await self._modify(Thread, thread_id, body, _THREAD)

    async def delete_thread(self, thread_id: str) -> ThreadDeleted:
        run = await self._store.active_run(thread_id)
        if not await self._store.delete(Thread, thread_id):
            raise _not_found(Thread, thread_id)
        if run is not None:
            self._engine.forget(run.id)
        return ThreadDeleted(id=thread_id, deleted=True)

    async def list_threads(self, query: Query) -> Page[Thread]:
        """List all threads. Not among the 23 operations, but some servers and clients have it."""
        return _answered(await self._store.page(Thread, page_query(query)))

    # Messages

    async def create_message(self, thread_id: str, body: Body) -> Message:
        message = self._new_message(thread_id, body)
        try:
            await self._store.add(message)
        except ThreadBusy as error:
            raise errors.locked_thread(thread_id, error.run_id) from None
        except ParentMissing:
            raise _not_found(Thread, thread_id) from None
        return message

    async def get_message(self, thread_id: str, message_id: str) -> Message:
        return self._engine.with_text_so_far(await self._get_in(thread_id, Message, message_id))

    async def modify_message(self, thread_id: str, message_id: str, body: Body) -> Message:
        await self.get_message(thread_id, message_id)
        return self._engine.with_text_so_far(await self._modify(Message, message_id, body, _MESSAGE))

    async def delete_message(self, thread_id: str, message_id: str) -> MessageDeleted:
        await self.get_message(thread_id, message_id)
        await self._store.delete(Message, message_id)
        return MessageDeleted(id=message_id, deleted=True)

    async def list_messages(self, thread_id: str, query: Query) -> Page[Message]:
        await self._get(Thread, thread_id)
        within = thread_id
        if run_id := query.get("run_id"):
            run = await self._store.get(Run, run_id)
            if run is None or run.thread_id != thread_id:
                page_query(query)
                return _answered(Page(has_more=False))
            within = run_id
        page = await self._store.page(Message, page_query(query), within=within)
        return _answered(evolve(page, data=tuple(map(self._engine.with_text_so_far, page.data))))

    # Runs

    async def create_run(self, thread_id: str, body: Body) -> Run | EventStream:
        await self._get(Thread, thread_id)
        run = self._new_run(thread_id, await self._assistant_of(body), body)
        messages = self._new_messages(thread_id, body.get("additional_messages"))
        return await self._submit(body, run, *messages)

    async def create_thread_and_run(self, body: Body) -> Run | EventStream:
        assistant = await self._assistant_of(body)
        thread_body: Body = body.get("thread") or {}
        thread = self._new_thread(thread_body)
        run = self._new_run(thread.id, assistant, body)
        return await self._submit(body, run, thread, *self._new_messages(thread.id, thread_body.get("messages")))

    async def get_run(self, thread_id: str, run_id: str) -> Run:
        return await self._get_in(thread_id, Run, run_id)

    async def modify_run(self, thread_id: str, run_id: str, body: Body) -> Run:
        await self.get_run(thread_id, run_id)
        return await self._modify(Run, run_id, body, _RUN)

    async def list_runs(self, thread_id: str, query: Query) -> Page[Run]:
        await self._get(Thread, thread_id)
        return _answered(await self._store.page(Run, page_query(query), within=thread_id))

    async def cancel_run(self, thread_id: str, run_id: str) -> Run:
        await self.get_run(thread_id, run_id)
        try:
            run = await self._engine.cancel(run_id)
        except IllegalTransition as error:
            raise errors.not_cancellable(error.run.status) from None
        except EngineClosed:
            raise errors.not_running() from None
        return _found(run, Run, run_id)

    async def submit_tool_outputs_to_run(self, thread_id: str, run_id: str, body: Body) -> Run | EventStream:
        await self.get_run(thread_id, run_id)
        match = partial(_match_outputs, given=body["tool_outputs"])
        stream = _stream_for(body)
        try:
            run = await self._engine.accept_outputs(run_id, match, stream=stream)
        except IllegalTransition as error:
            raise errors.outputs_not_wanted(error.run.status) from None
        except EngineClosed:
            raise errors.not_running() from None
        run = _found(run, Run, run_id)
        return stream or run

    # Run steps

    async def get_run_step(self, thread_id: str, run_id: str, step_id: str) -> RunStep:
        await self.get_run(thread_id, run_id)
        step = await self._store.get(RunStep, step_id)
        if step is None or step.run_id != run_id:
            raise _not_found(RunStep, step_id)
        return step

    async def list_run_steps(self, thread_id: str, run_id: str, query: Query) -> Page[RunStep]:
        await self.get_run(thread_id, run_id)
        return _answered(await self._store.page(RunStep, page_query(query), within=run_id))

    # What several of them need

    async def _get(self, kind: type[_R], id: str) -> _R:
        return _found(await self._store.get(kind, id), kind, id)

    async def _get_in(self, thread_id: str, kind: type[_M], id: str) -> _M:
        await self._get(Thread, thread_id)
        record = await self._store.get(kind, id)
        if record is None or record.thread_id != thread_id:
            raise _not_found(kind, id)
        return record

    async def _modify(self, kind: type[_R], id: str, body: Body, defaults: Body) -> _R:
        changes = {name: defaults.get(name) if value is None else value for name, value in body.items()}

        def change(record: _R) -> _R:
            return structure(cast("Body", unstructure(record)) | changes, kind)

        return _found(await self._store.update(kind, id, change), kind, id)

    def _born(self, prefix: str) -> Body:
        return {"id": self._new_id(prefix), "created_at": int(self._clock())}

    def _new_thread(self, body: Body) -> Thread:
        given = {name: value for name, value in _given(body).items() if name != "messages"}
        return structure(_THREAD | self._born("thread_") | given, Thread)

    def _new_messages(self, thread_id: str, bodies: list[Body] | None) -> list[Message]:
        return [self._new_message(thread_id, body) for body in bodies or ()]

    def _new_message(self, thread_id: str, body: Body) -> Message:
        born = self._born("msg_")
        fields = {"thread_id": thread_id, "completed_at": born["created_at"], "content": _content(body["content"])}
        return structure(_MESSAGE | born | _given(body) | fields, Message)

    async def _assistant_of(self, body: Body) -> Assistant:
        return await self._get(Assistant, body["assistant_id"])

    def _new_run(self, thread_id: str, assistant: Assistant, body: Body) -> Run:
        of_assistant = cast("Body", unstructure(assistant))
        inherited = {name: of_assistant[name] for name in _FROM_ASSISTANT if name in of_assistant}
        given = {name: value for name, value in _given(body).items() if name not in _NOT_OF_THE_RUN}
        fields: Body = _RUN | self._born("run_") | inherited | given
        fields["thread_id"] = thread_id
        fields["expires_at"] = math.ceil(self._clock() + self._run_seconds)
        # The API declares the instructions of a run a string, where those of an assistant may be null.
        parts = (fields["instructions"], body.get("additional_instructions"))
        fields["instructions"] = "\n".join([part for part in parts if part])
        return structure(fields, Run)

    async def _submit(self, body: Body, run: Run, *before: Thread | Message) -> Run | EventStream:
        stream = _stream_for(body)
        try:
            await self._engine.submit(run, *before, stream=stream)
        except ThreadBusy as error:
            raise errors.active_run(run.thread_id, error.run_id) from None
        except ParentMissing:
            raise _not_found(Thread, run.thread_id) from None
        except EngineClosed:
            raise errors.not_running() from None
        return stream or run


def _stream_for(body: Body) -> EventStream | None:
    return EventStream() if body.get("stream") else None


def _answered(page: Page[_R]) -> Page[_R]:
    """A page as it is answered: the API declares its cursors strings, so an empty one has empty ones."""
    return page if page.data else evolve(page, first_id="", last_id="")


def _found(record: _R | None, kind: type[_R], id: str) -> _R:
    if record is None:
        raise _not_found(kind, id)
    return record


def _not_found(kind: type[object], id: str) -> errors.ApiError:
    return errors.not_found(_KINDS[kind], id)


def _given(body: Body) -> Body:
    """The fields of a body that say something. In a new object null means the default."""
    return {name: value for name, value in body.items() if value is not None}


def _content(content: str | list[Body]) -> list[Body]:
    """A message's content as it is answered: text is an object there, where it was sent as a string."""
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    return [
        {"type": "text", "text": {"value": part["text"], "annotations": []}} if part["type"] == "text" else part
        for part in content
    ]


def _match_outputs(run: Run, given: list[Body]) -> dict[str, str]:
    """Find the call each output answers. One without an id counts where only one call waits.

    Raises:
        ApiError: the run does not wait for these, or waits for more.
    """
    waiting = [call.id for call in run.required_tool_calls]
    outputs: dict[str, str] = {}
    for index, output in enumerate(given):
        call_id: str | None = output.get("tool_call_id")
        if call_id is None:
            if len(waiting) != 1:
                raise errors.missing_parameter(f"tool_outputs[{index}].tool_call_id")
            call_id = waiting[0]
        outputs[call_id] = output.get("output") or ""
    if outputs.keys() != set(waiting):
        raise errors.outputs_mismatch(waiting, list(outputs))
    return outputs
