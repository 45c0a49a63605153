"""TLS: who is trusted, what is shown to the server, and what is said when the two do not agree."""

from __future__ import annotations

import os
import ssl
import warnings
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from asyncassist import APIConnectionError, APITimeoutError, AsyncClient, Timeout, UsageError
from asyncassist._transport.environment import tls_context

from .helpers import KEY, ONCE, Choice, connect
from .loopback import Loopback, LoopThread

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(setting: tuple[str, Choice]) -> str:
    return setting[0]


@pytest.fixture
def authority_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


async def get(client: AsyncClient) -> str:
    run = await client.get_run("thread_1", "run_1")
    return run.id


async def test_a_context_is_used_as_it_is(tls_server: Loopback, trusting: ssl.SSLContext, transport: Choice) -> None:
    """``verify=`` takes an SSLContext, and one TLS connection carries several calls."""
    async with connect(tls_server, verify=trusting, transport=transport) as client:
        assert "run_1" == await get(client)
        assert "run_1" == await get(client)

    assert 1 == tls_server.opened


async def test_a_file_of_authorities(tls_server: Loopback, authority_file: str, transport: Choice) -> None:
    """``verify=`` takes the path of a file with authorities."""
    async with connect(tls_server, verify=authority_file, transport=transport) as client:
        assert "run_1" == await get(client)


async def test_the_file_of_authorities_in_the_environment(
    tls_server: Loopback, authority_file: str, transport: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE names the authorities where ``verify=`` does not."""
    monkeypatch.setenv("SSL_CERT_FILE", authority_file)
    async with connect(tls_server, transport=transport) as client:
        assert "run_1" == await get(client)


async def test_nothing_is_checked_on_request(tls_server: Loopback, transport: Choice) -> None:
    """``verify=False`` takes any certificate."""
    async with connect(tls_server, verify=False, transport=transport) as client:
        assert "run_1" == await get(client)


@pytest.mark.parametrize("verify", ["default", "folder", "other"])
async def test_a_certificate_nobody_trusts(
    tls_server: Loopback, transport: Choice, verify: str, tmp_path: Path
) -> None:
    """A certificate of an unknown authority is a connection error that says so, and nothing is sent."""
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    empty = tmp_path / "empty"
    empty.mkdir()
    choice: Any = {"default": True, "folder": str(empty), "other": str(other)}[verify]
    async with connect(tls_server, verify=choice, transport=transport, retry=ONCE) as client:
        with pytest.raises(
            APIConnectionError, match=r"cannot connect to https://localhost.*(?i:certificate)"
        ) as caught:
            await get(client)

    assert not caught.value.sent
    assert [] == tls_server.requests


async def test_a_certificate_for_another_name(
    loop_thread: LoopThread, nothing_left: None, authority: trustme.CA, trusting: ssl.SSLContext, transport: Choice
) -> None:
    """A certificate of a trusted authority for another host is refused, with the reason."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.example").configure_cert(context)
    with Loopback(loop_thread, tls=context) as server:
        async with connect(server, verify=trusting, transport=transport, retry=ONCE) as client:
            with pytest.raises(APIConnectionError, match=r"cannot connect.*localhost") as caught:
                await get(client)

    assert not caught.value.sent
    assert [] == server.requests


@pytest.mark.parametrize("form", ["path", "pair", "triple"])
async def test_the_client_shows_its_certificate(
    loop_thread: LoopThread,
    nothing_left: None,
    authority: trustme.CA,
    server_context: ssl.SSLContext,
    authority_file: str,
    transport: Choice,
    tmp_path: Path,
    form: str,
) -> None:
    """``cert=`` is shown to a server that asks: one file, certificate and key, or those with a password."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    own = authority.issue_cert("client@example.org")
    both, certificate, key = tmp_path / "both.pem", tmp_path / "cert.pem", tmp_path / "key.pem"
    own.private_key_and_cert_chain_pem.write_to_path(both)
    own.cert_chain_pems[0].write_to_path(certificate)
    own.private_key_pem.write_to_path(key)
    cert: Any = {
        "path": str(both),
        "pair": (str(certificate), str(key)),
        "triple": (str(certificate), str(key), "unused password"),
    }[form]

    with Loopback(loop_thread, tls=context) as server:
        async with connect(server, verify=authority_file, cert=cert, transport=transport) as client:
            assert "run_1" == await get(client)

    assert [("client@example.org",)] == [
        tuple(value for kind, value in certificate["subjectAltName"] if kind == "email")
        for certificate in server.peer_certificates
    ]


async def test_a_server_that_wants_a_certificate(
    loop_thread: LoopThread, nothing_left: None, authority: trustme.CA, trusting: ssl.SSLContext, transport: Choice
) -> None:
    """A server that insists on a client's certificate is a clear connection error."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with Loopback(loop_thread, tls=context) as server:
        async with connect(server, verify=trusting, transport=transport, retry=ONCE) as client:
            with pytest.raises(APIConnectionError, match="https://localhost"):
                await get(client)

    assert [] == server.requests


