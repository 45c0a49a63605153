"""What limits decide, without a clock or a server."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from asyncassist import Limits, UsageError
from asyncassist._wire.limits import Spacing, TokenBudget, UrgentTurns
from asyncassist._wire.quotas import Quota, read_quota
from asyncassist._wire.send_rate import LONGEST_SHARED_PAUSE, Meter, Noise, SendRate

NOON = 1_800_000_000.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_in_flight": 0},
        {"max_in_flight": True},
        {"max_in_flight": 1.0},
        {"max_in_flight": 100_001},
        {"requests_per_minute": 0},
        {"requests_per_minute": -1},
        {"requests_per_minute": math.nan},
        {"requests_per_minute": math.inf},
        {"requests_per_minute": "60"},
        {"requests_per_minute": True},
        {"tokens_per_minute": 0.0},
        {"tokens_per_minute": 10**400},
        {"adaptive": None},
        {"adaptive": 1},
    ],
    ids=str,
)
def test_wrong_limits_are_refused(wrong: dict[str, Any]) -> None:
    """At construction, by name."""
    with pytest.raises(UsageError, match=rf"^{next(iter(wrong))} must be "):
        Limits(**wrong)
    assert Limits() == Limits(max_in_flight=None, requests_per_minute=None, tokens_per_minute=None, adaptive=True)
    Limits(max_in_flight=1, requests_per_minute=0.5, tokens_per_minute=10**9, adaptive=False)


def test_requests_are_spread_evenly() -> None:
    """A minute's worth takes a minute; a timer that is late makes up for a moment, not for a break."""
    spacing = Spacing(600)
    at = 100.0
    times: list[float] = []
    for _ in range(30):
        at += max(0.0, spacing.pause(at)) + 0.003
        spacing.sent(at)
        times.append(at)
    at += 50
    after_break = [0.0] * 3
    for index in range(3):
        at += max(0.0, spacing.pause(at))
        spacing.sent(at)
        after_break[index] = at

    assert pytest.approx(2.9, abs=0.01) == times[-1] - times[0]
    assert pytest.approx(0.2, abs=0.001) == after_break[-1] - after_break[0]


def test_the_first_request_does_not_wait() -> None:
    """However few there may be."""
    assert Spacing(0.001).pause(0.0) < 0
    assert Spacing(0.001).urgent_pause(0.0) < 0


def test_urgent_requests_do_not_wait_for_the_others() -> None:
    """A second's worth at once, then at the rate of all, ten a second at least; the others pay for them."""
    spacing = Spacing(60)
    for _ in range(5):
        spacing.sent(0.0)
    sent = 0
    while spacing.urgent_pause(0.0) <= 0:
        spacing.sent(0.0, is_urgent=True)
        sent += 1

    assert 11 == sent
    assert pytest.approx(0.1) == spacing.urgent_pause(0.0)
    assert spacing.pause(0.0) > 15


def test_urgent_turns_keep_the_rate() -> None:
    """A thousand tool outputs at 200 a second take four seconds more than the first 200."""
    turns = UrgentTurns()
    at = 0.0
    for _ in range(1_000):
        at += max(0.0, turns.pause(at))
        turns.sent(at, 1 / 200)

    assert pytest.approx(4.0, abs=0.02) == at


def test_new_runs_wait_while_tokens_are_spent() -> None:
    """What a run has used is paid off at the rate of the limit."""
    budget = TokenBudget(6_000)
    assert budget.pause(0.0) == 0

    budget.started()
    budget.ended(9_000)

    assert pytest.approx(30, abs=0.01) == budget.pause(0.0)
    assert pytest.approx(10, abs=0.01) == budget.pause(20.0)
    assert budget.pause(30.01) == 0


def test_runs_under_way_count_with_the_usual() -> None:
    """So that a crowd of them does not start in the moment a debt is paid off."""
    budget = TokenBudget(6_000)
    budget.started()
    budget.ended(1_000)
    begun = 0
    while budget.pause(0.0) == 0:
        budget.started()
        begun += 1

    assert 5 == begun


