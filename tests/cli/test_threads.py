"""``export-threads`` and ``import-threads``, on the files of real servers."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import anyio
import httpx
import pytest

from asyncassist import cli
from asyncassist.server import LocalServer, SQLiteStore, StoreFailed
from asyncassist.server.store import portable


async def _fill(db: str) -> list[str]:
    async with LocalServer(store=SQLiteStore(db)) as server, server.client() as client:
        assistant = await client.create_assistant(model="m")
        runs = [
            await client.create_thread_run_and_wait(
                assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": text}]}
            )
            for text in ("one", "two")
        ]
    return [run.thread_id for run in runs]


async def _texts(db: str) -> list[list[str]]:
    async with LocalServer(store=SQLiteStore(db)) as server, server.client() as client:
        async with httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http:
            threads = (await http.get("/threads")).json()["data"]
        return [[message.text async for message in client.list_messages(thread["id"])] for thread in threads]


@pytest.fixture
def db(tmp_path: Path) -> str:
    return str(tmp_path / "db.sqlite3")


@pytest.fixture
def thread_ids(db: str) -> list[str]:
    """The ids of two threads, each with a run, that are in the file."""
    return anyio.run(_fill, db)


def test_everything_there_and_back(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, db: str, thread_ids: list[str]
) -> None:
    """What was exported to a file is in another store afterwards, and imported twice it is there once."""
    out, other = str(tmp_path / "out.jsonl"), str(tmp_path / "other.sqlite3")

    codes = [
        cli.main(["export-threads", "--db", db, "-o", out]),
        cli.main(["import-threads", "--db", other, out]),
        cli.main(["import-threads", "--db", other, out]),
    ]

    output, errors = capsys.readouterr()
    assert (codes, errors) == ([0, 0, 0], "")
    assert output.splitlines() == [
        f"2 threads written to {out}",
        "1 assistant and 2 threads added, 11 objects in all; 0 there already",
        "0 assistants and 0 threads added, 0 objects in all; 3 there already",
    ]
    assert anyio.run(_texts, other) == anyio.run(_texts, db) != []
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.jsonl"]


def test_one_thread_through_pipes(tmp_path: Path, db: str, thread_ids: list[str]) -> None:
    """Threads can be named, and both commands work between other programs: nothing but the lines is printed."""
    python = [sys.executable, "-W", "error", "-m", "asyncassist"]
    export = subprocess.run([*python, "export-threads", "--db", db, thread_ids[0]], capture_output=True)
    other = str(tmp_path / "other.sqlite3")
    imported = subprocess.run([*python, "import-threads", "--db", other, "-"], input=export.stdout, capture_output=True)

    assert (export.returncode, export.stderr) == (0, b"")
    assert (imported.returncode, imported.stderr) == (0, b"")
    assert imported.stdout.startswith(b"1 assistant and 1 thread added, ")
    assert len(anyio.run(_texts, other)) == 1


def test_a_thread_that_is_not_there(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, db: str, thread_ids: list[str]
) -> None:
    """Nothing is written, and a file that was there is left as it was."""
    out = tmp_path / "out.jsonl"
    out.write_text("old", "utf-8")

    code = cli.main(["export-threads", "--db", db, "-o", str(out), thread_ids[0], "thread_none"])

    output, errors = capsys.readouterr()
    assert (code, output) == (1, "")
    assert errors.startswith("error: ")
    assert "thread_none" in errors
    assert errors.count("\n") == 1
    assert out.read_text("utf-8") == "old"
    assert [path.name for path in tmp_path.glob("out*")] == ["out.jsonl"]


def test_a_wrong_line_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path, db: str) -> None:
    """The file and the line are told."""
    source = tmp_path / "in.jsonl"
    source.write_text("nonsense\n", "utf-8")

    code = cli.main(["import-threads", "--db", db, str(source)])

    errors = capsys.readouterr().err
    assert code == 1
    assert errors.startswith(f"error: {source}: line 1: ")
    assert errors.count("\n") == 1


def test_the_file_of_a_running_server_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, db: str, thread_ids: list[str]
) -> None:
    """While a server has the file both commands say so, in one line."""
    source = tmp_path / "in.jsonl"
    source.touch()

    async def serve() -> list[int]:
        async with LocalServer(store=SQLiteStore(db)):
            run = anyio.to_thread.run_sync
            return [
                await run(cli.main, ["export-threads", "--db", db]),
                await run(cli.main, ["import-threads", "--db", db, str(source)]),
            ]

    codes = anyio.run(serve)

    output, errors = capsys.readouterr()
    assert (codes, output) == ([1, 1], "")
    assert errors.count("\n") == 2
    assert all(line.startswith("error: ") and db in line for line in errors.splitlines())


def test_files_that_cannot_be_had(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, db: str, thread_ids: list[str]
) -> None:
    """A source that is not there, an output without a directory, and a store that is not there are one line each."""
    nowhere = str(tmp_path / "no" / "file")

    codes = [
        cli.main(["import-threads", "--db", db, nowhere]),
        cli.main(["export-threads", "--db", db, "-o", nowhere]),
        cli.main(["export-threads", "--db", nowhere]),
    ]

    errors = capsys.readouterr().err
    assert codes == [1, 1, 2]
    assert f"error: {nowhere} cannot be read: No such file or directory\n" in errors
    assert f"error: {nowhere} cannot be written: No such file or directory\n" in errors
    assert f"File '{nowhere}' does not exist" in errors


def test_a_store_that_fails_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, db: str, thread_ids: list[str]
) -> None:
    """A disk that fails in the middle is told without a traceback, and leaves no half a file."""

    async def fail(*arguments: object, **options: object) -> int:
        raise StoreFailed("the disk has failed")

    monkeypatch.setattr(portable, "export_threads", fail)

    code = cli.main(["export-threads", "--db", db, "-o", str(tmp_path / "out.jsonl")])

    assert code == 1
    assert capsys.readouterr().err == f"error: {db}: the disk has failed\n"
    assert not list(tmp_path.glob("out*"))


def test_the_standard_output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, db: str, thread_ids: list[str]) -> None:
    """Without -o the lines go to the standard output, as they would into a file."""
    out = tmp_path / "out.jsonl"
    written = io.TextIOWrapper(io.BytesIO())
    cli.main(["export-threads", "--db", db, "-o", str(out)])
    monkeypatch.setattr(sys, "stdout", written)
    code = cli.main(["export-threads", "--db", db])
    monkeypatch.undo()
    written.seek(0)
    monkeypatch.setattr(sys, "stdin", written)

    assert code == 0
    assert written.buffer.read() == out.read_bytes()
    written.seek(0)
    assert cli.main(["import-threads", "--db", str(tmp_path / "other.sqlite3"), "-"]) == 0
