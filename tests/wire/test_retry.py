"""When a failed request is sent again, after how long, and how many retries a client allows itself."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncassist._wire.requests import Kind
from asyncassist._wire.retry import (
    LONGEST_PAUSE,
    RetryBudget,
    RetryPolicy,
    header_number,
    is_retriable,
    parse_retry_after,
    retry_pause,
)
from asyncassist.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    QuotaExceededError,
    RateLimitError,
    UsageError,
    shown,
)

steady = settings(derandomize=True, deadline=None, max_examples=300, database=None)
HUGE = 10**5000  # repr refuses integers of so many digits, float those beyond 308

Failure = APIConnectionError | APIStatusError

SAFE = (Kind.READ, Kind.POLL, Kind.DELETE, Kind.CANCEL, Kind.KEYED_CREATE)
UNSAFE = (Kind.CREATE, Kind.MODIFY, Kind.SUBMIT)


def answered(status: int, advice: str | None = None, retry_after: float | None = None) -> APIStatusError:
    headers = {} if advice is None else {"x-should-retry": advice}
    return APIStatusError("failed", status=status, headers=headers, retry_after=retry_after)


# Outcome, then whether safe and unsafe operations are sent again.
TABLE: dict[str, tuple[Failure, bool, bool]] = {
    "refused": (APIConnectionError("refused", sent=False), True, True),
    "connect timeout": (APITimeoutError("slow", phase="connect", sent=False), True, True),
    "cut": (APIConnectionError("cut", sent=True), True, False),
    "attempt timeout": (APITimeoutError("slow", phase="attempt"), True, False),
    "total timeout": (APITimeoutError("slow", phase="total"), False, False),
    "total timeout, unsent": (APITimeoutError("slow", phase="total", sent=False), False, False),
    "queue timeout": (APITimeoutError("slow", phase="queue", sent=False), False, False),
    **{f"{status}": (answered(status), False, False) for status in (302, 400, 401, 403, 404, 405, 413, 422, 451)},
    "408": (answered(408), True, False),
    "409": (answered(409), True, False),
    "429": (answered(429), True, True),
    "429 for good": (QuotaExceededError("quota", status=429), False, False),
    "429 for good, advised": (
        QuotaExceededError("quota", status=429, headers={"x-should-retry": "true"}),
        False,
        False,
    ),
    **{f"{status}": (answered(status), True, False) for status in (500, 502, 503, 504, 520, 599)},
    **{f"{status}": (answered(status), False, False) for status in (501, 505)},
    "500, advised": (answered(500, "true"), True, True),
    "500, advised loudly": (answered(500, " TRUE "), True, True),
    "500, advised against": (answered(500, "false"), False, False),
    "429, advised against": (answered(429, "false"), False, False),
    "500, advised in riddles": (answered(500, "perhaps"), True, False),
}


@pytest.mark.parametrize("outcome", TABLE)
@pytest.mark.parametrize("kind", Kind)
def test_what_is_sent_again(kind: Kind, outcome: str) -> None:
    """Safe operations after any failure that may pass; others only when the server cannot have acted."""
    error, safe, unsafe = TABLE[outcome]

    assert is_retriable(error, kind) is (safe if kind in SAFE else unsafe)
    assert kind in SAFE or kind in UNSAFE


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.POLL])
@pytest.mark.parametrize("outcome", TABLE)
def test_a_pause_is_given_where_sending_again_is_right(kind: Kind, outcome: str) -> None:
    """The pause follows the table: a number where the request is sent again, else None."""
    error, safe, unsafe = TABLE[outcome]

    pause = retry_pause(RetryPolicy(), 1, error, kind, 0.0)

    assert pause == (0.5 if (safe if kind in SAFE else unsafe) else None)


@pytest.mark.parametrize("outcome", TABLE)
def test_polls_are_not_tried_again(outcome: str) -> None:
    """The next poll comes anyway, in its own time."""
    assert retry_pause(RetryPolicy(), 1, TABLE[outcome][0], Kind.POLL, 0.0) is None


# --- pauses


def test_pauses_double_up_to_the_longest() -> None:
    """0.5, 1, 2, 4, 8, 8 seconds, then an end."""
    policy = RetryPolicy(attempts=7)

    pauses = [retry_pause(policy, attempt, answered(503), Kind.READ, 0.0) for attempt in range(1, 8)]

    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, None]


def test_one_attempt_means_no_retry() -> None:
    """``attempts=1`` turns retries off."""
    assert retry_pause(RetryPolicy(attempts=1), 1, answered(503), Kind.READ, 0.0) is None


def test_the_servers_word_beats_the_policy() -> None:
    """Retry-After is waited for, up to the cap; beyond it there is no retry."""
    policy = RetryPolicy(max_retry_after=10)

    assert retry_pause(policy, 1, answered(429, retry_after=0), Kind.CREATE, 0.0) == 0
    assert retry_pause(policy, 1, answered(429, retry_after=9.5), Kind.CREATE, 0.0) == 9.5
    assert retry_pause(policy, 2, answered(503, retry_after=10), Kind.READ, 0.0) == 10
    assert retry_pause(policy, 1, answered(503, retry_after=10.001), Kind.READ, 0.0) is None
    assert retry_pause(policy, 1, answered(500, retry_after=1), Kind.CREATE, 0.0) is None


seconds = st.floats(0, LONGEST_PAUSE) | st.integers(0, 10**9) | st.sampled_from([0, 5e-324, LONGEST_PAUSE])


@given(
    st.builds(RetryPolicy, st.integers(1, 100), seconds, seconds, seconds),
    st.integers(1, 100),
    st.none() | st.floats(0, 1e40, allow_nan=False),
    st.floats(0, 1, exclude_max=True),
)
@steady
def test_any_pause_is_finite_and_never_early(
    policy: RetryPolicy, attempt: int, asked: float | None, random: float
) -> None:
    """Chance only lengthens a pause, by a quarter at most, so that a server is never asked earlier than it said."""
    error = answered(503, retry_after=asked)
    shortest = retry_pause(policy, attempt, error, Kind.READ, 0.0)
    pause = retry_pause(policy, attempt, error, Kind.READ, random)

    if shortest is None:
        assert pause is None
        return
    assert pause is not None
    assert shortest >= (asked or 0)
    assert shortest <= (policy.max_pause if asked is None else policy.max_retry_after)
    assert shortest <= pause <= shortest * 1.25 + 0.05
    assert math.isfinite(pause)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *itertools.product(
            ("base_pause", "max_pause", "max_retry_after"),
            (-1, -0.1, math.nan, math.inf, -math.inf, True, "1", None, 2e9, 10**400, HUGE, -HUGE),
        ),
        *itertools.product(("attempts",), (0, -1, 101, 1.0, True, "3", None, HUGE, -HUGE)),
    ],
    ids=shown,
)
def test_a_setting_nothing_can_be_made_of_is_refused(setting: str, value: Any) -> None:
    """A wrong type, a wrong sign, nan, infinity and endless digits are UsageErrors that name the setting."""
    with pytest.raises(UsageError, match=rf"^{setting} must be ") as caught:
        RetryPolicy(**{setting: value})

    assert len(str(caught.value)) < 200


# --- Retry-After

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


@pytest.mark.parametrize(
    ("text", "pause"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0.25", 0.25),
        ("99999999999999999999", 1e20),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:13:50 -0000", 30.0),
        ("Tue Nov 14 22:13:50 2023", 30.0),
        ("Tue, 14 Nov 2023 23:13:50 +0100", 30.0),
        ("Tuesday, 14-Nov-23 22:13:50 GMT", 30.0),
    ],
)
def test_retry_after_is_read(text: str, pause: float) -> None:
    """Seconds, with a fraction too, and dates in all forms HTTP has had."""
    assert parse_retry_after({"retry-after": text}, NOW) == pause


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "nan",
            "NaN",
            "inf",
            "-inf",
            "Infinity",
            "-1",
            "-0.5",
            "+5",
            "1e3",
            "1_000",
            "0x10",
            "5s",
            "5,6",
            ".",
        ),
        *("4" * 400, "4" * 5000, "0." + "1" * 400, "٣", "²", "1\x00"),
        *("soon", "Tue, 14 Nov 2023 22:13:19 GMT", "Tue, 14 Nov 2023 22:13:20 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"),
        *("Mon, 01 Jan 0001 00:00:00 +2359", "Fri, 32 Dec 2100 00:00:00 GMT", "Fri, 31 Dec 2100 25:00:00 GMT"),
        *(
            "Fri, 31 Dec 99999 00:00:00 GMT",
            "Fri, 31 Dec 2100 00:00:00 +9999",
            "Fri, 31 Dec 2100 00:00:00 +" + "9" * 30,
        ),
        *("Fri, 31 Dec 2100 00:00:00 GMT" + " " * 100_000, "a" * 100_000, "Fri,", "Fri, 31", ":", "-", "+", ","),
    ],
    ids=shown,
)
def test_a_useless_retry_after_is_ignored(text: str) -> None:
    """nan, infinity, signs, exponents, hundreds of digits, past and impossible dates ask for nothing."""
    assert parse_retry_after({"retry-after": text}, NOW) is None
    assert parse_retry_after({"retry-after-ms": text}, NOW) is None


def test_milliseconds_come_first_where_they_are_usable() -> None:
    """The finer header wins; a broken one leaves the word to the other."""
    assert parse_retry_after({"retry-after-ms": "1500", "retry-after": "9"}, NOW) == 1.5
    assert parse_retry_after({"retry-after-ms": "nan", "retry-after": "9"}, NOW) == 9
    assert parse_retry_after({"retry-after-ms": "0"}, NOW) == 0
    assert parse_retry_after({}, NOW) is None


@pytest.fixture
def _far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine nine hours ahead of GMT."""
    if not hasattr(time, "tzset"):
        pytest.skip("this system has no tzset")
    monkeypatch.setenv("TZ", "JST-9")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_far_east")
