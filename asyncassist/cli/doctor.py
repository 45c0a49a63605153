"""``doctor``: what is configured, and what the server there is like."""

from __future__ import annotations

import platform
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from importlib import metadata
from statistics import median
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies

import anyio
import httpx

from asyncassist import AsyncClient, RetryPolicy, Timeout, __version__
from asyncassist._transport.environment import proxy_for
from asyncassist._transport.settings import BaseUrl, from_environment
from asyncassist.cli.connecting import BASE_URL_VARIABLES, KEY_VARIABLES, client_options
from asyncassist.cli.dialects import RETIRED, Answer, dialect_of, verdict_on
from asyncassist.cli.output import check_output, say, say_json
from asyncassist.cli.running import hint_for
from asyncassist.errors import APIConnectionError, APIStatusError, AsyncAssistError, DecodeError

if TYPE_CHECKING:
    from asyncassist.cli.connecting import Connection

__all__ = ["prepare"]

_EXTRAS = {
    "cli": ("click", "rich"),
    "server": ("click", "httptools", "pyyaml", "starlette", "uvicorn"),
    "aiohttp": ("aiohttp",),
}
#: Seconds a request may take, unless --timeout says otherwise.
_SECONDS = 15.0
_LOOKS = 3
# Ids in the form of the API's, which nobody has been given.
_ASSISTANT, _THREAD, _MESSAGE, _RUN, _STEP = (
    f"{prefix}_asyncassistdoctor000000" for prefix in ("asst", "thread", "msg", "run", "step")
)


def prepare(*, connection: Connection, as_json: bool) -> Callable[[], Awaitable[int]]:
    """Give the function that looks, and prints what it has found."""
    check_output()
    return partial(_work, connection, as_json=as_json)


async def _work(connection: Connection, *, as_json: bool) -> int:
    found = _settings(connection)
    hint = ""
    try:
        options = client_options(connection)
        async with _client(options) as client, _client(options, "/asyncassist-doctor") as astray:
            findings, hint = await _ask(client, astray, found["key"])
            found |= findings
    except AsyncAssistError as error:
        found |= {"problem": str(error)}
        hint = hint_for(error)
    is_usable = "problem" not in found
    found["is_usable"] = is_usable
    if as_json:
        say_json(found)
    else:
        _tell(found)
        if hint:
            say(f"\n{hint}")
    return 0 if is_usable else 1


# Settings.


def _settings(connection: Connection) -> dict[str, Any]:
    given = connection["base_url"] or None
    base_url = {"url": None, "source": None} if given is None else {"url": _without_user(given), "source": "--base-url"}
    for name in BASE_URL_VARIABLES:
        if base_url["url"] is None and (value := from_environment(name)) is not None:
            base_url = {"url": _without_user(value), "source": name}
    return {
        "asyncassist": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "platform": platform.platform(terse=True),
        "extras": {extra: {name: _version(name) for name in names} for extra, names in _EXTRAS.items()},
        "base_url": base_url,
        "key": _key_source(connection),
        "proxies": {name: _without_user(value) for name, value in sorted(getproxies().items())},
    }


def _key_source(connection: Connection) -> str | None:
    if connection["no_key"]:
        return "--no-key"
    if connection["api_key_env"] is not None:
        return connection["api_key_env"] if from_environment(connection["api_key_env"]) else None
    return next((name for name in KEY_VARIABLES if from_environment(name)), None)


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _without_user(url: str) -> str:
    """Return a URL as it may be shown: without a user name and password, and without what a query may hold."""
    return re.sub(r"//[^/?#]*@", "//...@", url).partition("?")[0]


# The server.


def _client(options: Mapping[str, Any], below: str = "") -> AsyncClient:
    """Make a client that asks once.

    Args:
        options: of the command's client.
        below: a path below the base URL.
    """
    base = BaseUrl(options["base_url"])
    settings: dict[str, Any] = {"timeout": Timeout(total=_SECONDS, attempt=_SECONDS), **options}
    settings["base_url"] = base.text + below
    return AsyncClient(retry=RetryPolicy(attempts=1), **settings)


