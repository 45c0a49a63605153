"""Fixtures of the tests of runs: the misbehaving server of the transport's tests."""

from __future__ import annotations

from transport.conftest import _settled_memory, loop_thread, nothing_left, server

__all__ = ["_settled_memory", "loop_thread", "nothing_left", "server"]
