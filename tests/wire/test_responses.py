"""Turning what the server answered into data or into the right error."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncassist._wire.requests import Kind, Request
from asyncassist._wire.responses import Response, decode, error_for
from asyncassist.errors import (
    ActiveRunError,
    APIStatusError,
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
from asyncassist.models import Message, Page, Run, Thread

steady = settings(derandomize=True, deadline=None, max_examples=300, database=None)
PAYLOADS = Path(__file__).parents[1] / "payloads"
REQUEST = Request(Kind.READ, "GET", "/threads/thread_1/runs/run_1")
NOW = 1_700_000_000.0
KEY = "sk-secret-0123456789"


def redact(text: str) -> str:
    return text.replace(KEY, "[redacted]")


def error(
    status: int,
    body: object = b"",
    headers: Mapping[str, str] | None = None,
    *,
    request: Request = REQUEST,
    host: str = "host",
) -> APIStatusError:
    """Make the error of an answer; a body that is no bytes is sent as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = Response(status, httpx.Headers(headers or {}), data)
    return error_for(request, response, host=host, now=NOW, redact=redact, attempts=2)


# --- data


def test_an_object_is_decoded() -> None:
    """A 2xx body becomes the object that is due; 201 is as good as 200."""
    body = b'{"id": "thread_1", "object": "thread", "created_at": 1, "metadata": {}}'

    for status in (200, 201, 202):
        assert decode(REQUEST, Response(status, {}, body), Thread).id == "thread_1"


@pytest.mark.parametrize("body", [b"", b" \r\n\t"])
@pytest.mark.parametrize(("type_", "name"), [(Run, "Run"), (Page[Message], "Page")])
def test_no_body_where_an_object_is_due(body: bytes, type_: type[object], name: str) -> None:
    """A 204, or blanks: the error says what was due."""
    with pytest.raises(DecodeError) as caught:
        decode(REQUEST, Response(204, {}, body), type_)

    assert str(caught.value) == (
        "GET /threads/thread_1/runs/run_1: the server answered 204 without a body, "
        f"where {name} is due; the answer was 204, no content type"
    )


def test_a_field_that_does_not_fit_is_named() -> None:
    """The error has the field's path and the facts of the answer, and nothing of what the body held."""
    headers = httpx.Headers({"X-Request-Id": "req_1", "Content-Type": "application/json"})
    body = b'{"data": [{"id": "msg_1", "role": "user", "thread_id": "t", "created_at": "private"}]}'

    with pytest.raises(DecodeError) as caught:
        decode(REQUEST, Response(200, headers, body), Page[Message])

    assert caught.value.field == "data[0].created_at"
    assert (caught.value.status, caught.value.request_id) == (200, "req_1")
    assert (caught.value.method, caught.value.path) == ("GET", "/threads/thread_1/runs/run_1")
    assert str(caught.value) == (
        "GET /threads/thread_1/runs/run_1: data[0].created_at: expected an integer, got a string; "
        "the answer was 200, application/json"
    )
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "body", [b"<html>", b"OK", b"null", b"[]", b"3", b"{", b"\xff\xfe", b'{"id": 1}', b"[" * 100_000]
)
def test_anything_else_is_a_decode_error(body: bytes) -> None:
    """Text, HTML, JSON of another shape, half a body: the message names the request and the content type."""
    with pytest.raises(DecodeError, match=r"^GET /threads/thread_1/runs/run_1: .*; the answer was 200, text/x{75}$"):
        decode(REQUEST, Response(200, {"content-type": "text/" + "x" * 500}, body), Run)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "error",
                    "message",
                    "code",
                    "type",
                    "param",
                    "detail",
                    "title",
                    "msg",
                    "loc",
                    "id",
                    "status",
                    "data",
                    "x",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
