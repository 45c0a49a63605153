"""Fixtures of the chat backend's tests: a model server that does what it is told, over real sockets."""

from __future__ import annotations

from transport.conftest import _settled_memory, loop_thread, nothing_left, server

__all__ = ["_settled_memory", "loop_thread", "nothing_left", "server"]
