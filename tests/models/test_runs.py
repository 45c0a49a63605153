"""What a run can be asked."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from asyncassist.errors import (
    RunCancelledError,
    RunError,
    RunExpiredError,
    RunFailedError,
    RunIncompleteError,
    UsageError,
)
from asyncassist.models import (
    Run,
    RunIncompleteDetails,
    RunLastError,
    RunRequiredAction,
    RunRequiredActionSubmitToolOutputs,
    RunToolCall,
)


def run(status: str, **fields: Any) -> Run:
    """Make a run."""
    return Run(id="run_1", thread_id="thread_1", status=status, **fields)


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "incomplete", "expired"])
def test_terminal(status: str) -> None:
    """These five statuses are final."""
    assert run(status).is_terminal


@pytest.mark.parametrize("status", ["queued", "in_progress", "requires_action", "cancelling", "paused_for_review"])
def test_not_terminal(status: str) -> None:
    """Any other status, known or not, is not final, and asking for a good ending is a mistake."""
    assert not run(status).is_terminal
    with pytest.raises(UsageError, match=f"run run_1 has not ended: its status is '{status}'"):
        run(status).raise_for_status()


def test_completed() -> None:
    """A completed run is given back."""
    completed = run("completed")

    assert completed.raise_for_status() is completed


@pytest.mark.parametrize(
    "status, fields, error, message",
    [
        ("failed", {}, RunFailedError, "run run_1 failed"),
        (
            "failed",
            {"last_error": RunLastError(code="rate_limit_exceeded", message="Slow down.")},
            RunFailedError,
            "run run_1 failed: rate_limit_exceeded: Slow down.",
        ),
        ("cancelled", {"last_error": RunLastError()}, RunCancelledError, "run run_1 was cancelled"),
        ("expired", {}, RunExpiredError, "run run_1 expired"),
        (
            "incomplete",
            {"incomplete_details": RunIncompleteDetails(reason="max_prompt_tokens")},
            RunIncompleteError,
            "run run_1 is incomplete: max_prompt_tokens",
        ),
    ],
)
def test_bad_endings(status: str, fields: dict[str, Any], error: type[RunError], message: str) -> None:
    """Every bad ending has an error of its own that says why and carries the run, also through pickle."""
    ended = run(status, **fields)

    with pytest.raises(error) as caught:
        ended.raise_for_status()

    assert caught.value.message == message
    assert pickle.loads(pickle.dumps(caught.value)).run == ended


def test_required_tool_calls() -> None:
    """The calls a run waits for are at hand, none when it waits for nothing or for something unknown."""
    calls = (RunToolCall(id="call_1"),)
    waiting = RunRequiredAction(submit_tool_outputs=RunRequiredActionSubmitToolOutputs(tool_calls=calls))

    assert run("requires_action", required_action=waiting).required_tool_calls == calls
    assert run("requires_action", required_action=RunRequiredAction(type="approval")).required_tool_calls == ()
    assert run("completed").required_tool_calls == ()
