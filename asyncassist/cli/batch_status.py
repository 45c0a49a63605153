"""``batch status``: what a ledger knows."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from asyncassist import Ledger
from asyncassist.batch.ledger_file import is_in_use
from asyncassist.cli.output import check_output, one_line, say, say_json

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from asyncassist.batch.ledger import LedgerEntry

__all__ = ["prepare"]

#: The statuses of jobs, in the order in which a job has them.
_ORDER = ("begun", "starting", "running", "completed", "failed", "incomplete", "expired", "cancelled", "error")
_UNDER_WAY = frozenset({"begun", "starting", "running"})


def prepare(*, ledger: str, failed: bool, as_json: bool) -> Callable[[], Awaitable[None]]:
    """Give the function that looks into the ledger."""
    check_output()
    return partial(_show, ledger, failed=failed, as_json=as_json)


async def _show(path: str, *, failed: bool, as_json: bool) -> None:
    async with Ledger.open(path, read_only=True) as ledger:
        is_working = is_in_use(path)
        counts = await ledger.counts()
        if not (as_json and failed):
            _tell(path, await ledger.target(), counts, is_working=is_working, as_json=as_json)
        if failed:
            for status in counts.keys() - _UNDER_WAY - {"completed"}:
                async for entry in ledger.entries(status):
                    _tell_entry(entry, as_json=as_json)


def _tell(path: str, target: str | None, counts: dict[str, int], *, is_working: bool, as_json: bool) -> None:
    total = sum(counts.values())
    unfinished = sum(count for status, count in counts.items() if status in _UNDER_WAY)
    if as_json:
        say_json(
            {
                "ledger": path,
                "server": target,
                "is_working": is_working,
                "jobs": total,
                "under_way": unfinished if is_working else 0,
                "to_be_taken_up_again": 0 if is_working else unfinished,
                "statuses": counts,
            }
        )
        return
    say(f"ledger     {path}")
    say(f"server     {target or 'none yet'}")
    say(f"batch      {'is working with it now' if is_working else 'none is working with it now'}")
    say(f"jobs       {total} begun or ended")
    if unfinished and not is_working:
        say(f"  {unfinished} to be taken up again")
    shown = counts if is_working else counts.keys() - _UNDER_WAY
    for status in sorted(shown, key=lambda status: _ORDER.index(status) if status in _ORDER else len(_ORDER)):
        say(f"  {status:<11}{counts[status]}")


def _tell_entry(entry: LedgerEntry, *, as_json: bool) -> None:
    if as_json:
        say_json(
            {
                "id": entry.id,
                "status": entry.status,
                "attempts": entry.attempts,
                "thread_id": entry.thread_id,
                "run_id": entry.run_id,
                "duration": entry.duration,
                "error": entry.error,
            }
        )
        return
    where = f"  {entry.thread_id} {entry.run_id}" if entry.run_id is not None else ""
    say(f"{entry.status:<11}{entry.id}{where}{f'  {one_line(entry.error)}' if entry.error else ''}")
