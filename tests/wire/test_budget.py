"""What the budget for tokens keeps of runs, without a clock or a server."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

import pytest

from asyncassist._wire.limits import TokenBudget


def wait_of(budget: TokenBudget) -> float:
    """Return how long a new run waits, at a moment that stands still."""
    return budget.pause(0.0)


def test_a_crowd_that_starts_before_anything_is_known_pays_in_full() -> None:
    """Its runs counted with nothing at the start, so nothing is given back for them."""
    budget = TokenBudget(100_000)
    for _ in range(50):
        assert wait_of(budget) == 0
        budget.started()
    for _ in range(50):
        budget.ended(10_000)

    assert pytest.approx(240, abs=0.01) == wait_of(budget)


def test_runs_of_others_pay_in_full() -> None:
    """This client waits for them, but has not counted them when they started."""
    budget = TokenBudget(100_000)
    for _ in range(15):
        budget.ended(10_000)

    assert pytest.approx(30, abs=0.01) == wait_of(budget)


def test_a_run_gives_back_what_it_was_counted_with() -> None:
    """Not what runs usually use when it ends."""
    budget = TokenBudget(6_000)
    budget.ended(1_000)
    assert 1_000 == budget.started()
    budget.ended(5_000)
    assert 1_400 == budget.started()
    budget.ended(1_400)

    budget.ended(600)
    assert pytest.approx(20, abs=0.01) == wait_of(budget)


def test_a_run_that_was_not_made_is_given_back_once() -> None:
    """Where one that has ended was taken for it, it is taken for that one."""
    budget = TokenBudget(6_000)
    unmade = budget.started()  # counts with nothing
    budget.ended(1_000)  # another client's, taken for the one above
    made = budget.started()
    assert (0, 1_000) == (unmade, made)

    budget.not_started(unmade)  # gives the other one's back
    budget.ended(1_000)
    budget.not_started(made)  # of which nothing is left
    budget.ended(4_600)

    assert pytest.approx(6, abs=0.01) == wait_of(budget)


def test_runs_that_are_never_seen_to_end_are_forgotten() -> None:
    """The oldest first, so that what is kept has a bound."""
    budget = TokenBudget(1e9)
    for _ in range(12_000):
        budget.started()

    assert 10_000 == len(budget._under_way)
