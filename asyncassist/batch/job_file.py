"""Files of jobs: one JSON object a line."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from hashlib import blake2b
from typing import TYPE_CHECKING, cast

from asyncassist._wire.json import loads
from asyncassist.batch.jobs import Job
from asyncassist.errors import AsyncAssistError, JobFileError, UsageError, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["check_jobs", "read_jobs"]

_LONGEST_LINE = 64 * 2**20
_MOST_PROBLEMS = 10_000
"""So many are kept; the others are counted."""
_SHOWN = 20
_ROWS = 1000

Shard = tuple[int, int]


def read_jobs(path: str | os.PathLike[str], shard: Shard | None = None) -> Iterator[Job]:
    """Read the jobs of a file one by one: a JSON object a line, with the fields of `Job`. Empty lines are passed over.

    Args:
        shard: ``(i, n)`` gives the i-th of n parts, i from 1 to n. The part of a job depends on its id alone, so it is
            the same wherever its line is, and however many lines are added. None gives all.

    Raises:
        JobFileError: the file cannot be read, or a line is no job; it is named by its number, from 1.
        UsageError: the shard is none.
    """
    return _jobs(os.fspath(path), _checked_shard(shard))


def _jobs(path: str, shard: Shard | None) -> Iterator[Job]:
    for number, line in _lines(path):
        try:
            job = _job(line)
        except AsyncAssistError as error:
            raise _bad(path, [(number, error.message)]) from None
        if _is_in(shard, job.id):
            yield job


def check_jobs(path: str | os.PathLike[str], shard: Shard | None = None) -> int:
    """Look through a whole file of jobs, before anything is run, and return how many jobs it, or one part of it, has.

    Bad lines and ids that come again are looked for in the whole file, whatever the part. It takes little memory,
    however long the file is: ids are compared in a temporary file.

    Raises:
        JobFileError: it cannot be read, or has bad lines; its ``problems`` name them all by number, from 1.
        UsageError: the shard is none.
    """
    path, shard = os.fspath(path), _checked_shard(shard)
    problems = _Problems()
    count = 0
    with closing(sqlite3.connect("")) as ids:  # SQLite's own temporary file, gone with the connection
        ids.execute("CREATE TABLE ids (id TEXT NOT NULL, line INTEGER NOT NULL)")
        rows: list[tuple[str, int]] = []
        for number, line in _lines(path):
            try:
                job = _job(line)
            except AsyncAssistError as error:
                problems.add(number, error.message)
                continue
            count += _is_in(shard, job.id)
            rows.append((job.id, number))
            if len(rows) == _ROWS:
                ids.executemany("INSERT INTO ids VALUES (?, ?)", rows)
                rows.clear()
        ids.executemany("INSERT INTO ids VALUES (?, ?)", rows)
        again = (
            "SELECT ids.line, ids.id, found.first FROM ids JOIN"
            " (SELECT id, min(line) AS first FROM ids GROUP BY id HAVING count(*) > 1) AS found"
            " ON found.id = ids.id AND found.first < ids.line"
        )
        for number, id_, first in ids.execute(again):
            problems.add(number, f"id {shown(id_)} is that of line {first} too")
    if problems.count:
        raise _bad(path, sorted(problems.kept), problems.count)
    return count


class _Problems:
    def __init__(self) -> None:
        self.kept: list[tuple[int, str]] = []
        self.count = 0

    def add(self, line: int, what: str) -> None:
        self.count += 1
        if len(self.kept) < _MOST_PROBLEMS:
            self.kept.append((line, what))


def _lines(path: str) -> Iterator[tuple[int, bytes]]:
    try:
        with open(path, "rb") as file:
            number = 0
            while line := file.readline(_LONGEST_LINE + 1):
                number += 1
                if len(line) > _LONGEST_LINE:
                    raise _bad(path, [(number, f"it is longer than {_LONGEST_LINE >> 20} MB")])
                if line.strip():
                    yield number, line
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        if isinstance(error, AsyncAssistError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise JobFileError(f"{path} cannot be read: {reason}") from error


def _bad(path: str, problems: list[tuple[int, str]], count: int = 1) -> JobFileError:
    lines = [f"line {number}: {what}" for number, what in problems[:_SHOWN]]
    if count > len(lines):
        lines.append(f"and {count - len(lines)} more")
    return JobFileError(f"{path}: {'; '.join(lines)}", problems=tuple(problems), count=count)


def _job(line: bytes) -> Job:
    return Job.from_dict(cast("Mapping[str, object]", loads(line)))


def _checked_shard(shard: Shard | None) -> Shard | None:
    if shard is None:
        return None
    if not (isinstance(shard, tuple) and len(shard) == 2 and all(type(number) is int for number in shard)):
        raise UsageError(f"shard must be two ints, (i, n), got {shown(shard)}")
    if not 1 <= shard[0] <= shard[1]:
        raise UsageError(f"shard must be (i, n) with i from 1 to n, got {shown(shard)}")
    return shard


def _is_in(shard: Shard | None, id_: str) -> bool:
    if shard is None:
        return True
    return int.from_bytes(blake2b(id_.encode(), digest_size=8).digest()) % shard[1] == shard[0] - 1
