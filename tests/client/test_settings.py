"""What a client is told at construction: wrong values are refused before anything is sent, right ones are obeyed."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from asyncassist import NO_KEY, UNSET, AsyncClient, RetryPolicy, Timeout, UsageError
from asyncassist._transport.settings import BaseUrl, CallOptions, Credentials

from .helpers import BASE, KEY, Server, reply

pytestmark = pytest.mark.anyio


class Odd:
    """Of no type that is expected anywhere."""

    def __repr__(self) -> str:
        return "odd " * 100


HEADERS: list[Any] = [
    "x",
    5,
    [("a", "b")],
    {1: "a"},
    {b"a": b"b"},
    {"": "x"},
    {"a b": "x"},
    {"a:": "x"},
    {"a\r\nb": "x"},
    {"ä": "x"},
    {"a": 1},
    {"a": None},
    {"a": b"x"},
    {"a": "x\r\ny: z"},
    {"a": "x\ny"},
    {"a": "x\0"},
    {"a": "ä"},
    {"a": "\ud800"},
    {"Host": "x"},
    {"content-length": "1"},
    {"Transfer-Encoding": "chunked"},
    {"CONNECTION": "close"},
    {"Accept-Encoding": "br"},
]
QUERIES: list[Any] = [
    "a=b",
    5,
    [("a", "b")],
    {1: "a"},
    {"": "a"},
    {"a": None},
    {"a": []},
    {"a": {}},
    {"a": b"x"},
    {"a": float("nan")},
    {"a": float("inf")},
    {"a": 10**5000},
    {"a": "\ud800"},
    {"\ud800": "a"},
]
TIMEOUTS: list[Any] = ["5", True, False, 0, -1, float("nan"), float("inf"), 1e10, 10**5000, [], {}, Odd(), b"5"]
RETRIES: list[Any] = [None, 3, "3", {"attempts": 3}, RetryPolicy, Odd()]
WRONG: dict[str, list[Any]] = {
    "api_key": ["", "   ", "kéy-kéy", "key\nkey", "key key", "key\0key", b"key", 5, True, [], Odd()],
    "base_url": [
        "",
        "   ",
        "test",
        "test:8000/v1",
        "ftp://test/v1",
        "file:///etc/passwd",
        "http://",
        "https:///v1",
        "http:test",
        "http://user:password@test",
        "http://user@test",
        "http://test?a=b",
        "http://test/?",
        "http://test/#a",
        "http://test/#",
        "http://test:99999",
        "http://test:port",
        "http://[::1",
        "http://te st",
        "http://te\nst/v1",
        "http://test/\ud800",
        "http://" + "a" * 100_000,
        "http://" + "a" * 64,
        "http://..",
        "http://test:0",
        "http://xn--/",
        5,
        b"http://test",
        Odd(),
    ],
    "default_headers": HEADERS,
    "default_query": QUERIES,
    "organization": [5, b"org", "org\r\nx: y", "örg", Odd()],
    "project": [5, b"proj", "proj\r\nx: y", "pröj", Odd()],
    "beta": [5, b"b", "b\r\nx: y", "ä", Odd()],
    "timeout": TIMEOUTS,
    "retry": RETRIES,
    "max_connections": [0, -1, True, 1.5, "10", None, 65_537, 10**5000, Odd()],
    "max_streams": [0, -1, True, 1.5, "10", None, 65_537, 10**5000, Odd()],
    "proxy": [
        "",
        "proxy",
        "proxy:8080",
        "ftp://proxy",
        "http://" + "a" * 64,
        "http://proxy:port",
        5,
        b"http://p",
        Odd(),
    ],
    "verify": [None, 1, 0, b"x", "/nowhere/at/all", Odd()],
    "cert": [5, (), ("a",) * 4, ["a"], ("a", 1), "/nowhere/at/all", ("/nowhere/a", "/nowhere/b"), Odd()],
    "http_client": [5, "x", httpx.Client, httpx.AsyncClient, Odd()],
    "transport": [5, "asyncio", "", httpx.MockTransport, httpx.HTTPTransport, Odd()],
}


@pytest.mark.parametrize(
    "name, value",
    [pytest.param(name, value, id=f"{name}-{number}") for name in WRONG for number, value in enumerate(WRONG[name])],
)
async def test_a_wrong_setting_is_refused_at_construction(name: str, value: Any) -> None:
    """A value that cannot be used is a UsageError with a short message, before there is a client."""
    with pytest.raises(UsageError) as caught:
        AsyncClient(**{"api_key": KEY, "base_url": BASE, name: value})

    assert len(str(caught.value)) < 400
    assert KEY not in str(caught.value)


def test_an_unknown_setting_is_a_type_error() -> None:
    """A misspelled setting is a wrong call."""
    with pytest.raises(TypeError, match="max_retries"):
        AsyncClient(api_key=KEY, max_retries=3)  # type: ignore[call-arg]


def test_a_synchronous_client_or_transport_is_refused() -> None:
    """What would block the event loop is not taken."""
    with httpx.Client() as http, pytest.raises(UsageError, match="http_client must be an httpx.AsyncClient"):
        AsyncClient(api_key=KEY, http_client=http)  # type: ignore[arg-type]
    with httpx.HTTPTransport() as transport, pytest.raises(UsageError, match="httpx.AsyncBaseTransport"):
        AsyncClient(api_key=KEY, transport=transport)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options", [{"proxy": "http://proxy"}, {"verify": False}, {"cert": "client.pem"}, {"transport": "aiohttp"}]
)
async def test_what_the_caller_brings_has_its_own_connections(options: dict[str, Any]) -> None:
    """Settings that a caller's own client or transport would not obey are refused beside it."""
    async with httpx.AsyncClient() as http:
        with pytest.raises(UsageError, match="http_client= brings its own"):
            AsyncClient(api_key=KEY, http_client=http, **options)
    if "transport" not in options:
        with pytest.raises(UsageError, match="transport= brings its own"):
            AsyncClient(api_key=KEY, transport=Server().transport, **options)


