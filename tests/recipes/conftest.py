"""What the tests of the recipes share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .running import NAMES, Api, App, running, serving


@pytest.fixture(scope="package")
def api() -> Iterator[Api]:
    """Serve the API to all recipes."""
    with serving() as api:
        yield api


@pytest.fixture(scope="package", params=NAMES)
def app(request: pytest.FixtureRequest, api: Api) -> Iterator[App]:
    """Run each of the recipes."""
    with running(request.param, api.url) as app:
        yield app
