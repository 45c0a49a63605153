"""Options that several commands have: the words, said once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncassist.cli.connecting import Connection

__all__ = ["FILE", "answering_options", "connection_options", "json_option", "split_connection"]

FILE = click.Path(dir_okay=False)

Command = TypeVar("Command", bound="Callable[..., Any]")

_CONNECTION = (
    click.option(
        "--base-url",
        metavar="URL",
        help="The server. Without it ASYNCASSIST_BASE_URL, then OPENAI_BASE_URL.",
    ),
    click.option(
        "--api-key-env",
        metavar="NAME",
        help="The environment variable that has the key. Without it ASYNCASSIST_API_KEY, then OPENAI_API_KEY.",
    ),
    click.option("--no-key", is_flag=True, help="Send no key, for a server that wants none."),
    click.option("--api-version", metavar="VERSION", help="Sent as ?api-version=, as Azure wants it."),
    click.option(
        "--query", metavar="NAME=VALUE", multiple=True, help="Sent in the query of every request. May be repeated."
    ),
    click.option(
        "--header",
        metavar="'NAME: VALUE'",
        multiple=True,
        help="Sent with every request; other users of this machine may see it. May be repeated.",
    ),
    click.option(
        "--header-env",
        metavar="NAME=VARIABLE",
        multiple=True,
        help="A header whose value is in an environment variable. May be repeated.",
    ),
    click.option("--no-beta", is_flag=True, help="Send no OpenAI-Beta header, for Azure AI Foundry."),
    click.option(
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="How long a request may take.  [default: 60, with its repetitions 600]",
    ),
)
_NAMES = (
    "base_url",
    "api_key_env",
    "no_key",
    "api_version",
    "query",
    "header",
    "header_env",
    "no_beta",
    "timeout",
)

_ANSWERING = (
    click.option("--assistant", metavar="ID", help="The assistant that answers. Without it, one is made and deleted."),
    click.option(
        "--model",
        metavar="MODEL",
        help="The model of the assistant that is made (gpt-4o if not given), or instead of that of --assistant.",
    ),
    click.option("--instructions", metavar="TEXT", help="What the assistant is told, instead of what it has."),
    click.option("--thread", metavar="ID", help="The thread to go on with. Without it, one is made, and stays."),
    click.option(
        "--tools",
        metavar="WHERE",
        help="Functions the model may call: module, module:name, file.py or file.py:name. Without a name, all in it "
        "that are marked with @tool.",
    ),
    click.option(
        "--run-seconds",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="How long an answer may take. Without it, as long as the server lets it.",
    ),
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")


def connection_options(command: Command) -> Command:
    """Add the options that say which server is asked, and how."""
    return _with(command, _CONNECTION)


def answering_options(command: Command) -> Command:
    """Add the options that say who answers, on which thread."""
    return _with(command, _ANSWERING)


def split_connection(options: dict[str, Any]) -> dict[str, Any]:
    """Put the options of `connection_options` together, as ``connection``, beside the command's own."""
    connection: Connection = {name: options.pop(name) for name in _NAMES}  # type: ignore[assignment]
    return {"connection": connection, **options}


def _with(command: Command, options: tuple[Callable[[Command], Command], ...]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command
