"""What servers answer, good, odd and bad, and what becomes of it."""

from __future__ import annotations

import json
import pickle
from typing import Any

import httpx
import pytest

from asyncassist import (
    ActiveRunError,
    APIConnectionError,
    APIStatusError,
    AsyncClient,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    DecodeError,
    InternalServerError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    ServiceRetiredError,
    UnprocessableEntityError,
)

from .helpers import KEY, ONCE, Choice, connect, paced, pool_of, until
from .loopback import RUN, Behaviour, Loopback, answer, chunked, drip, head, raw

pytestmark = pytest.mark.anyio

BODY = json.dumps(RUN).encode()


@pytest.fixture
def anyio_backend(setting: tuple[str, Choice]) -> str:
    return setting[0]


GOOD: dict[str, Behaviour] = {
    "200": answer(RUN),
    "201": answer(RUN, 201),
    "202": answer(RUN, 202),
    "299": answer(RUN, 299),
    "another type": answer(BODY, 200, {"content-type": "text/plain"}),
    "no type": answer(BODY),
    "spaces around": answer(b" \r\n" + BODY + b"\n\n"),
    "byte order mark": answer(b"\xef\xbb\xbf" + BODY),
    "chunked": chunked(BODY[:5], BODY[5:]),
    "chunk extensions": raw(
        head(200, [("transfer-encoding", "chunked")]) + b"%x;a=b\r\n" % len(BODY) + BODY + b"\r\n0\r\nx: y\r\n\r\n"
    ),
    "byte by byte": drip(head(200, length=len(BODY)) + BODY, pause=0),
    "until the end": raw(head(200) + BODY),
    "HTTP/1.0": raw(b"HTTP/1.0 200 OK\r\n\r\n" + BODY),
    "no reason": raw(b"HTTP/1.1 200\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY),
    "100 before": raw(b"HTTP/1.1 100 Continue\r\n\r\n" + head(200, length=len(BODY)) + BODY),
    "103 before": raw(b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" * 3 + head(200, length=len(BODY)) + BODY),
    "headers in Latin-1": raw(head(200, [("x-name", "J\xfcrgen")], length=len(BODY)) + BODY),
    "a header twice": raw(head(200, [("x-a", "1"), ("x-a", "2")], length=len(BODY)) + BODY),
}


@pytest.mark.parametrize("behaviour", list(GOOD))
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_good_answers(server: Loopback, transport: Choice, behaviour: str, method: str) -> None:
    """Any 2xx with the object is a good answer, however it is written."""
    server.default = GOOD[behaviour]
    async with connect(server, transport=transport, retry=ONCE) as client:
        if method == "GET":
            run = await client.get_run("thread_1", "run_1")
        else:
            run = await client.create_run("thread_1", assistant_id="asst_1")

        assert ("run_1", "completed") == (run.id, run.status)
        assert 0 == pool_of(client).waiting


NO_OBJECT: dict[str, tuple[Behaviour, str, str]] = {
    "204": (raw(head(204)), "204 without a body", ""),
    "200 without a body": (answer(b""), "200 without a body", ""),
    "spaces": (answer(b"  \n"), "without a body", ""),
    "an empty gzip": (answer(b"", 200, {"content-encoding": "gzip"}), "without a body", ""),
    "text": (answer(b"Hello", 200, {"content-type": "text/plain"}), "not JSON.*text/plain", ""),
    "HTML": (answer(b"<html>Login</html>", 200, {"content-type": "text/html"}), "not JSON.*text/html", ""),
    "half of JSON": (answer(BODY[:-1]), "not JSON", ""),
    "JSON lines": (answer(BODY + b"\n" + BODY), "not JSON", ""),
    "events": (answer(b"data: {}\n\n", 200, {"content-type": "text/event-stream"}), "not JSON.*event-stream", ""),
    "not UTF-8": (answer(b'{"id": "\xff"}'), "UTF-8", ""),
    "a list": (answer([RUN]), "array", ""),
    "a string": (answer("ok"), "string", ""),
    "null": (answer(None), "null", ""),
    "true": (answer(True), "boolean", ""),
    "an error": (answer({"error": {"message": "no"}}), "id", "id"),
    "no id": (answer({"thread_id": "t", "status": "queued"}), "id", "id"),
    "id of another kind": (answer({**RUN, "id": 5}), "id", "id"),
    "no status": (answer({"id": "run_1", "thread_id": "t"}), "status", "status"),
    "deep inside": (answer({**RUN, "usage": {"total_tokens": "5"}}), r"usage\.total_tokens", "usage.total_tokens"),
}


@pytest.mark.parametrize("behaviour", list(NO_OBJECT))
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_where_an_object_is_due(server: Loopback, transport: Choice, behaviour: str, method: str) -> None:
    """A 2xx without the object is a DecodeError with status, request id and field; it is not asked for again."""
    server.default, text, field = NO_OBJECT[behaviour]
    async with connect(server, transport=transport) as client:
        with pytest.raises(DecodeError, match=rf"(?s)^{method} /threads/thread_1/runs.*{text}") as caught:
            if method == "GET":
                await client.get_run("thread_1", "run_1")
            else:
                await client.create_run("thread_1", assistant_id="asst_1")

    error = caught.value
    assert (field, method) == (error.field, error.method)
    assert error.status in (200, 204)
    assert 1 == len(server.requests)
    assert str(error) == str(pickle.loads(pickle.dumps(error)))


async def test_a_decode_error_has_the_request_id(server: Loopback, transport: Choice) -> None:
    """The id of the request is an attribute of a DecodeError."""
    server.default = answer(b"Hello", 200, {"x-request-id": "req_1"})
    async with connect(server, transport=transport) as client:
        with pytest.raises(DecodeError) as caught:
            await client.get_run("thread_1", "run_1")

    assert "req_1" == caught.value.request_id


BROKEN: dict[str, Behaviour] = {
    "half a body": raw(head(200, length=len(BODY) + 1) + BODY),
    "half a chunk": raw(head(200, [("transfer-encoding", "chunked")]) + b"ff\r\n{"),
    "no last chunk": chunked(BODY, ended=False),
    "a bad chunk": raw(head(200, [("transfer-encoding", "chunked")]) + b"zz\r\n" + BODY),
    "half a head": raw(b"HTTP/1.1 200 OK\r\nconte"),
    "no status": raw(b"HTTP/1.1 OK\r\n\r\n"),
    "no HTTP": raw(b"+OK POP3 server ready\r\n"),
    "binary": raw(bytes(range(256))),
    "two lengths": raw(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 7\r\n\r\n1234567"),
    "a negative length": raw(b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n12345"),
    "a header without a colon": raw(b"HTTP/1.1 200 OK\r\nnonsense\r\n\r\n"),
    "HTTP/2": raw(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x00\xff\xff"),
}


@pytest.mark.parametrize("behaviour", list(BROKEN))
async def test_broken_answers(server: Loopback, transport: Choice, behaviour: str) -> None:
    """What is no whole HTTP answer breaks the connection: reads are sent again, creates are not."""
    server.script.append(BROKEN[behaviour])
    async with connect(server, transport=transport) as client:
        naps = paced(client)
        assert "run_1" == (await client.get_run("thread_1", "run_1")).id
        # aiohttp repeats what is idempotent by HTTP's own rules once itself.
        assert naps.taken == [0.5] or (transport and naps.taken == [])

        server.script.append(BROKEN[behaviour])
        with pytest.raises(APIConnectionError, match="broke: .*the server may have acted") as caught:
            await client.create_run("thread_1", assistant_id="asst_1")
        assert 0 == pool_of(client).idle

    assert caught.value.sent
    assert 3 == len(server.requests)


STATUSES: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: APIStatusError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: APIStatusError,
    409: ConflictError,
    410: APIStatusError,
    418: APIStatusError,
    422: UnprocessableEntityError,
    429: RateLimitError,
    500: InternalServerError,
    501: InternalServerError,
    503: InternalServerError,
    599: InternalServerError,
    600: InternalServerError,
    300: APIStatusError,
    304: APIStatusError,
}


@pytest.mark.parametrize("status", list(STATUSES))
async def test_the_status_names_the_error(server: Loopback, transport: Choice, status: int) -> None:
    """Each status has its error, with the facts of the answer as attributes; it can be pickled."""
    envelope = {"error": {"message": "no such thing", "type": "t", "param": "p", "code": "c"}}
    body = b"" if status == 304 else json.dumps(envelope).encode()
    server.default = answer(body, status, {"X-Request-ID": "req_1", "retry-after": "7"})
    async with connect(server, transport=transport, retry=ONCE) as client:
        with pytest.raises(APIStatusError) as caught:
            await client.get_run("thread_1", "run_1")

    error = caught.value
    assert STATUSES[status] is type(error)
    assert (status, "req_1", 7.0, 1) == (error.status, error.request_id, error.retry_after, error.attempts)
    assert ("GET", "/threads/thread_1/runs/run_1") == (error.method, error.path)
    if body:
        assert ("c", "p", "t") == (error.code, error.param, error.type)
        assert body.decode() == error.body
    if status >= 400:
        expected = f"GET /threads/thread_1/runs/run_1 was answered {status}: no such thing (request id req_1)"
        assert expected == str(error)
    assert "7" == error.headers["retry-after"]
    again = pickle.loads(pickle.dumps(error))
    assert (type(error), vars(error)) == (type(again), vars(again))


BODIES: dict[str, tuple[object, str, str | None]] = {
    "envelope": ({"error": {"message": "no such run", "code": "c"}}, "no such run", "c"),
    "bare": ({"message": "no such run", "code": "c"}, "no such run", "c"),
    "error is text": ({"error": "no such run"}, "no such run", None),
    "a number for a code": ({"error": {"message": "no such run", "code": 17}}, "no such run", "17"),
    "FastAPI": ({"detail": "Not Found"}, "Not Found", None),
    "FastAPI's list": (
        {"detail": [{"loc": ["body", "model"], "msg": "field required"}, {"msg": "and more"}, 5, {"loc": 5}]},
        "body.model: field required; and more",
        None,
    ),
    "detail is an object": ({"detail": {"message": "nested"}}, "nested", None),
    "problem": ({"title": "Gone", "detail": "long ago", "status": 410}, "Gone: long ago", None),
    "a string": ("plain", "plain", None),
    "text": (b"Internal   Server\nError", "Internal Server Error", None),
    "HTML": (b"<html><style>p {}</style><body><h1>502</h1> Bad&nbsp;Gateway", "502 Bad&nbsp;Gateway", None),
    "XML": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "AccessDenied", None),
    "long": (b"x" * 5000, "x" * 200, None),
    "not UTF-8": (b"\xff\xfe", "\ufffd\ufffd", None),
}
NO_TEXT: dict[str, object] = {
    "nothing": b"",
    "spaces": b" \n",
    "a list": [1, 2],
    "a number": 5,
    "null": None,
    "empty": {},
    "strange": {"error": 5, "message": 5, "detail": 5, "title": 5},
    "empty list": {"detail": []},
    "empty tags": b"<html></html>",
}


@pytest.mark.parametrize("form", list(BODIES))
@pytest.mark.parametrize("status", [404, 500])
async def test_the_message_is_found_in_any_form(server: Loopback, transport: Choice, form: str, status: int) -> None:
    """Whatever form an error's body has, its message is in the error's."""
    body, message, code = BODIES[form]
    server.default = answer(body, status)
    async with connect(server, transport=transport, retry=ONCE) as client:
        with pytest.raises(APIStatusError) as caught:
            await client.get_run("thread_1", "run_1")

    assert f"GET /threads/thread_1/runs/run_1 was answered {status}: {message}" == str(caught.value)
    assert (status, code) == (caught.value.status, caught.value.code)


@pytest.mark.parametrize("form", list(NO_TEXT))
async def test_an_error_without_a_message(server: Loopback, transport: Choice, form: str) -> None:
    """An error whose body says nothing is named by its status."""
    server.default = answer(NO_TEXT[form], 404)
    async with connect(server, transport=transport, retry=ONCE) as client:
        with pytest.raises(NotFoundError) as caught:
            await client.get_run("thread_1", "run_1")

    assert "GET /threads/thread_1/runs/run_1 was answered 404" == str(caught.value)


async def test_switching_protocols(server: Loopback, transport: Choice) -> None:
    """A 101 nobody asked for is an error, and its connection is not used again."""
    server.script.append(raw(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"))
    async with connect(server, transport=transport, retry=ONCE) as client:
        with pytest.raises((APIStatusError, APIConnectionError)):
            await client.get_run("thread_1", "run_1")

        assert "run_1" == (await client.get_run("thread_1", "run_1")).id
    assert 2 == server.opened


@pytest.mark.parametrize("status", [204, 304])
async def test_a_body_where_none_may_be(server: Loopback, transport: Choice, status: int) -> None:
    """A body sent with a status that has none is never taken for the next answer."""
    poison = json.dumps({**RUN, "id": "run_of_somebody_else"}).encode()
    for body in (poison, head(200, length=len(poison)) + poison):
        server.script.append(raw(head(status, length=len(body)) + body, keep=True))
        async with connect(server, transport=transport, retry=ONCE) as client:
            with pytest.raises((DecodeError, APIStatusError, APIConnectionError)):
                await client.get_run("thread_1", "run_1")

            assert "run_1" == (await client.create_run("thread_1", assistant_id="asst_1")).id


async def test_more_than_announced(server: Loopback, transport: Choice) -> None:
    """Bytes beyond the announced length end the connection, not the next call."""
    server.script.append(answer(BODY + b"rubbish", length=len(BODY)))
    async with connect(server, transport=transport, retry=ONCE) as client:
        try:
            assert "run_1" == (await client.get_run("thread_1", "run_1")).id
        except APIConnectionError:
            assert transport  # aiohttp refuses the whole answer
        assert "run_1" == (await client.create_run("thread_1", assistant_id="asst_1")).id

    assert 2 == server.opened


async def test_an_answer_before_the_request_was_sent_whole(server: Loopback, transport: Choice) -> None:
    """An answer to half of a large request, with the connection closed, is read where it can be; nothing hangs."""

    async def early(connection: Any) -> bool:
        await connection.send(head(413, [("connection", "close")], length=2) + b"{}")
        return False

    server.early = early
    async with connect(server, transport=transport, retry=ONCE) as client:
        with pytest.raises((APIStatusError, APIConnectionError)) as caught:
            await client.create_message("thread_1", role="user", content="x" * 5_000_000)
        await until(lambda: server.open_now == 0)

    assert 413 == getattr(caught.value, "status", 413)


@pytest.mark.parametrize(
    ("message", "thread_id", "run_id"),
    [
        ("Thread thread_1 already has an active run run_9.", "thread_1", "run_9"),
        ("Can't add messages to thread_1 while a run run_9 is active.", "thread_1", "run_9"),
    ],
)
async def test_a_locked_thread(server: Loopback, transport: Choice, message: str, thread_id: str, run_id: str) -> None:
    """The two messages of a locked thread are an ActiveRunError that names thread and run."""
    server.default = answer({"error": {"message": message, "type": "invalid_request_error"}}, 400)
    async with connect(server, transport=transport) as client:
        with pytest.raises(ActiveRunError) as caught:
            await client.create_message("thread_1", role="user", content="Hi")

    assert (thread_id, run_id) == (caught.value.thread_id, caught.value.run_id)
    assert 1 == len(server.requests)


async def test_a_quota_used_up(server: Loopback, transport: Choice) -> None:
    """``insufficient_quota`` is an error of its own, never tried again."""
    server.default = answer({"error": {"message": "no money", "code": "insufficient_quota"}}, 429)
    async with connect(server, transport=transport) as client:
        with pytest.raises(QuotaExceededError, match="no money"):
            await client.get_run("thread_1", "run_1")

    assert 1 == len(server.requests)


@pytest.mark.parametrize(
    ("host", "path", "is_retired"),
    [
        ("api.openai.com", "thread_1", True),
        ("eu.api.openai.com", "thread_1", True),
        ("API.OpenAI.com", "thread_1", True),
        ("api.openai.com.example.org", "thread_1", False),
        ("myapi.openai.com", "thread_1", False),
        ("server.example", "thread_1", False),
    ],
)
@pytest.mark.parametrize("status", [404, 410])
async def test_the_retired_host(host: str, path: str, is_retired: bool, status: int) -> None:
    """A 404 of OpenAI's own host says that it retired the API, since when, and what to do."""
    mock = httpx.MockTransport(lambda request: httpx.Response(status, json={"error": {"message": "Unknown url"}}))
    async with AsyncClient(api_key=KEY, base_url=f"https://{host}/v1", transport=mock) as client:
        with pytest.raises(APIStatusError) as caught:
            await client.get_thread(path)

    expected = is_retired and status == 404
    assert expected == isinstance(caught.value, ServiceRetiredError)
    assert expected == ("2026-08-26. Set base_url" in str(caught.value))


async def test_the_default_host_is_the_retired_one() -> None:
    """Without a base URL requests go to the API description's host, and the error says what to do about it."""
    mock = httpx.MockTransport(lambda request: httpx.Response(404))
    async with AsyncClient(api_key=KEY, transport=mock) as client:
        for call in (client.get_thread("thread_1"), client.create_assistant(model="m"), client.create_thread()):
            with pytest.raises(ServiceRetiredError, match="answered 404: no base_url was set, and OpenAI's own host"):
                await call


async def test_that_nobody_has_named_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the default host cannot be reached, the error says that it is the default; not where it was named."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route")

    mock = httpx.MockTransport(fail)
    async with AsyncClient(api_key=KEY, transport=mock, retry=ONCE) as client:
        with pytest.raises(APIConnectionError, match=r"/v1 \(the default, since neither base_url nor ASYNCASSIST_BASE"):
            await client.get_thread("thread_1")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://api.openai.com/v1")
    async with AsyncClient(api_key=KEY, transport=mock, retry=ONCE) as client:
        with pytest.raises(APIConnectionError, match=r"to https://api.openai.com/v1: no route$"):
            await client.get_thread("thread_1")


async def test_a_large_request(server: Loopback, transport: Choice) -> None:
    """A request of several megabytes arrives whole."""
    text = "0123456789" * 500_000
    async with connect(server, transport=transport, retry=ONCE) as client:
        with pytest.raises(DecodeError):  # the answer is a run
            await client.create_message("thread_1", role="user", content=text)

    (request,) = server.requests
    assert text == request.json["content"]
    assert str(len(request.body)) == request.header("content-length")
    assert None is request.header("transfer-encoding")
