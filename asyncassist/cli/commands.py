"""What can be typed: the commands, their options, and the words of their help."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from asyncassist import __version__
from asyncassist.cli import ask_commands, batch_commands, thread_commands
from asyncassist.cli.options import FILE as _FILE
from asyncassist.cli.running import carry_out

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["run"]

_EPILOG = """\
\b
Exit codes:
  0    done
  1    it failed, and a line on stderr says how
  2    the arguments were wrong
  3    done, but a run or a job did not complete
  130  interrupted (Ctrl-C); 143: ended by SIGTERM

\b
The shell completes commands, options and file names after
  eval "$(_ASYNCASSIST_COMPLETE=bash_source asyncassist)"   in ~/.bashrc
  eval "$(_ASYNCASSIST_COMPLETE=zsh_source asyncassist)"    in ~/.zshrc
  _ASYNCASSIST_COMPLETE=fish_source asyncassist | source    in ~/.config/fish/config.fish
"""


def run(arguments: Sequence[str] | None) -> int:
    """Carry out what was typed, and return the exit code."""
    try:
        code: int = program.main(arguments, complete_var="_ASYNCASSIST_COMPLETE", standalone_mode=False)
    except click.Abort:
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return code


# Without a command it is an error, told in one line, on every version of click.
@click.group(no_args_is_help=False, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
def program() -> None:
    """A client and an embeddable server for the Assistants API."""


for command in (
    ask_commands.ask,
    ask_commands.chat,
    batch_commands.batch,
    ask_commands.doctor,
    thread_commands.runs,
    thread_commands.threads,
):
    program.add_command(command)


@program.command(short_help="Ask one question and show what happens.")
@click.option(
    "--base-url",
    metavar="URL",
    envvar="ASYNCASSIST_BASE_URL",
    help="The server to ask (env ASYNCASSIST_BASE_URL); without one, a server in this process that needs no model.",
)
@click.option("--no-key", is_flag=True, help="Send no key, for a server that wants none.")
@click.option("--model", default="gpt-4o", show_default=True, help="The assistant's model.")
def demo(**options: Any) -> int:
    """Make an assistant with a tool, and a thread; ask a question, follow the run event by event, answer its tool
    calls, show the answer as it grows, and delete both again.
    """

    def load() -> Callable[[], Awaitable[None]]:
        from asyncassist.cli import demo

        return partial(demo.run, **options)

    return carry_out(load)


@program.command(short_help="Serve the API on a port.")
@click.option(
    "--host",
    metavar="HOST",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on. One that other machines reach needs a key.",
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    default=8080,
    show_default=True,
    help="The port to listen on; 0 takes any free one.",
)
@click.option(
    "--db",
    metavar="FILE",
    type=_FILE,
    help="Keep everything in this SQLite file, instead of in memory. FILE-lock beside it is empty, and locked as long "
    "as a server uses FILE; both are to stay in one place.",
)
@click.option(
    "--sync",
    type=click.Choice(["normal", "full"]),
    help="What an answered write in the file survives: the end of the process at any moment (normal, as without this "
    "option), or a power cut too (full).",
)
@click.option("--backend", metavar="URL", help="Answer with the models behind this URL and /chat/completions.")
@click.option("--backend-key-env", metavar="NAME", help="The environment variable that has the key of the backend.")
@click.option("--backend-key", metavar="KEY", help="The key itself, which other users of this machine may see.")
@click.option(
    "--model-map",
    metavar="FROM=TO",
    multiple=True,
    help="Ask the backend for model TO where an assistant has model FROM; * is any other. May be repeated.",
)
@click.option("--script", metavar="FILE", type=_FILE, help="Answer without a model, by the rules in this YAML file.")
@click.option(
    "--api-key",
    metavar="KEY",
    multiple=True,
    help="Let in only who sends this key. May be repeated. Without it, the keys in ASYNCASSIST_SERVER_KEYS, separated "
    "by commas; without any, everybody is let in.",
)
@click.option(
    "--run-seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    default=600.0,
    show_default=True,
    help="How long a run may take before it expires.",
)
@click.option("--strict", is_flag=True, help="Refuse what the API does not know, instead of ignoring it.")
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="warning",
    show_default=True,
    help="What is told on stderr; info is a line for each request.",
)
def serve(**options: Any) -> int:
    """Serve the Assistants API on a port, until SIGINT (Ctrl-C) or SIGTERM.

    Without --backend and --script the answers are made up by the offline backend, which says so.

    At the first signal no more requests are taken, streams are cut, and those under way get a second to end; the exit
    code is 0. With --db, runs that have not ended go on at the next start. A second signal ends the process at once.
    """

    def load() -> Callable[[], Awaitable[None]]:
        from asyncassist.cli.serve import prepare

        return prepare(**options)

    return carry_out(load)


@program.command(short_help="Write threads out as lines of JSON.")
@click.option(
    "--db", metavar="FILE", type=click.Path(exists=True, dir_okay=False), required=True, help="The SQLite file."
)
@click.option(
    "-o", "--output", metavar="OUT", type=_FILE, default="-", help="Where to write; the standard output if not given."
)
@click.argument("thread_id", metavar="[THREAD_ID]...", nargs=-1)
def export_threads(**options: Any) -> int:
    """Write threads with their messages, runs and steps, and the assistants, as lines of JSON: all threads, or those
    that are named, with the assistants of their runs.

    No server may be using the file meanwhile.
    """

    def load() -> Callable[[], Awaitable[None]]:
        from asyncassist.cli import threads

        return partial(threads.export_threads, **options)

    return carry_out(load)


@program.command(short_help="Add threads that were written out.")
@click.option("--db", metavar="FILE", type=_FILE, required=True, help="The SQLite file; it is made if it is not there.")
@click.argument("source", metavar="IN", type=click.Path(allow_dash=True, dir_okay=False))
def import_threads(**options: Any) -> int:
    """Add the assistants and threads in the file IN, which export-threads has written; "-" is the standard input.

    What is there already, just the same, is left as it is. No server may be using the file meanwhile.
    """

    def load() -> Callable[[], Awaitable[None]]:
        from asyncassist.cli import threads

        return partial(threads.import_threads, **options)

    return carry_out(load)