@pytest.mark.parametrize(
    "options",
    [
        *({"headers": value} for value in HEADERS),
        *({"extra_query": value} for value in QUERIES),
        *({"timeout": value} for value in TIMEOUTS),
        *({"retry": value} for value in RETRIES),
        *({"extra_body": value} for value in ("x", 5, [("a", "b")], {1: "a"}, Odd())),
    ],
    ids=lambda options: next(iter(options)),
)
async def test_a_wrong_option_is_refused(options: dict[str, Any]) -> None:
    """A copy takes no value the client itself would not take, and nothing is sent."""
    server = Server()
    async with server.client() as client:
        with pytest.raises(UsageError):
            client.with_options(**options)
        with pytest.raises(TypeError, match="unexpected"):
            client.with_options(nonsense=1)  # type: ignore[call-arg]
    assert [] == server.requests


@pytest.mark.parametrize(
    "value", [object(), float("nan"), b"x", {1: 2}, {1, 2}, 10**5000], ids=lambda v: type(v).__name__
)
async def test_an_extra_field_that_is_no_json_is_refused_when_it_would_be_sent(value: object) -> None:
    """A body that cannot be JSON is a UsageError; requests without a body do not notice."""
    server = Server()
    async with server.client() as client:
        copy = client.with_options(extra_body={"field": value})
        with pytest.raises(UsageError):
            await copy.create_thread()
        assert [] == server.requests
        await copy.get_thread("thread_1")
        await copy.delete_thread("thread_1")
    assert 2 == len(server.requests)


@pytest.mark.parametrize("name", ["total", "attempt", "connect"])
@pytest.mark.parametrize("value", [0, -1.0, True, "1", float("nan"), 1e10])
def test_a_wrong_timeout_is_refused(name: str, value: Any) -> None:
    """A time limit is a positive number of seconds, or None."""
    with pytest.raises(UsageError, match=f"{name} must be a number of seconds above 0"):
        Timeout(**{name: value})


def test_a_timeout_in_short() -> None:
    """A plain number is the total, None is no limit at all, and a Timeout is itself."""
    assert Timeout(total=5) == Timeout.of(5)
    assert Timeout(total=None, attempt=None, connect=None, idle=None) == Timeout.of(None)
    own = Timeout(total=1, attempt=2, connect=3)
    assert Timeout.of(own) is own


