"""Jobs and their results: what is refused, and what comes out."""

from __future__ import annotations

import pickle
from types import MappingProxyType
from typing import Any

import pytest

from asyncassist import BatchProgress, Job, JobResult, RunFailedError, UsageError
from asyncassist._wire.json import dumps
from asyncassist.batch.ledger import content_of
from asyncassist.models import MessageRequestContentText, Run, RunCompletionUsage, RunLastError

USER = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"id": ""}, "id must be"),
        ({"id": 7}, "id must be"),
        ({"id": "a\nb"}, "id must be"),
        ({"id": "x" * 513}, "id must be"),
        ({"id": "\ud800"}, "id must be"),
        ({"assistant_id": ""}, "assistant_id must be"),
        ({"assistant_id": None}, "assistant_id must be"),
        ({"messages": "Hi"}, "messages must be a list"),
        ({"messages": {"role": "user"}}, "messages must be a list"),
        ({"messages": [USER, "Hi"]}, r"messages\[1\] must be a mapping with role and content, got str"),
        ({"messages": [{"content": "Hi"}]}, r"messages\[0\].role is missing"),
        ({"messages": [USER, {"role": "user"}]}, r"messages\[1\].content is missing"),
        ({"thread_id": 7}, "thread_id must be"),
        ({"thread_id": ".."}, "thread_id"),
        ({"params": []}, "params must be a mapping"),
        ({"params": {"temprature": 1}}, "did you mean 'temperature'"),
        ({"params": {"metadata": {}}}, "params.metadata is not for jobs: give the job's own"),
        ({"params": {"additional_messages": []}}, "params.additional_messages"),
        ({"metadata": "x"}, "metadata must be a mapping"),
        ({"metadata": {"a": 1}}, "metadata must be pairs of str"),
        ({"metadata": {"asyncassist": "x"}}, "metadata.asyncassist is kept"),
        ({"metadata": {str(n): "" for n in range(17)}}, "17 pairs"),
        ({"colour": "red"}, "no field colour; it has id, assistant_id"),
    ],
)
def test_what_is_no_job(fields: dict[str, Any], message: str) -> None:
    """The message names the field."""
    with pytest.raises(UsageError, match=message):
        Job.from_dict({"id": "1", "assistant_id": "asst_1", "messages": [USER], **fields})


@pytest.mark.parametrize(
    "data, message", [({"assistant_id": "a"}, "id is missing"), ({"id": "1"}, "assistant_id is mi")]
)
def test_a_missing_field(data: dict[str, object], message: str) -> None:
    """What a job cannot do without is named."""
    with pytest.raises(UsageError, match=message):
        Job.from_dict(data)


def test_a_wrong_call_of_the_class() -> None:
    """Keys that are no strings, and things that are no mapping."""
    with pytest.raises(UsageError, match="a job must be an object"):
        Job.from_dict([])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no field 1"):
        Job.from_dict({"id": "1", "assistant_id": "a", 1: 2})  # type: ignore[dict-item]


def test_a_job_keeps_copies() -> None:
    """What the caller changes afterwards does not reach the job."""
    messages, params, metadata = [USER], {"temperature": 1.0}, {"a": "b"}
    job = Job("1", "asst_1", messages, params=params, metadata=metadata)
    messages.clear()
    params.clear()
    metadata.clear()

    assert job == Job("1", "asst_1", [USER], params={"temperature": 1.0}, metadata={"a": "b"})


def test_what_two_jobs_ask_for() -> None:
    """The same content has the same hash, whatever the order of keys and the form of its parts; another has not."""
    job = Job("1", "asst_1", [USER])

    assert content_of(job) == content_of(Job("2", "asst_1", ({"content": "Hi", "role": "user"},)))
    for other in (
        Job("1", "asst_2", [USER]),
        Job("1", "asst_1", [USER, USER]),
        Job("1", "asst_1", [{"role": "user", "content": "Ho"}]),
        Job("1", "asst_1", [USER], thread_id="thread_1"),
        Job("1", "asst_1", [USER], params={"temperature": 1.0}),
        Job("1", "asst_1", [USER], metadata={"a": "b"}),
    ):
        assert content_of(job) != content_of(other)
    odd = Job("1", "asst_1", [MappingProxyType(USER)])
    assert content_of(odd) == content_of(job)
    parts = [MessageRequestContentText(text="Hi")]
    assert content_of(Job("1", "a", [{"role": "user", "content": parts}])) == content_of(
        Job("1", "a", [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}])
    )
    assert content_of(Job("1", "a", [{"role": "user", "content": "\ud800"}])) != content_of(job)
    with pytest.raises(UsageError, match="set cannot be sent"):
        content_of(Job("1", "a", [USER], params={"tools": {1}}))


def test_a_result_in_json() -> None:
    """A line of a results file, from a run that was read just now, and from one a ledger has kept."""
    usage = RunCompletionUsage(completion_tokens=1, prompt_tokens=2, total_tokens=3)
    error = RunLastError(code="server_error", message="no")
    run = Run(id="run_1", thread_id="thread_1", status="failed", usage=usage, last_error=error)
    job = Job("1", "asst_1", [USER], metadata={"a": "b"})
    result = JobResult(job, "failed", "text", run, duration=1.23456)
    kept = JobResult(job, "failed", "text", dumps(run), duration=1.23456, is_replayed=True)

    assert result.to_dict() == {
        "id": "1",
        "status": "failed",
        "text": "text",
        "thread_id": "thread_1",
        "run_id": "run_1",
        "usage": {"completion_tokens": 1, "prompt_tokens": 2, "total_tokens": 3},
        "last_error": {"code": "server_error", "message": "no"},
        "incomplete_details": None,
        "attempts": 1,
        "duration": 1.235,
        "error": None,
        "is_replayed": False,
        "metadata": {"a": "b"},
    }
    assert kept.to_dict() == {**result.to_dict(), "is_replayed": True}
    assert (kept.usage, kept.run, kept.run) == (usage, run, run)
    assert pickle.loads(pickle.dumps(result)) == result
    with pytest.raises(RunFailedError):
        kept.raise_for_status()


def test_a_result_without_a_run() -> None:
    """Its error is what it has."""
    job = Job("1", "asst_1", thread_id="thread_9")
    result = JobResult(job, "error", attempts=0, error=UsageError("no"))

    assert result.to_dict()["error"] == {"type": "UsageError", "message": "no"}
    assert result.to_dict()["thread_id"] == "thread_9"
    assert (result.usage, result.is_completed) == (None, False)
    with pytest.raises(UsageError, match="no"):
        result.raise_for_status()
    assert JobResult(job, "completed").raise_for_status().is_completed


def test_progress_adds_up() -> None:
    """What has ended is what has completed or failed."""
    assert BatchProgress(completed=2, failed=1).finished == 3
