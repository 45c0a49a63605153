"""``asyncassist serve`` as a process: what its users see of it, from the banner to the end."""

from __future__ import annotations

import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from asyncassist import AsyncClient, AuthenticationError

from .serving import Served

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to send")

SLOW = "- {delay: 3600, say: never}\n"
QUICK = "- {say: At last.}\n"


def post(url: str, path: str, **body: Any) -> Any:
    return httpx.post(f"{url}{path}", json=body).raise_for_status().json()


def test_the_banner_tells_how_to_use_it() -> None:
    """What it says is enough: the URL works as it stands, nobody needs a key, and where things are kept is told."""
    with Served() as server:
        text = "\n".join(server.banner)
        assert httpx.get(f"{server.url}/assistants").json()["data"] == []
        ended = server.end(signal.SIGTERM)

    assert server.url.startswith("http://127.0.0.1:")
    assert f"OPENAI_BASE_URL={server.url} OPENAI_API_KEY=any" in text
    assert "in memory, until this program ends" in text
    assert "offline: no model is asked" in text
    assert "none is asked for" in text
    assert ended == (0, "Ending. A second signal ends it at once.\n", "")


@pytest.mark.anyio
async def test_our_client_runs_against_it() -> None:
    """The client of this package finds it by its URL."""
    with Served() as server:
        async with AsyncClient(base_url=server.url, api_key="any") as client:
            assistant = await client.create_assistant(model="m")
            run = await client.create_thread_run_and_wait(
                assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "hello"}]}
            )
            text = await client.run_text(run)

    assert run.status == "completed"
    assert text.endswith("The last message was: hello")


def test_a_signal_in_the_middle_of_a_stream_loses_nothing(tmp_path: Path) -> None:
    """The stream is cut, so that nobody takes it for whole; after the next start the run goes on to its end."""
    (tmp_path / "slow.yaml").write_text(SLOW, "utf-8")
    (tmp_path / "quick.yaml").write_text(QUICK, "utf-8")
    db = str(tmp_path / "db.sqlite3")
    lines: list[str] = []
    with Served("--db", db, "--script", str(tmp_path / "slow.yaml")) as server:
        url = server.url
        assistant = post(url, "/assistants", model="m")
        thread = post(url, "/threads", messages=[{"role": "user", "content": "hello"}])
        body = {"assistant_id": assistant["id"], "stream": True}
        with httpx.stream("POST", f"{url}/threads/{thread['id']}/runs", json=body) as response:
            with pytest.raises(httpx.RemoteProtocolError):
                for line in response.iter_lines():
                    lines.append(line)
                    if line == "event: thread.run.in_progress":
                        signalled = time.monotonic()
                        server.send()
        took = time.monotonic() - signalled
        code, _, errors = server.end()
    with Served("--db", db, "--script", str(tmp_path / "quick.yaml")) as server:
        assert "  1 run from before goes on" in server.banner
        runs = f"{server.url}/threads/{thread['id']}/runs"
        while (run := httpx.get(runs).json()["data"][0])["status"] != "completed":
            assert run["status"] in ("queued", "in_progress")
        messages = httpx.get(f"{server.url}/threads/{thread['id']}/messages").json()["data"]
        again = server.end(signal.SIGTERM)

    assert "event: done" not in lines
    assert took < 5
    assert (code, errors) == (0, "")
    assert [message["content"][0]["text"]["value"] for message in messages] == ["At last.", "hello"]
    assert again[0] == 0
    assert f"{db} (sync normal)" in "\n".join(server.banner)


def test_a_request_under_way_is_answered_or_refused() -> None:
    """At a signal an idle connection is closed, and a request that does not come to its end gets a 503 in time."""
    with Served() as server:
        host, port = server.url.split("/")[2].split(":")
        with socket.create_connection((host, int(port))) as idle, socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"POST /v1/threads HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
            httpx.get(f"{server.url}/assistants")  # what was sent before is there by now
            server.send()
            started = time.monotonic()
            idle.settimeout(10)
            slow.settimeout(10)
            assert idle.recv(1000) == b""
            with slow.makefile("rb") as reader:
                answer = reader.read()
            code, _, errors = server.end()
        took = time.monotonic() - started

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"is closing" in answer
    assert (code, errors) == (0, "")
    assert took < 5


