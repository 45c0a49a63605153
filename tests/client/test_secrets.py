"""Keys, and what else is secret in headers, are shown nowhere: not in reprs, logs, messages, pickles or tracebacks."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import contextvars
import copy
import json
import logging
import pickle
import traceback
from collections.abc import Awaitable, Callable
from html import escape
from typing import Any, Final

import anyio
import httpx
import pytest
from anyio.lowlevel import checkpoint
from transport.helpers import connect
from transport.loopback import Loopback, answer, drop, raw

from asyncassist import (
    APIStatusError,
    APITimeoutError,
    AsyncAssistError,
    AsyncClient,
    AuthenticationError,
    ClientClosedError,
    DecodeError,
    RetryPolicy,
    Timeout,
    UsageError,
)
from asyncassist._transport.settings import Credentials, Secrets

from .helpers import BASE, OBJECT, OPERATIONS, Reply, Server, raw_reply, reply

pytestmark = pytest.mark.anyio

# Constants of the module, never local variables, which tracebacks show. Parts of a secret are as bad as all of it.
MARK: Final = "hush7k"
SECRET: Final = f'sk-{MARK}"\\/{MARK}&<>{MARK}'
HEADERS: Final = {
    "Authorization-Extra": f"Scheme {MARK}-auth",
    "api-key": f"{MARK}-api",
    "X-Token": f"{MARK}-token",
    "X-Client-SECRET": f"{MARK}-secret",
    "Cookie": f"session={MARK}-cookie; other={MARK}",
    "X-Password": f"{MARK} password with spaces",
}

PLACE: Final = f"https://test/{MARK}-api"


def client_of(server: Server, **options: Any) -> AsyncClient:
    return server.client(api_key=SECRET, default_headers=HEADERS, **options)


def exposed(error: BaseException) -> str:
    """Return all that an error shows, and everything it hangs together with."""
    parts = traceback.TracebackException.from_exception(error, capture_locals=True).format(chain=True)
    texts = [*parts, str(error), repr(error), repr(error.args), repr(vars(error))]
    texts += [str(pickle.dumps(error)), repr(vars(pickle.loads(pickle.dumps(error)))), repr(copy.copy(error))]
    links: list[BaseException | None] = [error.__cause__, error.__context__]
    while links:
        link = links.pop()
        if link is not None:
            texts += [str(link), repr(link), repr(link.args), repr(vars(link))]
            texts += traceback.TracebackException.from_exception(link, capture_locals=True).format(chain=False)
            links += [link.__cause__, link.__context__]
    return "\n".join(texts)


def echoes() -> str:
    """Everything secret, as servers echo it."""
    return " / ".join([SECRET, f"Bearer {SECRET}", *HEADERS.values(), f"{MARK}-auth"])


def echoing(status: int, body: Callable[[], bytes], **headers: str) -> Reply:
    """Answer with all secrets in the body and the headers."""
    return lambda request: httpx.Response(
        status,
        stream=httpx.ByteStream(body()),
        headers={"content-type": "application/json", "x-request-id": SECRET, "server": SECRET, "x": SECRET, **headers},
    )


def in_json(ensure_ascii: bool = True) -> bytes:
    fields = {"message": f"Incorrect API key: {echoes()}", "code": SECRET, "param": echoes(), "type": SECRET}
    return json.dumps({"error": fields}, ensure_ascii=ensure_ascii).encode()


BODIES: dict[str, Callable[[], bytes]] = {
    "json": in_json,
    "json with escaped slashes": lambda: in_json().replace(b"/", b"\\/"),
    "json with escaped markup": lambda: (
        in_json().replace(b"&", b"\\u0026").replace(b"<", b"\\u003c").replace(b">", b"\\u003e")
    ),
    "text": lambda: echoes().encode(),
    "html": lambda: f"<html><body>{escape(echoes())}</body></html>".encode(),
    "nothing": bytes,
    "just before the cut": lambda: b" " * 1990 + echoes().encode(),
}


@pytest.mark.parametrize("body", list(BODIES))
@pytest.mark.parametrize("status", [302, 400, 401, 404, 429, 500])
async def test_status_errors(status: int, body: str, caplog: pytest.LogCaptureFixture) -> None:
    """Secrets that a server echoes in whatever form are taken out of its errors, and of the log."""
    caplog.set_level(logging.DEBUG, "asyncassist")
    async with client_of(Server(echoing(status, BODIES[body], location=PLACE))) as client:
        with pytest.raises(APIStatusError) as caught:
            await client.get_thread("t")
    assert MARK not in exposed(caught.value)
    assert "[redacted]" in repr(vars(caught.value))
    assert caplog.records
    assert MARK not in caplog.text + "".join(repr(vars(record)) for record in caplog.records)


@pytest.mark.parametrize(
    "failure",
    [httpx.ConnectError("x"), httpx.ReadError("x"), httpx.ReadTimeout("x"), httpx.ProxyError("x"), OSError(5, "x")],
    ids=lambda failure: type(failure).__name__,
)
@pytest.mark.parametrize("operation", ["get_thread", "create_thread"])
async def test_broken_connections(operation: str, failure: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """The frames of the HTTP library, whose local variables hold the headers, are not kept."""
    caplog.set_level(logging.DEBUG, "asyncassist")
    async with client_of(Server(failure)) as client:
        with pytest.raises(AsyncAssistError) as caught:
            await OPERATIONS[operation](client)
    assert caught.value.__cause__ is failure
    assert MARK not in exposed(caught.value)
    assert MARK not in caplog.text


async def test_broken_connections_of_a_real_server(server: Loopback) -> None:
    """The same holds for our own connections."""
    async with connect(server, api_key=SECRET, default_headers=HEADERS) as client:
        for behaviour in (drop(), raw(b"nonsense\r\n\r\n"), answer({}, length=9, keep=False)):
            server.default = behaviour
            for operation in ("get_thread", "create_thread"):
                with pytest.raises(AsyncAssistError) as caught:
                    await OPERATIONS[operation](client)
                assert MARK not in exposed(caught.value)
    assert all(MARK in str(request.headers) for request in server.requests)


async def never(request: httpx.Request) -> httpx.Response:
    await anyio.sleep_forever()
    raise NotImplementedError


@pytest.mark.parametrize("timeout", [Timeout(total=0.01), Timeout(attempt=0.01)])
async def test_timeouts(timeout: Timeout) -> None:
    """A call that takes too long."""
    async with client_of(Server(never), timeout=timeout, retry=RetryPolicy(attempts=1)) as client:
        with pytest.raises(APITimeoutError) as caught:
            await client.get_thread("t")
    assert MARK not in exposed(caught.value)


@pytest.mark.parametrize(
    "answer",
    [
        echoing(200, lambda: b"{}"),
        echoing(200, lambda: echoes().encode()),
        echoing(200, lambda: json.dumps({"id": {"echo": echoes()}}).encode()),
        echoing(200, lambda: json.dumps({"id": "t", "created_at": echoes()}).encode()),
        echoing(200, lambda: json.dumps({"id": "t", "metadata": echoes()}).encode()),
        echoing(200, bytes, **{"content-type": f"text/{MARK}-api"}),
        echoing(200, lambda: b"{}", **{"content-encoding": "gzip"}),
    ],
)
async def test_decode_errors(answer: Reply, caplog: pytest.LogCaptureFixture) -> None:
    """An answer that is not the object due, with secrets in its body and its headers."""
    caplog.set_level(logging.DEBUG, "asyncassist")
    async with client_of(Server(answer)) as client:
        with pytest.raises(DecodeError) as caught:
            await client.get_thread("t")
    assert MARK not in exposed(caught.value)
    assert MARK not in caplog.text


async def test_closed_clients() -> None:
    """Calls of a closed client, and of one whose http_client was closed."""
    client = client_of(Server())
    await client.aclose()
    with pytest.raises(ClientClosedError) as caught:
        await client.get_thread("t")
    assert MARK not in exposed(caught.value)
    http = httpx.AsyncClient()
    await http.aclose()
    async with AsyncClient(api_key=SECRET, base_url=BASE, default_headers=HEADERS, http_client=http) as client:
        with pytest.raises(ClientClosedError) as caught:
            await client.get_thread("t")
    assert MARK not in exposed(caught.value)


async def test_requests_that_cannot_be_made() -> None:
    """What fails before anything is sent."""
    server = Server()
    async with client_of(server) as client:
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: client.get_thread("a" * 100_000),
            lambda: client.get_thread(".."),
            lambda: client.create_assistant(model="m", metadata={"a": float("nan")}),  # type: ignore[dict-item]
        ]
        for call in calls:
            with pytest.raises(UsageError) as caught:
                await call()
            assert MARK not in exposed(caught.value)
    assert [] == server.requests


def test_construction(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that cannot be used is not shown by the error that says so, wherever it comes from."""
    monkeypatch.setenv("OPENAI_API_KEY", f"{MARK} with space")
    makers: list[Callable[[], object]] = [AsyncClient, lambda: AsyncClient(api_key=f"{MARK}\n{MARK}")]
    for make in makers:
        with pytest.raises(UsageError) as caught:
            make()
        assert MARK not in exposed(caught.value)
    for proxy in (f"http://user:{MARK}@proxy:port", f"nonsense://{MARK}@proxy"):
        with pytest.raises(UsageError) as caught:
            AsyncClient(api_key="key", base_url=BASE, proxy=proxy)
        assert MARK not in str(caught.value) + repr(caught.value)
    with pytest.raises(UsageError) as caught:
        AsyncClient(api_key="key", base_url=f"http://user:{MARK}@test")
    assert MARK not in str(caught.value) + repr(caught.value)
    with pytest.raises(UsageError) as caught:
        AsyncClient(api_key="key", base_url=BASE, default_headers={"x-key": f"{MARK}\n"})
    assert MARK not in str(caught.value) + repr(caught.value)


