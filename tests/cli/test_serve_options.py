"""``asyncassist serve`` in this process: its options, and what they are refused for."""

from __future__ import annotations

import json
import logging
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import httpx
import pytest

from asyncassist import cli
from asyncassist.server import SQLiteStore, StoreFailed

from .serving import serve_here

on_unix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send")


class Model(BaseHTTPRequestHandler):
    """A server of /chat/completions that has always the same to say, and notes what it was asked."""

    asked: ClassVar[list[tuple[str | None, dict[str, Any]]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append((self.headers["authorization"], body))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        choice = {"index": 0, "delta": {"role": "assistant", "content": "I am a model."}, "finish_reason": "stop"}
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        self.wfile.write(f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n".encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def model_server() -> Iterator[str]:
    Model.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1"
        finally:
            server.shutdown()
            thread.join()


def answer_of(url: str, **headers: str) -> str:
    """What a run at this server says to "hello"."""
    with httpx.Client(base_url=url, headers=headers) as http:
        assistant = http.post("/assistants", json={"model": "gpt-4o"}).json()
        thread = {"messages": [{"role": "user", "content": "hello"}]}
        body = {"assistant_id": assistant["id"], "thread": thread, "stream": True}
        events = http.post("/threads/runs", json=body).text
    (completed,) = [
        event for event in events.split("\n\n") if event.startswith(("event: thread.message.completed", "event: error"))
    ]
    text: str = json.loads(completed.partition("data: ")[2])["content"][0]["text"]["value"]
    return text


@on_unix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_without_options(capsys: pytest.CaptureFixture[str], number: int) -> None:
    """The offline backend answers, and both signals end it with code 0 and leave no handler behind."""
    texts: list[str] = []

    code = serve_here(lambda url: texts.append(answer_of(url)), number=number)

    output, errors = capsys.readouterr()
    assert (code, errors) == (0, "")
    assert texts == ["This is the offline backend: no model was asked. The last message was: hello"]
    assert "Ending." in output


@on_unix
def test_a_backend_is_asked(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend gets its own key and its own name of the model; the key is not shown."""
    monkeypatch.setenv("MODEL_KEY", "sk-backend")
    texts: list[str] = []
    with model_server() as backend:
        options = ["--backend", backend, "--backend-key-env", "MODEL_KEY", "--model-map", "gpt-4o=a=b"]
        code = serve_here(lambda url: texts.append(answer_of(url)), *options, "--model-map", "*=c")

    output, errors = capsys.readouterr()
    assert (code, texts) == (0, ["I am a model."])
    assert [(key, body["model"]) for key, body in Model.asked] == [("Bearer sk-backend", "a=b")]
    assert f"backend  {backend}\n" in output
    assert "sk-" not in output + errors


@on_unix
def test_a_key_of_the_backend_on_the_command_line() -> None:
    """It is sent as well."""
    texts: list[str] = []
    with model_server() as backend:
        serve_here(lambda url: texts.append(answer_of(url)), "--backend", backend, "--backend-key", "sk-2")

    assert [key for key, _ in Model.asked] == ["Bearer sk-2"]


@on_unix
def test_a_line_for_each_request(caplog: pytest.LogCaptureFixture) -> None:
    """With --log-level info there is a line for each request; the query is left out of it, and a path stays a line."""
    serve_here(lambda url: httpx.get(f"{url}/assist%0aants?key=secret"), "--log-level", "info")

    lines = [record.getMessage() for record in caplog.records if record.name == "asyncassist.requests"]
    assert lines[-1].startswith("GET /v1/assist%0aants 404 ")
    assert lines[-1].endswith(" ms")
    assert "secret" not in caplog.text


@on_unix
def test_other_levels_have_no_lines_for_requests(caplog: pytest.LogCaptureFixture) -> None:
    """By default a request is not told."""
    levels: list[int] = []

    def look(url: str) -> None:
        levels.append(logging.getLogger("asyncassist").level)

    serve_here(look)
    serve_here(look, "--log-level", "error")

    assert levels == [logging.WARNING, logging.ERROR]
    assert not [record for record in caplog.records if record.name == "asyncassist.requests"]


@on_unix
def test_it_goes_on_when_nobody_reads_its_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose banner was piped into something that has ended serves on, and ends as ever."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    statuses: list[int] = []
    with open(write_end, "w", encoding="utf-8", closefd=False) as closed_pipe:
        monkeypatch.setattr(sys, "stdout", closed_pipe)
        code = serve_here(lambda url: statuses.append(httpx.get(f"{url}/assistants").status_code))
        monkeypatch.undo()
    os.close(write_end)

    assert (code, statuses) == (0, [200])


@on_unix
def test_strict_and_short_runs(tmp_path: Path) -> None:
    """--strict refuses what the API does not know, and --run-seconds sets how long a run may take."""
    (tmp_path / "slow.yaml").write_text("[{delay: 60}]", "utf-8")
    statuses: list[object] = []

    def use(url: str) -> None:
        beta = {"openai-beta": "assistants=v2"}
        statuses.append(httpx.get(f"{url}/assistants?nothing=1", headers=beta).status_code)
        with httpx.Client(base_url=url, headers=beta) as http:
            assistant = http.post("/assistants", json={"model": "m"}).json()
            run = http.post("/threads/runs", json={"assistant_id": assistant["id"]}).json()
            while (run := http.get(f"/threads/{run['thread_id']}/runs/{run['id']}").json())["status"] == "in_progress":
                pass
            statuses.append(run["status"])

    serve_here(use, "--strict", "--run-seconds", "1.5", "--script", str(tmp_path / "slow.yaml"))

    assert statuses == [400, "expired"]


@on_unix
def test_what_is_in_the_file_stays(tmp_path: Path) -> None:
    """A server on the file of another one that has ended has its objects."""
    db = str(tmp_path / "db.sqlite3")
    seen: list[int] = []
    serve_here(lambda url: httpx.post(f"{url}/assistants", json={"model": "m"}).raise_for_status(), "--db", db)
    serve_here(lambda url: seen.append(len(httpx.get(f"{url}/assistants").json()["data"])), "--db", db)

    assert seen == [1]


@on_unix
@pytest.mark.parametrize(("count", "line"), [(1, "  1 run from before goes on\n"), (2, "  2 runs from before go on\n")])
def test_runs_that_go_on(capsys: pytest.CaptureFixture[str], tmp_path: Path, count: int, line: str) -> None:
    """A server that is started again says how many runs go on."""
    (tmp_path / "slow.yaml").write_text("[{delay: 60}]", "utf-8")
    options = ["--db", str(tmp_path / "db.sqlite3"), "--script", str(tmp_path / "slow.yaml")]

    def start_runs(url: str) -> None:
        assistant = httpx.post(f"{url}/assistants", json={"model": "m"}).json()
        for _ in range(count):
            httpx.post(f"{url}/threads/runs", json={"assistant_id": assistant["id"]}).raise_for_status()

    serve_here(start_runs, *options)
    before = capsys.readouterr().out
    serve_here(lambda url: None, *options)

    assert "from before" not in before
    assert line in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "70000"], "70000 is not in the range"),
        (["--run-seconds", "0"], "0.0 is not in the range"),
        (["--sync", "full"], "--sync is about the file of --db"),
        (["--sync", "half", "--db", "x"], "'half' is not one of"),
        (["--backend-key", "x"], "are about the URL of --backend"),
        (["--model-map", "a=b"], "are about the URL of --backend"),
        (["--backend", "http://x/v1", "--script", "x"], "leave --backend or --script out"),
        (["--backend", "http://x/v1", "--model-map", "a"], "'a' is not FROM=TO"),
        (["--backend", "http://x/v1", "--model-map", "=a"], "'=a' is not FROM=TO"),
        (["--backend", "http://x/v1", "--model-map", "a=b", "--model-map", "a=c"], "a is there twice"),
        (["--backend", "http://x/v1", "--backend-key-env", "NOT_SET"], "variable NOT_SET is not set"),
        (["--backend", "http://x/v1", "--backend-key-env", "X", "--backend-key", "y"], "two ways to say one thing"),
        (["--api-key", ""], "an API key is made of"),
        (["--api-key", "with space"], "an API key is made of"),
        (["--api-key", "schlüssel"], "an API key is made of"),
        (["--host", "192.0.2.1"], "can be reached from other machines"),
    ],
)
def test_options_that_cannot_be_meant(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    """Nothing is started, the exit code is 2, and the message says what is wrong."""
    code = cli.main(["serve", *arguments])

    output, errors = capsys.readouterr()
    assert (code, output) == (2, "")
    assert errors.startswith("Usage: ")
    assert message in errors
    assert "schlüssel" not in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--script", "nowhere.yaml"], "error: nowhere.yaml: the script cannot be read: No such file or directory"),
        (["--host", "no.such.host.invalid"], "error: port 8080 of no.such.host.invalid cannot be opened: "),
        (["--host", ""], "error: there is no address to listen on"),
        (["--db", "no/such/directory/db.sqlite3"], "error: "),
        (["--backend", "nonsense"], "error: --backend: the URL must start with http"),
        (["--backend", "http://a:b@host/v1"], "error: --backend: the URL must not hold a user name"),
        (["--host", "192.0.2.1", "--api-key", "x"], "error: port 8080 of 192.0.2.1 cannot be opened: "),
    ],
)
def test_what_cannot_be_had_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    """The exit code is 1, and the one line names what it was about."""
    code = cli.main(["serve", *arguments])

    output, errors = capsys.readouterr()
    assert (code, output) == (1, "")
    assert errors.startswith(message)
    assert errors.count("\n") == 1


def test_a_store_that_fails_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A disk that fails when the server begins is told without a traceback."""

    async def fail(store: SQLiteStore) -> None:
        raise StoreFailed("the disk is full") from sqlite3.OperationalError()

    monkeypatch.setattr(SQLiteStore, "open", fail)

    code = cli.main(["serve", "--port", "0", "--db", str(tmp_path / "db.sqlite3")])

    assert code == 1
    assert capsys.readouterr().err == "error: the disk is full\n"
