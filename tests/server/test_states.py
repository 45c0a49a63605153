"""The state machine of a run, without anything that runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import attrs
import pytest

from asyncassist.models import (
    Message,
    MessageIncompleteDetails,
    Run,
    RunCompletionUsage,
    RunLastError,
    RunStep,
    RunStepDetailsMessageCreation,
    RunStepDetailsToolCalls,
    RunStepDetailsToolCallsCode,
    RunStepDetailsToolCallsFunction,
    RunToolCall,
)
from asyncassist.server import states

Transition: TypeAlias = Callable[[Run], Run]

USAGE = RunCompletionUsage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
CALL = RunToolCall(id="call_1")

MOVES: dict[str, Transition] = {
    "start": partial(states.start, now=20),
    "requeue": states.requeue,
    "work_on": states.work_on,
    "require_outputs": partial(states.require_outputs, calls=[CALL]),
    "accept_outputs": states.accept_outputs,
    "complete": partial(states.complete, now=20, usage=USAGE),
    "stop_short": partial(states.stop_short, now=20, usage=USAGE, reason="max_completion_tokens"),
    "fail": partial(states.fail, now=20, usage=USAGE, code="server_error", message="sorry"),
    "cancel": states.cancel,
    "confirm_cancel": partial(states.confirm_cancel, now=20, usage=USAGE),
    "expire": partial(states.expire, usage=USAGE),
}

ALLOWED = {
    ("queued", "start"): "in_progress",
    ("queued", "cancel"): "cancelling",
    ("queued", "expire"): "expired",
    ("in_progress", "requeue"): "queued",
    ("in_progress", "work_on"): "in_progress",
    ("in_progress", "require_outputs"): "requires_action",
    ("in_progress", "complete"): "completed",
    ("in_progress", "stop_short"): "incomplete",
    ("in_progress", "fail"): "failed",
    ("in_progress", "cancel"): "cancelling",
    ("in_progress", "expire"): "expired",
    ("requires_action", "accept_outputs"): "queued",
    ("requires_action", "cancel"): "cancelling",
    ("requires_action", "expire"): "expired",
    ("cancelling", "confirm_cancel"): "cancelled",
    ("cancelling", "expire"): "expired",
}

STATUSES = (
    "queued",
    "in_progress",
    "requires_action",
    "cancelling",
    "cancelled",
    "failed",
    "completed",
    "incomplete",
    "expired",
    "something_new",
)


def run(status: str, **fields: Any) -> Run:
    return attrs.evolve(Run(id="run_1", thread_id="thread_1", status=status, expires_at=99), **fields)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("name", MOVES)
def test_only_what_the_table_allows_happens(status: str, name: str) -> None:
    """Each state is left in the ways the API describes, and in no other."""
    before = run(status)
    expected = ALLOWED.get((status, name))

    if expected is None:
        with pytest.raises(states.IllegalTransition) as caught:
            MOVES[name](before)
        assert before is caught.value.run
        assert f"run run_1 is {status} and cannot become {caught.value.status}" == str(caught.value)
    else:
        assert expected == MOVES[name](before).status


def changes(before: Run, after: Run) -> dict[str, object]:
    return {
        attribute.name: getattr(after, attribute.name)
        for attribute in attrs.fields(Run)
        if getattr(before, attribute.name) != getattr(after, attribute.name) and attribute.name != "status"
    }


@pytest.mark.parametrize(
    ("status", "name", "expected"),
    [
        ("queued", "start", {"started_at": 20}),
        ("in_progress", "complete", {"completed_at": 20, "expires_at": None, "usage": USAGE}),
        ("in_progress", "expire", {"usage": USAGE}),
        ("cancelling", "confirm_cancel", {"cancelled_at": 20, "expires_at": None, "usage": USAGE}),
    ],
)
def test_a_move_changes_what_belongs_to_it(status: str, name: str, expected: dict[str, object]) -> None:
    """A transition sets its own time stamp and details and leaves the rest."""
    before = run(status)

    assert expected == changes(before, MOVES[name](before))


def test_bad_endings_say_why() -> None:
    """A failed run carries its error, an incomplete one its reason and what it used."""
    failed = MOVES["fail"](run("in_progress"))
    incomplete = MOVES["stop_short"](run("in_progress"))

    assert failed.last_error is not None
    assert (failed.last_error.code, failed.last_error.message, failed.failed_at) == ("server_error", "sorry", 20)
    assert incomplete.incomplete_details is not None
    assert (incomplete.incomplete_details.reason, incomplete.usage) == ("max_completion_tokens", USAGE)


@pytest.mark.parametrize(
    ("code", "of_the_run", "of_the_step"),
    [
        ("server_error", "server_error", "server_error"),
        ("rate_limit_exceeded", "rate_limit_exceeded", "rate_limit_exceeded"),
        ("invalid_prompt", "invalid_prompt", "server_error"),
        ("my_code", "server_error", "server_error"),
    ],
)
def test_errors_have_the_codes_of_the_api(code: str, of_the_run: str, of_the_step: str) -> None:
    """A code the API does not have there is told as a server error: clients know no others. The message stays."""
    failed = states.fail(run("in_progress"), 20, USAGE, code, "sorry")
    ending = states.Ending("failed", "run_failed", error=RunLastError(code=code, message="sorry"))
    step = states.end_step(RunStep(id="step_1", thread_id="t", status="in_progress"), ending, 20)

    assert RunLastError(code=of_the_run, message="sorry") == failed.last_error
    assert RunLastError(code=of_the_step, message="sorry") == step.last_error


def test_a_run_asks_for_outputs_until_it_gets_them() -> None:
    """The calls are there while the run waits, and gone when it goes on, is cancelled or expires."""
    waiting = MOVES["require_outputs"](run("in_progress"))

    assert waiting.required_tool_calls == (CALL,)
    for name in ("accept_outputs", "cancel", "expire"):
        assert MOVES[name](waiting).required_tool_calls == ()


def test_started_at_is_the_first_start() -> None:
    """A run that is queued again keeps the time it was first started."""
    assert MOVES["start"](run("queued", started_at=7)).started_at == 7


def test_outputs_are_written_into_the_step_that_waits() -> None:
    """Function calls get their outputs, other calls stay, and the step is completed."""
    code = RunStepDetailsToolCallsCode(id="call_0")
    details = RunStepDetailsToolCalls(tool_calls=(code, RunStepDetailsToolCallsFunction(id="call_1")))
    step = RunStep(id="step_1", thread_id="thread_1", status="in_progress", step_details=details)

    written = states.record_outputs(step, {"call_1": "sunny"}, 20)

    assert (written.status, written.completed_at) == ("completed", 20)
    assert isinstance(written.step_details, RunStepDetailsToolCalls)
    kept, answered = written.step_details.tool_calls
    assert kept is code
    assert isinstance(answered, RunStepDetailsToolCallsFunction)
    assert answered.function.output == "sunny"


def test_a_step_and_a_message_end_with_their_run() -> None:
    """Each takes its status, its time and its reason from the ending; an incomplete message keeps its text."""
    step = RunStep(id="step_1", thread_id="t", status="in_progress")
    message = Message(id="msg_1", thread_id="t", role="assistant", status="in_progress")
    expired = states.Ending("expired", "run_expired")

    ended = states.end_step(step, expired, 20)
    cut, empty = states.end_message(message, expired, "half", 20), states.end_message(message, expired, "", 20)

    assert (ended.status, ended.expired_at, ended.completed_at) == ("expired", 20, None)
    assert (cut.status, cut.incomplete_at, cut.completed_at, cut.text) == ("incomplete", 20, None, "half")
    assert cut.incomplete_details == MessageIncompleteDetails(reason="run_expired")
    assert empty.content == ()
    whole = states.end_message(message, states.Ending("completed"), "", 20)
    assert (whole.status, whole.completed_at, len(whole.content)) == ("completed", 20, 1)


def test_what_has_ended_stays_as_it_is() -> None:
    """A step or a message that is not in progress is not ended again."""
    step = RunStep(id="step_1", thread_id="t", status="completed")
    message = Message(id="msg_1", thread_id="t", role="assistant", status="incomplete")
    ending = states.Ending("failed", "run_failed")

    assert step is states.end_step(step, ending, 20)
    assert message is states.end_message(message, ending, "text", 20)


def test_other_steps_stay_as_they_are() -> None:
    """A step that waits for no outputs is not touched."""
    message = RunStep(id="step_1", thread_id="t", status="in_progress", step_details=RunStepDetailsMessageCreation())
    ended = RunStep(id="step_1", thread_id="t", status="completed", step_details=RunStepDetailsToolCalls())

    assert message is states.record_outputs(message, {}, 20)
    assert ended is states.record_outputs(ended, {}, 20)
