"""What becomes of an answer: the object it holds, or an error that says what it was."""

from __future__ import annotations

import zlib
from typing import Any

import httpx
import pytest

from asyncassist import (
    ActiveRunError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    DecodeError,
    InternalServerError,
    NotFoundError,
    Page,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    RawResponse,
    RetryPolicy,
    ServiceRetiredError,
    UnprocessableEntityError,
)

from .helpers import BASE, KEY, OBJECT, OPERATIONS, Server, raw_reply, reply

pytestmark = pytest.mark.anyio

ONCE = RetryPolicy(attempts=1)
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("status", [200, 201, 202, 299])
@pytest.mark.parametrize("operation", list(OPERATIONS))
async def test_any_2xx_with_the_object_is_good(operation: str, status: int) -> None:
    """A 201 for a create, or any other 2xx, gives the object."""
    async with Server(reply(status=status)).client() as client:
        result = await OPERATIONS[operation](client)
    assert isinstance(result, Page) or "any_1" == result.id


HTML = b"<!DOCTYPE html><html><title>Sign in</title><body>Please sign in</body></html>"


@pytest.mark.parametrize(
    "status, body, headers, message",
    [
        (204, b"", {}, "answered 204 without a body, where Thread is due; the answer was 204, no content type"),
        (200, b"", JSON, "answered 200 without a body, where Thread is due"),
        (200, b" \r\n", JSON, "answered 200 without a body"),
        (200, b"OK", {"content-type": "text/plain"}, "not JSON.*the answer was 200, text/plain"),
        (200, HTML, {"content-type": "text/html; charset=utf-8"}, "not JSON.*the answer was 200, text/html"),
        (200, b'{"id": "thread_1", "metad', JSON, "not JSON"),
        (200, b'{"id": "thr\xff', JSON, "not UTF-8"),
        (200, b"[]", JSON, "the answer was 200, application/json"),
        (200, b"null", JSON, "got null"),
        (200, b'"thread_1"', JSON, "got a string"),
        (200, b"{}", JSON, "id"),
        (200, b'{"object": "list", "data": []}', JSON, "id"),
        (200, b'{"error": {"message": "no"}}', JSON, "id"),
        (200, b'{"id": 5}', JSON, "id"),
        (200, b'{"id": "t", "created_at": "now"}', JSON, "created_at"),
        (200, b"[" * 100_000, JSON, "nested too deeply|not JSON"),
    ],
)
@pytest.mark.parametrize("operation", ["get_thread", "create_thread"])
async def test_an_answer_without_the_object(
    operation: str, status: int, body: bytes, headers: dict[str, str], message: str
) -> None:
    """Where an object is due and none comes, it is a DecodeError with the facts, and nothing is sent again."""
    server = Server(raw_reply(body, status, headers | {"x-request-id": "req_1"}))
    async with server.client() as client:
        with pytest.raises(DecodeError, match=message) as caught:
            await OPERATIONS[operation](client)
    error = caught.value
    assert (status, "req_1", server.request.method) == (error.status, error.request_id, error.method)
    assert server.request.url.path == f"/v1{error.path}"
    assert str(error).startswith(f"{error.method} {error.path}: ")
    assert len(str(error)) < 500


async def test_a_field_at_fault_is_named() -> None:
    """The path of the field is in the message and an attribute."""
    page = {"data": [{"id": "run_1", "thread_id": "t", "status": "queued"}, {"id": "run_2", "thread_id": "t"}]}
    async with Server(reply(page)).client() as client:
        with pytest.raises(DecodeError, match=r"data\[1\]\.status") as caught:
            await client.list_runs("t")
    assert "data[1].status" == caught.value.field


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("operation", ["get_thread", "create_thread"])
async def test_a_redirect_is_not_followed(operation: str, status: int) -> None:
    """A redirect is an error that names its target, for reads and creates."""
    server = Server(raw_reply(b"", status, {"location": "https://elsewhere/v1/threads"}))
    async with server.client() as client:
        with pytest.raises(
            APIStatusError, match="redirect to https://elsewhere/v1/threads; redirects are not"
        ) as caught:
            await OPERATIONS[operation](client)
    assert status == caught.value.status
    assert 1 == len(server.requests)