bodies = (
    st.binary(max_size=60)
    | st.text(st.characters(), max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | json_values.map(lambda value: json.dumps(value).encode())
    | json_values.map(lambda value: json.dumps({"error": value}).encode())
)
header_values = st.dictionaries(
    st.sampled_from(
        [
            *("Retry-After", "retry-after-ms", "X-Should-Retry", "x-request-id", "apim-request-id"),
            *("content-type", "location", "x-other"),
        ]
    ),
    st.text(max_size=40),
    max_size=4,
)


@given(st.integers(200, 299), header_values, bodies, st.sampled_from([Run, Thread, Message, Page[Message]]))
@steady
def test_any_answer_gives_the_object_or_a_decode_error(
    status: int, headers: dict[str, str], body: bytes, type_: type[object]
) -> None:
    """Whatever comes back with a 2xx, no other exception leaves."""
    with suppress(DecodeError):
        assert isinstance(decode(REQUEST, Response(status, headers, body), type_), Run | Thread | Message | Page)


# --- errors


CLASSES = {
    302: APIStatusError,
    304: APIStatusError,
    400: BadRequestError,
    401: AuthenticationError,
    402: APIStatusError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: APIStatusError,
    408: APIStatusError,
    409: ConflictError,
    422: UnprocessableEntityError,
    429: RateLimitError,
    499: APIStatusError,
    500: InternalServerError,
    503: InternalServerError,
    599: InternalServerError,
    600: InternalServerError,
    101: APIStatusError,
}


@pytest.mark.parametrize("body", [b"", b"nonsense", {"error": {"message": "m"}}, [], None])
@pytest.mark.parametrize("status", CLASSES)
def test_a_status_has_its_class(status: int, body: object) -> None:
    """The status decides, whatever the body."""
    assert type(error(status, body)) is CLASSES[status]


@given(st.integers(100, 999).filter(lambda status: not 200 <= status < 300), header_values, bodies)
@example(400, {}, b'{"error": {"code": ' + b"4" * 4300 + b"}}")
@example(400, {}, b'{"error": {"code": ' + b"4" * 5000 + b"}}")
@example(500, {}, b'{"a":' * 100_000)
@example(500, {}, b'{"detail": [{"loc": ' + b"[" * 500 + b"]" * 500 + b', "msg": "x"}]}')
@example(400, {}, b'{"error": {"message": "\\ud800", "code": "\\udfff"}}')
@example(500, {"x-request-id": "r" * 100_000}, b"")
@steady
def test_any_answer_gives_the_right_error(status: int, headers: dict[str, str], body: bytes) -> None:
    """Any status, headers and body make an error of the status's class, with plain facts and a message that prints."""
    caught = error_for(REQUEST, Response(status, headers, body), host="host", now=NOW, redact=redact, attempts=1)

    assert isinstance(caught, CLASSES.get(status, InternalServerError if status >= 500 else APIStatusError))
    assert caught.status == status
    assert str(caught).startswith(f"GET /threads/thread_1/runs/run_1 was answered {status}")
    assert str(caught) == caught.message
    assert len(caught.message) < 3000
    caught.message.encode()
    for fact in (caught.code, caught.param, caught.type, caught.request_id):
        assert fact is None or (isinstance(fact, str) and len(fact) <= 200)
    assert caught.retry_after is None or caught.retry_after >= 0
    assert len(caught.body) <= 2000


def test_deep_json_where_the_stack_is_nearly_used_up() -> None:
    """An error's body is read, or not, but the error is the one the status says."""
    body = b'{"detail": [{"loc": ["a", ' + b"[" * 150 + b"]" * 150 + b'], "msg": "wrong"}]}'

    def deeper(levels: int) -> APIStatusError:
        return deeper(levels - 1) if levels else error(422, body)

    depth = 0
    frame = sys._getframe()
    while frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1

    assert "answered 422" in str(deeper(sys.getrecursionlimit() - depth - 100))


def test_the_facts_of_an_error() -> None:
    """Everything a caller may decide by is an attribute."""
    caught = error(
        429,
        {"error": {"message": "Slow down", "code": "rate_limit_exceeded", "param": "p", "type": "requests"}},
        {"X-Request-ID": "req_1", "Retry-After": "7", "X-RateLimit-Limit": "5"},
    )

    assert type(caught) is RateLimitError
    assert caught.status == 429
    assert (caught.code, caught.param, caught.type) == ("rate_limit_exceeded", "p", "requests")
    assert (caught.request_id, caught.retry_after) == ("req_1", 7.0)
    assert (caught.method, caught.path, caught.attempts) == ("GET", "/threads/thread_1/runs/run_1", 2)
    assert caught.headers == {"x-request-id": "req_1", "retry-after": "7", "x-ratelimit-limit": "5"}
    assert json.loads(caught.body)["error"]["message"] == "Slow down"
    assert str(caught) == "GET /threads/thread_1/runs/run_1 was answered 429: Slow down (request id req_1)"


def test_the_request_id_of_a_gateway() -> None:
    """Azure's gateway has a header of its own; an empty one is none."""
    assert error(500, headers={"apim-request-id": "a"}).request_id == "a"
    assert error(500, headers={"apim-request-id": "a", "x-request-id": "x"}).request_id == "x"
    assert error(500, headers={"apim-request-id": "", "x-request-id": ""}).request_id is None
    assert Response(200, {"x-request-id": "x"}, b"").request_id == "x"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "m"}}, "m"),
        ({"error": "m"}, "m"),
        ({"error": "Not Found", "message": "Route GET:/x not found", "statusCode": 404}, "Route GET:/x not found"),
        ({"error": {"message": ""}, "detail": "other"}, ""),
        ({"error": {}, "message": "m"}, "m"),
        ({"message": "m"}, "m"),
        ({"message": "", "detail": "d"}, "d"),
        ({"message": None, "detail": "d"}, "d"),
        ({"detail": "d"}, "d"),
        ({"detail": {"message": "d"}}, "d"),
        ({"detail": {"other": "d"}}, ""),
        ({"detail": [{"loc": ["body", "tools", 0], "msg": "wrong", "type": "t"}]}, "body.tools.0: wrong"),
        ({"detail": [{"msg": "a"}, {"msg": "b", "loc": "x"}, {"loc": []}, "c", {"msg": 1}]}, "a; b"),
        ({"detail": []}, ""),
        ({"detail": 5}, ""),
        ({"type": "about:blank", "title": "Not Acceptable", "status": 406, "detail": "why"}, "Not Acceptable: why"),
        ({"title": "Not Acceptable"}, "Not Acceptable"),
        ({"title": 5, "detail": "why"}, "why"),
        ("text", "text"),
        ([], ""),
        (None, ""),
        (5, ""),
        ({}, ""),
        (b"", ""),
        (b"  plain\n text ", "plain text"),
        (b"\xef\xbb\xbf<p>marked</p>", "marked"),
        (b"\x00\x1b[31mred\x07", "[31mred"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (
            b"<!DOCTYPE html><html><head><STYLE>a{}</style ><script>x<y</SCRIPT></head><body><h1>502</h1>\nBad "
            b"Gateway</body></html>",
            "502 Bad Gateway",
        ),
        (b"<p>cut</p> <script>never closed <p>hidden</p>", "cut"),
        (b"<p class='a", "<p class='a"),
        (b'{"error": {"message": "cut', '{"error": {"message": "cut'),
        (b"x" * 10_000, "x" * 200),
        ({"error": {"message": "x" * 10_000}}, "x" * 2000 + "..."),
        ({"message": "a\ud800b"}, "a?b"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value)[:60],
)
def test_the_message_is_found_in_any_form(body: object, message: str) -> None:
    """The API's own form, FastAPI's, problem+json, other frameworks', text and HTML."""
    head = "GET /threads/thread_1/runs/run_1 was answered 418"

    assert str(error(418, body)) == (f"{head}: {message}" if message else head)