def test_a_run_that_was_not_made_does_not_count() -> None:
    """Nor does one count twice."""
    budget = TokenBudget(1_000)
    budget.ended(400)
    for _ in range(50):
        budget.not_started(budget.started())

    assert budget.pause(0.0) == 0
    counted = budget.started()
    assert 400 == counted
    budget.ended(400)
    assert budget.pause(0.0) == 0


@pytest.mark.parametrize("used", [10**400, 1e308])
def test_no_usage_stops_everything_for_ever(used: int | float) -> None:
    """However much a server says that a run has used, runs go on after an hour."""
    budget = TokenBudget(60)
    budget.ended(used)
    budget.ended(used)

    assert 0 < budget.pause(0.0) <= 3_601
    assert budget.pause(3_602.0) == 0


def test_a_negative_usage_earns_nothing() -> None:
    """And time that goes backwards neither."""
    budget = TokenBudget(60)
    budget.ended(-(10**9))
    budget.ended(61)
    assert budget.pause(5.0) > 0
    assert budget.pause(4.0) > 0


def test_a_meter_counts_the_last_moment() -> None:
    """Per second, and less and less when nothing comes."""
    meter = Meter(0.5)
    assert meter.rate(0.0) == 0
    for index in range(200):
        meter.add(index / 100)

    assert pytest.approx(100, rel=0.05) == meter.rate(2.0)
    assert meter.rate(12.0) < 5


def test_nothing_is_held_back_before_a_refusal() -> None:
    """A thousand requests at one moment."""
    rate = SendRate()
    for index in range(1_000):
        assert rate.pause(1.0, index) <= 0
        assert rate.urgent_pause(1.0) <= 0
        rate.sent(1.0)
        rate.answered(1.0, 1.0, is_awaited=True)

    assert rate.is_idle
    assert rate.turn == 0


def test_a_refusal_is_felt_once() -> None:
    """A hundred requests of which all are refused cut the rate once; those sent later cut it again."""
    rate = SendRate()
    for index in range(200):
        rate.answered(index / 200, index / 200, is_awaited=True)
    for _ in range(100):
        rate.refused(1.01, 1.0, None)
    first = rate.rate

    assert first is not None
    assert pytest.approx(200, rel=0.05) == first
    assert rate.turn == 1
    rate.refused(1.5, 1.4, None)
    assert rate.turn == 2
    assert rate.rate == first
    rate.refused(2.5, 2.4, None)
    assert rate.rate is not None
    assert rate.rate < first


def test_retry_after_holds_all_back_together() -> None:
    """The longest one counts, also of requests that were under way; urgent ones go on."""
    rate = SendRate()
    rate.refused(1.0, 0.9, 2.0)
    rate.refused(1.1, 0.95, 5.0)

    assert pytest.approx(5.1) == rate.pause(1.0, 0)
    assert rate.urgent_pause(1.0) <= 0
    assert rate.pause(6.11, 0) <= 0
    rate.sent(6.11)
    assert rate.pause(6.11, 0) > 0


def test_after_a_pause_not_all_rush_out() -> None:
    """They go one after the other, at the rate that was taken."""
    rate = SendRate()
    for index in range(100):
        rate.answered(index / 100, index / 100, is_awaited=True)
    rate.refused(1.0, 0.99, 3.0)
    at, sent = 4.0, 0
    while rate.pause(at, 0) <= 0:
        rate.sent(at)
        sent += 1

    assert sent <= 6


@pytest.mark.parametrize("asked", [math.inf, math.nan, 1e300, LONGEST_SHARED_PAUSE + 1])
def test_a_pause_too_long_is_not_shared(asked: float) -> None:
    """The request that was told so fails; the others do not stand still for ever."""
    rate = SendRate()
    rate.refused(1.0, 0.9, asked)

    assert rate.pause(1.0, 0) <= 0.1