@pytest.mark.parametrize(
    "status, class_",
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (402, APIStatusError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (408, APIStatusError),
        (409, ConflictError),
        (418, APIStatusError),
        (422, UnprocessableEntityError),
        (429, RateLimitError),
        (500, InternalServerError),
        (503, InternalServerError),
        (599, InternalServerError),
    ],
)
async def test_a_status_has_its_error(status: int, class_: type[APIStatusError]) -> None:
    """Every error status has its class, with all the server said about it."""
    body = {"error": {"message": "No such luck.", "type": "bad_type", "param": "name", "code": "bad_code"}}
    server = Server(reply(body, status, {"x-request-id": "req_1", "retry-after": "1.5", "X-Other": "yes"}))
    async with server.client(retry=ONCE) as client:
        with pytest.raises(APIStatusError, match="No such luck") as caught:
            await client.modify_assistant("asst_1", name="n")
    error = caught.value
    assert class_ is type(error)
    facts = (error.status, error.code, error.param, error.type, error.request_id, error.retry_after, error.attempts)
    assert (status, "bad_code", "name", "bad_type", "req_1", 1.5, 1) == facts
    assert ("POST", "/assistants/asst_1") == (error.method, error.path)
    assert "yes" == error.headers["x-other"]
    assert "No such luck." in error.body
    assert f"POST /assistants/asst_1 was answered {status}: No such luck. (request id req_1)" == str(error)


@pytest.mark.parametrize(
    "body, headers, message",
    [
        (b'{"detail":"Not here"}', JSON, "Not here"),
        (b'{"detail":[{"loc":["body","model"],"msg":"field required"}]}', JSON, "body.model: field required"),
        (
            b'{"type":"about:blank","title":"Out","detail":"of luck","status":422}',
            {"content-type": "application/problem+json"},
            "Out: of luck",
        ),
        (b'{"error":"plain"}', JSON, "plain"),
        (b'{"message":"alone"}', JSON, "alone"),
        (b"Bad things happened", {"content-type": "text/plain"}, "Bad things happened"),
        (b"<html><h1>Bad gateway</h1></html>", {"content-type": "text/html"}, "Bad gateway"),
        (b"", {}, "answered 422$"),
        (b"\xff\xfe", {}, "answered 422"),
    ],
)
async def test_the_message_of_an_error_in_any_form(body: bytes, headers: dict[str, str], message: str) -> None:
    """Whatever form a server gives its errors, their message is found."""
    async with Server(raw_reply(body, 422, headers)).client() as client:
        with pytest.raises(UnprocessableEntityError, match=message):
            await client.create_thread()


@pytest.mark.parametrize("base_url", [None, "https://eu.api.openai.com/v1"])
async def test_the_retired_host(base_url: str | None) -> None:
    """A 404 of OpenAI's own host says that the service has ended and what to do."""
    server = Server(reply({"error": {"message": "Unknown route"}}, 404))
    async with server.client(base_url=base_url) as client:
        with pytest.raises(ServiceRetiredError, match="stopped serving .* on 2026-08-26. Set base_url") as caught:
            await client.create_thread()
    assert "Unknown route" in caught.value.body


async def test_a_404_of_another_host() -> None:
    """Any other server's 404 is just that."""
    async with Server(reply({}, 404)).client() as client:
        with pytest.raises(NotFoundError) as caught:
            await client.get_thread("t")
    assert NotFoundError is type(caught.value)


@pytest.mark.parametrize(
    "message",
    [
        "Thread thread_abc already has an active run run_xyz.",
        "Can't add messages to thread_abc while a run run_xyz is active.",
    ],
)
async def test_a_locked_thread(message: str) -> None:
    """Both messages for a thread with an active run give its error, with the ids they name."""
    server = Server(reply({"error": {"message": message, "type": "invalid_request_error"}}, 400))
    async with server.client() as client:
        with pytest.raises(ActiveRunError) as caught:
            await client.create_message("thread_abc", role="user", content="hi")
    assert ("thread_abc", "run_xyz") == (caught.value.thread_id, caught.value.run_id)


async def test_a_used_up_quota() -> None:
    """It has an error of its own and is not tried again, whatever else the answer says."""
    error = {"message": "You exceeded your current quota.", "type": "insufficient_quota", "code": "insufficient_quota"}
    server = Server(reply({"error": error}, 429, {"retry-after": "1", "x-should-retry": "true"}))
    async with server.client() as client:
        with pytest.raises(QuotaExceededError, match="exceeded your current quota"):
            await client.get_thread("t")
    assert 1 == len(server.requests)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br", "nonsense"])
async def test_an_encoding_nobody_asked_for(encoding: str) -> None:
    """A good answer in another Content-Encoding is a DecodeError; an error in one keeps its status."""
    headers = {"content-encoding": encoding, "x-request-id": "req_1"}
    server = Server(raw_reply(b"\x0b\x02\x80{}\x03", 200, headers))
    async with server.client() as client:
        with pytest.raises(DecodeError, match="Content-Encoding.*gzip, deflate was asked for") as caught:
            await client.get_thread("t")
        error = caught.value
        assert (200, "req_1", "GET", "/threads/t") == (error.status, error.request_id, error.method, error.path)
        server.script = [raw_reply(b"\x0b\x02\x80{}\x03", 400, headers)]
        with pytest.raises(BadRequestError, match="answered 400.*req_1") as refused:
            await client.get_thread("t")
    assert "" == refused.value.body


