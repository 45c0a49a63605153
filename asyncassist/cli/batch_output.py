"""The file of a batch's results before it is written: whether it may be, and whether what is in it is the batch's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from asyncassist import Ledger
from asyncassist.cli.running import CommandError
from asyncassist.models import TERMINAL_RUN_STATUSES

if TYPE_CHECKING:
    from asyncassist.batch.ledger import Row

__all__ = ["check_is_own", "check_results"]

# Of a file that may have millions of lines, so many are looked at, at either end.
_LINES = 50
_LONGEST = 64 * 2**20  # bytes of a line
_TAIL = 2**20  # bytes


def check_results(output: str, jobs: str, ledger: str | None, *, overwrite: bool) -> None:
    """Refuse what can be seen to be wrong without the ledger.

    Raises:
        click.UsageError: the results would be written over the jobs or the ledger.
        CommandError: the file cannot be written, or has something in it that a new batch cannot know.
    """
    if any(_is_same(output, other) for other in (jobs, ledger) if other is not None):
        raise click.UsageError("the results would be written over the jobs or the ledger")
    try:
        if Path(output).is_file():
            open(output, "ab").close()
        elif not os.path.exists(output):
            open(output, "xb").close()
            os.unlink(output)  # it is made when the first result comes
    except OSError as error:
        raise CommandError(f"{output} cannot be written: {error.strerror or error}") from error
    if not overwrite and not _has_content(ledger) and _has_content(output):
        of = "no --ledger is given" if ledger is None else f"the ledger {ledger} is new"
        raise CommandError(f"{output} has results already, and {of}: give another file, or --overwrite")


async def check_is_own(output: str, ledger: str) -> None:
    """Refuse a file that has anything but results of a ledger's jobs. One that is empty, or no file, will do.

    Raises:
        CommandError: it has something else.
        LedgerError: the ledger cannot be read.
    """
    if not _has_content(output) or not _has_content(ledger):
        return
    try:
        results = _parsed(_ends(output))
    except (ValueError, RecursionError):  # not JSON, or not UTF-8
        results = []
    except OSError as error:
        raise CommandError(f"{output} cannot be read: {error.strerror or error}; --overwrite does without") from error
    async with Ledger.open(ledger, read_only=True) as known:
        rows = await known.look_up([result["id"] for result in results], with_results=True)
    if not results or not all(_is_of(result, rows.get(result["id"])) for result in results):
        raise CommandError(
            f"{output} has something else in it than results of the jobs of {ledger}: give another file, or --overwrite"
        )


def _has_content(path: str | None) -> bool:
    return path is not None and Path(path).is_file() and os.path.getsize(path) > 0


def _ends(path: str) -> list[bytes]:
    """Return the first and the last lines of a file.

    Raises:
        ValueError: it has none.
    """
    with open(path, "rb") as file:
        lines = [file.readline(_LONGEST) for _ in range(_LINES)]
        # The end of a file whose writer was killed may be half a line.
        whole = [line for line in lines if line.endswith(b"\n")]
        at = file.tell()
        size = file.seek(0, os.SEEK_END)
        if at < size:
            file.seek(max(at, size - _TAIL) - 1)
            tail = file.read().split(b"\n")[1:-1]
            if len(whole) < _LINES:
                raise ValueError("a line is too long")
            whole += tail[-_LINES:]
    if not whole:
        raise ValueError("there is no line")
    return whole


def _parsed(lines: list[bytes]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    for line in lines:
        value: object = json.loads(line)
        result = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
        job_id: object = result.get("id")
        if not isinstance(job_id, str):
            raise ValueError("it is no result")
        job_id.encode()  # a lone surrogate is a ValueError
        results.append(result)
    return results


def _is_of(result: dict[str, Any], row: Row | None) -> bool:
    if row is None:
        return False
    run = row[-1]
    if run is None or result.get("status") not in TERMINAL_RUN_STATUSES:
        return True
    # Batches of the same file have jobs of the same ids, but other runs.
    return bool(json.loads(run).get("id") == result.get("run_id"))


def _is_same(path: str, other: str) -> bool:
    if os.path.exists(path) and os.path.exists(other):
        return os.path.samefile(path, other)
    return os.path.realpath(path) == os.path.realpath(other)