@pytest.mark.parametrize(
    ("code", "expected"),
    [("c", "c"), (400, "400"), (True, None), (None, None), (1.5, None), ([], None), ("x" * 500, "x" * 200), ("", "")],
)
def test_the_code_is_text(code: object, expected: str | None) -> None:
    """Some servers send numbers; what is neither is no code."""
    assert error(400, {"error": {"message": "m", "code": code}}).code == expected


def test_facts_of_another_type_are_none() -> None:
    """``param`` and ``type`` are text or nothing."""
    caught = error(400, {"error": {"message": ["m"], "param": 5, "type": {}}})

    assert (caught.param, caught.type, caught.body[:8]) == (None, None, '{"error"')


@pytest.mark.parametrize(
    ("file", "status", "class_", "code"),
    [
        ("synthetic/error.400.active_run.json", 400, ActiveRunError, None),
        ("synthetic/error.400.invalid_beta.json", 400, BadRequestError, "invalid_beta"),
        ("synthetic/error.400.invalid_type.json", 400, BadRequestError, "invalid_type"),
        ("synthetic/error.401.json", 401, AuthenticationError, "invalid_api_key"),
        ("synthetic/error.404.json", 404, NotFoundError, None),
        ("synthetic/error.429.json", 429, RateLimitError, "rate_limit_exceeded"),
        ("synthetic/error.500.json", 500, InternalServerError, None),
        ("deviations/error.not_json_wrapped.json", 404, NotFoundError, None),
    ],
)
def test_the_payloads(file: str, status: int, class_: type[APIStatusError], code: str | None) -> None:
    """Every error among the payloads becomes its class, with its message and its code."""
    body = (PAYLOADS / file).read_bytes()
    data = json.loads(body)
    message = data["error"]["message"] if "error" in data else data["detail"]

    caught = error(status, body)

    assert type(caught) is class_
    assert caught.code == code
    assert str(caught).endswith(f"was answered {status}: {message}")


