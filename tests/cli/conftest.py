"""What the tests of the command line share."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

import pytest

from asyncassist.server import Failure, FunctionCall, Rule
from asyncassist.testing import FakeServer

if TYPE_CHECKING:
    from collections.abc import Iterator

RULES = (
    Rule("slow", say="never", delay=3600),
    Rule("fail", fail=Failure("Not now.", code="rate_limit_exceeded")),
    Rule("cut", say="as far as", stopped_by="max_completion_tokens"),
    Rule("add", calls=[FunctionCall("add", {"a": 1, "b": 2})], say="It is {outputs[0]}."),
    Rule(say="You said: {message}"),
)
"""What the server of the tests answers."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """A server on a port, which is the one the environment names."""
    fake = FakeServer(*RULES)
    with fake.in_thread() as url:
        monkeypatch.setenv("ASYNCASSIST_BASE_URL", url)
        monkeypatch.setenv("ASYNCASSIST_API_KEY", "sk-secret-of-the-tests")
        yield fake


@pytest.fixture(autouse=True, scope="session")
def _ctrl_c_works() -> Iterator[None]:
    """A shell starts what it puts into the background with SIGINT ignored, and so are our own programs then."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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
