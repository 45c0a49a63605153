"""A server of the Assistants API to embed: in a program, in its tests, or behind a port.

::

    async with LocalServer() as server:
        async with server.client() as client:
            assistant = await client.create_assistant(model="any")

It needs the extra: ``pip install 'asyncassist[server]'``. Names load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncassist.server.backends.base import Backend, BackendError, FunctionCall, Reply, ToolRound, Turn
    from asyncassist.server.backends.chat import ChatCompletionsBackend
    from asyncassist.server.backends.offline import OfflineBackend
    from asyncassist.server.backends.script import Failure, Rule
    from asyncassist.server.backends.script_file import load_script
    from asyncassist.server.local import LocalServer
    from asyncassist.server.store.base import (
        Edit,
        PageQuery,
        ParentMissing,
        Store,
        StoreError,
        StoreFailed,
        ThreadBusy,
    )
    from asyncassist.server.store.memory import MemoryStore
    from asyncassist.server.store.sqlite import SQLiteStore
    from asyncassist.server.transport import LocalTransport

__all__ = [
    "Backend",
    "BackendError",
    "ChatCompletionsBackend",
    "Edit",
    "Failure",
    "FunctionCall",
    "LocalServer",
    "LocalTransport",
    "MemoryStore",
    "OfflineBackend",
    "PageQuery",
    "ParentMissing",
    "Reply",
    "Rule",
    "SQLiteStore",
    "Store",
    "StoreError",
    "StoreFailed",
    "ThreadBusy",
    "ToolRound",
    "Turn",
    "load_script",
]

_HOMES = {
    "Backend": "backends.base",
    "BackendError": "backends.base",
    "ChatCompletionsBackend": "backends.chat",
    "Edit": "store.base",
    "Failure": "backends.script",
    "FunctionCall": "backends.base",
    "LocalServer": "local",
    "LocalTransport": "transport",
    "MemoryStore": "store.memory",
    "OfflineBackend": "backends.offline",
    "PageQuery": "store.base",
    "ParentMissing": "store.base",
    "Reply": "backends.base",
    "Rule": "backends.script",
    "SQLiteStore": "store.sqlite",
    "Store": "store.base",
    "StoreError": "store.base",
    "StoreFailed": "store.base",
    "ThreadBusy": "store.base",
    "ToolRound": "backends.base",
    "Turn": "backends.base",
    "load_script": "backends.script_file",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value: object = getattr(import_module(f"{__name__}.{home}"), name)
    except ModuleNotFoundError as error:
        if error.name in _EXTRA:
            raise ImportError(f"{__name__}.{name} needs {error.name}: pip install 'asyncassist[server]'") from error
        raise
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


_EXTRA = frozenset({"starlette", "uvicorn", "yaml"})
