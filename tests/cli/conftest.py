"""What the tests of the command line share."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_settings_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASYNCASSIST_SERVER_KEYS", raising=False)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """The command sets up the logging of its process, which is not its own here."""
    loggers = [logging.getLogger(), logging.getLogger("asyncassist")]
    before = [(each.level, list(each.handlers)) for each in loggers]
    yield
    for each, (level, handlers) in zip(loggers, before, strict=True):
        each.setLevel(level)
        each.handlers[:] = handlers
