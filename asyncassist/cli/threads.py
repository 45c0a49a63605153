"""``export-threads`` and ``import-threads``: what a server keeps, as lines of JSON."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from asyncassist.cli.files import reading, writing
from asyncassist.errors import AsyncAssistError, UsageError
from asyncassist.server import SQLiteStore, StoreError
from asyncassist.server.store import portable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

__all__ = ["export_threads", "import_threads"]


async def export_threads(*, db: str, output: str, thread_id: Sequence[str]) -> None:
    """Write threads, all of them where none is named, and their assistants.

    Raises:
        UsageError: the file of the store or the output cannot be had, or a thread is not there.
    """
    async with _opened(db) as store:
        with writing(output) as file:
            count = await portable.export_threads(store, file.write, thread_ids=thread_id or None)
    if output != "-":
        print(f"{_counted(count, 'thread')} written to {output}")


async def import_threads(*, db: str, source: str) -> None:
    """Add the assistants and threads that were exported to a file.

    Raises:
        UsageError: the file of the store or the source cannot be had, or a line of it is not what was exported.
    """
    with reading(source) as file:
        async with _opened(db) as store:
            try:
                done = await portable.import_threads(store, file)
            except UsageError as error:
                kept = "the threads before it were added, and are skipped when a mended file is imported"
                raise UsageError(f"{source}: {error}; {kept}") from error.__cause__
    print(
        f"{_counted(done.assistants, 'assistant')} and {_counted(done.threads, 'thread')} added, "
        f"{_counted(done.records, 'object')} in all; {done.skipped} there already"
    )


@asynccontextmanager
async def _opened(db: str) -> AsyncGenerator[SQLiteStore, None]:
    store = SQLiteStore(db)
    await store.open()
    try:
        yield store
    except StoreError as error:
        raise AsyncAssistError(f"{db}: {error}") from error
    finally:
        await store.aclose()


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'s' * (count != 1)}"