@pytest.mark.parametrize("wbits, encoding", [(31, "gzip"), (15, "deflate"), (-15, "deflate"), (31, "x-gzip")])
async def test_a_compressed_answer(wbits: int, encoding: str) -> None:
    """What was asked for is undone, for objects and errors."""
    packer = zlib.compressobj(wbits=wbits)
    packed = packer.compress(b'{"id": "t", "message": "Sorry."}') + packer.flush()
    server = Server(raw_reply(packed, 200, {"content-encoding": encoding}))
    async with server.client() as client:
        assert "t" == (await client.get_thread("t")).id
        server.script = [raw_reply(packed[:-9], 200, {"content-encoding": encoding})]
        with pytest.raises(DecodeError):
            await client.get_thread("t")
        server.script = [raw_reply(packed, 400, {"content-encoding": encoding})]
        with pytest.raises(BadRequestError, match="Sorry"):
            await client.get_thread("t")


async def test_the_request_id_is_in_the_message() -> None:
    """It is what an operator wants to know; gateways have a name of their own for it."""
    server = Server(reply({}, 400, {"apim-request-id": "gate_1"}))
    async with server.client() as client:
        with pytest.raises(BadRequestError, match=r"\(request id gate_1\)") as caught:
            await client.get_thread("t")
    assert "gate_1" == caught.value.request_id


# Raw responses


@pytest.mark.parametrize("operation", list(OPERATIONS))
async def test_the_whole_answer_of_every_operation(operation: str) -> None:
    """``with_raw_response`` has every operation, with status, headers in any case, request id and the object."""
    headers = {"X-Request-Id": "req_1", "X-RateLimit-Remaining": "9", "Content-Type": "application/json"}
    server = Server(reply(OBJECT, 201, headers))
    async with server.client() as client:
        raw = await OPERATIONS[operation](client.with_raw_response)
        data = await OPERATIONS[operation](client)
    assert isinstance(raw, RawResponse)
    assert (201, "req_1") == (raw.status, raw.request_id)
    assert data == raw.data
    for name in ("X-RateLimit-Remaining", "x-ratelimit-remaining", "X-RATELIMIT-REMAINING"):
        assert "9" == raw.headers[name]
    first, second = server.requests
    assert (first.method, first.url, first.content) == (second.method, second.url, second.content)
    assert operation == getattr(client.with_raw_response, operation).__name__


async def test_the_whole_answer_of_a_listing() -> None:
    """It is that of the first page, and only this is asked for."""
    page = {"data": [{"id": "a"}], "has_more": True, "last_id": "a"}
    server = Server(reply(page))
    async with server.client() as client:
        raw = await client.with_raw_response.list_assistants(limit=1)
    assert ["a"] == [assistant.id for assistant in raw.data.data]
    assert raw.data.has_more
    assert 1 == len(server.requests)


async def test_a_raw_response_does_not_hide_errors() -> None:
    """Errors are raised as ever, wrong parameters are refused as ever, and options of a copy hold."""
    server = Server(reply({}, 500))
    async with server.client() as client:
        raw = client.with_options(retry=RetryPolicy(attempts=2), headers={"X-One": "1"}).with_raw_response
        with pytest.raises(InternalServerError):
            await raw.get_thread("t")
        with pytest.raises(TypeError, match="nonsense"):
            await raw.create_thread(nonsense=1)  # type: ignore[call-arg]
    assert ["1", "1"] == [request.headers["x-one"] for request in server.requests]


async def test_a_raw_response_shows_no_headers() -> None:
    """Its repr leaves them out."""
    async with Server(reply(OBJECT, 200, {"set-cookie": f"session={KEY}"})).client() as client:
        raw: Any = await client.with_raw_response.get_thread("t")
    assert "session" not in repr(raw)
    assert f"session={KEY}" == raw.headers["Set-Cookie"]


async def test_cookies_are_not_kept() -> None:
    """One client serves many users: what one answer sets does not go with the next request."""
    server = Server(reply(OBJECT, 200, {"set-cookie": "session=1; Path=/"}))
    async with server.client() as client:
        await client.get_thread("t")
        await client.get_thread("t")
    assert [None, None] == [request.headers.get("cookie") for request in server.requests]


async def test_a_listing_shows_its_query() -> None:
    """Nothing is asked for before it is needed."""
    server = Server()
    async with server.client(base_url=httpx.URL(BASE)) as client:
        assert "'limit': 5" in repr(client.list_runs("t", limit=5))
    assert [] == server.requests