def test_a_timeout_of_httpx() -> None:
    """What another library means by a timeout is refused with the values that say the same here."""
    message = (
        "timeout must be an asyncassist.Timeout, not one of httpx; "
        "instead give Timeout(connect=5.0, attempt=600, idle=600)"
    )
    with pytest.raises(UsageError) as caught:
        AsyncClient(api_key=KEY, base_url=BASE, timeout=httpx.Timeout(600, connect=5.0))  # type: ignore[arg-type]
    assert message == str(caught.value)
    client = AsyncClient(api_key=KEY, base_url=BASE)
    with pytest.raises(UsageError, match=r"instead give Timeout\(connect=None, attempt=2, idle=2\)"):
        client.with_options(timeout=httpx.Timeout(None, read=2))  # type: ignore[arg-type]


# Keys


@pytest.mark.parametrize(
    "own, general, key",
    [
        ("own", "general", "own"),
        (None, "general", "general"),
        ("", "general", "general"),
        ("  \n", " general\n", "general"),
    ],
)
async def test_the_key_from_the_environment(
    own: str | None, general: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ASYNCASSIST_API_KEY goes before OPENAI_API_KEY; a blank one counts as not set."""
    if own is not None:
        monkeypatch.setenv("ASYNCASSIST_API_KEY", own)
    monkeypatch.setenv("OPENAI_API_KEY", general)
    server = Server()
    async with server.client(api_key=None) as client:
        await client.get_thread("thread_1")
    assert f"Bearer {key}" == server.request.headers["authorization"]


@pytest.mark.parametrize("value", [None, "", " "])
def test_no_key_at_all(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key there is no client, and the error says what to do."""
    if value is not None:
        monkeypatch.setenv("OPENAI_API_KEY", value)
    with pytest.raises(UsageError, match="ASYNCASSIST_API_KEY or OPENAI_API_KEY, or pass api_key=NO_KEY"):
        AsyncClient()


def test_a_bad_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that no header can carry is refused wherever it comes from, and not quoted."""
    monkeypatch.setenv("ASYNCASSIST_API_KEY", "kéy-of-mine")
    with pytest.raises(UsageError, match="printable ASCII") as caught:
        AsyncClient()
    assert "of-mine" not in str(caught.value)


async def test_a_given_key_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is passed counts; blanks around it do not."""
    monkeypatch.setenv("ASYNCASSIST_API_KEY", "from-outside")
    server = Server()
    async with server.client(api_key=f" {KEY}\n") as client:
        await client.get_thread("thread_1")
    assert f"Bearer {KEY}" == server.request.headers["authorization"]


async def test_no_key_sends_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_KEY sends no Authorization header, whatever the environment has."""
    monkeypatch.setenv("ASYNCASSIST_API_KEY", "from-outside")
    server = Server()
    async with server.client(api_key=NO_KEY) as client:
        await client.get_thread("thread_1")
    assert "authorization" not in server.request.headers
    assert "NO_KEY" == repr(NO_KEY)


# Base URLs


@pytest.mark.parametrize(
    "own, general, sent",
    [
        ("http://own/v1", "http://general/v1", "http://own/v1/threads/t"),
        (None, "http://general/v1", "http://general/v1/threads/t"),
        (" ", " http://general/v1\n", "http://general/v1/threads/t"),
        (None, None, "https://api.openai.com/v1/threads/t"),
        ("", "", "https://api.openai.com/v1/threads/t"),
    ],
)
async def test_the_base_url_from_the_environment(
    own: str | None, general: str | None, sent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ASYNCASSIST_BASE_URL goes before OPENAI_BASE_URL, then comes the API description's own host."""
    for name, value in (("ASYNCASSIST_BASE_URL", own), ("OPENAI_BASE_URL", general)):
        if value is not None:
            monkeypatch.setenv(name, value)
    server = Server()
    async with server.client(base_url=None) as client:
        await client.get_thread("t")
    assert sent == str(server.request.url)


@pytest.mark.parametrize(
    ("base_url", "operation"),
    [
        ("http://test/v1/threads", "/threads"),
        ("http://test/openai/assistants/", "/assistants"),
        ("http://test/v2/threads/thread_1/runs", "/threads/thread_1/runs"),
        ("http://test/v1/chat/completions", "/chat/completions"),
        ("http://test/chat/completions/", "/chat/completions"),
        ("http://test/api/v1/responses", "/responses"),
    ],
)
def test_a_base_url_that_is_an_operation(base_url: str, operation: str) -> None:
    """A URL copied from a request is refused, with the part that is too much."""
    with pytest.raises(UsageError, match=f"^base_url ends in the path of an operation, {operation}; give what comes"):
        AsyncClient(api_key=KEY, base_url=base_url)


def test_a_bad_base_url_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no URL is refused wherever it comes from."""
    monkeypatch.setenv("OPENAI_BASE_URL", "nonsense")
    with pytest.raises(UsageError, match="base_url must start with http"):
        AsyncClient(api_key=KEY)


@pytest.mark.parametrize(
    "base_url, sent",
    [
        ("http://test", "http://test/threads/t"),
        ("http://test/", "http://test/threads/t"),
        ("http://test/v1/", "http://test/v1/threads/t"),
        ("http://test//", "http://test/threads/t"),
        ("  http://test/v1\n", "http://test/v1/threads/t"),
        ("HTTP://TEST/V1", "http://test/V1/threads/t"),
        ("https://test:8443/a/b%20c/openai", "https://test:8443/a/b%20c/openai/threads/t"),
        ("https://test:443/v1", "https://test/v1/threads/t"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1/threads/t"),
        ("https://[2001:db8::1]", "https://[2001:db8::1]/threads/t"),
        ("https://bücher.example/v1", "https://xn--bcher-kva.example/v1/threads/t"),
        ("https://test/ä", "https://test/%C3%A4/threads/t"),
        (httpx.URL("http://test/v1"), "http://test/v1/threads/t"),
    ],
)
async def test_where_requests_go(base_url: str | httpx.URL, sent: str) -> None:
    """The path prefix of the base URL is kept, with or without a slash at its end."""
    server = Server()
    async with server.client(base_url=base_url) as client:
        await client.get_thread("t")
        assert sent == client.base_url + "/threads/t"
    assert sent == str(server.request.url)


# Headers and queries


async def test_organization_and_project() -> None:
    """They are sent in their headers."""
    server = Server()
    async with server.client(organization="org_1", project="proj_1") as client:
        await client.get_thread("thread_1")
    assert "org_1" == server.request.headers["openai-organization"]
    assert "proj_1" == server.request.headers["openai-project"]


@pytest.mark.parametrize("given", [{}, {"organization": "org_1", "project": "proj_1"}])
async def test_organization_and_project_from_the_environment(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """OPENAI_ORG_ID and OPENAI_PROJECT_ID count where nothing is given."""
    monkeypatch.setenv("OPENAI_ORG_ID", "org_env")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj_env")
    server = Server()
    async with server.client(**given) as client:
        await client.get_thread("thread_1")
    assert given.get("organization", "org_env") == server.request.headers["openai-organization"]
    assert given.get("project", "proj_env") == server.request.headers["openai-project"]


async def test_blank_organization_and_project_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them, their headers are not sent."""
    monkeypatch.setenv("OPENAI_ORG_ID", " ")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "")
    server = Server()
    async with server.client() as client:
        await client.get_thread("thread_1")
    assert not {"openai-organization", "openai-project"} & server.request.headers.keys()


