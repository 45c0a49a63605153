"""The file of results of ``asyncassist batch``: what was there before is not lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncassist import cli
from asyncassist.cli import batch_output
from asyncassist.testing import FakeServer

from .jobs import BATCH, results, write_jobs


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"important\n",
        b"important",
        b"\xff\n",
        b"[]\n",
        b'{"id": 1}\n',
        b'{"id": "\\ud800"}\n',
        b'{"id": "job 0"}\n{"id": "of another"}\n',
        b"[" * 100_000 + b"\n",
    ],
)
def test_another_file(capsys: pytest.CaptureFixture[str], server: FakeServer, content: bytes) -> None:
    """What is no result of the ledger's jobs is written over on request only."""
    write_jobs("one")
    assert cli.main(BATCH) == 0
    Path("important").write_bytes(content)
    capsys.readouterr()
    command = ["batch", "jobs.jsonl", "-o", "important", "--ledger", "ledger"]

    refused = cli.main(command)
    errors = capsys.readouterr().err
    kept = Path("important").read_bytes()

    assert (refused, cli.main([*command, "--overwrite"])) == (1, 0)
    assert errors == (
        "error: important has something else in it than results of the jobs of ledger: give another file, or"
        " --overwrite\n"
    )
    assert kept == content
    assert results("important").keys() == {"job 0"}


@pytest.mark.parametrize("content", [b"", b'{"id": "job 0"}\n', b'{"id": "job 0"}\n{"id": "jo'])
def test_a_file_of_its_own(server: FakeServer, content: bytes) -> None:
    """An empty file, results of before, and half a line of a batch that was killed, are written anew."""
    write_jobs("one")
    assert cli.main(BATCH) == 0
    Path("results.jsonl").write_bytes(content)

    assert cli.main(BATCH) == 0
    assert results()["job 0"]["is_replayed"]


def test_the_wrong_ledger(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """The results of another batch stay, also where its jobs have the same ids."""
    write_jobs("one", "two")
    assert cli.main(BATCH) == 0
    assert cli.main(["batch", "jobs.jsonl", "-o", "others.jsonl", "--ledger", "other"]) == 0
    before = Path("results.jsonl").read_bytes()

    assert cli.main([*BATCH[:-1], "other"]) == 1
    assert "results.jsonl has something else in it" in capsys.readouterr().err
    assert Path("results.jsonl").read_bytes() == before


def test_results_of_jobs_that_have_not_finished(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """They are the batch's own: it takes the jobs up again."""
    write_jobs("add")

    assert [cli.main(BATCH), cli.main(BATCH)] == [3, 3]
    assert "something else" not in capsys.readouterr().err


@pytest.mark.parametrize("ledger", [[], ["--ledger", "new"]])
def test_a_new_batch(capsys: pytest.CaptureFixture[str], server: FakeServer, ledger: list[str]) -> None:
    """It knows nothing of results that are there; an empty file is no ledger yet."""
    write_jobs("one")
    Path("new").touch()
    Path("results.jsonl").write_text("important\n", "utf-8")

    assert cli.main(["batch", "jobs.jsonl", "-o", "results.jsonl", *ledger]) == 1
    assert "results.jsonl has results already" in capsys.readouterr().err
    assert Path("results.jsonl").read_text("utf-8") == "important\n"


@pytest.mark.parametrize("tail", [300, 2**20])
def test_only_the_ends_of_a_long_file_are_read(monkeypatch: pytest.MonkeyPatch, server: FakeServer, tail: int) -> None:
    """They are enough to tell another file, and to know one's own; half a line at the end counts for nothing."""
    monkeypatch.setattr(batch_output, "_LINES", 3)
    monkeypatch.setattr(batch_output, "_TAIL", tail)
    write_jobs(*map(str, range(12)))
    assert cli.main(BATCH) == 0
    lines = Path("results.jsonl").read_bytes().splitlines()
    Path("results.jsonl").write_bytes(b"\n".join([*lines, b'{"id": "jo']))
    assert cli.main(BATCH) == 0
    assert len(results()) == 12

    other = b"\n".join([*lines, b'{"id": "of another"}\n'])
    Path("results.jsonl").write_bytes(other)
    assert cli.main(BATCH) == 1
    assert Path("results.jsonl").read_bytes() == other


def test_a_line_without_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: FakeServer
) -> None:
    """It is not read into the memory, and is no result."""
    write_jobs("one")
    assert cli.main(BATCH) == 0
    monkeypatch.setattr(batch_output, "_LONGEST", 10)
    Path("results.jsonl").write_bytes(b" " * 2000)

    assert cli.main(BATCH) == 1
    assert "something else" in capsys.readouterr().err


def test_a_file_that_may_not_be_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: FakeServer
) -> None:
    """It is not written over either."""
    write_jobs("one")
    assert cli.main(BATCH) == 0
    before = Path("results.jsonl").read_bytes()

    def ends(path: str) -> list[bytes]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(batch_output, "_ends", ends)
    assert cli.main(BATCH) == 1
    assert "results.jsonl cannot be read: Permission denied" in capsys.readouterr().err
    assert Path("results.jsonl").read_bytes() == before
