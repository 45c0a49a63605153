"""``serve``: the server on a port, in this process."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Literal

import anyio
import click

from asyncassist import __version__
from asyncassist.cli.request_log import RequestLog
from asyncassist.cli.running import drop_output
from asyncassist.errors import AsyncAssistError, UsageError
from asyncassist.server import LocalServer, MemoryStore, OfflineBackend, StoreError
from asyncassist.server.addresses import Address

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
    from types import FrameType

    from asyncassist.server import Backend, Store

__all__ = ["prepare"]

_KEYS = "ASYNCASSIST_SERVER_KEYS"
_MOST_FILES = 65_536


def prepare(
    *,
    host: str,
    port: int,
    db: str | None,
    sync: Literal["normal", "full"] | None,
    backend: str | None,
    backend_key_env: str | None,
    backend_key: str | None,
    model_map: Sequence[str],
    script: str | None,
    api_key: Sequence[str],
    run_seconds: float,
    strict: bool,
    log_level: str,
) -> Callable[[], Awaitable[None]]:
    """Check the options of the command, and give the function that serves.

    Raises:
        click.UsageError: they cannot be meant.
        UsageError: the address or the script cannot be had.
    """
    keys = _server_keys(api_key)
    address = Address.of(host, port)
    if not keys and not address.is_loopback:
        raise click.UsageError(
            f"{host} can be reached from other machines, and without a key everybody would be let in: "
            f"give --api-key KEY, or set {_KEYS}"
        )
    if sync is not None and db is None:
        raise click.UsageError("--sync is about the file of --db")
    kept: Store = MemoryStore()
    store_line = "in memory, until this program ends (--db FILE keeps it)"
    if db is not None:
        from asyncassist.server import SQLiteStore

        kept = SQLiteStore(db, sync=sync or "normal")
        store_line = f"{db} (sync {sync or 'normal'})"
    answering, backend_line = _backend(backend, script, _backend_key(backend_key, backend_key_env), model_map)
    server = LocalServer(answering, kept, api_keys=keys or None, run_seconds=run_seconds, strict=strict)
    _set_up_logging(log_level, server)
    lines = {
        "store": store_line,
        "backend": backend_line,
        "key": f"{len(keys)} let in" if keys else "none is asked for",
    }
    return partial(_serve, server, address, lines, has_keys=bool(keys))


async def _serve(server: LocalServer, address: Address, lines: Mapping[str, str], *, has_keys: bool) -> None:
    # The port first: where it cannot be had, nothing has been done yet, and no run of the store goes on.
    _take_many_connections()
    with _signals() as stop, closing(address.listen()) as listening:
        try:
            async with server, server.on_port(listening) as url:
                going_on = server.active_runs
                others = ", and at its other addresses" if address.is_any else ""
                _say(f"asyncassist {__version__} serves the Assistants API at {url}{others}")
                for name, value in lines.items():
                    _say(f"  {name:<9}{value}")
                if going_on:
                    _say(f"  {going_on} run{'s' * (going_on != 1)} from before go{'es' * (going_on == 1)} on")
                _say("Code that uses the OpenAI SDK comes here with")
                _say(f"  OPENAI_BASE_URL={url} OPENAI_API_KEY={'<a key>' if has_keys else 'any'}")
                _say("Ctrl-C ends it.")
                await stop.wait()
                _say("Ending. A second signal ends it at once.")
        except StoreError as error:
            raise AsyncAssistError(str(error)) from error


@contextmanager
def _signals() -> Generator[anyio.Event, None, None]:
    """Set the event at the first SIGINT or SIGTERM. The second has its usual effect: it ends the process."""
    loop = asyncio.get_running_loop()
    stop = anyio.Event()
    # Not the loop's own handlers, which Windows has not, and which do not come where the loop is held up.
    numbers = (signal.SIGINT, signal.SIGTERM)

    def handle(number: int, frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)
        loop.call_soon_threadsafe(stop.set)

    before = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _server_keys(given: Sequence[str]) -> list[str]:
    """The keys that are let in: those on the command line, else those of the environment."""
    keys = list(given) or [key for key in re.split(r"[\s,]+", os.environ.get(_KEYS, "")) if key]
    if not all(re.fullmatch(r"[!-~]+", key) for key in keys):
        raise click.UsageError("an API key is made of letters, digits and signs of ASCII, without spaces")
    return keys


def _backend_key(key: str | None, variable: str | None) -> str | None:
    if variable is None:
        return key
    if key is not None:
        raise click.UsageError("--backend-key and --backend-key-env are two ways to say one thing")
    found = os.environ.get(variable)
    if not found:
        raise click.UsageError(f"--backend-key-env: the environment variable {variable} is not set")
    return found


def _backend(
    url: str | None, script: str | None, key: str | None, model_map: Sequence[str]
) -> tuple[Backend | None, str]:
    """The backend, and the line that tells which it is."""
    if url is None:
        if key is not None or model_map:
            raise click.UsageError("--backend-key, --backend-key-env and --model-map are about the URL of --backend")
        if script is None:
            return None, "offline: no model is asked (--backend URL asks one)"
        from asyncassist.server import load_script

        rules = load_script(script)
        return OfflineBackend(rules), f"offline, {script}: {len(rules)} rule{'s' * (len(rules) != 1)}"
    if script is not None:
        raise click.UsageError("--script is for the offline backend: leave --backend or --script out")
    models = _models(model_map)
    # What is not needed is not imported: it would be a quarter of the time a server takes to start.
    from asyncassist.server import ChatCompletionsBackend

    try:
        return ChatCompletionsBackend(url, api_key=key, model_map=models), url
    except UsageError as error:
        raise UsageError(f"--backend: {str(error).replace('base_url', 'the URL')}") from None


def _models(pairs: Sequence[str]) -> dict[str, str]:
    models: dict[str, str] = {}
    for pair in pairs:
        asked, _, given = pair.partition("=")
        if not asked or not given:
            raise click.UsageError(f"--model-map: {pair!r} is not FROM=TO")
        if asked in models:
            raise click.UsageError(f"--model-map: {asked} is there twice")
        models[asked] = given
    return models


def _set_up_logging(level: str, server: LocalServer) -> None:
    # This process is the server's own, and so is its logging; an embedded server leaves it alone.
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("asyncassist").setLevel(level.upper())
    if level in ("debug", "info"):
        server.app.add_middleware(RequestLog)


def _take_many_connections() -> None:
    """Ask the system for as many open files as it allows: it gives a thousand, and each connection is one."""
    with suppress(ImportError, OSError, ValueError):  # Windows has no such limit
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def _say(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:
        drop_output()  # the server is there for others than who started it
