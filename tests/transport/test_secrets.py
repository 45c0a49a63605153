"""The key and other secrets: sent to the server and shown nowhere."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import copy
import json
import logging
import pickle
import traceback
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from asyncassist import APIStatusError, AsyncAssistError, AsyncClient, Timeout, UsageError
from asyncassist._transport.settings import Credentials, Secrets

from .helpers import ONCE, Choice, connect
from .loopback import RUN, Behaviour, Loopback, LoopThread, answer, chunked, drop, hang, head, raw, reset

pytestmark = pytest.mark.anyio

KEY = 'sk-proj-"quoted\\and'  # a key may have any printable character
TOKEN = "azure-token-0123456789"
PASSWORD = "hunter2-of-the-gateway"
SECRETS = (KEY, TOKEN, PASSWORD, json.dumps(KEY)[1:-1], repr(KEY)[1:-1])
HEADERS = {"api-key": TOKEN, "X-Gateway-Authorization": f"Basic {PASSWORD}"}


@pytest.fixture
def anyio_backend(setting: tuple[str, Choice]) -> str:
    return setting[0]


@pytest.fixture
def client(server: Loopback, transport: Choice) -> AsyncClient:
    client = connect(
        server, api_key=KEY, default_headers=HEADERS, transport=transport, retry=ONCE, timeout=Timeout(attempt=0.2)
    )
    return client


def chain(error: BaseException) -> Iterator[BaseException]:
    """All errors that hang together with one."""
    seen: list[BaseException] = []
    links: list[BaseException | None] = [error]
    while links:
        link = links.pop()
        if link is not None and link not in seen:
            seen.append(link)
            links += [link.__cause__, link.__context__, *getattr(link, "exceptions", ())]
    yield from seen


def everything(error: BaseException) -> str:
    """Return all that an error report might show: texts, attributes, pickles, frames with their local variables."""
    shown: list[str] = []
    for link in chain(error):
        shown += [str(link), repr(link), repr(vars(link)), repr(link.args)]
        # The tests' own frames know the key; those of the library and what it uses must not.
        for frame in traceback.StackSummary.extract(traceback.walk_tb(link.__traceback__), capture_locals=True):
            if "/tests/" not in frame.filename:
                shown.append(repr(frame.locals))
    shown.append(repr(pickle.dumps(error)))
    shown.append(repr(vars(pickle.loads(pickle.dumps(error)))))
    return "\n".join(shown)


def check(text: str) -> None:
    for secret in SECRETS:
        assert secret not in text, text[max(0, text.index(secret) - 300) :][:500]


ECHO = f"Incorrect API key provided: {KEY}; {TOKEN}; {PASSWORD}"
FAILURES: dict[str, Behaviour] = {
    "closed": drop(),
    "reset": reset,
    "timeout": hang,
    "garbage": raw(b"garbage\r\n\r\n"),
    "half an answer": raw(head(200, length=1000) + b"{"),
    "half a chunk": chunked(b"{", ended=False),
    "echo": answer({"error": {"message": ECHO, "code": KEY, "param": TOKEN, "type": PASSWORD}}, 401),
    "echo as text": answer(ECHO.encode(), 401, {"content-type": "text/plain"}),
    "echo in HTML": answer(f"<html><p>{ECHO}</p></html>".encode(), 401, {"content-type": "text/html"}),
    "echo as detail": answer({"detail": [{"loc": [KEY], "msg": ECHO}]}, 422),
    "echo many times": answer(f"{KEY * 500}".encode(), 400),
    "echo at the edge": answer({"error": {"message": "x" * 1990 + KEY}}, 400),
    "echo in headers": answer({}, 400, {"x-echo": KEY, "x-request-id": KEY, "server": TOKEN}),
    "echo in a redirect": answer(b"", 302, {"location": f"http://elsewhere.example/{KEY}"}),
    "active run": answer({"error": {"message": f"Thread {KEY} already has an active run {TOKEN}."}}, 400),
    "echo in a good answer": answer({"id": 5, "key": KEY}, 200, {"x-echo": KEY, "x-request-id": KEY}),
    "echo instead of JSON": answer(ECHO.encode(), 200, {"content-type": f"text/{KEY}", "x-request-id": KEY}),
    "echo in gzip": answer(ECHO.encode(), 200, {"content-encoding": "gzip", "x-request-id": KEY}),
    "echo as encoding": answer(ECHO.encode(), 200, {"content-encoding": TOKEN, "x-request-id": KEY}),
}


@pytest.mark.parametrize("behaviour", list(FAILURES))
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_error_shows_a_secret(
    server: Loopback, client: AsyncClient, behaviour: str, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    """However a call fails and whatever the server echoes: texts, attributes, pickles, frames and logs are clean."""
    for name in ("asyncassist", "httpx"):
        caplog.set_level(logging.DEBUG, name)
    server.default = FAILURES[behaviour]
    async with client:
        error = await failure(client, method)

    assert f"Bearer {KEY}" == server.requests[0].header("authorization")
    assert TOKEN == server.requests[0].header("api-key")
    check(everything(error))
    check("\n".join(f"{record.getMessage()} {record.args!r} {record.exc_text}" for record in caplog.records))


async def failure(client: AsyncClient, method: str) -> AsyncAssistError:
    try:
        if method == "GET":
            await client.get_run("thread_1", "run_1")
        else:
            await client.create_run("thread_1", assistant_id="asst_1")
    except AsyncAssistError as error:
        return error
    raise AssertionError("no error")


async def test_a_refused_connection_shows_no_secret(
    loop_thread: LoopThread, nothing_left: None, transport: Choice
) -> None:
    """A server that is not there learns no key, and neither does the reader of the error."""
    with Loopback(loop_thread) as server:
        pass
    async with connect(server, api_key=KEY, default_headers=HEADERS, transport=transport, retry=ONCE) as client:
        check(everything(await failure(client, "POST")))


async def test_a_request_that_cannot_be_made_shows_no_secret(server: Loopback, client: AsyncClient) -> None:
    """A UsageError on the way to the request has no headers in its frames."""
    errors: list[AsyncAssistError] = []
    async with client:
        for call in (
            lambda: client.get_thread("x" * 70_000),
            lambda: client.create_run("thread_1", assistant_id="asst_1", temperature=float("nan")),
            lambda: client.list_runs("thread_1", after="\ud800")._first(),
        ):
            with pytest.raises(UsageError) as caught:
                await call()
            errors.append(caught.value)

    assert [] == server.requests
    for error in errors:
        check(everything(error))


async def test_a_closed_client_shows_no_secret(server: Loopback, client: AsyncClient) -> None:
    """Calls that end because the client is closed show nothing."""
    server.default = hang
    errors: list[AsyncAssistError] = []

    async def call(method: str) -> None:
        errors.append(await failure(client.with_options(timeout=30), method))

    async with client:
        async with anyio.create_task_group() as group:
            for method in ("GET", "POST"):
                group.start_soon(call, method)
            while len(server.requests) < 2:
                await anyio.sleep(0.001)
            await client.aclose()
        errors.append(await failure(client, "GET"))

    assert 3 == len(errors)
    for error in errors:
        check(everything(error))


def test_a_bad_key_is_not_shown() -> None:
    """A key that cannot be sent is refused without being shown, in the frames of the error neither."""
    for bad in (f"{KEY}\nx", f"{KEY}\u20ac", f"a {KEY}", f"{KEY}\0"):
        with pytest.raises(UsageError, match="API key") as caught:
            AsyncClient(api_key=bad, base_url="http://server.example")

        check(everything(caught.value))


def test_other_bad_settings_do_not_show_the_key() -> None:
    """A client that cannot be made for another reason has no key in the frames of its error."""
    for options in ({"base_url": "nonsense"}, {"timeout": -1}, {"proxy": "nonsense"}, {"max_connections": 0}):
        settings: dict[str, Any] = {"base_url": "http://server.example", **options}
        with pytest.raises(UsageError) as caught:
            AsyncClient(api_key=KEY, **settings)

        check(everything(caught.value))


@pytest.mark.parametrize("value", [f"{KEY}\n", f"{KEY}\r\nx: y", f"{KEY}\u20ac", f"{KEY}\0"])
async def test_a_bad_header_is_not_shown(value: str, server: Loopback, client: AsyncClient) -> None:
    """A header value that cannot be sent is refused without being shown in the error's text."""
    with pytest.raises(UsageError, match="header") as caught:
        AsyncClient(api_key="key-of-tests", base_url="http://server.example", default_headers={"api-key": value})
    with pytest.raises(UsageError, match="header") as other:
        client.with_options(headers={"api-key": value})
    await client.aclose()

    for error in (caught.value, other.value):
        assert KEY not in str(error) + repr(error) + repr(vars(error))


