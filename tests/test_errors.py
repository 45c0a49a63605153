"""The tree of errors, their facts, and their life in pickles and copies."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Iterator

import pytest

import asyncassist.errors
from asyncassist.errors import (
    ActiveRunError,
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncAssistError,
    ClientClosedError,
    DecodeError,
    DisconnectedError,
    JobError,
    JobFileError,
    LedgerError,
    PaginationError,
    RunError,
    StreamError,
    StreamInterruptedError,
    ToolError,
    UsageError,
    WaitTimeoutError,
    shown,
)
from asyncassist.models import Run

RUN = Run(id="run_1", thread_id="thread_1", status="failed")


def drawn_tree() -> Iterator[tuple[str, str, str | None]]:
    """Read name, parent and second base of each error in the drawing at the top of the module."""
    above: list[str] = []
    for line in (asyncassist.errors.__doc__ or "").splitlines():
        match = re.fullmatch(r"    ([│├└─ ]*)(\w+)(?: \(also (\w+)\))?(?: {3,}.*)?", line)
        if match:
            depth = len(match[1]) // 4
            del above[depth:]
            yield match[2], above[-1] if above else "Exception", match[3]
            above.append(match[2])


DRAWN = list(drawn_tree())


def test_the_drawing_has_every_error() -> None:
    """All public names of the module are in it, and no other."""
    assert sorted(name for name, _, _ in DRAWN) == sorted(asyncassist.errors.__all__)


@pytest.mark.parametrize(("name", "parent", "other"), DRAWN)
def test_the_tree_is_as_drawn(name: str, parent: str, other: str | None) -> None:
    """Each error's bases are the ones the drawing shows."""
    bases = getattr(asyncassist.errors, name).__bases__

    assert [base.__name__ for base in bases] == [parent, *([other] if other else [])]


def descendants(cls: type[AsyncAssistError]) -> list[type[AsyncAssistError]]:
    mine = [sub for sub in cls.__subclasses__() if sub.__module__ == "asyncassist.errors"]
    return [cls, *(below for sub in mine for below in descendants(sub))]


STATUS_FACTS = {
    "status": 418,
    "code": "c",
    "param": "p",
    "type": "t",
    "request_id": "req_1",
    "retry_after": 1.5,
    "method": "POST",
    "path": "/threads",
    "body": "{}",
    "headers": {"x-request-id": "req_1"},
    "attempts": 2,
}
RUN_IDS = {"thread_id": "thread_1", "run_id": "run_1"}
CONNECTION_FACTS = {"method": "GET", "path": "/threads", "sent": False, "stale": False, "attempts": 3}
DECODE_FACTS = {"field": "data[0].id", "status": 200, "request_id": "req_1", "method": "GET", "path": "/assistants"}
STREAM_FACTS = {"code": "c", "param": "p", "type": "t", "event": "error", "field": "delta.content"}

FACTS: dict[type[AsyncAssistError], dict[str, object]] = {
    **{cls: {} for cls in (AsyncAssistError, UsageError, ClientClosedError, DisconnectedError, JobError, LedgerError)},
    JobFileError: {"problems": ((1, "id is missing"),), "count": 1},
    APIConnectionError: CONNECTION_FACTS,
    APITimeoutError: {"phase": "attempt", **CONNECTION_FACTS},
    **dict.fromkeys(descendants(APIStatusError), STATUS_FACTS),
    ActiveRunError: {**STATUS_FACTS, **RUN_IDS},
    **dict.fromkeys((DecodeError, PaginationError), DECODE_FACTS),
    StreamError: STREAM_FACTS,
    StreamInterruptedError: {**STREAM_FACTS, **RUN_IDS, "snapshot": ["a"]},
    **{cls: {"run": RUN} for cls in descendants(RunError)},
    WaitTimeoutError: {"run": RUN, "attempted": ("call_1",), "completed": ()},
    ToolError: {"tool": "search", "call_id": "call_2", "attempted": ("call_1",), "completed": (), "run": RUN},
}


def test_every_error_is_tried_here() -> None:
    """The facts below cover the whole tree."""
    assert set(FACTS) == set(descendants(AsyncAssistError))


