"""The API's own description of an error, in error answers and in streams."""

from __future__ import annotations

from attrs import field

from asyncassist.models._base import Model, frozen

__all__ = ["ErrorObject", "ErrorResponse"]


@frozen(kw_only=True)
class ErrorObject(Model):
    """What went wrong, in the server's words."""

    code: str | None = None
    message: str | None = None
    param: str | None = None
    """The parameter at fault, where one is."""
    type: str | None = None


@frozen(kw_only=True)
class ErrorResponse(Model):
    """The body of an answer with an error status."""

    error: ErrorObject = field(factory=ErrorObject)
