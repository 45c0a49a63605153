"""The URLs of requests."""

from __future__ import annotations

from typing import Any

import httpx

__all__ = ["Urls"]

_LONGEST = 60_000
"""Characters; httpx takes a few more."""


class Urls:
    """Makes the URL of each request out of the base URL.

    httpx looks at every character of a URL several times, which took a quarter of a call. What comes here has been
    quoted, so that its parts may stand as they are.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        url = httpx.URL(base)
        # Private; a later httpx that keeps its parts elsewhere has its URLs parsed.
        self._parts: Any = getattr(url, "_uri_reference", None)
        self._prefix = url.raw_path.decode("ascii").rstrip("/")
        try:
            is_alike = self._join("/a", "b=c") == httpx.URL(f"{base}/a?b=c")
        except (AttributeError, TypeError, ValueError):
            is_alike = False
        if not is_alike:
            self._parts = None

    def make(self, path: str, query: str) -> httpx.URL:
        """Return the URL of a path and a query, both quoted; an empty query is none.

        Raises:
            httpx.InvalidURL: it is too long.
        """
        if self._parts is None or len(path) + len(query) > _LONGEST:
            return httpx.URL(f"{self._base}{path}?{query}" if query else self._base + path)
        return self._join(path, query)

    def _join(self, path: str, query: str) -> httpx.URL:
        url = object.__new__(httpx.URL)
        vars(url)["_uri_reference"] = self._parts._replace(path=self._prefix + path, query=query or None)
        return url
