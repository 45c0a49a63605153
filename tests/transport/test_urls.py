"""The URLs of requests: the same that httpx makes of the whole text."""

from __future__ import annotations

from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncassist._transport.settings import BaseUrl
from asyncassist._transport.urls import Urls
from asyncassist._wire.requests import query_string

BASES = [
    *("http://127.0.0.1:8080/v1", "https://host.example", "https://Host.Example:443/api/projects/x%20y"),
    *("http://[::1]:80/v1/", "https://bücher.example/a;b=c/é", "http://h/a/../b/./c"),
]
texts = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: text not in (".", ".."))


@given(st.sampled_from(BASES), st.lists(texts, max_size=3), st.lists(st.tuples(texts, texts), max_size=3))
def test_as_httpx_parses_them(base: str, ids: list[str], pairs: list[tuple[str, str]]) -> None:
    """Whatever is in ids and parameters, quoted as they come."""
    text = BaseUrl(base).text
    path = "".join("/" + quote(part, safe="") for part in ["threads", *ids])
    query = query_string((*pairs, ("include[]", "a[*].b")))
    whole = httpx.URL(f"{text}{path}?{query}")
    made = Urls(text).make(path, query)
    assert whole == made
    assert whole.raw_path == made.raw_path
    assert (whole.host, whole.port, whole.netloc) == (made.host, made.port, made.netloc)
    assert httpx.URL(text + path) == Urls(text).make(path, "")


def test_a_long_url_is_left_to_httpx() -> None:
    """It refuses what is too long."""
    urls = Urls("http://test/v1")
    assert "http://test/v1/" + "a" * 65_000 == str(urls.make("/" + "a" * 65_000, ""))
    with pytest.raises(httpx.InvalidURL, match="too long"):
        urls.make("/" + "a" * 65_536, "b=c")


@pytest.mark.parametrize("change", ["has none of the sort", "means something else by it"])
def test_an_httpx_that_keeps_its_parts_otherwise(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """Then the URLs are parsed."""
    with monkeypatch.context() as patch:
        if change == "has none of the sort":
            patch.delattr("httpx._urlparse.ParseResult._replace")
        else:
            patch.setattr("httpx._urlparse.ParseResult._replace", lambda self, **_: self)
        urls = Urls("http://test/v1")
    assert "http://test/v1/a?b=c" == str(urls.make("/a", "b=c"))
