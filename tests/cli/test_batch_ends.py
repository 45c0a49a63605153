"""What ends ``asyncassist batch`` before its time, and how the next one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from asyncassist import cli
from asyncassist.server import Rule
from asyncassist.testing import FakeServer

from .jobs import BATCH, results, status, statuses_on_the_server, write_jobs
from .processes import PATIENCE, PROGRAM, run, signalled_when, wait_until

on_unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def started(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*PROGRAM, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@on_unix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_the_runs_and_the_next_one_goes_on(server: FakeServer, number: int, code: int) -> None:
    """It says how many jobs have ended and that it can go on; again the same command finishes all of them."""
    write_jobs("one", "two", "slow", "slow")
    with started(*BATCH) as process:
        wait_until(lambda: statuses_on_the_server() == {"completed": 2, "in_progress": 2})
        wait_until(lambda: Path("results.jsonl").exists() and Path("results.jsonl").read_bytes().count(b"\n") == 2)
        process.send_signal(number)
        output, errors = process.communicate(timeout=PATIENCE)
    cancelled, found, text = statuses_on_the_server(), status(), run("batch", "status", "ledger").stdout.decode()
    server.script(Rule(say="At last."))
    done = run(*BATCH)

    assert (process.returncode, output) == (code, b"")
    assert errors == b"interrupted: 2 of 4 jobs have ended; the same command goes on where it stopped\n"
    assert cancelled == {"completed": 2, "cancelled": 2}
    assert (found["is_working"], found["under_way"], found["to_be_taken_up_again"]) == (False, 0, 2)
    assert "batch      none is working with it now\njobs       4 begun or ended\n  2 to be taken up again\n" in text
    assert "running" not in text
    assert done.returncode == 0, done.stderr
    assert [results()[f"job {number}"]["text"] for number in range(4)] == [
        "You said: one",
        "You said: two",
        "At last.",
        "At last.",
    ]
    assert statuses_on_the_server() == {"completed": 4, "cancelled": 2}


@on_unix
@pytest.mark.parametrize(("options", "rest"), [([], "without --ledger"), (["--ledger", "ledger"], "the same command")])
def test_a_signal_in_this_process(
    capsys: pytest.CaptureFixture[str], server: FakeServer, options: list[str], rest: str
) -> None:
    """The same from near: the batch is ended before the command is."""
    write_jobs("slow")
    with signalled_when(lambda: statuses_on_the_server() == {"in_progress": 1}, signal.SIGTERM):
        code = cli.main(["batch", "jobs.jsonl", *options])

    assert code == 143
    assert capsys.readouterr().err.startswith(f"interrupted: 0 of 1 jobs have ended; {rest}")
    assert statuses_on_the_server() == {"cancelled": 1}
    if options:
        assert cli.main(["batch", "status", "ledger"]) == 0
        assert capsys.readouterr().out.endswith("jobs       1 begun or ended\n  1 to be taken up again\n")


@on_unix
def test_runs_that_are_left(server: FakeServer) -> None:
    """With --on-cancel leave they go on, and the same command takes up the same runs."""
    server.script(Rule(say="At last.", delay=2))
    write_jobs("one")
    with started(*BATCH, "--on-cancel", "leave") as process:
        wait_until(lambda: statuses_on_the_server() == {"in_progress": 1})
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    left = statuses_on_the_server()
    done = run(*BATCH)

    assert process.returncode == 130
    assert "cancelled" not in left
    assert done.returncode == 0, done.stderr
    assert statuses_on_the_server() == {"completed": 1}
    assert results()["job 0"]["text"] == "At last."


@on_unix
def test_without_a_ledger_it_says_that_nothing_is_known(server: FakeServer) -> None:
    """Whoever interrupts it learns that the next batch begins anew."""
    write_jobs("slow")
    with started("batch", "jobs.jsonl") as process:
        wait_until(lambda: statuses_on_the_server() == {"in_progress": 1})
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)

    assert process.returncode == 130
    assert errors == b"interrupted: 0 of 1 jobs have ended; without --ledger nothing is known of them the next time\n"
    assert statuses_on_the_server() == {"cancelled": 1}


@on_unix
def test_killed_and_started_again_every_job_has_one_run(server: FakeServer) -> None:
    """Whenever it is killed, in the end each job has exactly one run, which has completed, and one result."""
    count = 60
    server.script(Rule(say="You said: {message}", delay=0.2))
    write_jobs(*map(str, range(count)))
    for finished in (5, 25, 45):
        with started(*BATCH, "--concurrency", "10") as process:
            wait_until(lambda finished=finished: statuses_on_the_server()["completed"] >= finished)
            process.kill()
            process.communicate()
    done = run(*BATCH, "--concurrency", "10")

    assert (done.returncode, done.stdout) == (0, b"")
    assert statuses_on_the_server() == {"completed": count}
    found = results()
    assert {job: line["text"] for job, line in found.items()} == {
        f"job {number}": f"You said: {number}" for number in range(count)
    }
    assert status()["statuses"] == {"completed": count}


@on_unix
def test_a_ledger_in_use(server: FakeServer) -> None:
    """A second batch on the same ledger is refused, its results are left alone, and the status can be read."""
    write_jobs("one", "slow")
    with started(*BATCH) as process:
        wait_until(lambda: Path("results.jsonl").exists() and Path("results.jsonl").read_bytes())
        wait_until(lambda: status()["under_way"] == 1)
        before = Path("results.jsonl").read_bytes()
        second = run(*BATCH)
        found, text = status(), run("batch", "status", "ledger").stdout.decode()
        after = Path("results.jsonl").read_bytes()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)

    assert second.returncode == 1
    assert second.stderr.startswith(b"error: ledger is in use by another batch")
    assert second.stderr.count(b"\n") == 1
    assert (found["is_working"], found["under_way"], found["to_be_taken_up_again"]) == (True, 1, 0)
    assert "batch      is working with it now\njobs       2 begun or ended\n  running    1\n" in text
    assert before == after != b""


@on_unix
def test_a_reader_that_has_gone(server: FakeServer) -> None:
    """Where nobody reads the results any more the batch ends quietly, and cancels what is under way."""
    write_jobs("one", "slow")
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as broken:
        done = subprocess.run(
            [*PROGRAM, "batch", "jobs.jsonl"],
            stdin=subprocess.DEVNULL,
            stdout=broken,
            stderr=subprocess.PIPE,
            timeout=PATIENCE,
        )

    assert (done.returncode, done.stderr) == (1, b"")
    assert statuses_on_the_server() == {"completed": 1, "cancelled": 1}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_disk_that_is_full(server: FakeServer) -> None:
    """It is told in two lines, and what was done is in the ledger."""
    write_jobs("one")

    done = run("batch", "jobs.jsonl", "-o", "/dev/full", "--ledger", "ledger")

    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.splitlines() == [
        b"stopped: 1 of 1 jobs have ended; the same command goes on where it stopped",
        b"error: the output cannot be written: No space left on device",
    ]
    assert status()["statuses"] == {"completed": 1}
