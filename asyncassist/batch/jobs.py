"""What a batch is made of: jobs, their results, and how far it has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, cast

from attrs import define, field, frozen

from asyncassist import models
from asyncassist._wire.converter import structure
from asyncassist._wire.dicts import to_dict
from asyncassist._wire.json import loads
from asyncassist._wire.requests import check_parameters, request_for
from asyncassist.errors import UsageError, shown

if TYPE_CHECKING:
    from asyncassist.errors import AsyncAssistError
    from asyncassist.models import Metadata, Run, RunCompletionUsage
    from asyncassist.models.messages import MessageParam

__all__ = ["TAG_KEY", "BatchProgress", "Job", "JobResult"]

TAG_KEY = "asyncassist"
"""The key of a run's metadata by which it is found again."""

_LONGEST_ID = 512
_MOST_PAIRS = 16
# Not among the parameters of a job: what has a place of its own.
_ELSEWHERE = {"metadata": "give the job's own metadata", "additional_messages": "give the job's own messages"}


def _checked_messages(value: object) -> tuple[MessageParam, ...]:
    if type(value) is not list and (not isinstance(value, Sequence) or isinstance(value, str | bytes)):
        raise UsageError(f"messages must be a list, got {shown(value)}")
    messages = tuple(cast("Sequence[object]", value))
    for number, message in enumerate(messages):
        if type(message) is not dict and not isinstance(message, Mapping):
            kind = type(message).__name__
            raise UsageError(f"messages[{number}] must be a mapping with role and content, got {kind}")
        if "role" not in message or "content" not in message:
            raise UsageError(f"messages[{number}].{'content' if 'role' in message else 'role'} is missing")
    return cast("tuple[MessageParam, ...]", messages)


def _checked_params(value: object) -> dict[str, object]:
    if not isinstance(value, Mapping):
        raise UsageError(f"params must be a mapping, got {shown(value)}")
    params = dict(cast("Mapping[str, object]", value))
    for name in params:
        if name in _ELSEWHERE:
            raise UsageError(f"params.{name} is not for jobs: {_ELSEWHERE[name]}")
    try:
        check_parameters("params", models.CreateRunParams, params)
    except TypeError as error:
        raise UsageError(str(error)) from None
    return params