def test_a_second_signal_ends_it_at_once() -> None:
    """Whatever it still waits for, the process is gone, and its exit code is that of the signal."""
    with Served() as server:
        host, port = server.url.split("/")[2].split(":")
        with socket.create_connection((host, int(port))) as slow:
            slow.sendall(b"POST /v1/threads HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
            httpx.get(f"{server.url}/assistants")
            server.send()
            assert server.process.stdout is not None
            assert server.process.stdout.readline().startswith("Ending.")
            code, _, errors = server.end(signal.SIGTERM)

    assert (code, errors) == (-signal.SIGTERM, "")


def test_keys_let_in_who_has_one_and_are_never_shown() -> None:
    """Every key that is given works, others get a 401, health needs none, and no output has a key in it."""
    with Served("--api-key", "sk-first", "--api-key", "sk-second", "--log-level", "debug") as server:
        answers = [
            httpx.get(f"{server.url}/assistants", headers={"authorization": f"Bearer {key}"}).status_code
            for key in ("sk-first", "sk-second", "sk-wrong")
        ]
        health = httpx.get(server.url.removesuffix("/v1") + "/health", params={"key": "sk-first"})
        code, output, errors = server.end(signal.SIGTERM)

    assert answers == [200, 200, 401]
    assert (health.status_code, health.json()) == (200, {"status": "ok"})
    assert code == 0
    assert "GET /health 200" in errors
    assert "GET /v1/assistants 401" in errors
    assert "sk-" not in "\n".join(server.banner) + output + errors


@pytest.mark.anyio
async def test_keys_of_the_environment(tmp_path: Path) -> None:
    """Keys in the environment count where the command line has none, and let it listen on any address."""
    with Served("--host", "0.0.0.0", ASYNCASSIST_SERVER_KEYS="one, two") as server:
        async with AsyncClient(base_url=server.url, api_key="two") as client:
            assert (await client.list_assistants()).data == ()
        async with AsyncClient(base_url=server.url, api_key="three") as client:
            with pytest.raises(AuthenticationError):
                await client.list_assistants()
    text = "\n".join(server.banner)

    assert "http://127.0.0.1:" in text
    assert "and at its other addresses" in text
    assert "2 let in" in text
    assert "OPENAI_API_KEY=<a key>" in text


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_without_a_key_it_listens_to_this_machine_alone(host: str) -> None:
    """Any other address is refused before anything is opened, in words that say what to do."""
    with Served("--host", host) as server:
        code, _, errors = server.end()

    assert (server.banner, code) == ([], 2)
    assert f"{host} can be reached from other machines" in errors
    assert "--api-key" in errors


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    """The second server says so and ends; it has not touched its file."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Served("--db", str(tmp_path / "db.sqlite3"), port=port) as server:
            code, _, errors = server.end()

    assert (server.banner, code) == ([], 1)
    assert errors == f"error: port {port} of 127.0.0.1 cannot be opened: Address already in use\n"
    assert not list(tmp_path.iterdir())


def test_a_file_in_use_is_one_line(tmp_path: Path) -> None:
    """Two servers never have one file."""
    db = str(tmp_path / "db.sqlite3")
    with Served("--db", db, "--sync", "full") as first, Served("--db", db) as second:
        assert "(sync full)" in "\n".join(first.banner)
        code, _, errors = second.end()

    assert (second.banner, code) == ([], 1)
    assert errors.startswith("error: ")
    assert db in errors
    assert errors.count("\n") == 1


def test_ipv6() -> None:
    """It listens on an IPv6 address, and its URL is written as such."""
    if not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    with Served("--host", "::1") as server:
        assert httpx.get(f"{server.url}/assistants").status_code == 200

    assert server.url.startswith("http://[::1]:")