async def test_a_server_without_tls(server: Loopback, transport: Choice) -> None:
    """https to a server that speaks plain http is a clear connection error, and nothing is sent."""
    url = server.url.replace("http:", "https:")
    async with connect(server, base_url=url, verify=False, transport=transport, retry=ONCE) as client:
        with pytest.raises(APIConnectionError, match="cannot connect to https://127.0.0.1") as caught:
            await get(client)

    assert not caught.value.sent
    assert [] == server.requests


async def test_a_handshake_that_never_ends(server: Loopback, transport: Choice) -> None:
    """A server that takes the connection and leaves the TLS handshake hanging runs into the connect timeout."""
    server.hears_no_tls = True
    url = server.url.replace("http:", "https:")
    async with connect(
        server, base_url=url, verify=False, transport=transport, retry=ONCE, timeout=Timeout(connect=0.1, attempt=10)
    ) as client:
        with pytest.raises(APITimeoutError, match="no connection to https://127.0.0.1.* in time") as caught:
            await get(client)

    assert ("connect", False) == (caught.value.phase, caught.value.sent)


async def test_all_clients_share_one_context(monkeypatch: pytest.MonkeyPatch, transport: Choice) -> None:
    """The authorities are read once for all clients, and not at all for plain http."""
    first = tls_context(True, None)
    made: list[object] = []
    monkeypatch.setattr(httpx, "create_ssl_context", lambda *args, **kwargs: made.append(args))

    for url in ("https://server.example/v1", "http://server.example/v1"):
        async with AsyncClient(api_key=KEY, base_url=url, transport=transport):
            pass

    assert [] == made
    assert tls_context(True, None) is first


async def test_other_authorities_in_the_environment_give_another_context(
    authority_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed SSL_CERT_FILE or SSL_CERT_DIR is noticed by clients made afterwards."""
    first = tls_context(True, None)
    monkeypatch.setenv("SSL_CERT_FILE", authority_file)
    second = tls_context(True, None)
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("SSL_CERT_DIR", os.path.dirname(authority_file))
    third = tls_context(True, None)

    assert 3 == len({id(first), id(second), id(third)})


@pytest.mark.parametrize(
    "options",
    [
        {"verify": "/nonexistent/authorities.pem"},
        {"verify": __file__},
        {"verify": None},
        {"verify": 1},
        {"verify": b"/etc/ssl"},
        {"verify": "a\0b"},
        {"cert": "/nonexistent/client.pem"},
        {"cert": ("/nonexistent/client.pem", "/nonexistent/key.pem")},
        {"cert": __file__},
        {"cert": b"client.pem"},
        {"cert": 5},
        {"cert": ()},
        {"cert": ("a", 5)},
        {"cert": ("a", "b", "c", "d")},
        {"cert": ["a", "b"]},
        {"verify": ssl.create_default_context(), "cert": "/nonexistent/client.pem"},
    ],
    ids=repr,
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_certificates_that_cannot_be_used(options: dict[str, Any], scheme: str) -> None:
    """What ``verify=`` and ``cert=`` cannot be is refused at construction."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UsageError, match="verify=|cert="):
            AsyncClient(api_key=KEY, base_url=f"{scheme}://server.example/v1", **options)


@pytest.mark.parametrize("name", ["SSL_CERT_FILE"])
def test_authorities_of_the_environment_that_cannot_be_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SSL_CERT_FILE that does not exist is refused at construction, by name."""
    monkeypatch.setenv(name, "/nonexistent/authorities.pem")
    with pytest.raises(UsageError, match=name):
        AsyncClient(api_key=KEY, base_url="https://server.example/v1")