def _checked_metadata(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise UsageError(f"metadata must be a mapping, got {shown(value)}")
    metadata = dict(cast("Mapping[str, str]", value))
    for name, text in metadata.items():
        if not isinstance(name, str) or not isinstance(text, str):
            raise UsageError(f"metadata must be pairs of str, got {shown(name)}: {shown(text)}")
    if TAG_KEY in metadata:
        raise UsageError(f"metadata.{TAG_KEY} is kept for the tag of a job's run: give that pair another name")
    if len(metadata) > _MOST_PAIRS:
        raise UsageError(f"metadata has {len(metadata)} pairs, and the API takes {_MOST_PAIRS}")
    return metadata


_NOTHING: Mapping[str, Any] = MappingProxyType({})


@frozen(init=False)
class Job:
    """One run to be made, and what it is made of.

    Raises:
        UsageError: a value cannot be used; the message names it.
    """

    id: str
    """The caller's own, 1-512 printable characters, and no other job's of the batch. A ledger knows the job by it."""
    assistant_id: str
    """The assistant that works."""
    messages: Sequence[MessageParam]
    """Mappings with ``role`` and ``content``, as `create_thread` takes them; added to the thread before the run."""
    thread_id: str | None
    """The thread to work on; None makes one for the job. A thread has one active run at a time."""
    params: Mapping[str, object]
    """Parameters of the run, as `create_run` takes them."""
    metadata: Metadata
    """The run's: up to 16 pairs; with a ledger up to 15, because the ledger tags the run."""

    def __init__(
        self,
        id: str,
        assistant_id: str,
        messages: Sequence[MessageParam] = (),
        thread_id: str | None = None,
        params: Mapping[str, object] = _NOTHING,
        metadata: Metadata = _NOTHING,
    ) -> None:
        # By hand: a batch that is taken up again makes a million of them, and only to pass them over.
        if type(id) is not str or not 0 < len(id) <= _LONGEST_ID or not id.isprintable():
            raise UsageError(f"id must be a str of 1 to {_LONGEST_ID} printable characters, got {shown(id)}")
        if not isinstance(assistant_id, str) or not assistant_id:
            raise UsageError(f"assistant_id must be a str that is not empty, got {shown(assistant_id)}")
        if thread_id is not None:
            if not isinstance(thread_id, str):
                raise UsageError(f"thread_id must be a str or None, got {shown(thread_id)}")
            request_for("GET /threads/{thread_id}", thread_id)
        keep = object.__setattr__
        keep(self, "id", id)
        keep(self, "assistant_id", assistant_id)
        # Copies: what the caller gave may change before the job's turn comes.
        keep(self, "messages", _checked_messages(messages) if messages else ())
        keep(self, "thread_id", thread_id)
        keep(self, "params", _checked_params(params) if params is not _NOTHING else {})
        keep(self, "metadata", _checked_metadata(metadata) if metadata is not _NOTHING else {})

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> Self:
        """Make a job of plain values, such as a line of a job file.

        >>> Job.from_dict({"id": "1", "assistant_id": "asst_1", "messages": [{"role": "user", "content": "Hi"}]}).id
        '1'

        Raises:
            UsageError: a field is missing, unknown or of the wrong kind; the message names it.
        """
        if not isinstance(data, Mapping):
            raise UsageError(f"a job must be an object, got {shown(data)}")
        try:
            return cls(**cast("dict[str, Any]", data))
        except TypeError:
            if unknown := data.keys() - _FIELDS:
                names = ", ".join(sorted(map(str, unknown)))
                raise UsageError(f"a job has no field {names}; it has {', '.join(_FIELDS_IN_ORDER)}") from None
            raise UsageError(f"{'assistant_id' if 'id' in data else 'id'} is missing") from None


_FIELDS_IN_ORDER = ("id", "assistant_id", "messages", "thread_id", "params", "metadata")
_FIELDS = frozenset(_FIELDS_IN_ORDER)


# Not frozen: such objects take twice as long to make, and a ledger may give a million of them.
@define
class JobResult:
    """How a job has ended."""

    job: Job
    status: str
    """The status of its run, or ``"error"`` when the job was given up; then ``error`` says why."""
    text: str = ""
    """What the run has said."""
    # Decoded when it is asked for, where it comes from a ledger: most results of before are not looked at again.
    _run: Run | bytes | None = field(default=None, repr=False, alias="run")
    attempts: int = 1
    """How many runs the job has taken; 0 when none was started."""
    duration: float = 0.0
    """Seconds from the start of the job, or from when it was found again, to its end."""
    error: AsyncAssistError | None = None
    is_replayed: bool = False
    """Whether the ledger knew the job as finished, and nothing was done for it now."""

    @property
    def run(self) -> Run | None:
        """The run as last seen; None when there is none."""
        if isinstance(self._run, bytes):
            self._run = structure(loads(self._run), models.Run)
        return self._run

    @property
    def usage(self) -> RunCompletionUsage | None:
        """The tokens of the run; None where it has not ended."""
        return None if self.run is None else self.run.usage

    @property
    def is_completed(self) -> bool:
        """Whether the run has completed."""
        return self.status == "completed"

    def raise_for_status(self) -> Self:
        """Return the result if its run has completed.

        Raises:
            AsyncAssistError: why the job was given up.
            RunFailedError, RunExpiredError, RunCancelledError, RunIncompleteError: its run ended otherwise.
        """
        if self.error is not None:
            raise self.error
        if self.run is not None:
            self.run.raise_for_status()
        return self

    def to_dict(self) -> dict[str, object]:
        """Return plain JSON values: a line of a results file. The whole run is ``to_dict(result.run)``."""
        run = self._plain_run()
        error = self.error
        return {
            "id": self.job.id,
            "status": self.status,
            "text": self.text,
            "thread_id": run.get("thread_id", self.job.thread_id),
            "run_id": run.get("id"),
            "usage": run.get("usage"),
            "last_error": run.get("last_error"),
            "incomplete_details": run.get("incomplete_details"),
            "attempts": self.attempts,
            "duration": round(self.duration, 3),
            "error": None if error is None else {"type": type(error).__name__, "message": str(error)},
            "is_replayed": self.is_replayed,
            "metadata": dict(self.job.metadata),
        }

    def _plain_run(self) -> dict[str, object]:
        if self._run is None:
            return {}
        return cast("dict[str, object]", loads(self._run)) if isinstance(self._run, bytes) else to_dict(self._run)


@frozen
class BatchProgress:
    """How far a batch has come, in plain counts."""

    seen: int = 0
    """Jobs read."""
    started: int = 0
    """Jobs begun by this batch."""
    resumed: int = 0
    """Of those, the ones the ledger knew as begun before."""
    running: int = 0
    """Jobs under way."""
    completed: int = 0
    """Jobs whose run has completed, now or before."""
    failed: int = 0
    """Jobs that have ended in another way, now or before."""
    replayed: int = 0
    """Jobs the ledger knew as finished; they are among the completed and the failed."""
    prompt_tokens: int = 0
    """Of the runs that ended now, not of those before; likewise the other two."""
    completion_tokens: int = 0
    total_tokens: int = 0

    @property
    def finished(self) -> int:
        """Jobs that have ended, in whatever way."""
        return self.completed + self.failed
