"""The events of a streamed run, as the benchmark server sends them: the same for every client."""

from __future__ import annotations

import random

from . import payloads

THREAD = "thread_stream00000000000000000"
RUN = "run_" + 24 * "#"
"""Stands for the run's id in prepared events, and is as long as one."""
STEP = "step_bench000000000000000000"
MESSAGE = "msg_bench00000000000000000000"
OPENING_EVENTS = 7
CLOSING_EVENTS = 4


def event(name: str, data: dict[str, object]) -> bytes:
    """Write one server-sent event."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), payloads.encode(data))


def opening() -> list[bytes]:
    """Give the events before the first piece of text."""
    queued, running = (payloads.run(RUN, THREAD, status) for status in ("queued", "in_progress"))
    step, message = _step("in_progress"), _message("")
    return [
        event("thread.run.created", queued),
        event("thread.run.queued", queued),
        event("thread.run.in_progress", running),
        event("thread.run.step.created", step),
        event("thread.run.step.in_progress", step),
        event("thread.message.created", message),
        event("thread.message.in_progress", message),
    ]


def closing(text: str) -> list[bytes]:
    """Give the events after the last piece of text."""
    return [
        event("thread.message.completed", _message(text)),
        event("thread.run.step.completed", _step("completed")),
        event("thread.run.completed", payloads.run(RUN, THREAD, "completed")),
        b"event: done\ndata: [DONE]\n\n",
    ]


def words(count: int) -> list[str]:
    """Give ``count`` pieces of text as a model makes them: a word and the blank before it."""
    chance = random.Random(5)
    return [f" {word}" for word in chance.choices(payloads.WORDS, k=count)]


def delta(text: str) -> bytes:
    """Give the event of one piece of text."""
    content = {"index": 0, "type": "text", "text": {"value": text}}
    data: dict[str, object] = {"id": MESSAGE, "object": "thread.message.delta", "delta": {"content": [content]}}
    return event("thread.message.delta", data)


def _step(status: str) -> dict[str, object]:
    ended = status == "completed"
    return {
        "id": STEP,
        "object": "thread.run.step",
        "created_at": 1795341960,
        "run_id": RUN,
        "assistant_id": "asst_bench0000000000000000000",
        "thread_id": THREAD,
        "type": "message_creation",
        "status": status,
        "cancelled_at": None,
        "completed_at": 1795341964 if ended else None,
        "expires_at": 1795342559,
        "failed_at": None,
        "last_error": None,
        "step_details": {"type": "message_creation", "message_creation": {"message_id": MESSAGE}},
        "usage": {"prompt_tokens": 345, "completion_tokens": 111, "total_tokens": 456} if ended else None,
    }


def _message(text: str) -> dict[str, object]:
    return payloads.message(1, text) | {
        "id": MESSAGE,
        "thread_id": THREAD,
        "run_id": RUN,
        "status": "completed" if text else "in_progress",
        "completed_at": 1795341964 if text else None,
        "content": [{"type": "text", "text": {"value": text, "annotations": []}}] if text else [],
    }