async def test_what_is_shown_of_a_client() -> None:
    """Reprs of the client and of all it consists of are free of secrets."""
    client = client_of(Server())
    raw_form = client.with_raw_response
    shown = [client, raw_form, client._sender, client._send, client._options, client.list_runs("t"), client.create_run]
    texts = [repr(part) for part in shown] + [repr(vars(client)), repr(vars(client._sender)), repr(vars(raw_form))]
    assert MARK not in "".join(texts)
    await client.aclose()


async def test_good_answers_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """The log has what was asked and what came back, without secrets, not even in a path."""
    caplog.set_level(logging.DEBUG, "asyncassist")
    headers = {"x-request-id": f"{MARK}-api", "set-cookie": MARK, "x-other": MARK}
    async with client_of(Server(reply(OBJECT, 200, headers))) as client:
        await client.get_thread(f"{MARK}-api")
        await client.create_thread()
    assert 2 == len(caplog.records)
    assert "GET /threads/[redacted] -> 200" in caplog.messages[0]
    assert "POST /threads -> 200" in caplog.messages[1]
    assert MARK not in caplog.text + "".join(repr(vars(record)) for record in caplog.records)


async def test_nothing_is_logged_unless_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    """Above DEBUG there is nothing to say about a call."""
    caplog.set_level(logging.INFO, "asyncassist")
    async with client_of(Server(reply({}, 500), reply())) as client:
        await client.get_thread("t")
    assert [] == [record for record in caplog.records if record.name.startswith("asyncassist")]


