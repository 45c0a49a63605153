"""What can be typed about batches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from asyncassist.cli.options import FILE, connection_options, json_option, split_connection
from asyncassist.cli.running import carry_out

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["batch"]

_FORM = """\
\b
A line of JOBS, with only what is needed:
  {"id": "1", "assistant_id": "asst_...", "messages": [{"role": "user", "content": "Hi"}]}
It may have besides: thread_id, params (of the run: model, instructions, ...), metadata.
"""


class _RunsByDefault(click.Group):
    """A group whose first command is meant where none is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "JOBS.jsonl -o RESULTS.jsonl --ledger FILE [OPTIONS]")
        formatter.write_usage(ctx.command_path, "status LEDGER [--json]", prefix=" " * len("Usage: "))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        first = self.commands["run"]
        first.format_options(click.Context(first, parent=ctx, info_name="run"), formatter)
        self.format_commands(ctx, formatter)


@click.group(
    cls=_RunsByDefault,
    no_args_is_help=False,
    short_help="Run the jobs of a file, and go on where it stopped.",
    epilog=_FORM,
)
def batch() -> None:
    """Run the jobs of a file, many at a time, and go on where it stopped, whatever it was that stopped it."""


@batch.command("run", short_help="Run the jobs of a file (what batch does where no command is named).", epilog=_FORM)
@click.argument("jobs", metavar="JOBS.jsonl", type=click.Path(exists=True, dir_okay=False))
@click.option(
    "-o",
    "--output",
    metavar="RESULTS.jsonl",
    type=FILE,
    default="-",
    help="Where the results go, a line for each job as it ends; the standard output if not given. A batch that goes on "
    "writes the file anew, with the results from before.",
)
@click.option("--overwrite", is_flag=True, help="Write over the file of -o, also where it is not of this batch.")
@click.option(
    "--ledger",
    metavar="FILE",
    type=FILE,
    help="Note here what is begun and how it ends, so that the same command goes on where it stopped. Made if it is "
    "not there; FILE-lock beside it is empty, and locked while a batch works with it.",
)
@click.option(
    "--shard", metavar="I/N", help="Run only the I-th of N parts of the jobs; each part wants its own ledger."
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 100_000),
    metavar="N",
    default=50,
    show_default=True,
    help="How many jobs are under way at a time.",
)
@click.option(
    "--max-in-flight", type=click.IntRange(min=1), metavar="N", help="How many requests are under way, at most."
)
@click.option(
    "--requests-per-minute",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="How many requests are sent in a minute, at most.",
)
@click.option(
    "--tokens-per-minute",
    type=click.FloatRange(min=0, min_open=True),
    metavar="N",
    help="How many tokens the runs may use in a minute.",
)
@click.option(
    "--job-seconds",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="How long a job may take. Without it, as long as the server lets it.",
)
@click.option(
    "--retry-failed-runs",
    type=click.IntRange(0, 100),
    metavar="N",
    default=0,
    show_default=True,
    help="How many fresh runs may follow one that failed in a way that passes.",
)
@click.option(
    "--on-cancel",
    type=click.Choice(["cancel", "leave"]),
    default="cancel",
    show_default=True,
    help="What becomes of the runs under way after Ctrl-C: cancelled on the server, or left to go on there.",
)
@click.option(
    "--tools",
    metavar="WHERE",
    help="Functions the runs may call, as of ask. The assistants, or the jobs' params, are to offer them.",
)
@connection_options
def run_batch(**options: Any) -> int:
    """Run the jobs in JOBS.jsonl, one JSON object a line, many at a time, and write a line for each as it ends.

    Before anything is run the file is looked through: bad lines are named by their numbers, and nothing is run.

    With --ledger the same command goes on where it stopped, after Ctrl-C as after a crash: jobs that have ended are not
    run again, those that were under way are found on the server and followed. Ctrl-C cancels the runs that are under
    way, unless --on-cancel is leave. How far it has come is told on stderr. The exit code is 0 where all jobs
    completed, 3 where some did not.
    """

    def load() -> Callable[[], Awaitable[int | None]]:
        from asyncassist.cli import batch

        return batch.prepare(**split_connection(options))

    return carry_out(load)


@batch.command("status", short_help="Tell what a ledger knows.")
@click.argument("ledger", metavar="LEDGER", type=click.Path(exists=True, dir_okay=False))
@click.option("--failed", is_flag=True, help="Name the jobs that have not completed, and why.")
@json_option
def show_status(**options: Any) -> int:
    """Tell how many jobs of a ledger have come how far; also while a batch works with it.

    A job is begun, starting or running while a batch has it under way; where no batch is working with the ledger now,
    the next one takes it up again. Then it has the status its run ended with, or "error" where it was given up, to be
    taken up again likewise. With --json one object; with --json and --failed a line for each job that has not
    completed.
    """

    def load() -> Callable[[], Awaitable[int | None]]:
        from asyncassist.cli import batch_status

        return batch_status.prepare(**options)

    return carry_out(load)
