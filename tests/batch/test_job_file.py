"""Files of jobs: what is read, and how bad lines are named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from asyncassist import JobFileError, UsageError, check_jobs, read_jobs
from asyncassist.batch import job_file


def line(id: object, **fields: Any) -> str:
    return json.dumps({"id": str(id), "assistant_id": "asst_1", **fields})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.jsonl"


def test_jobs_are_read_line_by_line(path: Path) -> None:
    """Empty lines, a byte order mark, line ends of Windows and a missing last one are all let through."""
    path.write_bytes(f"\ufeff{line(1)}\r\n\n  \n{line('zwei ä')}\n{line(3)}".encode())

    assert [job.id for job in read_jobs(path)] == ["1", "zwei ä", "3"]
    assert check_jobs(path) == 3


def test_nothing_is_read_ahead(path: Path) -> None:
    """A bad line is met when its turn comes, and named by its number."""
    path.write_text(f"{line(1)}\n\n{{}}\n{line(2)}\n")
    jobs = read_jobs(str(path))

    assert next(jobs).id == "1"
    with pytest.raises(JobFileError, match=r"jobs.jsonl: line 3: id is missing") as caught:
        next(jobs)
    assert caught.value.problems == ((3, "id is missing"),)


def test_all_bad_lines_are_named(path: Path) -> None:
    """By number, with what is wrong, in the order of the file; ids that come again among them."""
    path.write_text("\n".join([line(1), "{", line(1), "[]", line(2), line(1), line(3, colour=1)]))

    with pytest.raises(JobFileError) as caught:
        check_jobs(path)
    assert [number for number, _ in caught.value.problems] == [2, 3, 4, 6, 7]
    assert caught.value.count == 5
    text = str(caught.value)
    assert "line 2: the body is not JSON" in text
    assert "line 3: id '1' is that of line 1 too; line 4: a job must be an object" in text
    assert "line 7: a job has no field colour" in text


def test_many_bad_lines(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the first, the attributes more, and the count is of all."""
    monkeypatch.setattr(job_file, "_MOST_PROBLEMS", 30)
    path.write_text("{}\n" * 50)

    with pytest.raises(JobFileError, match=r"line 20: id is missing; and 30 more$") as caught:
        check_jobs(path)
    assert len(caught.value.problems) == 30
    assert caught.value.count == 50


def test_shards_share_the_jobs(path: Path) -> None:
    """Each job is in one part, the same one wherever its line is, and the parts are about equal."""
    path.write_text("".join(f"{line(n)}\n" for n in range(2000)))
    parts = [{job.id for job in read_jobs(path, (i, 4))} for i in range(1, 5)]
    path.write_text("".join(f"{line(n)}\n" for n in reversed(range(2500))))

    assert set.union(*parts) == {str(n) for n in range(2000)}
    assert sum(map(len, parts)) == 2000
    assert all(400 < len(part) < 600 for part in parts)
    for i, part in enumerate(parts, 1):
        assert part <= {job.id for job in read_jobs(path, (i, 4))}
        assert check_jobs(path, (i, 4)) == len(list(read_jobs(path, (i, 4))))


@pytest.mark.parametrize("shard", [(0, 4), (5, 4), (1, 0), (1.0, 4), "1/4", (1, 2, 3), (True, 4)])
def test_what_is_no_shard(path: Path, shard: Any) -> None:
    """It is refused before the file is looked for."""
    with pytest.raises(UsageError, match="shard must be"):
        read_jobs(path, shard)
    with pytest.raises(UsageError, match="shard must be"):
        check_jobs(path, shard)


@pytest.mark.parametrize("name, reason", [("none.jsonl", "No such file"), ("", "Is a directory"), ("a\0b", "null")])
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str, reason: str) -> None:
    """It is told as one of our errors."""
    with pytest.raises(JobFileError, match=f"cannot be read: .*{reason}"):
        check_jobs(f"{tmp_path}/{name}")


def test_an_endless_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not read into memory."""
    monkeypatch.setattr(job_file, "_LONGEST_LINE", 100)
    path.write_text(f"{line(1)}\n{'x' * 1000}")

    with pytest.raises(JobFileError, match=r"line 2: it is longer than"):
        list(read_jobs(path))


def test_a_large_file(path: Path) -> None:
    """Ids are compared in portions."""
    path.write_text("".join(f"{line(n)}\n" for n in range(2500)) + line(17))

    with pytest.raises(JobFileError, match="line 2501: id '17' is that of line 18 too"):
        check_jobs(path)