def test_secrets_say_nothing() -> None:
    """They have no telling repr, and credentials are not pickled or copied by accident."""
    secrets, credentials = Secrets(SECRET, HEADERS), Credentials(SECRET)
    assert ("<Secrets>", "<Credentials>") == (repr(secrets), repr(credentials))
    with pytest.raises(TypeError, match="credentials are not pickled"):
        pickle.dumps(credentials)
    with pytest.raises(TypeError):
        copy.deepcopy(credentials)
    with pytest.raises(TypeError, match="secrets are not pickled"):
        pickle.dumps(secrets)


@pytest.mark.parametrize(
    "key, headers",
    [
        ("abcd", {"x-token": "abcd-rest"}),
        ("abcd-rest", {"x-token": "abcd"}),
        ("abcd", {"x-token": "Scheme abcd-rest"}),
        ("abcd", {"x-token": "abcd", "y-key": "rest abcd-rest"}),
    ],
)
def test_a_secret_that_begins_another(key: str, headers: dict[str, str]) -> None:
    """The longer one goes first, so that nothing of it is left."""
    secrets = Secrets(key, headers)
    for text in (key, *headers.values()):
        assert "rest" not in secrets.redact(text).removeprefix("rest ")
        assert "abcd" not in secrets.redact(text)


def test_short_values_are_no_secrets() -> None:
    """A value of a few letters would take half of every text with it."""
    secrets = Secrets("k", {"x-key": "a", "x-token": "", "cookie": "id"})
    assert "a kind answer" == secrets.redact("a kind answer")