def test_a_pause_of_nothing_is_none() -> None:
    """A server that says `Retry-After: 0` gets the next request at once."""
    rate = SendRate()
    rate.refused(1.0, 0.9, 0.0)

    assert rate.pause(1.0, 0) <= 0


def test_refusals_in_vain_pause_longer_and_longer() -> None:
    """While nothing is taken, one request at a time tries, at most every 8 s; one good answer ends that."""
    rate = SendRate()
    at = 1.0
    pauses: list[float] = []
    for _ in range(12):
        rate.refused(at, at, None)
        pauses.append(rate.pause(at, 0))
        at += pauses[-1]
        rate.sent(at)
        assert len(pauses) < 2 or rate.pause(at, 0) > pauses[-2] / 2
    rate.answered(at, at, is_awaited=True)

    assert pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 8, 8, 8, 8, 8]) == pauses
    assert rate.pause(at, 0) <= 0


def test_urgent_requests_go_while_nothing_is_taken() -> None:
    """They do not take the place of the one that tries."""
    rate = SendRate()
    for index in range(4):
        rate.refused(10.0 + index, 10.0 + index, None)
    before = rate.pause(13.0, 0)
    rate.sent(13.0, is_urgent=True)

    assert rate.urgent_pause(13.0) <= 0
    assert 0 < rate.pause(13.0, 0) < before + 0.2


def test_a_rate_nobody_waits_for_is_given_up() -> None:
    """A minute after the last refusal."""
    rate = SendRate()
    rate.refused(1.0, 0.9, None)
    for second in range(2, 70):
        rate.answered(float(second), second - 0.1, is_awaited=False)
        assert rate.is_idle is (second > 61)


def test_a_rate_that_holds_nothing_back_is_given_up() -> None:
    """Where many answers come and none is a refusal."""
    rate = SendRate()
    rate.refused(1.0, 0.9, None)
    at = 1.2
    for _ in range(20_000):
        if rate.is_idle:
            break
        rate.answered(at, at - 0.01, is_awaited=True)
        at += 0.005

    assert rate.is_idle
    assert at < 10


def test_rising_delays_hold_back() -> None:
    """No more are under way than twice what the rate needs at the usual delay of answers."""
    rate = SendRate()
    for index in range(100):
        rate.answered(index / 100, index / 100, is_awaited=True)
    rate.refused(1.0, 0.99, None)
    assert rate.pause(2.0, 10_000) < math.inf
    for index in range(20):
        rate.answered(2 + index / 100, 2 + index / 100 - 0.1, is_awaited=False)
    assert rate.rate is not None
    needed = rate.rate * 0.1

    assert rate.pause(3.0, int(needed)) < math.inf
    assert rate.pause(3.0, int(2 * needed + 5)) == math.inf


def announce(
    rate: SendRate, at: float, remaining: float, limit: float | None, reset: float, in_flight: int = 0
) -> bool:
    return rate.announced(at, Quota(remaining, limit, reset), in_flight)


def test_plenty_left_holds_nothing_back() -> None:
    """Of a limit as of none that is named."""
    rate = SendRate()
    rate.answered(1.0, 0.9, is_awaited=False)

    assert not announce(rate, 1.0, 9_999, 10_000, 60)
    assert not announce(rate, 1.0, 500, None, 10)
    assert rate.is_idle


def test_little_left_is_spread() -> None:
    """Over the time until there is more, less what is under way; then nothing is held back any more."""
    rate = SendRate()
    for index in range(100):
        rate.answered(index / 100, index / 100, is_awaited=False)
    assert announce(rate, 1.0, 30, 1_000, 10, in_flight=10)
    rate.sent(1.0)

    assert pytest.approx(0.5, abs=0.01) == rate.pause(1.0, 0)
    rate.sent(11.1)
    assert rate.pause(11.1, 0) <= 0
    assert rate.is_idle


