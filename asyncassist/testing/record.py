"""What a server under test was asked."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from attrs import define, field

from asyncassist._wire.json import loads
from asyncassist.errors import DecodeError
from asyncassist.server.routes import ENDPOINTS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OPERATIONS", "SeenRequest", "operation_of"]

_ROUTES = [
    (endpoint.method, re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", endpoint.path)), endpoint.operation.__name__)
    for endpoint in ENDPOINTS
]

#: The names of the operations, as methods of the client have them.
OPERATIONS = frozenset(name for _, _, name in _ROUTES)


def operation_of(method: str, path: str) -> tuple[str | None, dict[str, str]]:
    """Tell the operation of a request, None where there is none, and the ids in its path by their names.

    Args:
        path: below the base URL, unquoted.
    """
    for route_method, pattern, name in _ROUTES:
        if method == route_method and (match := pattern.fullmatch(path)):
            return name, match.groupdict()
    return None, {}


@define(eq=False)
class SeenRequest:
    """A request as the server got it."""

    operation: str | None
    """The name of the client's method, such as ``create_run``; None for a path that is none of the API's."""
    method: str
    path: str
    """Below the base URL, without the query: ``/threads/thread_1/runs``."""
    ids: Mapping[str, str]
    """Those in the path by their names: ``thread_id``, ``run_id``..."""
    query: Mapping[str, str]
    """A name given several times has its last value."""
    headers: Mapping[str, str] = field(repr=False)
    """Names in lower case. The key is among them."""
    content: bytes = field(repr=False)
    """The body as it came."""
    status: int | None = None
    """Of the answer; None as long as there is none, or where the connection was dropped."""

    @property
    def body(self) -> Any:
        """The JSON of the body. None where there is no body, or where it is not JSON."""
        try:
            return loads(self.content) if self.content else None
        except DecodeError:
            return None

    def __str__(self) -> str:
        answer = "no answer" if self.status is None else str(self.status)
        return f"{self.method} {self.path} ({self.operation or 'no operation'}): {answer}"
