"""How long to pause between two looks at a run."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncassist._wire.polls import PollPolicy, first_pause, next_pause, poll_after
from asyncassist.errors import UsageError, shown

steady = settings(derandomize=True, deadline=None, max_examples=300, database=None)
HUGE = 10**5000  # repr refuses integers of so many digits, float those beyond 308
CHANCE = st.floats(0, 1, exclude_max=True)

positive = st.floats(0, 1e9, exclude_min=True) | st.integers(1, 10**9) | st.sampled_from([5e-324, 1e9])
policies = st.builds(PollPolicy, positive, positive, st.floats(1, 100) | st.integers(1, 100))


def test_pauses_grow_to_the_longest() -> None:
    """From short to a cap, where they stay."""
    policy = PollPolicy(shortest=1, longest=5, growth=2)

    assert [next_pause(policy, looks, None, 0.5) for looks in (1, 2, 3, 4, 5, 10**9)] == [1, 2, 4, 5, 5, 5]


def test_a_growth_of_one_stays_short() -> None:
    """Nothing grows that was not told to."""
    assert next_pause(PollPolicy(shortest=1, longest=5, growth=1), 10**9, None, 0.5) == 1


def test_every_keeps_a_steady_interval() -> None:
    """``PollPolicy.every(2)`` looks every two seconds."""
    assert {next_pause(PollPolicy.every(2), looks, None, 0.5) for looks in range(1, 50)} == {2}


def test_a_first_pause_longer_than_the_longest_is_kept() -> None:
    """Who sets only ``shortest`` means it."""
    assert next_pause(PollPolicy(shortest=60), 3, None, 0.5) == 60


def test_the_servers_word_as_last_sent_beats_the_policy() -> None:
    """What the last answer asked for counts, however many looks there have been."""
    policy = PollPolicy(shortest=1, longest=5)

    assert [next_pause(policy, looks, asked, 0.5) for looks, asked in ((1, 0.05), (2, 30), (3, 0.6))] == [0.05, 30, 0.6]


def test_pauses_are_spread_by_a_quarter_either_way() -> None:
    """The lowest chance makes three quarters of the pause, the highest five."""
    assert next_pause(PollPolicy.every(4), 1, None, 0.0) == 3
    assert next_pause(PollPolicy.every(4), 1, None, math.nextafter(1, 0)) == pytest.approx(5)
    assert next_pause(PollPolicy.every(4), 1, 8, 0.0) == 6


def test_waits_start_out_of_phase() -> None:
    """The first look comes anywhere within the shortest pause."""
    assert [first_pause(PollPolicy(shortest=2), chance) for chance in (0.0, 0.25, 0.5)] == [0, 0.5, 1]


@given(policies, st.integers(1, 10**12), st.none() | st.floats(0.001, 60), CHANCE)
@example(PollPolicy(shortest=5e-324, longest=1e9, growth=100), 1000, None, 0.5)
@example(PollPolicy(shortest=1e9, longest=1e9, growth=100), 10**12, None, 0.999)
@steady
def test_any_pause_is_positive_finite_and_bounded(
    policy: PollPolicy, looks: int, asked: float | None, chance: float
) -> None:
    """However odd the numbers, the pause lies within a quarter of what policy and server allow."""
    pause = next_pause(policy, looks, asked, chance)
    middle = next_pause(policy, looks, asked, 0.5)
    longest = max(policy.longest, policy.shortest)

    assert math.isfinite(pause)
    assert pause > 0
    if asked is None:
        assert policy.shortest <= middle <= longest
        assert 0 <= first_pause(policy, chance) <= policy.shortest
        assert middle <= next_pause(policy, looks + 1, None, 0.5)
    else:
        assert middle == asked
    assert middle * 0.75 * (1 - 1e-9) <= pause <= middle * 1.25 * (1 + 1e-9)


@pytest.mark.parametrize(
    ("text", "pause"),
    [
        (None, None),
        ("1000", 1.0),
        (" 250 ", 0.25),
        ("0.5", 0.001),
        ("0." + "0" * 29 + "1", 0.001),
        ("60001", 60.0),
        ("9" * 30, 60.0),
        ("0", None),
        ("0.0", None),
        ("", None),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        ("1_000", None),
        ("soon", None),
        ("4" * 400, None),
        ("4" * 5000, None),
    ],
    ids=shown,
)
def test_what_an_answer_asks_for(text: str | None, pause: float | None) -> None:
    """Milliseconds, held between a thousandth of a second and a minute; what is no such number asks for nothing."""
    assert poll_after({} if text is None else {"openai-poll-after-ms": text}) == pause


@given(st.text(max_size=40) | st.floats().map(str) | st.integers().map(str))
@steady
def test_any_header_gives_none_or_a_bounded_pause(text: str) -> None:
    """No answer can make a wait spin or hang."""
    pause = poll_after({"openai-poll-after-ms": text})

    assert pause is None or 0.001 <= pause <= 60


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *itertools.product(
            ("shortest", "longest", "max_unknown"),
            (0, -1, math.nan, math.inf, True, "1", None, 2e9, 10**400, HUGE, -HUGE),
        ),
        *itertools.product(("growth",), (0.99, 101, math.nan, math.inf, True, "2", None, HUGE)),
        *itertools.product(("max_failures",), (-1, 1.0, math.nan, True, "2", None, -HUGE)),
    ],
    ids=shown,
)
def test_a_setting_nothing_can_be_made_of_is_refused(setting: str, value: Any) -> None:
    """A wrong type, a wrong sign, nan, infinity and endless digits are UsageErrors that name the setting."""
    with pytest.raises(UsageError, match=rf"^{setting} must be ") as caught:
        PollPolicy(**{setting: value})

    assert len(str(caught.value)) < 200