def test_a_quota_that_is_there_again_holds_nothing_back() -> None:
    """As soon as an answer says so."""
    rate = SendRate()
    for index in range(100):
        rate.answered(index / 100, index / 100, is_awaited=False)
    announce(rate, 1.0, 5, 1_000, 50)
    idle = [rate.is_idle]
    assert not announce(rate, 1.1, 900, 1_000, 50)
    idle.append(rate.is_idle)
    announce(rate, 1.2, 5, None, 50)
    assert not announce(rate, 1.3, 1_000_000, None, 50)

    assert [False, True] == idle
    assert rate.is_idle


def test_nothing_left_waits_a_second_at_most() -> None:
    """An answer that is no refusal may be outdated in a moment, or mean nothing."""
    rate = SendRate()
    assert announce(rate, 1.0, 0, 60, 0.25)
    assert pytest.approx(0.25) == rate.pause(1.0, 0)
    assert announce(rate, 1.25, 0, None, 3_000)
    assert pytest.approx(1.0) == rate.pause(1.25, 0)
    rate.sent(2.25)
    assert pytest.approx(1.0) == rate.pause(2.25, 0)
    assert rate.urgent_pause(2.25) <= 0
    rate.sent(70.0)
    assert rate.is_idle


NONE_OF_NONE = {
    f"x-ratelimit-{name}": value
    for what in ("-requests", "-tokens", "")
    for name, value in ((f"limit{what}", "0"), (f"remaining{what}", "0"), (f"reset{what}", "60s"))
}
"""What gateways say that have no limit."""


@pytest.mark.parametrize(
    ("headers", "quota"),
    [
        ({}, None),
        (
            {
                "x-ratelimit-remaining-requests": "59",
                "x-ratelimit-limit-requests": "60",
                "x-ratelimit-reset-requests": "1s",
            },
            Quota(59, 60, 1),
        ),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "6m0s"}, Quota(0, None, 360)),
        ({"ratelimit-remaining": "3", "ratelimit-limit": "junk", "ratelimit-reset": "20ms"}, Quota(3, None, 0.02)),
        ({"x-ratelimit-remaining": "1", "x-ratelimit-reset": "1d1h1m1.5s"}, Quota(1, None, 90_061.5)),
        ({"x-ratelimit-remaining": "1", "x-ratelimit-reset": str(NOON + 5)}, Quota(1, None, 5)),
        ({"x-ratelimit-remaining": "1", "x-ratelimit-reset": str(NOON - 5)}, Quota(1, None, 0)),
        ({"x-ratelimit-remaining": "1", "x-ratelimit-reset": "2.5"}, Quota(1, None, 2.5)),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "2s"}, Quota(0, None, 2)),
        ({"x-ratelimit-remaining-tokens": "0"}, None),
        ({"x-ratelimit-remaining-tokens": "7", "x-ratelimit-reset-tokens": "2s"}, None),
        (NONE_OF_NONE, None),
        ({**NONE_OF_NONE, "ratelimit-remaining": "3", "ratelimit-reset": "2"}, Quota(3, None, 2)),
        ({"x-ratelimit-remaining": "1"}, None),
        ({"x-ratelimit-remaining": "-1", "x-ratelimit-reset": "1"}, None),
        ({"x-ratelimit-remaining": "nan", "x-ratelimit-reset": "1"}, None),
        ({"x-ratelimit-remaining": "9" * 400, "x-ratelimit-reset": "1"}, None),
        ({"x-ratelimit-remaining": "1", "x-ratelimit-reset": "9" * 400}, None),
        ({"x-ratelimit-remaining": "1", "x-ratelimit-reset": "-5s"}, None),
        ({"x-ratelimit-remaining": "1", "x-ratelimit-reset": ""}, None),
        ({"x-ratelimit-remaining": "1", "x-ratelimit-reset": "inf"}, None),
        ({"x-ratelimit-remaining": "1", "x-ratelimit-reset": "soon"}, None),
    ],
    ids=str,
)
def test_headers_about_limits(headers: dict[str, str], quota: Quota | None) -> None:
    """Every form in use is read; whatever is none of them says nothing."""
    assert quota == read_quota(headers, NOON)