@pytest.mark.parametrize("cls", FACTS)
def test_an_error_has_its_message_and_facts(cls: type[AsyncAssistError]) -> None:
    """The message is what ``str`` gives; each fact is an attribute."""
    error = cls("what happened", **FACTS[cls])

    assert str(error) == error.message == "what happened"
    assert repr(error) == f"{cls.__name__}('what happened')"
    assert vars(error) == {"message": "what happened", **FACTS[cls]}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("cls", FACTS)
def test_an_error_can_be_pickled(cls: type[AsyncAssistError], protocol: int) -> None:
    """It comes back whole: class, message, facts and notes."""
    error = cls("what happened", **FACTS[cls])
    error.add_note("in the third job")

    twin = pickle.loads(pickle.dumps(error, protocol))

    assert type(twin) is cls
    assert (str(twin), twin.args, vars(twin)) == (str(error), error.args, vars(error))
    assert twin.__notes__ == ["in the third job"]


@pytest.mark.parametrize("cls", FACTS)
def test_an_error_can_be_copied(cls: type[AsyncAssistError]) -> None:
    """A shallow and a deep copy are errors of their own."""
    error = cls("what happened", **FACTS[cls])

    for twin in (copy.copy(error), copy.deepcopy(error)):
        assert twin is not error
        assert (type(twin), twin.args, vars(twin)) == (cls, error.args, vars(error))


class OwnError(ToolError):
    """A user's, with arguments of its own."""

    def __init__(self, tool: str, *, code: int) -> None:
        super().__init__(f"{tool} failed")
        self.code = code


def test_a_users_own_error_can_be_pickled() -> None:
    """Whatever its constructor wants."""
    twin = pickle.loads(pickle.dumps(OwnError("search", code=5)))

    assert (type(twin), str(twin), twin.code) == (OwnError, "search failed", 5)
    assert (twin.tool, twin.call_id, twin.attempted, twin.completed, twin.run) == (None, None, (), (), None)


def test_the_builtin_families() -> None:
    """A wrong value is a ValueError, and what took too long a TimeoutError."""
    assert issubclass(UsageError, ValueError)
    assert issubclass(APITimeoutError, TimeoutError)
    assert issubclass(WaitTimeoutError, TimeoutError)


def test_facts_that_were_not_given() -> None:
    """They are None, or the harmless case."""
    assert vars(APIStatusError("m", status=500)) == {
        "message": "m",
        **dict.fromkeys(STATUS_FACTS, None),
        "status": 500,
        "body": "",
        "headers": {},
        "attempts": 1,
    }
    facts = {"method": None, "path": None, "sent": True, "stale": False, "attempts": 1}
    assert vars(APIConnectionError("m")) == {"message": "m", **facts}
    assert vars(DecodeError("m")) == {"message": "m", **dict.fromkeys(DECODE_FACTS, None), "field": ""}
    assert vars(ActiveRunError("m", status=400))["run_id"] is None
    assert vars(StreamError("m")) == {"message": "m", **dict.fromkeys(STREAM_FACTS, None), "field": ""}
    assert vars(StreamInterruptedError("m")) == {
        **vars(StreamError("m")),
        "thread_id": None,
        "run_id": None,
        "snapshot": None,
    }
    assert WaitTimeoutError("m").run is None


def test_the_headers_are_the_errors_own() -> None:
    """A mapping that changes later changes no error."""
    headers = {"a": "b"}
    error = APIStatusError("m", status=500, headers=headers)
    headers.clear()

    assert error.headers == {"a": "b"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        ("it's", '"it\'s"'),
        (None, "None"),
        ("\ud800\n", r"'\ud800\n'"),
        ("x" * 1000, "'" + "x" * 76 + "..."),
        (10**5000, "a huge int"),
        ([10**5000], "a huge list"),
    ],
    ids=["int", "quotes", "None", "surrogate", "long", "huge", "huge inside"],
)
def test_a_value_in_a_message_is_short(value: object, text: str) -> None:
    """Whatever a caller or a server gave, quoting it neither fails nor floods."""
    assert shown(value) == text
