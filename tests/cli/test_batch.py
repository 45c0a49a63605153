"""``asyncassist batch``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncassist import cli
from asyncassist.errors import LedgerError
from asyncassist.testing import FakeServer, Fault

from .jobs import BATCH, results, write_jobs
from .processes import run

on_unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no named pipes of this kind")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    modules = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in set(sys.modules) - modules:
        if name == "batch_tools":
            del sys.modules[name]


def test_a_line_for_each_job(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """Each job has a line of results; on stderr is what has come of them; nothing is on stdout."""
    write_jobs("one", "two", "grüße")

    code = cli.main([*BATCH, "--concurrency", "2"])

    output, errors = capsys.readouterr()
    found = results()
    assert (code, output) == (0, "")
    assert [found[f"job {number}"]["text"] for number in range(3)] == [
        "You said: one",
        "You said: two",
        "You said: grüße",
    ]
    assert errors.startswith("done in 0s: 3 completed, 0 failed; ")
    assert errors.endswith(" tokens; results in results.jsonl\n")


def test_again_it_does_nothing_twice(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """With the same ledger nothing is run again, and the results are all there, also of what failed."""
    write_jobs("one", "fail")

    codes = [cli.main(BATCH), cli.main(BATCH)]

    errors = capsys.readouterr().err
    assert codes == [3, 3]
    assert "1 completed, 1 failed (2 of them from before); " in errors
    assert {line["status"] for line in results().values()} == {"completed", "failed"}
    assert all(line["is_replayed"] for line in results().values())
    assert len(server.requests_for("create_run")) == 2


@on_unix
def test_a_pipe_of_jobs(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """It is read twice, so it is refused."""
    os.mkfifo("jobs.jsonl")

    assert cli.main(BATCH) == 2
    assert "it must be a file and no pipe" in capsys.readouterr().err


def test_what_functions_print_is_no_result(server: FakeServer) -> None:
    """On the standard output are results alone."""
    text = 'print("loaded")\n\ndef add(a: int, b: int) -> int:\n    """Add."""\n    print("adding")\n    return a + b\n'
    Path("batch_tools.py").write_text(text, "utf-8")
    write_jobs("add", params={"tools": [{"type": "function", "function": {"name": "add"}}]})
    tools = ["--tools", "batch_tools:add"]

    batch = run("batch", "jobs.jsonl", *tools)
    asked = run("ask", "--json", *tools, "add")
    chatted = run("chat", "--json", *tools, input=b"add\n")

    for done in (batch, asked, chatted):
        assert json.loads(done.stdout)["text"] == "It is 3."
        assert b"loaded\n" in done.stderr
        assert b"adding\n" in done.stderr


def test_to_the_standard_output_without_a_ledger(server: FakeServer) -> None:
    """Nothing but the lines is there, and what is told goes to stderr."""
    write_jobs("one", "two")

    done = run("batch", "run", "jobs.jsonl")

    assert done.returncode == 0
    assert {json.loads(line)["text"] for line in done.stdout.splitlines()} == {"You said: one", "You said: two"}
    assert done.stderr.startswith(b"done in ")
    assert b"results in" not in done.stderr


def test_bad_lines_are_named_before_anything_runs(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """Each with its number and what is wrong with it, not more than can be read; nothing is asked of the server."""
    write_jobs("one")
    bad = ["", "nonsense", '{"id": "2"}', '{"id": "job 0", "assistant_id": "a"}'] + ["[]"] * 30
    with open("jobs.jsonl", "a", encoding="utf-8") as file:
        file.write("\n".join(bad))
    server.requests.clear()

    code = cli.main(BATCH)

    output, errors = capsys.readouterr()
    lines = errors.splitlines()
    assert (code, output) == (1, "")
    assert lines[0] == "error: jobs.jsonl: 33 lines cannot be run; nothing was run"
    assert [line.split(":")[0] for line in lines[1:5]] == ["  line 3", "  line 4", "  line 5", "  line 6"]
    assert "assistant_id is missing" in lines[2]
    assert "is that of line 1 too" in lines[3]
    assert lines[-1] == "  and 13 more"
    assert not server.requests
    assert not Path("ledger").exists()


def test_one_bad_line(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """It is named as one."""
    Path("jobs.jsonl").write_text("{}\n", "utf-8")

    assert cli.main(BATCH) == 1
    assert capsys.readouterr().err == (
        "error: jobs.jsonl: 1 line cannot be run; nothing was run\n  line 1: id is missing\n"
    )


def test_into_nothing(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """An output that is no file is not looked at before."""
    write_jobs("one")

    assert cli.main(["batch", "jobs.jsonl", "-o", os.devnull]) == 0


@pytest.mark.parametrize(
    ("ledger", "message"), [("ledger", "ledger is no SQLite database"), ("no/such/ledger", "there is no directory ")]
)
def test_a_ledger_that_cannot_be_used(
    capsys: pytest.CaptureFixture[str], server: FakeServer, ledger: str, message: str
) -> None:
    """It is one line, and no file of results is made."""
    write_jobs("one")
    Path("ledger").write_text("x" * 1000, "utf-8")

    code = cli.main(["batch", "jobs.jsonl", "-o", "results.jsonl", "--ledger", ledger])

    (line,) = capsys.readouterr().err.splitlines()
    assert code == 1
    assert line.startswith("error: ")
    assert message in line
    assert not Path("results.jsonl").exists()


def test_a_failure_half_way(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: FakeServer
) -> None:
    """How far it has come is told, then why it stopped."""

    def write(results: object, result: object) -> None:
        raise LedgerError("the disk is gone")

    write_jobs("one")
    monkeypatch.setattr("asyncassist.cli.batch._Results.write", write)

    code = cli.main(BATCH)

    first, second = capsys.readouterr().err.splitlines()
    assert (code, second) == (1, "error: the disk is gone")
    assert first.startswith("stopped: 1 of 1 jobs have ended; ")


def test_a_file_that_cannot_be_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: FakeServer
) -> None:
    """One that is not there is an argument that is wrong; one that turns out to be unreadable is one line."""
    codes = [cli.main(["batch", "nowhere.jsonl"])]
    Path("jobs.jsonl").touch()
    monkeypatch.setattr("builtins.open", _no_reading)
    codes.append(cli.main(["batch", "jobs.jsonl"]))

    errors = capsys.readouterr().err
    assert codes == [2, 1]
    assert "'nowhere.jsonl' does not exist" in errors
    assert "jobs.jsonl" in errors.splitlines()[-1]


def _no_reading(*arguments: Any, **options: Any) -> Any:
    raise PermissionError(13, "Permission denied")


def test_results_of_another_batch_are_not_written_over(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """A file with results is only written anew with the ledger they are of, or when that is asked for."""
    write_jobs("one")
    Path("results.jsonl").write_text("precious\n", "utf-8")

    codes = [cli.main(BATCH), cli.main(BATCH[:4])]
    errors = capsys.readouterr().err
    kept = Path("results.jsonl").read_text("utf-8")
    codes.append(cli.main([*BATCH, "--overwrite"]))

    assert codes == [1, 1, 0]
    assert "results.jsonl has results already, and the ledger ledger is new: give another file" in errors
    assert "and no --ledger is given" in errors
    assert kept == "precious\n"
    assert results()


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["-o", "jobs.jsonl", "--overwrite"], 2, "would be written over the jobs or the ledger"),
        (["-o", "same", "--ledger", "./same"], 2, "would be written over the jobs or the ledger"),
        (["-o", "no/such/folder"], 1, "no/such/folder cannot be written: No such file or directory"),
        (["--shard", "0/4"], 2, "--shard takes I/N"),
        (["--shard", "5/4"], 2, "--shard takes I/N"),
        (["--shard", "half"], 2, "--shard takes I/N"),
        (["--concurrency", "0"], 2, "0 is not in the range"),
        (["--tools", "nowhere"], 1, "--tools: nowhere cannot be imported"),
        (["--ledger", "jobs.jsonl"], 1, "jobs.jsonl"),
    ],
)
def test_options_that_cannot_be_meant(
    capsys: pytest.CaptureFixture[str], server: FakeServer, options: list[str], code: int, message: str
) -> None:
    """They are refused before anything is run."""
    write_jobs("one")

    assert cli.main(["batch", "jobs.jsonl", *options]) == code
    assert message in capsys.readouterr().err
    assert not server.requests_for("create_thread_and_run")
    assert not server.requests_for("create_run")


def test_shards(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """Each part runs its own jobs, and together they run all of them once."""
    write_jobs(*map(str, range(20)))

    codes = [
        cli.main(["batch", "jobs.jsonl", "-o", f"r{part}", "--ledger", f"l{part}", "--shard", f"{part}/3"])
        for part in (1, 2, 3)
    ]

    parts = [set(results(f"r{part}")) for part in (1, 2, 3)]
    assert codes == [0, 0, 0]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts)) == 20


def test_what_the_jobs_are_run_with(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """Tools are answered, a job has its time, and limits are kept to."""
    Path("batch_tools.py").write_text(
        'def add(a: int, b: int) -> int:\n    """Add."""\n    return a + b\n', encoding="utf-8"
    )
    function = {"type": "function", "function": {"name": "add"}}
    write_jobs("add", "slow", params={"tools": [function]})
    options = ["--tools", "batch_tools.py:add", "--job-seconds", "1.5", "--retry-failed-runs", "1"]
    options += ["--max-in-flight", "5", "--requests-per-minute", "60000", "--tokens-per-minute", "1000000"]

    code = cli.main([*BATCH, *options])

    found = results()
    assert code == 3
    assert found["job 0"]["text"] == "It is 3."
    assert (found["job 1"]["status"], found["job 1"]["error"]["type"]) == ("error", "WaitTimeoutError")


def test_a_key_that_is_not_accepted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: FakeServer
) -> None:
    """It is told once, not for each job; a server that cannot list assistants can be worked with."""
    write_jobs("one")
    server.faults.add(Fault.status(401, "Wrong key."), on="list_assistants")
    refused = cli.main(BATCH)
    errors = capsys.readouterr().err
    server.faults.add(Fault.status(405), on="list_assistants")

    assert (refused, cli.main(BATCH)) == (1, 0)
    assert "Wrong key." in errors
    assert errors.count("\n") == 1


def test_a_ledger_of_another_server(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """It is refused in one line, and the results that are there stay."""
    write_jobs("one")
    assert cli.main(BATCH) == 0
    before = Path("results.jsonl").read_bytes()
    capsys.readouterr()
    with FakeServer().in_thread() as other:
        code = cli.main([*BATCH, "--base-url", other])

    errors = capsys.readouterr().err
    assert (code, errors.count("\n")) == (1, 1)
    assert errors.startswith("error: ledger is the ledger of ")
    assert Path("results.jsonl").read_bytes() == before


def test_no_jobs(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """There is nothing to do, and the file of results is there."""
    Path("jobs.jsonl").touch()

    assert cli.main(BATCH) == 0
    assert results() == {}


# The status.


def test_the_status(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """How many jobs there are of each kind; on request those that did not complete."""
    write_jobs("one", "two", "fail", "cut", "add")
    cli.main(BATCH)
    capsys.readouterr()

    codes = [cli.main(["batch", "status", "ledger", "--failed"])]
    text = capsys.readouterr().out
    codes.append(cli.main(["batch", "status", "ledger", "--failed", "--json"]))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    codes.append(cli.main(["batch", "status", "ledger", "--json"]))
    found = json.loads(capsys.readouterr().out)

    url = os.environ["ASYNCASSIST_BASE_URL"]
    assert codes == [0, 0, 0]
    assert text.startswith(f"ledger     ledger\nserver     {url}\nbatch      none is working with it now\n")
    assert "\njobs       5 begun or ended\n  completed  2\n" in text
    assert "failed     job 2  thread_" in text
    assert "error      job 4" in text
    assert {line["id"]: line["status"] for line in lines} == {
        "job 2": "failed",
        "job 3": "incomplete",
        "job 4": "error",
    }
    assert found["statuses"] == {"completed": 2, "failed": 1, "incomplete": 1, "error": 1}
    assert (found["jobs"], found["under_way"], found["server"]) == (5, 0, url)


def test_the_status_of_a_copy(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """A ledger without its lock beside it is one that no batch is working with."""
    write_jobs("one")
    assert cli.main(BATCH) == 0
    Path("ledger-lock").unlink()
    capsys.readouterr()

    assert cli.main(["batch", "status", "ledger"]) == 0
    assert "none is working with it now" in capsys.readouterr().out
    assert not Path("ledger-lock").exists()


def test_the_status_of_what_is_no_ledger(capsys: pytest.CaptureFixture[str]) -> None:
    """It is one line."""
    Path("ledger").write_text("x" * 1000, "utf-8")

    codes = [cli.main(["batch", "status", "ledger"]), cli.main(["batch", "status", "nowhere"])]

    output, errors = capsys.readouterr()
    assert (codes, output) == ([1, 2], "")
    assert "error: ledger is no SQLite database" in errors