@pytest.mark.parametrize(
    "name", ["Authorization", "OpenAI-Beta", "OpenAI-Organization", "User-Agent", "Accept", "Content-Type"]
)
@pytest.mark.parametrize("change", [str, str.lower, str.upper], ids=["as it is", "lower", "upper"])
@pytest.mark.parametrize("given_at", ["construction", "copy"])
async def test_a_given_header_replaces_ours(name: str, change: Callable[[str], str], given_at: str) -> None:
    """A header under the name of one of ours, in any case, is sent instead of it, once."""
    server = Server()
    headers = {change(name): " theirs\t"}
    at_first = headers if given_at == "construction" else {name: "not theirs"}
    async with server.client(default_headers=at_first, organization="org") as client:
        copy = client if given_at == "construction" else client.with_options(headers=headers)
        await copy.create_thread(metadata={})
    assert ["theirs"] == server.request.headers.get_list(name)


async def test_a_content_type_goes_only_with_a_body() -> None:
    """A default Content-Type is left out where there is no content."""
    server = Server()
    async with server.client(default_headers={"Content-Type": "text/json", "X-Other": "1"}) as client:
        await client.get_thread("thread_1")
    assert "content-type" not in server.request.headers
    assert "1" == server.request.headers["x-other"]


@pytest.mark.parametrize(
    "value, sent",
    [("a b", "a%20b"), ("", ""), (True, "true"), (False, "false"), (5, "5"), (0.5, "0.5"), ("ä&=", "%C3%A4%26%3D")],
)
async def test_a_default_query_goes_with_every_request(value: object, sent: str) -> None:
    """Strings, numbers and booleans are sent in the query."""
    server = Server()
    async with server.client(default_query={"api-version": value}) as client:
        await client.get_thread("thread_1")
        await client.create_thread()
    assert {f"api-version={sent}"} == {request.url.query.decode() for request in server.requests}