class Bucket:
    """A server that allows by a token bucket of one second."""

    def __init__(self, plan: list[float], phase: float) -> None:
        self._plan, self._phase = plan, phase
        self._tokens, self._at = plan[0], 0.0

    def takes(self, at: float) -> bool:
        rate = self._plan[min(int(at / self._phase), len(self._plan) - 1)]
        self._tokens = min(rate, self._tokens + (at - self._at) * rate)
        self._at = at
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Window:
    """A server that allows so many in each second of its clock."""

    def __init__(self, plan: list[float], phase: float) -> None:
        self._plan, self._phase = plan, phase
        self._second, self._count = -1, 0

    def takes(self, at: float) -> bool:
        if int(at) != self._second:
            self._second, self._count = int(at), 0
        self._count += 1
        return self._count <= self._plan[min(int(at / self._phase), len(self._plan) - 1)]


class Flaky:
    """A server that refuses some of all requests whatever the rate, and those that one behind it refuses.

    Args:
        share: of the requests it refuses itself.
        since: when the one behind it begins to count.
    """

    def __init__(self, share: float, behind: Bucket | None = None, since: float = 0.0) -> None:
        self._share, self._behind, self._since = share, behind, since
        self._dice = random.Random(5)

    def takes(self, at: float) -> bool:
        if self._dice.random() < self._share:
            return False
        return self._behind is None or at < self._since or self._behind.takes(at)


class Unmoved(SendRate):
    """What each call for itself does."""

    def refused(self, now: float, sent_at: float, asked: float | None) -> None:
        pass


def simulate(
    server: Bucket | Window | Flaky,
    seconds: float,
    asked: Callable[[random.Random], float | None],
    delay: float = 0.004,
    tasks: int = 64,
    rate: SendRate | None = None,
) -> tuple[int, float]:
    """Let tasks call as often as they may; return what worked, and the share of refusals after 10 s."""
    dice = random.Random(1)
    rate = rate or SendRate()
    events: list[tuple[float, int, str, float]] = []
    at, free, number = 0.0, tasks, 0
    worked = late_worked = late_refused = 0
    while at < seconds:
        while free and rate.pause(at, tasks - free) <= 1e-9:
            rate.sent(at)
            free, number = free - 1, number + 1
            heapq.heappush(events, (at + delay * (0.3 + 0.4 * dice.random()), number, "arrives", at))
        pause = rate.pause(at, tasks - free)
        wakes = at + max(pause, 1e-6) + 0.002 * dice.random() if free else math.inf
        if not events or wakes < events[0][0]:
            at = wakes
            continue
        at, _, what, sent_at = heapq.heappop(events)
        number += 1
        if what == "arrives":
            heapq.heappush(events, (at + delay / 2, number, "good" if server.takes(at) else "refused", sent_at))
        elif what == "good":
            free += 1
            worked += 1
            late_worked += at > 10
            rate.answered(at, sent_at, is_awaited=free > 1)
        elif what == "refused":
            late_refused += at > 10
            retry_after = asked(dice)
            rate.refused(at, sent_at, retry_after)
            heapq.heappush(events, (at + (retry_after or 0.5), number, "again", 0.0))
        else:
            free += 1
    return worked, late_refused / (late_worked + late_refused)


HINTS: dict[str, Callable[[random.Random], float | None]] = {
    "none": lambda dice: None,
    "sometimes": lambda dice: 1.0 if dice.random() < 0.5 else None,
    "fine": lambda dice: 0.05,
}


