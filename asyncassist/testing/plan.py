"""Which requests to a server under test a fault is for."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from attrs import define, field

from asyncassist.errors import UsageError, shown
from asyncassist.testing.faults import Fault
from asyncassist.testing.record import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from asyncassist.testing.record import SeenRequest

__all__ = ["Faults", "PlannedFault"]


@define(eq=False)
class PlannedFault:
    """A fault with the requests it is for."""

    fault: Fault
    _matches: Callable[[SeenRequest], bool] = field(repr=False)
    _times: int | None = field(repr=False)
    _skip: int = field(repr=False)
    hits: list[SeenRequest] = field(factory=list["SeenRequest"], init=False)
    """The requests it has met."""

    def takes(self, request: SeenRequest) -> bool:
        """Decide whether it is this request's turn, and count it."""
        if (self._times is not None and len(self.hits) >= self._times) or not self._matches(request):
            return False
        if self._skip:
            self._skip -= 1
            return False
        self.hits.append(request)
        return True


class Faults:
    """What is to go wrong at a server under test. A request meets at most one fault, the first that takes it."""

    def __init__(self) -> None:
        self._planned: list[PlannedFault] = []

    def add(
        self,
        fault: Fault,
        on: str | Iterable[str] | None = None,
        *,
        method: str | None = None,
        path: str | re.Pattern[str] | None = None,
        when: Callable[[SeenRequest], object] | None = None,
        times: int | None = 1,
        skip: int = 0,
    ) -> PlannedFault:
        """Let something go wrong from now on.

        Args:
            fault: what.
            on: an operation, by the name of the client's method, or several. None is for every request.
            method: an HTTP method.
            path: a path below the base URL in which ``*`` stands for anything, or a pattern that must match all of it.
            when: is given the request and tells whether it is meant.
            times: how many requests it is for; None for any number.
            skip: how many of the requests it would be for it lets pass first.

        Returns:
            The fault as it was planned; its ``hits`` are the requests it has met.

        Raises:
            UsageError: there is no such operation, the fault is not for it, or a number cannot be meant.
        """
        if not isinstance(fault, Fault):
            raise TypeError(f"a fault is made by a method of Fault, not {type(fault).__name__}")
        operations = None if on is None else frozenset((on,) if isinstance(on, str) else on)
        if operations is not None and (unknown := operations - OPERATIONS):
            known = ", ".join(sorted(OPERATIONS))
            raise UsageError(f"on: no operation is called {shown(min(unknown))}; there are {known}")
        if fault.fits is not None and operations is not None and (strange := operations - fault.fits):
            fitting = ", ".join(sorted(fault.fits))
            raise UsageError(f"on: the fault {fault.name!r} does nothing to {min(strange)}, only to {fitting}")
        for name, count, least in (("times", times, 1), ("skip", skip, 0)):
            if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < least):
                raise UsageError(f"{name} must be an int, {least} or more, got {shown(count)}")

        def matches(request: SeenRequest) -> bool:
            return (
                (operations is None or request.operation in operations)
                and (method is None or request.method == method.upper())
                and (path is None or _path_matches(path, request.path))
                and (when is None or bool(when(request)))
            )

        planned = PlannedFault(fault, matches, times, skip)
        self._planned.append(planned)
        return planned

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        self._planned.clear()

    def next_for(self, request: SeenRequest) -> Fault | None:
        """Return the fault a request meets."""
        return next((planned.fault for planned in self._planned if planned.takes(request)), None)


def _path_matches(wanted: str | re.Pattern[str], path: str) -> bool:
    return fnmatchcase(path, wanted) if isinstance(wanted, str) else wanted.fullmatch(path) is not None
