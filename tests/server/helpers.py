"""What the tests of the server share: a clock to turn by hand, backends to steer, and short words for requests."""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import anyio
from anyio.lowlevel import checkpoint
from attrs import define, field

from asyncassist.server import Reply, Turn

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

Json = dict[str, Any]

NOON = 1_800_000_000


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = float(NOON)
        self._ticks: list[anyio.Event] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        wake_at = self.now + seconds
        await checkpoint()
        while self.now < wake_at:
            tick = anyio.Event()
            self._ticks.append(tick)
            await tick.wait()

    async def advance(self, seconds: float) -> None:
        await settle()
        self.now += seconds
        ticks, self._ticks = self._ticks, []
        for tick in ticks:
            tick.set()
        await settle()


async def settle() -> None:
    """Let every task go on until it waits for something."""
    for _ in range(20):
        await checkpoint()


def counted_ids() -> Callable[[str], str]:
    """Ids that can be foretold: ``run_1``, ``run_2``, ``msg_1``..."""
    counters: defaultdict[str, itertools.count[int]] = defaultdict(lambda: itertools.count(1))
    return lambda prefix: f"{prefix}{next(counters[prefix])}"


@define
class SteeredBackend:
    """Answers when it is told to, or raises what it was given."""

    reply: Reply = field(factory=lambda: Reply("steered"))
    error: Exception | None = None
    may_answer: anyio.Event = field(factory=lambda: anyio.Event())
    turns: list[Turn] = field(factory=list[Turn])
    cancelled: int = 0

    async def answer(self, turn: Turn) -> Reply:
        self.turns.append(turn)
        try:
            await self.may_answer.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return self.reply


@define
class TypingBackend:
    """Emits a piece whenever it is told to, then replies, or raises what it was given."""

    pieces: tuple[str, ...] = ("Hello", ", ", "world")
    reply: Reply = field(factory=lambda: Reply())
    error: Exception | None = None
    cancelled: int = 0
    _may_go_on: anyio.Semaphore = field(factory=lambda: anyio.Semaphore(0), init=False)

    def go_on(self, times: int = 1) -> None:
        """Let it emit so many pieces; after the last, once more for the reply."""
        for _ in range(times):
            self._may_go_on.release()

    async def answer(self, turn: Turn) -> Reply:
        try:
            for piece in self.pieces:
                await self._may_go_on.acquire()
                await turn.emit(piece)
            await self._may_go_on.acquire()
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return self.reply


class Api:
    """The server's API over plain HTTP: each call gives the JSON of a 200 answer."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    async def get(self, path: str, **query: Any) -> Json:
        return self._ok(await self.http.get(path, params=query))

    async def post(self, path: str, body: object = None, **fields: Any) -> Json:
        return self._ok(await self.http.post(path, json=fields if body is None else body))

    async def delete(self, path: str) -> Json:
        return self._ok(await self.http.delete(path))

    async def refused(self, method: str, path: str, status: int = 400, **options: Any) -> Json:
        """The error object of an answer with an error status."""
        response = await self.http.request(method, path, **options)
        assert status == response.status_code, response.text
        assert list(response.json()) == ["error"]
        error: Json = response.json()["error"]
        assert {"message", "type", "param", "code"} == set(error)
        return error

    async def assistant(self, **fields: Any) -> str:
        assistant = await self.post("/assistants", {"model": "m", **fields})
        return str(assistant["id"])

    async def thread(self, *texts: str) -> str:
        messages = [{"role": "user", "content": text} for text in texts]
        thread = await self.post("/threads", {"messages": messages})
        return str(thread["id"])

    async def run(self, thread_id: str | None = None, **fields: Any) -> Json:
        """A new run, on a new thread with a new assistant unless they are given."""
        thread_id = thread_id or await self.thread("hello")
        if "assistant_id" not in fields:
            fields["assistant_id"] = await self.assistant()
        return await self.post(f"/threads/{thread_id}/runs", fields)

    async def until(self, run: Json, *statuses: str) -> Json:
        """The run as soon as it has one of the statuses."""
        seen = run
        for _ in range(1000):
            seen = await self.get(f"/threads/{run['thread_id']}/runs/{run['id']}")
            if seen["status"] in statuses:
                return seen
            await checkpoint()
        raise AssertionError(f"the run stayed {seen['status']}")

    @staticmethod
    def _ok(response: httpx.Response) -> Json:
        assert response.status_code == 200, response.text
        body: Json = response.json()
        return body