@pytest.mark.parametrize("hint", HINTS)
@pytest.mark.parametrize("plan", [[200.0, 50.0, 400.0], [100.0, 300.0, 60.0, 200.0]], ids=str)
def test_a_bucket_is_used_and_not_overrun(plan: list[float], hint: str) -> None:
    """Of what the server allows, at least 90 % is used, and few requests are refused, also when it changes."""
    worked, refused = simulate(Bucket(plan, 20), 20.0 * len(plan), HINTS[hint])

    assert worked >= 0.9 * 20 * sum(plan)
    assert refused < 0.03


def test_a_window_is_used_and_not_overrun() -> None:
    """The same for a server that counts in whole seconds and does not say when to come again."""
    worked, refused = simulate(Window([200.0, 50.0, 400.0], 20), 60, HINTS["none"])

    assert worked >= 0.9 * 20 * 650
    assert refused < 0.05


def test_a_slow_server_is_not_run_down() -> None:
    """At two requests a second there is nearly nothing to measure."""
    worked, refused = simulate(Bucket([2.0], 60), 120, HINTS["none"])

    assert worked >= 0.6 * 240
    assert refused < 0.25


@pytest.mark.parametrize("delay", [0.02, 0.1])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.2, 0.3])
def test_refusals_that_come_at_random_slow_hardly_down(share: float, delay: float) -> None:
    """Ten calls at once get at least two thirds of what they get when each goes on by itself."""
    alone, _ = simulate(Flaky(share), 60, HINTS["none"], delay, 10, Unmoved())
    worked, _ = simulate(Flaky(share), 60, HINTS["none"], delay, 10)

    assert worked >= alone / 1.5


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_random_refusals_that_name_a_time_stop_nothing(share: float) -> None:
    """All wait for each of those times, which costs; but the rate does not sink to nothing."""
    alone, _ = simulate(Flaky(share), 60, HINTS["fine"], 0.02, 10, Unmoved())
    worked, _ = simulate(Flaky(share), 60, HINTS["fine"], 0.02, 10)

    assert worked >= alone / 6


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_a_limit_is_found_among_refusals_at_random(share: float) -> None:
    """It is kept to, and used, while the others go on; so is one that comes later."""
    worked, refused = simulate(Flaky(share, Bucket([50.0], 60)), 60, HINTS["none"])
    _, refused_later = simulate(Flaky(share, Bucket([50.0], 60), since=20), 60, HINTS["none"], 0.1, 10)

    assert worked >= 0.7 * 50 * 60
    assert refused < share + 0.15
    assert refused_later < share + 0.2


def flake(rate: SendRate, at: float, requests: int, *, every: int = 8, asked: float | None = None) -> float:
    """Have requests answered one after the other, at the rate there is, every so many refused; return when."""
    for number in range(requests):
        at += max(rate.pause(at, 0), 0.0) + 0.02
        rate.sent(at)
        if number % every == every - 1:
            rate.refused(at + 0.001, at, asked)
        else:
            rate.answered(at + 0.001, at, is_awaited=True)
    return at


def test_refusals_that_go_on_at_a_lower_rate_are_let_pass() -> None:
    """The rate is then given up, as it holds nothing back; a limit that is met afterwards sets it again."""
    rate = SendRate()
    at = flake(rate, 1.0, 600)
    assert rate.is_idle
    turn = rate.turn
    at = flake(rate, at, 80)
    assert rate.is_idle
    assert turn == rate.turn
    flake(rate, at, 60, every=2)

    assert not rate.is_idle


def test_a_trial_goes_at_one_rate_and_then_back_to_that_of_before() -> None:
    """Before it, while some refusals are looked at, nobody waits for them."""
    rate = SendRate()
    at = flake(rate, 1.0, 24)
    looked = rate.rate
    assert looked is not None
    assert rate.pause(at + 0.001, 0) < 0.05
    at = flake(rate, at, 16)
    tried = rate.rate
    assert tried is not None
    assert tried < 0.75 * looked
    at = flake(rate, at, 15)
    assert rate.rate == tried
    rate.refused(at + 0.02, at + 0.01, None)
    rate.answered(at + 0.04, at + 0.03, is_awaited=True)

    back = rate.rate
    assert back is not None
    assert back > looked