@pytest.mark.parametrize("text", ["Tue, 14 Nov 2023 22:13:50 -0000", "Tue Nov 14 22:13:50 2023"])
def test_a_date_without_a_zone_is_in_gmt(text: str) -> None:
    """The machine's own time zone plays no part."""
    assert parse_retry_after({"retry-after": text}, NOW) == 30


date_parts = st.lists(
    st.sampled_from(
        [
            *(
                "Tue,",
                "Tuesday,",
                "Tue",
                "14",
                "Nov",
                "14-Nov-23",
                "2023",
                "0001",
                "9999",
                "22:13:50",
                "22:13",
                "1.2.3",
            ),
            *("GMT", "EST", "-0000", "+9999", "-", "+", ":", ".", ",", "(x)", "99999999999999999999", "²", "٣", "\x00"),
        ]
    ),
    max_size=8,
).map(" ".join)


@given(
    st.text(max_size=70) | st.floats().map(str) | st.integers().map(str) | date_parts,
    st.floats(-1e12, 1e12) | st.just(NOW),
)
@example("1e308", NOW)
@example("-0", NOW)
@steady
def test_any_retry_after_gives_none_or_a_usable_number(text: str, now: float) -> None:
    """Whatever a server sends, it is a finite number of seconds, 0 or more, or nothing."""
    for headers in ({"retry-after": text}, {"retry-after-ms": text}):
        pause = parse_retry_after(headers, now)

        assert pause is None or (math.isfinite(pause) and pause >= 0)


