"""The clients that are compared, behind the few calls the scenarios make.

Each class imports its library when it is made, so that a measuring process holds one client only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = "sk-benchmarks"

OURS = "asyncassist"
OURS_AIOHTTP = "asyncassist[aiohttp]"
SDK = "openai"
SDK_100 = "openai, 100 connections"
HTTPX = "httpx, JSON only"


class Client(Protocol):
    """What the scenarios ask of a client."""

    @property
    def api(self) -> Any:
        """The library's own client."""

    @property
    def errors(self) -> type[Exception]:
        """The root of the errors the library promises."""

    async def get_run(self, thread_id: str, run_id: str) -> object:
        """Get a run."""

    async def create_message(self, thread_id: str, text: str) -> object:
        """Create a message."""

    def messages(self, thread_id: str) -> AsyncIterator[object]:
        """Iterate over all messages of a thread, in pages of 100."""

    async def wait_for_run(self, thread_id: str, run_id: str) -> object:
        """Poll a run until it ends, at the pace the server's header asks for."""

    async def aclose(self) -> None:
        """Close the client."""


class Ours:
    """asyncassist."""

    def __init__(self, base_url: str, **options: Any) -> None:
        from asyncassist import AsyncAssistError, AsyncClient

        self.errors = AsyncAssistError
        self._client = self.api = client = AsyncClient(api_key=KEY, base_url=base_url, **options)
        self.get_run = client.get_run
        self.aclose = client.aclose

    async def create_message(self, thread_id: str, text: str) -> object:
        """Create a message."""
        return await self._client.create_message(thread_id, role="user", content=text)

    def messages(self, thread_id: str) -> AsyncIterator[object]:
        """Iterate over all messages of a thread, in pages of 100."""
        return aiter(self._client.list_messages(thread_id, limit=100))

    async def wait_for_run(self, thread_id: str, run_id: str) -> object:
        """Poll a run until it ends, at the pace the server's header asks for."""
        return await self._client.wait_for_run(thread_id, run_id, on_cancel="leave")


class OpenAI:
    """The OpenAI SDK."""

    def __init__(self, base_url: str, *, max_connections: int | None = None, **options: Any) -> None:
        from openai import AsyncOpenAI, DefaultAsyncHttpxClient, OpenAIError

        if max_connections is not None:
            import httpx2

            limits = httpx2.Limits(max_connections=max_connections, max_keepalive_connections=max_connections)
            options["http_client"] = DefaultAsyncHttpxClient(limits=limits)
        self.errors = OpenAIError
        self._client = self.api = client = AsyncOpenAI(api_key=KEY, base_url=base_url, **options)
        self._threads = client.beta.threads
        self._runs = client.beta.threads.runs
        self.aclose = client.close

    async def get_run(self, thread_id: str, run_id: str) -> object:
        """Get a run."""
        return await self._runs.retrieve(run_id, thread_id=thread_id)

    async def create_message(self, thread_id: str, text: str) -> object:
        """Create a message."""
        return await self._threads.messages.create(thread_id, role="user", content=text)

    def messages(self, thread_id: str) -> AsyncIterator[object]:
        """Iterate over all messages of a thread, in pages of 100."""
        return aiter(self._threads.messages.list(thread_id, limit=100))

    async def wait_for_run(self, thread_id: str, run_id: str) -> object:
        """Poll a run until it ends, at the pace the server's header asks for."""
        return await self._runs.poll(run_id, thread_id=thread_id)


class Httpx:
    """httpx by itself: the same request, the answer parsed as JSON and left untyped."""

    def __init__(self, base_url: str) -> None:
        import httpx

        self.errors = httpx.HTTPError
        headers = {"Authorization": f"Bearer {KEY}", "OpenAI-Beta": "assistants=v2"}
        self._client = self.api = httpx.AsyncClient(base_url=base_url, headers=headers, timeout=600.0)
        self.aclose = self._client.aclose

    async def get_run(self, thread_id: str, run_id: str) -> object:
        """Get a run."""
        response = await self._client.get(f"/threads/{thread_id}/runs/{run_id}")
        response.raise_for_status()
        return response.json()

    async def create_message(self, thread_id: str, text: str) -> object:
        """Create a message."""
        response = await self._client.post(f"/threads/{thread_id}/messages", json={"role": "user", "content": text})
        response.raise_for_status()
        return response.json()

    def messages(self, thread_id: str) -> AsyncIterator[object]:
        """Not part of any comparison."""
        raise NotImplementedError

    async def wait_for_run(self, thread_id: str, run_id: str) -> object:
        """Not part of any comparison."""
        raise NotImplementedError


def connect(name: str, base_url: str, **options: Any) -> Client:
    """Make the client called ``name``, with its own defaults except for ``options``."""
    if name == OURS:
        return Ours(base_url, **options)
    if name == OURS_AIOHTTP:
        return Ours(base_url, transport="aiohttp", **options)
    if name == SDK:
        return OpenAI(base_url, **options)
    if name == SDK_100:
        return OpenAI(base_url, max_connections=100, **options)
    return Httpx(base_url)