@pytest.mark.parametrize("bad", ["", " ", f"{KEY}\n x", f"{KEY}\u20ac", None, KEY.encode(), 5])
async def test_a_bad_key_from_a_function_is_not_shown(server: Loopback, transport: Choice, bad: Any) -> None:
    """What a key function returns is checked like a key and never shown; nothing is sent."""

    async def later() -> Any:
        return bad

    for source in (lambda: bad, later):
        async with connect(server, api_key=source, transport=transport) as client:
            with pytest.raises(UsageError, match="API key") as caught:
                await client.get_run("thread_1", "run_1")
        shown = everything(caught.value)
        # The function of this test knows its own key.
        check(shown.replace(repr(bad), ""))

    assert [] == server.requests


async def test_objects_do_not_show_the_key(client: AsyncClient) -> None:
    """No repr of the client or of what it is made of has the key, and none of them can be pickled or copied deeply."""
    seen: list[object] = []
    todo: list[object] = [client, client.with_options(headers={"api-key": TOKEN}), client.with_raw_response]
    while todo:
        thing = todo.pop()
        if any(thing is one for one in seen) or not type(thing).__module__.startswith("asyncassist"):
            continue
        seen.append(thing)
        check(repr(thing) + str(thing))
        slots = [name for cls in type(thing).__mro__ for name in getattr(cls, "__slots__", ())]
        todo += [getattr(thing, name, None) for name in slots if not name.startswith("__")]
        todo += list(getattr(thing, "__dict__", {}).values())

    assert any(isinstance(thing, Credentials) for thing in seen)
    for act in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            act(client)
    await client.aclose()


