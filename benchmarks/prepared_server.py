"""The server on a port, with threads that are there already: ``python -m benchmarks.prepared_server``.

Otherwise as `asyncassist serve` runs it.
"""

from __future__ import annotations

import argparse
import hashlib
from typing import TYPE_CHECKING, cast

import anyio
from attrs import evolve

from asyncassist._wire.converter import structure
from asyncassist._wire.unstructure import unstructure
from asyncassist.models import Assistant, Message, Thread
from asyncassist.server import LocalServer, MemoryStore, OfflineBackend, SQLiteStore
from asyncassist.server.local import random_id

if TYPE_CHECKING:
    from asyncassist.server import Store

ASSISTANT = "asst_benchmarks"
TEXT = "What is the weather like in Paris today, and will it rain tomorrow?"
_AT_ONCE = 2_000


def thread_id(number: int) -> str:
    """Give the id of a thread; like other ids, they are in no order."""
    return "thread_" + hashlib.sha256(b"%d" % number).hexdigest()[:24]


async def fill(server: LocalServer, store: Store, threads: int, messages: int) -> None:
    """Put an assistant and threads into the store, each with so many messages, made like those the API makes."""
    async with server.client() as client:
        assistant: Assistant = await client.create_assistant(model="any")
        thread: Thread = await client.create_thread()
        message: Message = await client.create_message(thread.id, role="user", content=TEXT)
    await store.add(evolve(assistant, id=ASSISTANT))
    await store.delete(Assistant, assistant.id)
    await store.delete(Thread, thread.id)
    written = cast("dict[str, object]", unstructure(message))
    records: list[Thread | Message] = []
    for number in range(threads):
        id = thread_id(number)
        records.append(evolve(thread, id=id))
        for place in range(messages):
            text = {"type": "text", "text": {"value": f"{TEXT} ({place})", "annotations": []}}
            own = {"id": random_id("msg_"), "thread_id": id, "content": [text]}  # nothing is shared, as in life
            records.append(structure(written | own, Message))
            if len(records) >= _AT_ONCE:
                await store.add(*records)
                records.clear()
    await store.add(*records)


async def _serve(options: argparse.Namespace) -> None:
    store = MemoryStore() if options.db is None else SQLiteStore(options.db)
    async with LocalServer(OfflineBackend(pause=options.pause), store) as server:
        await fill(server, store, options.threads, options.messages)
        if options.only_fill:
            return
        async with server.on_port() as url:
            print(url, flush=True)
            await anyio.sleep_forever()


def main() -> None:
    """Fill a store and serve it until the process is ended."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prepared_server", description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--messages", type=int, default=0, help="messages in each thread")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two words of an answer")
    parser.add_argument("--db", help="keep everything in this file")
    parser.add_argument("--only-fill", action="store_true", help="end when the file is there")
    anyio.run(_serve, parser.parse_args())


if __name__ == "__main__":
    main()
