"""The pytest plugin: the fixtures ``assist_server`` and ``assist_client``, for whatever runs the tests.

pytest loads this in every project that has the package installed, so nothing but pytest is imported before a fixture
is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncassist import AsyncClient
    from asyncassist.testing import FakeServer

__all__ = ["assist_client", "assist_server"]


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", "assist_server(*script, **options): arguments of the FakeServer in the fixture assist_server"
    )


@pytest.fixture
def assist_server(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    """A server of the Assistants API for this test: see `asyncassist.testing.FakeServer`.

    It starts when it is first used, on asyncio or trio. Its arguments are those of the marker of the same name, the
    nearest first: ``@pytest.mark.assist_server("Hello!", run_seconds=60)``.
    """
    try:
        from asyncassist.testing import FakeServer
    except ImportError as error:
        pytest.fail(f"the fixture assist_server cannot be had: {error}", pytrace=False)
    script: tuple[Any, ...] = ()
    options: dict[str, Any] = {}
    for mark in request.node.iter_markers("assist_server"):
        script = script or mark.args
        options = {**mark.kwargs, **options}
    with FakeServer(*script, **options) as server:
        yield server
        # Shown where the test has failed.
        asked = "\n".join(map(str, server.requests))
        request.node.add_report_section("teardown", "assist_server requests", asked or "none")


@pytest.fixture
def assist_client(assist_server: FakeServer) -> AsyncClient:
    """A client of the server in `assist_server`."""
    return assist_server.client()