def test_a_named_time_ends_a_trial() -> None:
    """Then the rate climbs again."""
    rate = SendRate()
    at = flake(rate, 1.0, 40)
    tried = rate.rate
    rate.refused(at + 0.02, at + 0.01, 0.5)
    flake(rate, at + 0.03, 7)

    assert tried is not None
    assert rate.rate is not None
    assert rate.rate > tried


def test_a_named_time_is_obeyed_among_refusals_at_random() -> None:
    """A limit that says how long is one, whatever else is refused."""
    rate = SendRate()
    at = flake(rate, 1.0, 600)
    rate.refused(at + 0.001, at, 5.0)

    assert pytest.approx(5, abs=0.01) == rate.pause(at, 0)
    assert not rate.is_idle


def test_refusals_that_name_a_time_may_be_noise_too() -> None:
    """When they go on at a rate that the server took before; the time is obeyed all the same."""
    rate = SendRate()
    at = flake(rate, 1.0, 600, asked=0.01)
    assert rate.is_idle or (rate.rate or 0) > 50
    rate.answered(at + 0.05, at + 0.04, is_awaited=True)
    turn = rate.turn
    for _ in range(3):
        rate.refused(at + 0.1, at + 0.09, 3.0)

    assert pytest.approx(3, abs=0.01) == rate.pause(at + 0.1, 0)
    assert rate.turn - turn <= 1


def test_what_was_noise_is_found_out_anew() -> None:
    """A minute later."""
    rate = SendRate()
    at = flake(rate, 1.0, 600) + 61
    rate.refused(at, at - 0.001, None)

    assert not rate.is_idle


def verdicts(noise: Noise, at: float, pattern: str, gap: float = 0.1) -> list[str]:
    """Have requests answered well (+) or refused (-), so many seconds apart, at a rate of ten a second."""
    found: list[str] = []
    for sign in pattern:
        at += gap
        if sign == "+":
            noise.answered(at)
        else:
            found.append(noise.refused(at, 10.0, 0))
    return found


def test_noise_is_looked_at_and_tried() -> None:
    """At a tenth less than what was answered well, less one; a single refusal there may be by chance."""
    noise = Noise()
    assert ["limit", "look", "look", "try"] == verdicts(noise, 0.0, "-++++-++++-++++-")
    assert noise.level is not None
    assert pytest.approx(0.9 * 11 / 1.5) == noise.level
    assert ["look", "noise", "noise"] == verdicts(noise, 2.0, "+++++-+++++-+++++-")
    assert noise.share == pytest.approx(4 / 16)
    assert noise.level is None


@pytest.mark.parametrize("trial", ["+" * 15, "+" * 14 + "-" + "+" * 15], ids=len)
def test_a_limit_refuses_nothing_in_the_trial(trial: str) -> None:
    """It ends by itself; for as long as it took there is no other."""
    noise = Noise()
    verdicts(noise, 0.0, "-++++-++++-++++-")
    verdicts(noise, 1.6, trial)
    end = 1.6 + 0.1 * len(trial)

    assert noise.level is None
    assert noise.share == 0
    assert ["limit"] * 4 == verdicts(noise, end, "-+" * 4)
    assert ["limit", "look"] == verdicts(noise, 2 * end, "-+-")


def test_what_is_refused_rarely_or_mostly_is_a_limit() -> None:
    """Nothing is tried."""
    rarely, mostly = Noise(), Noise()
    assert ["limit"] * 5 == verdicts(rarely, 0.0, ("-" + "+" * 121) * 5)
    assert {"limit", "look"} == set(verdicts(mostly, 0.0, "-+---+---" * 20))
    assert "limit" in verdicts(mostly, 100.0, "-+---+---" * 20)[1:]
