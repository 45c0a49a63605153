"""Which event loop is running: connections belong to the one they were opened in."""

from __future__ import annotations

import asyncio

__all__ = ["current_loop", "is_over"]


def current_loop() -> object:
    """Return what stands for the running event loop; the same object as long as it runs."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        from trio.lowlevel import current_trio_token

        return current_trio_token()


def is_over(loop: object) -> bool:
    """Tell whether an event loop has ended for certain."""
    return isinstance(loop, asyncio.AbstractEventLoop) and loop.is_closed()
