"""The client of a command: from its options and the environment."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypedDict

import click

from asyncassist import NO_KEY, AsyncClient, Timeout
from asyncassist._transport.settings import from_environment
from asyncassist.cli.running import LOCAL_SERVER, CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from asyncassist._transport.settings import ApiKey

__all__ = ["BASE_URL_VARIABLES", "KEY_VARIABLES", "Connection", "client_options", "connect", "named_values"]

BASE_URL_VARIABLES = ("ASYNCASSIST_BASE_URL", "OPENAI_BASE_URL")
KEY_VARIABLES = ("ASYNCASSIST_API_KEY", "OPENAI_API_KEY")


class Connection(TypedDict):
    """The options that `asyncassist.cli.options.connection_options` adds to a command."""

    base_url: str | None
    api_key_env: str | None
    no_key: bool
    api_version: str | None
    query: Sequence[str]
    header: Sequence[str]
    header_env: Sequence[str]
    no_beta: bool
    timeout: float | None


def connect(connection: Connection, **settings: Any) -> AsyncClient:
    """Make the client of a command.

    Args:
        connection: the command's options.
        settings: more that `AsyncClient` takes.

    Raises:
        CommandError: no server is named, or there is no key.
        UsageError: a value cannot be used.
    """
    return AsyncClient(**client_options(connection), **settings)


def client_options(connection: Connection) -> dict[str, Any]:
    """Return what `AsyncClient` takes, of the options of a command.

    Raises:
        CommandError: no server is named, or there is no key.
        click.UsageError: options that cannot be meant.
    """
    query = named_values("--query", connection["query"])
    if connection["api_version"] is not None:
        query["api-version"] = connection["api_version"]
    headers = _headers(connection)
    key = _api_key(connection)
    if not connection["base_url"] and from_environment(*BASE_URL_VARIABLES) is None:
        raise CommandError("no server is named: give --base-url URL, or set ASYNCASSIST_BASE_URL", hint=LOCAL_SERVER)
    if key is None and from_environment(*KEY_VARIABLES) is None:
        raise CommandError(
            "there is no API key: set ASYNCASSIST_API_KEY, or give --no-key for a server that wants none",
            hint=LOCAL_SERVER,
        )
    options: dict[str, Any] = {
        "base_url": connection["base_url"] or None,
        "api_key": key,
        "default_query": query,
        "default_headers": headers,
    }
    if connection["timeout"] is not None:
        options["timeout"] = Timeout(total=connection["timeout"], attempt=connection["timeout"])
    if connection["no_beta"]:
        options["beta"] = None
    return options


def named_values(option: str, pairs: Sequence[str], sign: str = "=") -> dict[str, str]:
    """Read an option that may be repeated, such as NAME=VALUE.

    Raises:
        click.UsageError: one has no name, or a name is there twice.
    """
    values: dict[str, str] = {}
    for pair in pairs:
        name, found, value = (part.strip() for part in pair.partition(sign))
        if not name or not found:
            # What was meant for a value may be secret.
            raise click.UsageError(f"{option} takes NAME{sign}VALUE")
        if name in values:
            raise click.UsageError(f"{option}: {name} is there twice")
        values[name] = value
    return values


def _headers(connection: Connection) -> dict[str, str]:
    headers = named_values("--header", connection["header"], ":")
    for name, variable in named_values("--header-env", connection["header_env"]).items():
        headers[name] = _variable("--header-env", variable)
    return headers


def _api_key(connection: Connection) -> ApiKey | None:
    variable = connection["api_key_env"]
    if connection["no_key"]:
        if variable is not None:
            raise click.UsageError("--no-key and --api-key-env contradict each other")
        return NO_KEY
    return None if variable is None else _variable("--api-key-env", variable)


def _variable(option: str, name: str) -> str:
    found = os.environ.get(name, "").strip()
    if not found:
        raise click.UsageError(f"{option}: the environment variable {name} is not set")
    return found
