"""Going through what a ledger knows, stretch by stretch, for jobs that come in its order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from attrs import define, field

from asyncassist.batch.ledger import content_of
from asyncassist.errors import UsageError

if TYPE_CHECKING:
    from asyncassist.batch.jobs import Job
    from asyncassist.batch.ledger import Ledger, Row

__all__ = ["MOST_AHEAD", "Sweep", "is_same"]

MOST_AHEAD = 512
"""So many jobs are looked for at once."""


@define
class Sweep:
    """A way through a ledger.

    Attributes:
        place: the next stretch is behind it.
        rows: what stands on the last one, by id.
    """

    ledger: Ledger
    place: int
    rows: dict[str, Row] = field(factory=dict[str, "Row"])

    @classmethod
    def begun(cls, ledger: Ledger, first: Row, last: Row, count: int) -> Self | None:
        """Return one that goes on behind jobs that stand in a row; None if they do not."""
        return cls(ledger, last[0]) if 0 <= last[0] - first[0] < 2 * count else None

    async def go_on(self, *, with_results: bool) -> None:
        """Read the next stretch."""
        self.rows = await self.ledger.stretch(self.place, MOST_AHEAD, with_results=with_results)
        self.place += MOST_AHEAD


def is_same(job: Job, row: Row) -> bool:
    """Whether a ledger knows a job as it is given."""
    try:
        return bool(content_of(job) == row[2])
    except UsageError:
        return False
