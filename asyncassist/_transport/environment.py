"""Proxies and certificates, from the environment as httpx reads them: a custom transport has to look for itself."""

from __future__ import annotations

import ipaddress
import os
import ssl
from functools import lru_cache
from typing import TypeAlias, cast
from urllib.request import getproxies

import httpx

from asyncassist._transport.settings import BaseUrl
from asyncassist.errors import UsageError

__all__ = ["ClientCert", "proxy_for", "tls_context"]

ClientCert: TypeAlias = "str | tuple[str, str] | tuple[str, str, str]"


@lru_cache(maxsize=4)
def _shared_context(_cert_file: str | None, _cert_dir: str | None) -> ssl.SSLContext:
    # Reading the certificates takes 30-50 ms, so all connections of all clients share one context.
    return httpx.create_ssl_context()


def tls_context(verify: bool | str | ssl.SSLContext, cert: ClientCert | None) -> ssl.SSLContext:
    """Return the context for https.

    Args:
        verify: True checks certificates against SSL_CERT_FILE, SSL_CERT_DIR or the usual authorities; False checks
            nothing; a str is the path of a file or folder with certificates; a context is used as it is.
        cert: the client's own certificate: path, or (path, key path), or (path, key path, password).
    """
    if not isinstance(verify, bool | str | ssl.SSLContext):
        raise UsageError(f"verify= must be True, False, a path or an ssl.SSLContext, got {type(verify).__name__}")
    if cert is not None and not _is_client_cert(cert):
        raise UsageError("cert= must be a path, or a tuple of path, key path and perhaps password, all str")
    if isinstance(verify, ssl.SSLContext):
        if cert is not None:
            raise UsageError("cert= cannot be added to the ssl.SSLContext given as verify=; load it there")
        return verify
    try:
        if verify is True and cert is None:
            return _shared_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
        if isinstance(verify, str):
            is_folder = os.path.isdir(verify)
            context = ssl.create_default_context(
                cafile=None if is_folder else verify, capath=verify if is_folder else None
            )
        else:
            context = httpx.create_ssl_context(verify=verify)
        if cert is not None:
            chain = (cert,) if isinstance(cert, str) else cert
            context.load_cert_chain(*chain)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise UsageError(f"verify=, cert= or SSL_CERT_FILE cannot be loaded: {error}") from error
    return context


def _is_client_cert(cert: object) -> bool:
    parts = cast("tuple[object, ...]", cert) if isinstance(cert, tuple) else (cert,)
    return 1 <= len(parts) <= 3 and all(isinstance(part, str) for part in parts)


def proxy_for(url: BaseUrl) -> str | None:
    """Return the proxy the environment names for a server: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, less NO_PROXY."""
    found = getproxies()
    proxy = found.get(url.scheme) or found.get("all")
    if not proxy or _is_excepted(url, found.get("no", "")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_excepted(url: BaseUrl, no_proxy: str) -> bool:
    host = url.host
    for entry in (part.strip().lower() for part in no_proxy.split(",")):
        if not entry:
            continue
        if entry == "*":
            return True
        scheme, separator, name = entry.rpartition("://")
        if separator:
            # With a scheme, a name means itself alone; no name, every host.
            if scheme in ("all", url.scheme) and (name in ("", "*") or _matches(url, host, name, below=False)):
                return True
        elif _matches(url, host, entry, below=True):
            return True
    return False


def _matches(url: BaseUrl, host: str, entry: str, *, below: bool) -> bool:
    name, colon, port = entry.rpartition(":")
    if colon and port.isdigit() and not name.endswith(":") and (":" not in name or name.startswith("[")):
        own = httpx.URL(url.text).port or (443 if url.scheme == "https" else 80)
        return own == int(port) and _matches(url, host, name, below=below)
    entry = entry.strip("[]")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # `.example.org` and `*.example.org` mean hosts below it; a plain name means itself and those below it.
        bare = entry.removeprefix("*").lstrip(".")
        return (below and host.endswith("." + bare)) or host == entry == bare
    try:
        return address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
