"""Fixtures of the server's tests: a running server, and the plain HTTP of its clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import pytest

from asyncassist.server import LocalServer
from asyncassist.server.app import create_app

from .helpers import Api, Clock, SteeredBackend, counted_ids
from .schemas import Findings, Watched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

CHECKED = Findings()
"""What was checked in the whole run."""


@pytest.fixture(autouse=True)
def findings(monkeypatch: pytest.MonkeyPatch) -> Iterator[Findings]:
    """Hold every answer and every event of every server of a test against the API's schemas."""
    findings = Findings()

    def create_watched(*args: Any, **options: Any) -> Watched:
        return Watched(create_app(*args, **options), findings)

    monkeypatch.setattr("asyncassist.server.local.create_app", create_watched)
    yield findings
    CHECKED.checked += findings.checked
    CHECKED.problems += findings.problems
    assert not findings.problems


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much was checked: nothing checked would find nothing wrong."""
    checked = CHECKED.checked
    terminalreporter.write_line(
        f"schemas: {checked['answers']} answers and {checked['events']} events checked, {len(CHECKED.problems)} errors"
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server(clock: Clock) -> AsyncIterator[LocalServer]:
    """A server with the offline backend, on the clock turned by hand."""
    async with LocalServer(clock=clock, sleep=clock.sleep, new_id=counted_ids()) as server:
        yield server


@pytest.fixture
async def api(server: LocalServer) -> AsyncIterator[Api]:
    async with httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http:
        yield Api(http)


@pytest.fixture
async def backend() -> SteeredBackend:
    return SteeredBackend()


@pytest.fixture
async def steered(clock: Clock, backend: SteeredBackend) -> AsyncIterator[Api]:
    """The API of a server whose backend is steered by the test."""
    async with (
        LocalServer(backend, clock=clock, sleep=clock.sleep, new_id=counted_ids()) as server,
        httpx.AsyncClient(transport=server.transport, base_url="http://local/v1") as http,
    ):
        yield Api(http)
