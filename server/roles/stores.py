"""Where a world is kept, opened as the settings name it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from config.settings import Settings
from server.shard.ports import CheckpointStore, JournalStore
from server.store.checkpoint_files import FileCheckpoints
from server.store.errors import StoreError
from server.store.sqlite import SqliteJournal

if TYPE_CHECKING:
    from server.store.mongo import MongoJournal
    from server.store.mongo_checkpoints import MongoCheckpoints

# Of a stop, what is left to the store's own closing: whoever waits for records to be durable has waited before.
CLOSE_WITHIN_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where one shard is kept. Its journal is its own: when it fails, that concerns no other shard."""

    journal: JournalStore
    checkpoints: CheckpointStore
    # Called in the end.
    close: Callable[[], Awaitable[None]]


# Opens where a shard is kept.
Shelves = Callable[[int], Awaitable[Shelf]]


@contextlib.asynccontextmanager
async def shelves(settings: Settings) -> AsyncIterator[Shelves]:
    """Where the shards of a cluster are kept, each for itself: any process may have any of them.

    Raises StoreError.
    """
    async with _mongo_medium(settings) as make:

        async def open_shelf(_shard: int) -> Shelf:
            journal, checkpoints = make()

            async def close() -> None:
                await journal.close()
                await checkpoints.close()

            return Shelf(journal, checkpoints, close)

        yield open_shelf


def _mongo_medium(
    settings: Settings,
) -> contextlib.AbstractAsyncContextManager[Callable[[], tuple[MongoJournal, MongoCheckpoints]]]:
    # A world on one machine needs no driver, and may not have it.
    try:
        from server.store.mongo_open import mongo_medium  # noqa: PLC0415
    except ImportError as error:
        raise StoreError("the driver is missing: pip install 'everstep[mongo]'") from error
    store = settings.store
    uri = store.mongodb_uri.get_secret_value()
    return mongo_medium(uri, store.mongodb_database, close_timeout_s=CLOSE_WITHIN_S)


@contextlib.asynccontextmanager
async def stores(settings: Settings, directory: Path) -> AsyncIterator[tuple[JournalStore, CheckpointStore]]:
    """Journal and checkpoints as `store.kind` has them, closed in the end: what was journalled is durable then.

    For a world that is one process' alone. Raises StoreError.
    """
    journal: JournalStore
    checkpoints: CheckpointStore
    async with contextlib.AsyncExitStack() as stack:
        if settings.store.kind == "mongodb":
            journal, checkpoints = (await stack.enter_async_context(_mongo_medium(settings)))()
        else:
            journal, checkpoints = await SqliteJournal.open(directory), FileCheckpoints(directory)
        stack.push_async_callback(checkpoints.close)
        stack.push_async_callback(journal.close)
        yield journal, checkpoints
