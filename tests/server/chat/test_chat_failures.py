"""A model server that fails, over real sockets: what becomes of the turn, and when it is asked again."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest
from transport.loopback import Behaviour, Connection, Loopback, answer, chunked, closed_port, drop, hang, reset

from asyncassist import RetryPolicy, Timeout
from asyncassist.server import BackendError, ChatCompletionsBackend

from .helpers import (
    DONE,
    HELLO,
    KEY,
    ask,
    backend_of,
    calls,
    chunk,
    cut,
    data,
    endless,
    entry,
    refusal,
    streaming,
    turn_of,
)

pytestmark = pytest.mark.anyio

ONCE = RetryPolicy(attempts=1)


# Failures.


@pytest.mark.parametrize(
    "behaviour, code, message",
    [
        (refusal(400, "too long", code="context_length_exceeded"), "invalid_prompt", "answered 400: too long"),
        (refusal(422, "bad"), "invalid_prompt", "answered 422: bad"),
        (refusal(413), "invalid_prompt", "answered 413"),
        (refusal(404, "no model x"), "server_error", "answered 404: no model x"),
        (refusal(429, "later"), "rate_limit_exceeded", "answered 429: later"),
        (refusal(429, "paid up", code="insufficient_quota"), "rate_limit_exceeded", "answered 429: paid up"),
        (refusal(500, "oops"), "server_error", "answered 500: oops"),
        (answer(b"<h1>Bad gateway</h1>", 502), "server_error", "answered 502: Bad gateway"),
        (answer(b"", 307, {"location": "/elsewhere"}), "server_error", "redirect"),
        (reset, "server_error", "the connection to the model server broke"),
        (drop(), "server_error", "the connection to the model server broke"),
        (cut(chunk("")), "server_error", "broke"),
        (streaming(chunk("")), "server_error", "the answer of the model server ended before it was complete"),
        (streaming(), "server_error", "ended before it was complete"),
        (answer(b"<html>", 200), "server_error", "HTML"),
        (answer(b"x", 200, {"content-encoding": "br"}), "server_error", "br"),
        (streaming(data({"error": {"message": "slow down", "code": 429}})), "rate_limit_exceeded", "slow down"),
        (streaming(data({"error": {"message": "eh", "type": "invalid_request_error"}})), "invalid_prompt", "eh"),
        (streaming(data({"error": "oops"})), "server_error", "oops"),
        (streaming(chunk(finish="error")), "server_error", "failed in the middle"),
        (streaming(calls(entry(index=0)), DONE), "server_error", "without a name"),
        (streaming(chunk(finish="content_filter"), DONE), "invalid_prompt", "content filter"),
    ],
)
async def test_failures(server: Loopback, behaviour: Behaviour, code: str, message: str) -> None:
    """What goes wrong fails the turn with the API's code and with words that do not say where the model server is."""
    server.default = behaviour

    with pytest.raises(BackendError, match=message) as caught:
        await ask(backend_of(server, retry=ONCE))

    assert caught.value.code == code
    assert server.url not in caught.value.message


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_not_quoted(server: Loopback, status: int, caplog: pytest.LogCaptureFixture) -> None:
    """Users of the API learn that this server's key was refused, and nothing of the key; nor does the log."""
    server.default = refusal(status, f"Incorrect API key: {KEY}, which ends in cdef")

    with pytest.raises(BackendError, match=f"answered {status}: the key of this server is not accepted") as caught:
        await ask(backend_of(server, api_key=KEY))

    assert "cdef" not in caught.value.message
    assert "Incorrect API key: [redacted]" in caplog.text
    assert KEY not in caplog.text
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "path, is_hinted", [("", True), ("/api", True), ("/v1", False), ("/openai/deployments/x", False)]
)
async def test_a_url_without_a_version(
    server: Loopback, caplog: pytest.LogCaptureFixture, path: str, is_hinted: bool
) -> None:
    """Where a URL that has no version is answered 404, that is the hint; only the log says which URL was asked."""
    server.default = refusal(404, "page not found")
    url = server.url.removesuffix("/v1") + path

    with pytest.raises(BackendError, match="answered 404: page not found") as caught:
        await ask(ChatCompletionsBackend(url, retry=ONCE))

    asked = f"{url}/chat/completions was answered 404; should the URL of the backend end in /v1?"
    assert ("should the URL of this server's backend end in /v1?" in caught.value.message) == is_hinted
    assert (asked in caplog.text) == is_hinted
    assert url not in caught.value.message


async def test_secrets_in_the_middle_of_an_answer(server: Loopback, caplog: pytest.LogCaptureFixture) -> None:
    """A key that is quoted in the middle of an answer is taken out, too."""
    server.default = streaming(chunk("Hel"), data({"error": {"message": f"Bad key {KEY}"}}))

    with pytest.raises(BackendError, match=r"Bad key \[redacted\]"):
        await ask(backend_of(server, api_key=KEY))

    assert KEY not in caplog.text


