"""Which event loop is running: connections belong to the one they were opened in."""

from __future__ import annotations

import asyncio

__all__ = ["IN_USE_ELSEWHERE", "current_loop", "is_over", "now"]

IN_USE_ELSEWHERE = "the client is in use in another event loop; give each event loop a client of its own"


def current_loop() -> object:
    """Return what stands for the running event loop; the same object as long as it runs."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        from trio.lowlevel import current_trio_token

        return current_trio_token()


def now() -> float:
    """Return the time of the running event loop's clock, in seconds; deadlines are read against it."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        import trio

        return trio.current_time()


def is_over(loop: object) -> bool:
    """Tell whether an event loop has ended for certain."""
    if isinstance(loop, asyncio.AbstractEventLoop):
        return loop.is_closed()
    if loop is None:
        return False
    import trio

    assert isinstance(loop, trio.lowlevel.TrioToken)
    try:
        loop.run_sync_soon(int)  # does nothing
    except trio.RunFinishedError:
        return True
    return False