# --- errors that are told by more than their status


@pytest.mark.parametrize(
    ("message", "thread_id", "run_id"),
    [
        ("Thread thread_1 already has an active run run_1.", "thread_1", "run_1"),
        ("Thread thread_1 already has an active run run_1", "thread_1", "run_1"),
        ("Thread 65f0 already has an active run a.b.", "65f0", "a.b"),
        ("Can't add messages to thread_1 while a run run_1 is active.", "thread_1", "run_1"),
        ("Can't add messages to é/1 while a run 2 is active", "é/1", "2"),
    ],
)
def test_a_locked_thread(message: str, thread_id: str, run_id: str) -> None:
    """The two messages of the API, which has no code for it, give thread and run."""
    caught = error(400, {"error": {"message": message, "type": "invalid_request_error"}})

    assert isinstance(caught, ActiveRunError)
    assert (caught.thread_id, caught.run_id, caught.status) == (thread_id, run_id, 400)
    assert message in str(caught)


@pytest.mark.parametrize(
    "message",
    [
        "Thread thread_1 has an active run run_1.",
        "thread_1 already has an active run run_1.",
        "Thread thread_1 already has an active run .",
        "Thread thread_1 already has an active run run_1. Wait.",
        "Thread thread 1 already has an active run run_1.",
        "Thread thread_1 already has an active run run_1.\n",
        "Note: Can't add messages to thread_1 while a run run_1 is active.",
        "Can't add messages to thread_1 while a run run_1 is active: 'x'",
        "Invalid value: 'Thread a already has an active run b.'",
        "Thread " + "a" * 1000 + " already has an active run",
        "Thread a already has an active run " + "." * 1900,
    ],
)
def test_other_messages_are_no_locked_thread(message: str) -> None:
    """Only the whole message counts, so that quoted text fools nobody."""
    assert type(error(400, {"error": {"message": message}})) is BadRequestError


def test_another_status_is_no_locked_thread() -> None:
    """The API answers 400."""
    message = "Thread thread_1 already has an active run run_1."

    assert type(error(409, {"error": {"message": message}})) is ConflictError


@pytest.mark.parametrize(
    ("status", "fields", "class_"),
    [
        (429, {"code": "insufficient_quota"}, QuotaExceededError),
        (429, {"type": "insufficient_quota"}, QuotaExceededError),
        (429, {"code": "billing_hard_limit_reached"}, QuotaExceededError),
        (429, {"code": "rate_limit_exceeded", "message": "insufficient_quota"}, RateLimitError),
        (403, {"code": "insufficient_quota"}, PermissionDeniedError),
    ],
)
def test_a_used_up_quota(status: int, fields: dict[str, str], class_: type[APIStatusError]) -> None:
    """A 429 that waiting does not cure is told by its code or type, not by words."""
    assert type(error(status, {"error": fields})) is class_