# Keys from a function


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_function_is_asked_once_for_each_attempt(is_async: bool) -> None:
    """A key that has expired meanwhile is replaced with the next attempt."""
    given: list[str] = []

    def key() -> str:
        given.append(f"key-{len(given) + 1}")
        return f" {given[-1]}\n"

    async def key_later() -> str:
        await checkpoint()
        return key()

    server = Server(reply({}, 500), reply({}, 500), reply())
    async with server.client(api_key=key_later if is_async else key) as client:
        assert [] == given
        await client.get_thread("t")
        await client.with_options(timeout=5).create_thread()
    sent = [request.headers["authorization"] for request in server.requests]
    assert [f"Bearer key-{number}" for number in (1, 2, 3, 4)] == sent
    assert 4 == len(given)


async def test_keys_of_tasks_do_not_mix() -> None:
    """Each of many calls at once has the key of its own task, in its request and in its error."""
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user")
    ended: list[str] = []

    async def key() -> str:
        await checkpoint()
        return f"key-of-{user.get()}-"

    def refuse(request: httpx.Request) -> httpx.Response:
        everybody = " ".join(f"key-of-{number}-" for number in range(20))
        return httpx.Response(401, json={"error": {"message": everybody}})

    server = Server(refuse)
    async with server.client(api_key=key) as client:

        async def call(number: int) -> None:
            user.set(str(number))
            with pytest.raises(AuthenticationError) as caught:
                await client.get_thread(str(number))
            assert f"key-of-{number}-" not in str(caught.value)
            assert 19 == str(caught.value).count("key-of-")
            ended.append(str(number))

        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(call, number)
    assert 20 == len(ended)
    for request in server.requests:
        assert f"Bearer key-of-{request.url.path.rpartition('/')[2]}-" == request.headers["authorization"]


class Refused(Exception):
    """Of the caller's own."""


@pytest.mark.parametrize("error", [Refused("no"), OSError("no"), TimeoutError("no"), httpx.ConnectError("no")])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_function_that_fails(is_async: bool, error: Exception) -> None:
    """What the caller's function raises comes through as it is, and nothing is sent."""

    def key() -> str:
        raise error

    async def key_later() -> str:
        raise error

    server = Server()
    async with server.client(api_key=key_later if is_async else key) as client:
        with pytest.raises(type(error)) as caught:
            await client.get_thread("t")
        assert caught.value is error
    assert [] == server.requests
    assert [] == server.naps


@pytest.mark.parametrize("rubbish", ["", "  ", None, 5, b"key", f"{MARK} {MARK}", f"{MARK}\r\nx: y", "kéy", [], {}])
@pytest.mark.parametrize("is_async", [False, True])
async def test_a_function_that_returns_rubbish(is_async: bool, rubbish: Any) -> None:
    """What is no key is a UsageError that does not show it, and nothing is sent."""

    def key() -> Any:
        return rubbish

    async def key_later() -> Any:
        return rubbish

    server = Server()
    async with server.client(api_key=key_later if is_async else key) as client:
        with pytest.raises(UsageError, match="the API key") as caught:
            await client.get_thread("t")
    assert MARK not in str(caught.value) + repr(vars(caught.value))
    assert [] == server.requests


async def test_a_function_that_takes_too_long() -> None:
    """It counts into the total timeout, and the error says that it was to blame."""
    server = Server()
    async with server.client(api_key=lambda: anyio.sleep_forever(), timeout=Timeout(total=0.02)) as client:
        with pytest.raises(APITimeoutError, match="the function given as api_key returned no key") as caught:
            await client.get_thread("t")
    assert ("total", False) == (caught.value.phase, caught.value.sent)
    assert [] == server.requests


async def test_a_given_authorization_goes_before_the_key() -> None:
    """The caller's own header is sent, and kept out of sight like a key."""
    server = Server(raw_reply(f"{MARK}-own".encode(), 401))
    async with server.client(default_headers={"authorization": f"Digest {MARK}-own"}) as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.get_thread("t")
    assert [f"Digest {MARK}-own"] == server.request.headers.get_list("authorization")
    assert MARK not in exposed(caught.value)
