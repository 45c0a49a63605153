"""What can be typed to ask something."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from asyncassist.cli.options import answering_options, connection_options, json_option, split_connection
from asyncassist.cli.running import carry_out, carry_out_blocking

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["ask", "chat", "doctor"]


@click.command(short_help="Ask one question; the answer goes to the standard output.")
@click.argument("question", metavar="[QUESTION | -]", required=False)
@answering_options
@json_option
@connection_options
def ask(**options: Any) -> int:
    """Ask one question, and print the answer as it comes. The question is read from the standard input where it is -,
    or is not given and something is piped in.

    The thread is named on stderr and stays on the server: --thread goes on with it. Ctrl-C cancels the run.

    With --json one object is printed at the end: thread_id, run_id, assistant_id, status, text, usage, last_error,
    incomplete_details. The exit code is 3 where the run did not complete.
    """

    def load() -> Callable[[], Awaitable[int | None]]:
        from asyncassist.cli import ask

        return ask.prepare(**split_connection(options))

    return carry_out(load)


@click.command(short_help="Talk with an assistant.")
@answering_options
@json_option
@connection_options
def chat(**options: Any) -> int:
    """Talk with an assistant on one thread, which stays on the server: --thread goes on with it.

    Ctrl-C cancels an answer that is under way, on the server too, and gives back the prompt. A second one, or Ctrl-D,
    ends. Where questions are piped in, one a line, the first that is not answered ends it; Ctrl-C does so too.

    With --json a line is printed for each answer, as of ask.
    """

    def load() -> Callable[[], int | None]:
        from asyncassist.cli import chat

        return chat.prepare(**split_connection(options))

    return carry_out_blocking(load)


@click.command(short_help="Look at the settings, and at the server.")
@json_option
@connection_options
def doctor(**options: Any) -> int:
    """Tell what is configured and installed, whether the server answers and how fast, what kind of server it is, and
    which operations it lacks.

    The server is only asked to list assistants, and for things that cannot be there: nothing is made or changed, and
    the operations that would are not judged. The key is never shown. The exit code is 1 where nothing can work.
    """

    def load() -> Callable[[], Awaitable[int | None]]:
        from asyncassist.cli import doctor

        return doctor.prepare(**split_connection(options))

    return carry_out(load)