@pytest.mark.parametrize("host", ["api.openai.com", "eu.api.openai.com"])
@pytest.mark.parametrize("path", ["/assistants", "/assistants/asst_1", "/threads", "/threads/t/runs"])
def test_the_retired_host(host: str, path: str) -> None:
    """OpenAI's own 404 says since when, and what to do."""
    caught = error(404, {"error": {"message": "gone"}}, request=Request(Kind.READ, "GET", path), host=host)

    assert type(caught) is ServiceRetiredError
    assert "2026-08-26" in str(caught)
    assert "base_url" in str(caught)


@pytest.mark.parametrize(
    ("status", "host", "path"),
    [
        (404, "host", "/threads"),
        (404, "api.openai.com.example", "/threads"),
        (404, "myapi.openai.com.example", "/threads"),
        (404, "notapi.openai.com", "/threads"),
        (404, "api.openai.com", "/files"),
        (404, "api.openai.com", "/threadsafe"),
        (400, "api.openai.com", "/threads"),
    ],
)
def test_other_answers_are_no_retirement(status: int, host: str, path: str) -> None:
    """Another host, path or status is an ordinary error."""
    caught = error(status, request=Request(Kind.READ, "GET", path), host=host)

    assert type(caught) is CLASSES[status]


@pytest.mark.parametrize(
    ("headers", "where"),
    [({"Location": "https://elsewhere/v1"}, "https://elsewhere/v1"), ({}, "an unnamed place")],
)
def test_a_redirect_is_explained(headers: dict[str, str], where: str) -> None:
    """Redirects are not followed; the error says where this one leads."""
    caught = error(302, headers=headers)

    assert type(caught) is APIStatusError
    assert f"a redirect to {where}; redirects are not followed, set base_url" in str(caught)


# --- secrets and hostile text


@pytest.mark.parametrize("before", [0, 150, 190, 1980, 1990, 3990, 8180, 8185])
@pytest.mark.parametrize(
    "form", ["message", "detail", "code", "param", "type", "text", "html", "location", "request id"]
)
def test_a_key_the_server_echoes_is_shown_nowhere(form: str, before: int) -> None:
    """Not in the message, not in the facts, and not half of it where a long text is cut."""
    text = "x" * before + KEY + " is wrong" + "y" * 5000
    body: object = {
        "detail": {"detail": [{"loc": [text], "msg": text}]},
        "text": text.encode(),
        "html": f"<style>{'x' * before}</style>{KEY}{'<br>' * 2000}".encode(),
    }.get(form, {"error": {"message": "m", form: text}})
    headers = {"location": {"location": text}, "request id": {"x-request-id": text}}.get(form, {})

    for status in (400, 302):
        caught = error(status, body, headers)

        seen = repr([caught, caught.__dict__])
        assert KEY[:8] not in seen


def test_a_body_of_nothing_but_keys_is_shown_redacted() -> None:
    """Redaction shortens a text; what moves up into its start is redacted too."""
    caught = error(500, (KEY * 1000).encode())

    assert set(caught.body.split("[redacted]")) <= {"", *(("[redacted]"[:n]) for n in range(10))}
    assert "sk-" not in repr([caught, caught.__dict__])


@pytest.mark.parametrize(
    "body",
    [
        b"<script " * 100_000,
        b"<script></script" * 50_000,
        b"<" * 1_000_000,
        b"<a " * 300_000,
        b"<" + b" " * 1_000_000,
        b'{"error": {"message": "Thread ' + b"a" * 1_000_000 + b'"}}',
        b'{"error": {"message": "Thread a already has an active run ' + b"." * 1_000_000 + b'"}}',
        b'{"error": {"message": "Can\'t add messages to ' + b"a " * 500_000 + b'"}}',
        b'{"detail": [' + b'{"msg": "m", "loc": ["a"]},' * 30_000 + b"{}]}",
    ],
    ids=lambda body: repr(body[:40]),
)
def test_a_hostile_body_takes_no_time(body: bytes) -> None:
    """A megabyte made to keep patterns busy is read in a fraction of a second."""
    started = time.process_time()

    error(400, body)

    assert time.process_time() - started < 1
