"""The queue of turns, between tasks and between event loops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx
import pytest

from asyncassist import AsyncClient, UsageError
from asyncassist.conversation.queue import TurnQueue


@pytest.mark.anyio
async def test_turns_go_to_those_who_came_first() -> None:
    """Also when many that wait are cancelled at the moment the turn is given back."""
    queue = TurnQueue()
    got: list[int] = []
    scopes = [anyio.CancelScope() for _ in range(50)]

    async def take(number: int) -> None:
        with scopes[number]:
            slot = await queue.enter()
            got.append(number)
            queue.leave(slot)

    async with anyio.create_task_group() as group:
        slot = await queue.enter()
        for number in range(50):
            group.start_soon(take, number)
            await anyio.wait_all_tasks_blocked()
        queue.leave(slot)
        for scope in scopes[:25]:
            scope.cancel()

    assert got in ([*range(25, 50)], [0, *range(25, 50)])
    with anyio.fail_after(1):
        queue.leave(await queue.enter())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_turn_that_ended_with_its_event_loop_is_gone(backend: str) -> None:
    """The next event loop starts anew, and giving the old turn back changes nothing."""
    queue = TurnQueue()

    async def take(old: Any) -> Any:
        slot = await queue.enter()
        if old is not None:
            queue.leave(old)
            with pytest.raises(UsageError, match="leave its block first"):
                await queue.enter()
        return slot

    first = anyio.run(take, None, backend=backend)
    second = anyio.run(take, first, backend=backend)

    assert first is not second


def test_a_turn_of_another_event_loop_is_not_waited_for() -> None:
    """As long as that loop may go on, the turn is refused; when it has been given back, the other loop has it."""
    queue = TurnQueue()
    loops = [asyncio.new_event_loop() for _ in range(2)]
    try:
        slot = loops[0].run_until_complete(queue.enter())
        with pytest.raises(UsageError, match="another event loop"):
            loops[1].run_until_complete(queue.enter())
        queue.leave(slot)
        loops[1].run_until_complete(queue.enter())
    finally:
        for loop in loops:
            loop.close()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_conversation_goes_on_in_the_next_event_loop(backend: str) -> None:
    """A script that runs one event loop after the other keeps its conversation."""
    run = {"id": "run_1", "thread_id": "thread_1", "status": "completed"}
    message = {"id": "msg_1", "thread_id": "thread_1", "role": "assistant", "run_id": "run_1", "content": []}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/messages"):
            return httpx.Response(200, json={"object": "list", "data": [message], "has_more": False})
        return httpx.Response(200, json=run)

    client = AsyncClient(api_key="key", base_url="http://test", transport=httpx.MockTransport(answer))
    talk = client.conversation("thread_1", assistant_id="asst_1")

    def ask() -> Any:
        return anyio.run(_call, lambda: talk.ask("Hello"), backend=backend)

    assert [ask().run.id, ask().run.id] == ["run_1", "run_1"]
    anyio.run(client.aclose, backend=backend)


async def _call(function: Callable[[], Awaitable[Any]]) -> Any:
    return await function()