# Copies


async def test_a_copy_shares_everything_but_its_options() -> None:
    """A copy has other options and the same connections, budget and life; the client itself stays as it was."""
    server = Server()
    client = server.client(default_headers={"X-One": "1", "X-Two": "2"}, default_query={"a": 1, "b": 2})
    copy = client.with_options(
        headers={"x-two": "two", "X-Three": "3"}, extra_query={"b": "two", "c": 3}, extra_body={"field": 1}
    )
    again = copy.with_options(extra_query={"d": 4}, extra_body={"other": 2})
    assert type(copy) is AsyncClient
    assert copy._sender is client._sender

    await client.create_thread()
    await copy.create_thread()
    await again.create_thread()

    first, second, third = server.requests
    assert "a=1&b=2" == first.url.query.decode()
    assert "a=1&b=two&c=3" == second.url.query.decode()
    assert "a=1&b=two&c=3&d=4" == third.url.query.decode()
    assert [b"", b'{"field":1}', b'{"field":1,"other":2}'] == [request.content for request in server.requests]
    assert [("1", "2", None), ("1", "two", "3"), ("1", "two", "3")] == [
        tuple(request.headers.get(name) for name in ("x-one", "x-two", "x-three")) for request in server.requests
    ]
    await copy.aclose()
    assert client.is_closed
    assert again.is_closed


async def test_a_copy_may_have_other_times_and_retries() -> None:
    """Timeouts and retries are replaced where given, None for no limit included; UNSET keeps them."""
    server = Server(reply({}, 500))
    async with server.client(timeout=Timeout(total=5.0, attempt=4.0, connect=3.0)) as client:
        copy = client.with_options(timeout=None, retry=RetryPolicy(attempts=2))
        same = copy.with_options(timeout=UNSET, retry=UNSET)
        assert same._options == copy._options
        assert Timeout.of(None) == copy._options.timeout
        assert Timeout(total=7) == client.with_options(timeout=7)._options.timeout
        assert Timeout(total=5.0, attempt=4.0, connect=3.0) == client._options.timeout
        with pytest.raises(Exception, match="answered 500"):
            await same.get_thread("thread_1")
    assert 2 == len(server.requests)
    assert [None] * 2 == [request.extensions["timeout"]["connect"] for request in server.requests]


async def test_a_copy_leaves_its_options_alone() -> None:
    """What the caller does to a mapping afterwards changes nothing."""
    server = Server()
    headers, query, body = {"X-One": "1"}, {"a": "1"}, {"field": 1}
    async with server.client(default_headers=headers, default_query=query) as client:
        copy = client.with_options(headers=headers, extra_query=query, extra_body=body)
        for mapping in (headers, query, body):
            mapping.clear()
        await copy.create_thread()
    assert "1" == server.request.headers["x-one"]
    assert "a=1" == server.request.url.query.decode()
    assert {"field": 1} == server.body


async def test_a_copy_of_a_users_own_class() -> None:
    """A subclass keeps its class and its attributes."""

    class Own(AsyncClient):
        note = "none"

    async with Own(api_key=KEY, base_url=BASE, transport=Server().transport) as client:
        client.note = "mine"
        copy = client.with_options(timeout=1)
    assert type(copy) is Own
    assert "mine" == copy.note


# What is shown


async def test_what_a_client_shows() -> None:
    """Its repr has the server and whether it is closed."""
    client = Server().client()
    assert "<AsyncClient http://test/v1>" == repr(client)
    assert not client.is_closed
    await client.aclose()
    assert "<AsyncClient http://test/v1 closed>" == repr(client)
    assert client.is_closed


def test_what_settings_show() -> None:
    """Reprs of settings hold neither keys, headers, queries nor bodies."""
    options = CallOptions(Timeout(), RetryPolicy(), {"x": KEY}, {"x": KEY}, {"x": KEY})
    assert KEY not in repr(options)
    assert "<Credentials>" == repr(Credentials(KEY))
    assert "<BaseUrl http://test/v1>" == repr(BaseUrl("http://test/v1/"))
