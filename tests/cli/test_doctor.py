"""``asyncassist doctor``: what it finds, on servers of several kinds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from threading import Thread
from typing import Any

import pytest

from asyncassist import __version__, cli
from asyncassist.cli.dialects import RETIRED, Answer, dialect_of, verdict_on
from asyncassist.testing import FakeServer, Fault

Reply = tuple[int, dict[str, str], str]


@contextmanager
def server_of(reply: Callable[[str], Reply]) -> Iterator[str]:
    """A server that answers each path in this way: its base URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = reply(self.path)
            data = body.encode()
            self.send_response(status)
            for name, value in {"content-length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def found_at(capsys: pytest.CaptureFixture[str], url: str, *options: str) -> tuple[int, dict[str, Any]]:
    code = cli.main(["doctor", "--json", "--base-url", url, "--no-key", *options])
    output, errors = capsys.readouterr()
    assert errors == ""
    return code, json.loads(output)


def test_our_own_server(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """Everything is there, the key is named and not shown, and nothing was made or changed."""
    code = cli.main(["doctor"])

    output, errors = capsys.readouterr()
    assert (code, errors) == (0, "")
    assert f"asyncassist  {__version__}, " in output
    assert f"click {metadata.version('click')}" in output
    assert "(from ASYNCASSIST_BASE_URL)\n" in output
    assert "key          set, in ASYNCASSIST_API_KEY\n" in output
    assert "sk-secret" not in output
    assert "answers 200 in " in output
    assert "asyncassist's own server" in output
    assert "there        list_assistants, get_assistant, " in output
    assert "missing" not in output
    assert output.endswith("verdict      this can work\n")
    assert {request.method for request in server.requests} == {"GET"}


def test_json(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """The same as one object."""
    assert cli.main(["doctor", "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert found["is_usable"] is True
    assert found["key"] == "ASYNCASSIST_API_KEY"
    assert set(found["operations"].values()) == {"there"}
    assert 0 < found["latency_ms"] < 5000
    assert set(found["extras"]) == {"cli", "server", "aiohttp"}


def test_a_server_without_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    """A key that is not accepted is said to be that, and the exit code is 1."""
    with FakeServer(api_keys=["right"]).in_thread() as url:
        code, found = found_at(capsys, url)

    assert (code, found["is_usable"], found["key"]) == (1, False, "--no-key")
    assert found["problem"].startswith("the server does not accept requests without a key (--no-key): 401 ")
    assert set(found["operations"].values()) == {"refused"}


def test_operations_that_are_missing(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """What a server answers with 404 as any path, or with 405, is missing; what fails or does not answer is told."""
    server.faults.add(Fault.status(405), on="list_run_steps", times=None)
    server.faults.add(Fault.status(404, "Invalid URL (GET /v1/x)", code="unknown_url"), on="get_run_step", times=None)
    server.faults.add(Fault.status(500), on="get_run", times=None)
    server.faults.add(Fault.drop(), on="list_runs", times=None)

    code = cli.main(["doctor"])

    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert code == 0
    assert (lines["missing"], lines["fails"]) == ("list_run_steps, get_run_step", "get_run")
    assert lines["unclear"] == "list_runs"


@pytest.mark.parametrize("path", ["", "/v1"])
@pytest.mark.parametrize(
    "reply",
    [
        (404, {}, '{"detail":"Not Found"}'),
        (404, {"server": "nginx"}, "<html>404</html>"),
        (200, {"content-type": "text/html"}, "<html>Welcome</html>"),
        (200, {}, ""),
    ],
)
def test_a_server_of_something_else(capsys: pytest.CaptureFixture[str], reply: Reply, path: str) -> None:
    """It answers, but with nothing of this API; where the URL has no version, that is the hint."""
    with server_of(lambda _: reply) as url:
        code, found = found_at(capsys, url + path)

    assert (code, found["is_usable"]) == (1, False)
    assert set(found["operations"].values()) == {"missing"}
    assert "knows no operation of the Assistants API" in found["problem"]
    assert ("should the URL end in /v1?" in found["problem"]) == (path == "")


def test_a_server_that_is_litellm(capsys: pytest.CaptureFixture[str]) -> None:
    """Some know the listing of assistants, and messages and runs only by thread."""

    def reply(path: str) -> Reply:
        headers = {"x-litellm-version": "1.0", "content-type": "application/json"}
        if path.startswith("/v1/assistants?"):
            return 200, headers, '{"object": "list", "data": [], "has_more": false}'
        if "thread_" in path:
            return 400, headers, '{"error": {"message": "no such thread"}}'
        return 404, headers, '{"detail": "Not Found"}'

    with server_of(reply) as url:
        code, found = found_at(capsys, f"{url}/v1")

    assert (code, found["dialect"]) == (0, "LiteLLM")
    missing = {name for name, verdict in found["operations"].items() if verdict == "missing"}
    assert missing == {"get_assistant"}


@pytest.mark.parametrize("variable", ["ASYNCASSIST_API_KEY", "OPENAI_API_KEY"])
def test_the_variable_of_a_key_that_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """It is named in the verdict, and the key is not."""
    monkeypatch.setenv(variable, "sk-wrong")
    with FakeServer(api_keys=["right"]).in_thread() as url:
        code = cli.main(["doctor", "--base-url", url])

    output = capsys.readouterr().out
    assert code == 1
    assert f"\nverdict      the server does not accept the key in {variable}: 401 " in output
    assert "sk-wrong" not in output


def test_nothing_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    """The error of the connection is the verdict."""
    code = cli.main(["doctor", "--base-url", "http://127.0.0.1:1/v1", "--no-key"])

    output, errors = capsys.readouterr()
    assert (code, errors) == (1, "")
    assert "key          none is sent (--no-key)\n" in output
    verdict = next(line for line in output.splitlines() if line.startswith("verdict "))
    assert "127.0.0.1:1" in verdict
    assert "\n  asyncassist serve\n" in output


def test_a_server_that_hangs_up(capsys: pytest.CaptureFixture[str], server: FakeServer) -> None:
    """It is not asked for more."""
    server.faults.add(Fault.drop(), on="list_assistants", times=None)

    code = cli.main(["doctor"])

    assert (code, len(server.requests)) == (1, 1)
    assert capsys.readouterr().out.splitlines()[-1].startswith("verdict      GET /assistants: ")


def test_nothing_is_configured(capsys: pytest.CaptureFixture[str]) -> None:
    """What is missing is said, and how to get a server on this machine."""
    code = cli.main(["doctor"])

    output = capsys.readouterr().out
    assert code == 1
    assert "base URL     not set\n" in output
    assert "key          not set\n" in output
    assert "verdict      no server is named: " in output
    assert "asyncassist serve" in output


@pytest.mark.parametrize(("value", "expected"), [("sk-1", "OTHER_KEY"), ("", None)])
def test_where_the_key_comes_from(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, value: str, expected: str | None
) -> None:
    """A variable that is named counts, set or not."""
    monkeypatch.setenv("OTHER_KEY", value)
    code = cli.main(["doctor", "--json", "--base-url", "http://127.0.0.1:1/v1", "--api-key-env", "OTHER_KEY"])

    output, errors = capsys.readouterr()
    if expected is None:
        assert (code, output) == (2, "")
        assert "OTHER_KEY is not set" in errors
    else:
        assert json.loads(output)["key"] == expected


def test_proxies_and_passwords(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: FakeServer
) -> None:
    """Proxies are told with the one that counts for this server; no user name, password or query is."""
    monkeypatch.setenv("http_proxy", "http://user:secret@127.0.0.1:9")
    code = cli.main(["doctor", "--timeout", "5"])
    through_proxy = capsys.readouterr().out
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    past_proxy = cli.main(["doctor"]), capsys.readouterr().out
    wrong = cli.main(["doctor", "--base-url", "http://user:secret@127.0.0.1/v1?key=secret", "--no-key"])
    output = capsys.readouterr().out

    assert (code, past_proxy[0], wrong) == (1, 0, 1)
    assert "http http://...@127.0.0.1:9" in through_proxy
    assert "to this server: http://...@127.0.0.1:9\n" in through_proxy
    assert "to this server: none\n" in past_proxy[1]
    assert "base URL     http://...@127.0.0.1/v1 (from --base-url)\n" in output
    assert "must not hold a user name" in output
    assert "secret" not in through_proxy + past_proxy[1] + output


def test_what_is_not_installed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, server: FakeServer
) -> None:
    """It is named, with the command that installs it."""
    real = metadata.version

    def version(name: str) -> str:
        if name in ("rich", "aiohttp"):
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)

    assert cli.main(["doctor"]) == 0
    output = capsys.readouterr().out
    assert "; not installed: rich (pip install 'asyncassist[cli]')\n" in output
    assert "[aiohttp]    not installed: aiohttp (pip install 'asyncassist[aiohttp]')\n" in output


# What answers tell.

_NOTHING = Answer(404)


@pytest.mark.parametrize(
    ("host", "path", "headers", "expected"),
    [
        ("api.openai.com", "/v1", {}, RETIRED),
        ("eu.api.openai.com", "/v1", {}, RETIRED),
        ("x.services.ai.azure.com", "/api/projects/p", {}, "Azure AI Foundry"),
        ("gateway.example.org", "/api/projects/p", {}, "Azure AI Foundry"),
        ("x.openai.azure.com", "/openai", {}, "Azure OpenAI"),
        ("example.org", "", {"x-litellm-call-id": "1"}, "LiteLLM"),
        ("example.org", "", {"apim-request-id": "1"}, "a service of Azure"),
        ("example.org", "", {"server": "nginx"}, "unknown (server: nginx)"),
        ("example.org", "", {}, "unknown"),
    ],
)
def test_dialects(host: str, path: str, headers: dict[str, str], expected: str) -> None:
    """The host, the path and the headers tell them apart."""
    assert dialect_of(host, path, Answer(200, headers=headers), _NOTHING) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(None), "unclear"),
        (Answer(200), "there"),
        (Answer(200, is_api=False), "missing"),
        (Answer(400, message="no such id"), "there"),
        (Answer(401), "refused"),
        (Answer(403), "refused"),
        (Answer(404, message="No thread found with id 'thread_1'."), "there"),
        (Answer(404, message="Not found: /v1/threads/thread_1"), "missing"),
        (Answer(405), "missing"),
        (Answer(501), "missing"),
        (Answer(503), "fails"),
    ],
)
def test_verdicts(answer: Answer, expected: str) -> None:
    """A 404 counts by what the server says of a path that no server has."""
    assert verdict_on(answer, Answer(404, message="Not found: /v1/asyncassist-doctor/x")) == expected


def test_the_host_that_was_retired() -> None:
    """Its verdict says so."""
    from asyncassist._transport.settings import BaseUrl
    from asyncassist.cli.doctor import _problem

    base = BaseUrl("https://api.openai.com/v1")

    assert _problem(RETIRED, Answer(404), {"missing"}, base) == f"this is {RETIRED}: name another server"
    assert _problem(RETIRED, Answer(200), {"there"}, base) is None
