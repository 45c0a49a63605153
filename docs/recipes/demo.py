"""Lets the recipes be tried without a server of one's own."""

import logging
import math
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from threading import Thread

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

from asyncassist.server import LocalServer, OfflineBackend


@asynccontextmanager
async def serving() -> AsyncGenerator[str, None]:
    async with LocalServer(OfflineBackend(pause=0.2)) as server, server.on_port() as url:
        yield url


@contextmanager
def demo_server() -> Generator[None, None, None]:
    """Serve the API beside what runs in the block, unless the environment names a server. No model is asked."""
    if "ASYNCASSIST_BASE_URL" in os.environ or "OPENAI_BASE_URL" in os.environ:
        yield
        return
    # It serves by uvicorn, as an app may, whose log its requests would fill.
    logging.getLogger("uvicorn.access").addFilter(lambda record: "/v1/" not in record.getMessage())
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(serving()) as url:
        os.environ.update(ASYNCASSIST_BASE_URL=url, ASYNCASSIST_API_KEY="demo")
        yield


def talk_here(talk: Callable[[AsyncIterable[str]], Awaitable[None]]) -> None:
    """Give the lines that are typed to what answers them, until Ctrl-D or Ctrl-C."""

    async def main() -> None:
        send, lines = anyio.create_memory_object_stream[str](math.inf)

        def read() -> None:
            # Not sys.stdin: the interpreter closes that at its exit, which must not wait for one more line.
            with open(0, "rb", buffering=0, closefd=False) as keyboard:
                for line in keyboard:
                    portal.call(send.send, line.decode(errors="replace"))
            portal.call(send.aclose)

        async with BlockingPortal() as portal, send, lines:
            Thread(target=read, daemon=True).start()  # nobody waits for it
            await talk(lines)

    if sys.stdin.isatty():
        print("Type, for example, anna: Hello", flush=True)
    with suppress(KeyboardInterrupt):
        anyio.run(main)