def test_a_header_that_is_not_there_is_no_number() -> None:
    """None in, None out."""
    assert header_number(None) is None


# --- the budget


def requests_seen(calls: int, error: APIStatusError | APIConnectionError, *, at_once: bool = False) -> int:
    """Count what a server sees of calls that all fail."""
    budget = RetryBudget()
    policy = RetryPolicy()
    seen = 0
    for _ in range(calls if at_once else 0):
        budget.deposit()
    for _ in range(calls):
        if not at_once:
            budget.deposit()
        for attempt in itertools.count(1):
            seen += 1
            if retry_pause(policy, attempt, error, Kind.READ, 0.0) is None or not budget.allows(error):
                break
    return seen


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("error", [answered(500), APIConnectionError("refused", sent=False)])
def test_a_dead_server_is_not_flooded(error: Failure, at_once: bool) -> None:
    """Over 100 calls it sees at most 160 requests, made one by one or all at once, and some retries there are."""
    assert 130 <= requests_seen(100, error, at_once=at_once) <= 160


def test_a_long_outage_costs_a_tenth_more() -> None:
    """Once the bucket is empty, one retry in ten calls is left."""
    assert 1100 <= requests_seen(1000, answered(500)) <= 1155


def test_retries_the_server_asked_for_are_free() -> None:
    """A server that says when to come again is not dead."""
    assert requests_seen(100, RateLimitError("busy", status=429, retry_after=1)) == 300


def test_retries_return_when_calls_go_on() -> None:
    """Every call puts a tenth of a retry back, up to the bucket's size."""
    budget = RetryBudget()
    error = answered(500)
    while budget.allows(error):
        pass
    for _ in range(9):
        budget.deposit()
    assert not budget.allows(error)
    for _ in range(2):
        budget.deposit()
    assert budget.allows(error)

    for _ in range(10_000):
        budget.deposit()
    assert sum(budget.allows(error) for _ in range(1000)) == RetryBudget.CAPACITY
