"""What can be typed about threads and runs of a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from asyncassist.cli.options import FILE, connection_options, json_option, split_connection
from asyncassist.cli.running import carry_out

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["runs", "threads"]

_thread_id = click.argument("thread_id", metavar="THREAD")
_run_id = click.argument("run_id", metavar="RUN")


@click.group(no_args_is_help=False, short_help="List, cancel and watch the runs of a thread.")
def runs() -> None:
    """The runs of a thread."""


@runs.command("list", short_help="Print the runs of a thread, the newest first.")
@_thread_id
@click.option(
    "--limit",
    "most",
    type=click.IntRange(min=1),
    metavar="N",
    help="How many, at most. Without it, all.",
)
@json_option
@connection_options
def list_runs(**options: Any) -> int:
    """Print the runs of a thread, the newest first: id, status, time of creation, tokens, and why it failed.

    With --json a line for each run, as the API gives it.
    """

    def load() -> Callable[[], Awaitable[int | None]]:
        from asyncassist.cli import runs

        return runs.prepare_list(**split_connection(options))

    return carry_out(load)


@runs.command("cancel", short_help="Cancel a run.")
@_thread_id
@_run_id
@json_option
@connection_options
def cancel_run(**options: Any) -> int:
    """Cancel a run, and print its status: cancelling, or cancelled at once.

    A run that has ended cannot be cancelled: exit code 1.
    """

    def load() -> Callable[[], Awaitable[int | None]]:
        from asyncassist.cli import runs

        return runs.prepare_cancel(**split_connection(options))

    return carry_out(load)


@runs.command("watch", short_help="Follow a run to its end.")
@_thread_id
@_run_id
@json_option
@connection_options
def watch_run(**options: Any) -> int:
    """Print each change of a run's status, and at its end what it has said. Ctrl-C ends the watching; the run goes on.

    With --json a line for each change, with the whole run. The exit code is 0 where the run completed, else 3.
    """

    def load() -> Callable[[], Awaitable[int | None]]:
        from asyncassist.cli import runs

        return runs.prepare_watch(**split_connection(options))

    return carry_out(load)


@click.group(no_args_is_help=False, short_help="Show and export threads of a server.")
def threads() -> None:
    """The threads of a server."""


@threads.command("show", short_help="Print a thread with its messages and runs.")
@_thread_id
@json_option
@connection_options
def show_thread(**options: Any) -> int:
    """Print a thread with its messages, the oldest first, and its runs.

    With --json one object: thread, messages, runs.
    """

    def load() -> Callable[[], Awaitable[int | None]]:
        from asyncassist.cli import server_threads

        return server_threads.prepare_show(**split_connection(options))

    return carry_out(load)


@threads.command("export", short_help="Write threads of a server out as lines of JSON.")
@click.argument("thread_id", metavar="THREAD...", nargs=-1, required=True)
@click.option(
    "-o", "--output", metavar="OUT", type=FILE, default="-", help="Where to write; the standard output if not given."
)
@connection_options
def export_thread(**options: Any) -> int:
    """Write threads with their messages, runs and steps, and the assistants of their runs, as lines of JSON, in the
    form of export-threads: import-threads adds them to the file of a server.
    """

    def load() -> Callable[[], Awaitable[int | None]]:
        from asyncassist.cli import server_threads

        return server_threads.prepare_export(**split_connection(options))

    return carry_out(load)
