"""What those are told who use a client as if it were another library's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Never

__all__ = ["ClientMisuse"]

_HERE = "the operations are methods of the client itself, such as client.create_thread()"
_NOT_HERE = "this client speaks the Assistants API only: assistants, threads, messages, runs, run steps"
_HINTS = dict.fromkeys(("assistants", "beta", "messages", "runs", "threads"), _HERE) | dict.fromkeys(
    ("chat", "completions", "embeddings", "files", "models", "responses", "vector_stores"), _NOT_HERE
)


class ClientMisuse:
    """A base of the client. Other ways to use it are errors that say how it is used."""

    # Hidden from type checkers, which report the mistake themselves.
    if not TYPE_CHECKING:  # pragma: no branch

        def __enter__(self) -> Never:
            raise TypeError(
                "an AsyncClient is entered with `async with`, not `with`: async with AsyncClient() as client"
            )

        __exit__ = __enter__  # `with` looks for it before it enters

        def __getattr__(self, name: str) -> Never:
            hint = _HINTS.get(name)
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(f"{message}; {hint}" if hint else message, name=name, obj=self)