async def test_the_secrets_of_a_request_say_nothing() -> None:
    """What redacts secrets shows none itself."""
    secrets = await Credentials(KEY).secrets(HEADERS)

    check(repr(secrets))
    assert "<Secrets>" == repr(secrets)
    assert "<Credentials>" == repr(Credentials(KEY))


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"key {KEY}!", "key [redacted]!"),
        (json.dumps({"key": KEY}), '{"key": "[redacted]"}'),
        (f"{TOKEN} and {PASSWORD}", "[redacted] and [redacted]"),
        (f"Basic {PASSWORD}", "[redacted]"),
        ("nothing here", "nothing here"),
        ("", ""),
    ],
)
def test_redacting(text: str, clean: str) -> None:
    """Keys and the values of secret headers are taken out, with and without their scheme, inside JSON too."""
    assert clean == Secrets(KEY, HEADERS).redact(text)


def test_short_values_are_no_secrets() -> None:
    """A key of three letters is left: taking it out would destroy every text."""
    assert "abc abcd" == Secrets("abc", {"api-key": "a"}).redact("abc abcd")


async def test_what_is_logged_of_a_good_call(
    server: Loopback, transport: Choice, caplog: pytest.LogCaptureFixture
) -> None:
    """A line per answer: operation, status, size, time, attempt and a few harmless headers; nothing secret."""
    caplog.set_level(logging.DEBUG, "asyncassist")
    server.default = answer(
        RUN, 200, {"x-request-id": f"req_{KEY}", "openai-processing-ms": "12", "set-cookie": PASSWORD, "x-other": TOKEN}
    )
    async with connect(
        server,
        api_key=KEY,
        default_headers=HEADERS,
        default_query={"subscription": PASSWORD},
        transport=transport,
    ) as client:
        await client.get_run("thread_1", "run_1")

    (line,) = [record.getMessage() for record in caplog.records if record.name == "asyncassist"]
    assert line.startswith("GET /threads/thread_1/runs/run_1 -> 200, ")
    assert "attempt 1" in line
    assert "'openai-processing-ms': '12'" in line
    assert "req_[redacted]" in line
    check(line)


async def test_logging_costs_nothing_when_it_is_off(
    server: Loopback, transport: Choice, caplog: pytest.LogCaptureFixture
) -> None:
    """Without DEBUG nothing is logged."""
    caplog.set_level(logging.INFO, "asyncassist")
    async with connect(server, transport=transport) as client:
        await client.get_run("thread_1", "run_1")

    assert [] == [record for record in caplog.records if record.name.startswith("asyncassist")]


async def test_users_see_their_own_errors(server: Loopback, transport: Choice) -> None:
    """An error of the caller's own key function passes through as it is."""

    class NoTokenToday(Exception):
        pass

    def source() -> str:
        raise NoTokenToday

    async with connect(server, api_key=source, transport=transport) as client:
        with pytest.raises(NoTokenToday):
            await client.get_run("thread_1", "run_1")

    assert [] == server.requests


@pytest.mark.parametrize("name", ["Authorization", "authorization"])
async def test_a_given_authorization_replaces_the_key(server: Loopback, transport: Choice, name: str) -> None:
    """An Authorization header of the caller's is sent instead of the key, and is as secret."""
    server.default = answer({"error": {"message": f"bad token {TOKEN}"}}, 401)
    async with connect(server, default_headers={name: f"Bearer {TOKEN}"}, transport=transport) as client:
        with pytest.raises(APIStatusError) as caught:
            await client.get_run("thread_1", "run_1")

    assert f"Bearer {TOKEN}" == server.requests[0].header("authorization")
    check(everything(caught.value))


async def test_a_good_answer_is_not_changed(server: Loopback, transport: Choice) -> None:
    """Data are the caller's: an object that happens to hold the key is returned as it is."""
    server.default = answer({**RUN, "instructions": KEY}, 200, {"x-echo": KEY})
    async with connect(server, api_key=KEY, transport=transport) as client:
        response = await client.with_raw_response.get_run("thread_1", "run_1")

    assert KEY == response.data.instructions
    assert KEY == response.headers["x-echo"]