async def _ask(client: AsyncClient, astray: AsyncClient, key: str | None) -> tuple[dict[str, Any], str]:
    """Ask what the server knows: what was found, and a hint.

    Args:
        client: as the command has it.
        astray: of a path that no server has.
        key: where the key comes from.
    """
    base = BaseUrl(client.base_url)
    proxy = proxy_for(base)
    found: dict[str, Any] = {"proxy": None if proxy is None else _without_user(proxy)}
    listing, seconds = await _look(client)
    if listing.status is None:
        return {**found, "problem": listing.message}, listing.hint
    raw = client.with_raw_response
    requests: dict[str, Callable[[], Awaitable[object]]] = {
        "get_assistant": lambda: raw.get_assistant(_ASSISTANT),
        "get_thread": lambda: raw.get_thread(_THREAD),
        "list_messages": lambda: raw.list_messages(_THREAD, limit=1),
        "get_message": lambda: raw.get_message(_THREAD, _MESSAGE),
        "list_runs": lambda: raw.list_runs(_THREAD, limit=1),
        "get_run": lambda: raw.get_run(_THREAD, _RUN),
        "list_run_steps": lambda: raw.list_run_steps(_THREAD, _RUN, limit=1),
        "get_run_step": lambda: raw.get_run_step(_THREAD, _RUN, _STEP),
    }
    answers: dict[str, Answer] = {}
    unknown = await _answer(lambda: astray.with_raw_response.get_assistant(_ASSISTANT))

    async def ask(name: str) -> None:
        answers[name] = await _answer(requests[name])

    async with anyio.create_task_group() as group:
        for name in requests:
            group.start_soon(ask, name)
    answers = {"list_assistants": listing, **{name: answers[name] for name in requests}}
    verdicts = {name: verdict_on(answer, unknown) for name, answer in answers.items()}
    path = httpx.URL(base.text).path.lower()
    found |= {
        "status": listing.status,
        "latency_ms": None if seconds is None else round(seconds * 1000, 1),
        "dialect": dialect_of(base.host, path, listing, unknown),
        "operations": verdicts,
    }
    if (problem := _problem(found["dialect"], listing, set(verdicts.values()), base, key)) is not None:
        found["problem"] = problem
    return found, ""


async def _look(client: AsyncClient) -> tuple[Answer, float | None]:
    """List assistants a few times: the first answer, and the median of the seconds it took, connecting left out."""

    async def look() -> tuple[Answer, float]:
        started = time.perf_counter()
        answer = await _answer(lambda: client.with_raw_response.list_assistants(limit=1))
        return answer, time.perf_counter() - started

    first, seconds = await look()
    if first.status is None:
        return first, None
    if first.status >= 300:
        return first, seconds
    looks = [await look() for _ in range(_LOOKS)]
    return first, median(seconds for _, seconds in looks)


async def _answer(request: Callable[[], Awaitable[Any]]) -> Answer:
    try:
        response = await request()
    except APIStatusError as error:
        message = error.message.partition(f" was answered {error.status}: ")[2]
        return Answer(error.status, error.code, message, error.body, error.headers)
    except DecodeError as error:
        return Answer(error.status, message=error.message, is_api=False)
    except APIConnectionError as error:
        return Answer(None, message=error.message, hint=hint_for(error))
    return Answer(response.status, headers={name.lower(): value for name, value in response.headers.items()})


def _problem(dialect: str, listing: Answer, verdicts: set[str], base: BaseUrl, key: str | None = None) -> str | None:
    """Say why nothing can work, if nothing can."""
    if dialect == RETIRED and "there" not in verdicts:
        return f"this is {dialect}: name another server"
    if verdicts <= {"refused"}:
        what = "requests without a key (--no-key)" if key == "--no-key" else f"the key in {key}"
        return f"the server does not accept {what}: {listing.status} {listing.message}".rstrip()
    if "there" not in verdicts:
        where = "" if re.search(r"/(v\d+|openai|api/projects/[^/]+)$", base.text) else "; should the URL end in /v1?"
        return f"the server at {base.text} answers, but knows no operation of the Assistants API{where}"
    return None


# Telling.


def _tell(found: Mapping[str, Any]) -> None:
    _line("asyncassist", f"{found['asyncassist']}, {found['python']}, {found['platform']}")
    for extra, versions in found["extras"].items():
        missing = [name for name, version in versions.items() if version is None]
        have = ", ".join(f"{name} {version}" for name, version in versions.items() if version is not None)
        lack = f"not installed: {', '.join(missing)} (pip install 'asyncassist[{extra}]')" if missing else ""
        _line(f"[{extra}]", "; ".join(filter(None, (have, lack))))
    base_url = found["base_url"]
    _line("base URL", "not set" if base_url["url"] is None else f"{base_url['url']} (from {base_url['source']})")
    key = found["key"]
    _line("key", "not set" if key is None else "none is sent (--no-key)" if key == "--no-key" else f"set, in {key}")
    names = ", ".join(f"{name} {value}" for name, value in found["proxies"].items())
    _line("proxies", names or "none in the environment")
    if names and "proxy" in found:
        _line("", f"to this server: {found['proxy'] or 'none'}")
    if "dialect" in found:
        took = "" if found["latency_ms"] is None else f" in {found['latency_ms']} ms"
        _line("server", f"answers {found['status']}{took}")
        _line("dialect", found["dialect"])
        for verdict in ("there", "missing", "refused", "fails", "unclear"):
            names = ", ".join(name for name, said in found["operations"].items() if said == verdict)
            if names:
                _line(verdict, names)
        _line("", "operations that make or change something were not asked")
    _line("verdict", found.get("problem") or "this can work")


def _line(name: str, text: str) -> None:
    say(f"{name:<13}{text}")