async def test_nobody_there() -> None:
    """A model server that is not there fails the turn, after a few attempts."""
    with closed_port() as port:
        backend = ChatCompletionsBackend(f"http://127.0.0.1:{port}/v1", retry=ONCE)
        with pytest.raises(BackendError) as caught:
            await ask(backend)

    message = "The model server failed: POST /chat/completions: cannot connect to the model server"
    assert (message, "server_error") == (caught.value.message, caught.value.code)


async def test_a_key_nobody_gives_is_no_failure_of_the_model_server(server: Loopback) -> None:
    """What the function that gives keys raises passes through."""

    def no_key() -> str:
        raise LookupError("no key today")

    with pytest.raises(LookupError, match="no key today"):
        await ask(backend_of(server, api_key=no_key))


# Attempts.


@pytest.mark.parametrize(
    "first",
    [
        refusal(429, headers={"retry-after": "1"}),
        refusal(503),
        drop(),
        reset,
        cut(chunk("", role="assistant")),
        cut(calls(entry("weather", "{", index=0))),
        streaming(chunk("\n")),
        chunked(),
    ],
)
async def test_tried_again_until_something_was_said(server: Loopback, first: Behaviour) -> None:
    """As long as nothing has been sent on, a request that failed in passing is made again."""
    server.script.append(first)
    server.default = streaming(*HELLO)

    reply, text = await ask(backend_of(server))

    assert ("Hello", ()) == (text, reply.tool_calls)
    assert len(server.requests) == 2


async def test_pauses(server: Loopback) -> None:
    """Pauses are those of the policy, or what the server asks for; the policy's attempts are all there are."""
    server.script += [refusal(503), refusal(429, headers={"retry-after": "7"}), refusal(500)]
    server.default = streaming(*HELLO)
    backend = backend_of(server, retry=RetryPolicy(attempts=3, base_pause=0.5))

    with pytest.raises(BackendError, match="answered 500"):
        await ask(backend)

    naps: Any = backend._pacing.sleep
    assert naps.taken == [0.5, 7.0]


@pytest.mark.parametrize("end", [cut(chunk("Hel")), streaming(chunk("Hel")), cut(chunk("Hel"), calls())])
async def test_not_tried_again_once_something_was_said(server: Loopback, end: Behaviour) -> None:
    """Text that was sent on cannot be taken back: an answer cut behind it fails, and is not said twice."""
    server.default = end
    backend = backend_of(server)
    turn, spoken = turn_of()

    with pytest.raises(BackendError) as caught:
        await backend.answer(turn)
    await backend.aclose()

    assert (["Hel"], "server_error", 1) == (spoken, caught.value.code, len(server.requests))


async def test_the_total_timeout_ends_all_attempts(server: Loopback) -> None:
    """A pause that would go beyond the total timeout is not made."""
    server.default = refusal(503)

    with pytest.raises(BackendError, match="answered 503"):
        await ask(backend_of(server, timeout=0.4, retry=RetryPolicy(attempts=9, base_pause=0.5)))

    assert len(server.requests) == 1


async def test_the_total_timeout_counts_over_all_attempts(server: Loopback) -> None:
    """A second attempt has the time the first has left."""

    async def slowly_refused(connection: Connection) -> bool:
        await asyncio.sleep(0.4)
        return await refusal(503)(connection)

    server.script.append(slowly_refused)
    server.default = hang
    started = anyio.current_time()

    with pytest.raises(BackendError, match="total timeout"):
        await ask(backend_of(server, timeout=0.5, retry=RetryPolicy(base_pause=0.01)))

    assert anyio.current_time() - started < 0.8
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "behaviour, timeout, requests",
    [
        (hang, Timeout(total=0.1), 1),
        (hang, Timeout(attempt=0.1), 1),
        (endless(), Timeout(idle=0.1), 1),
        (endless(chunk("Hel")), Timeout(idle=0.1), 1),
    ],
)
async def test_silence(server: Loopback, behaviour: Behaviour, timeout: Timeout, requests: int) -> None:
    """A silent model server is left, and not asked to think about more."""
    server.default = behaviour

    with anyio.fail_after(5):
        with pytest.raises(BackendError, match="in time|timeout") as caught:
            await ask(backend_of(server, timeout=timeout))

    assert caught.value.code == "server_error"
    assert len(server.requests) == requests


async def test_no_timeouts(server: Loopback) -> None:
    """Without any timeout an answer is still an answer."""
    server.default = streaming(*HELLO)

    assert (await ask(backend_of(server, timeout=None)))[1] == "Hello"
