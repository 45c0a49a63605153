"""Which server is asked, and how: the options that several commands have."""

from __future__ import annotations

from pathlib import Path
from ssl import SSLCertVerificationError

import httpx
import pytest

from asyncassist import cli
from asyncassist.cli.running import LOCAL_SERVER, hint_for
from asyncassist.errors import APIConnectionError
from asyncassist.testing import FakeServer

from .processes import run

COMMANDS = [
    ["ask", "x"],
    ["chat"],
    ["runs", "list", "thread_1"],
    ["runs", "cancel", "thread_1", "run_1"],
    ["runs", "watch", "thread_1", "run_1"],
    ["threads", "show", "thread_1"],
    ["threads", "export", "thread_1"],
]


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_server(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    """It says in one line what is missing, and below how to get a server on this machine."""
    code = cli.main(command)

    output, errors = capsys.readouterr()
    assert (code, output) == (1, "")
    assert errors.startswith("error: no server is named: give --base-url URL, or set ASYNCASSIST_BASE_URL\n")
    assert "\n  asyncassist serve\n" in errors
    assert "export ASYNCASSIST_BASE_URL=http://127.0.0.1:8080/v1 ASYNCASSIST_API_KEY=any\n" in errors


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_key(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    """It says so, and how to do without."""
    code = cli.main([*command, "--base-url", "http://127.0.0.1:1/v1"])

    output, errors = capsys.readouterr()
    assert (code, output) == (1, "")
    assert errors.startswith("error: there is no API key: set ASYNCASSIST_API_KEY, or give --no-key ")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--base-url", "nonsense"], 1, "base_url must start with http"),
        (["--no-key", "--api-key-env", "X"], 2, "--no-key and --api-key-env contradict each other"),
        (["--api-key-env", "NOT_SET"], 2, "--api-key-env: the environment variable NOT_SET is not set"),
        (["--header-env", "api-key=NOT_SET"], 2, "--header-env: the environment variable NOT_SET is not set"),
        (["--query", "sk-secret"], 2, "--query takes NAME=VALUE"),
        (["--header", "sk-secret"], 2, "--header takes NAME:VALUE"),
        (["--header", "a: 1", "--header", "a: 2"], 2, "--header: a is there twice"),
        (["--timeout", "0"], 2, "0.0 is not in the range"),
    ],
)
def test_options_that_cannot_be_meant(
    capsys: pytest.CaptureFixture[str], server: FakeServer, options: list[str], code: int, message: str
) -> None:
    """They are refused before anything is sent, and what may be a secret is not repeated."""
    assert cli.main(["ask", *options, "x"]) == code
    errors = capsys.readouterr().err
    assert message in errors
    assert "sk-secret" not in errors
    assert not server.requests


def test_what_is_sent(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: FakeServer) -> None:
    """The options are in every request: the key of another variable, the query, the headers."""
    monkeypatch.setenv("OTHER_KEY", "sk-other")
    monkeypatch.setenv("AZURE_KEY", "azure-secret")
    options = ["--api-key-env", "OTHER_KEY", "--api-version", "v1", "--query", "a=b=c", "--header", "X-Team: blue: 1"]
    options += ["--header-env", "api-key=AZURE_KEY", "--no-beta", "--timeout", "20"]

    assert cli.main(["ask", *options, "x"]) == 0
    for request in server.requests:
        assert request.query.items() >= {"api-version": "v1", "a": "b=c"}.items()
        assert request.headers["authorization"] == "Bearer sk-other"
        assert (request.headers["x-team"], request.headers["api-key"]) == ("blue: 1", "azure-secret")
        assert "openai-beta" not in request.headers
    assert "secret" not in "".join(capsys.readouterr())


def test_no_key_is_sent(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """With --no-key there is none, whatever the environment has."""
    assert cli.main(["ask", "--no-key", "x"]) == 0
    assert not any("authorization" in request.headers for request in server.requests)
    assert server.requests[0].headers["openai-beta"] == "assistants=v2"


def test_the_variables_of_the_openai_sdk(server: FakeServer) -> None:
    """They will do, as they do for the client."""
    url = server_url(server)
    done = run("ask", "x", ASYNCASSIST_BASE_URL="", ASYNCASSIST_API_KEY="", OPENAI_BASE_URL=url, OPENAI_API_KEY="any")

    assert (done.returncode, done.stdout) == (0, b"You said: x\n")


def server_url(server: FakeServer) -> str:
    import os

    url = os.environ["ASYNCASSIST_BASE_URL"]
    httpx.get(f"{url}/assistants").raise_for_status()
    return url


@pytest.mark.parametrize("command", [*COMMANDS, ["batch", "jobs.jsonl"]])
def test_a_server_that_is_not_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: list[str]
) -> None:
    """One line names it, and below is how to get a server on this machine."""
    monkeypatch.chdir(tmp_path)
    Path("jobs.jsonl").touch()
    code = cli.main([*command, "--no-key", "--base-url", "http://127.0.0.1:1/v1", "--timeout", "1"])

    output, errors = capsys.readouterr()
    line, rest = errors.split("\n", 1)
    assert (code, output) == (1, "")
    assert "cannot connect to http://127.0.0.1:1/v1" in line
    assert "\n  asyncassist serve\n" in rest


def test_a_certificate_that_is_refused() -> None:
    """A server is there, and another one would not help."""
    refused = APIConnectionError("certificate verify failed", sent=False)
    refused.__cause__ = OSError()
    refused.__cause__.__cause__ = SSLCertVerificationError()

    assert hint_for(refused) == ""
    assert hint_for(APIConnectionError("cut")) == ""
    assert hint_for(APIConnectionError("refused", sent=False)) == LOCAL_SERVER
