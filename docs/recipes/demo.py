"""Lets the recipes be tried without a server of one's own."""

import logging
import os
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager

from anyio.from_thread import start_blocking_portal

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
