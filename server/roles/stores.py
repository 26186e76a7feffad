"""Where a world is kept, opened as the settings name it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from config.settings import Settings
from server.shard.ports import CheckpointStore, JournalStore
from server.store.checkpoint_files import FileCheckpoints
from server.store.errors import StoreError
from server.store.sqlite import SqliteJournal

# Of a stop, what is left to the store's own closing: whoever waits for records to be durable has waited before.
CLOSE_WITHIN_S: Final = 2.0


@contextlib.asynccontextmanager
async def stores(settings: Settings, directory: Path) -> AsyncIterator[tuple[JournalStore, CheckpointStore]]:
    """Journal and checkpoints as `store.kind` has them, closed in the end: what was journalled is durable then.

    For a world that is one process' alone. Raises StoreError.
    """
    store = settings.store
    if store.kind == "mongodb":
        # A world on one machine needs no driver, and may not have it.
        try:
            from server.store.mongo_open import mongo_stores  # noqa: PLC0415
        except ImportError as error:
            raise StoreError("the driver is missing: pip install 'everstep[mongo]'") from error
        uri = store.mongodb_uri.get_secret_value()
        async with mongo_stores(uri, store.mongodb_database, close_timeout_s=CLOSE_WITHIN_S) as opened:
            yield opened
        return
    async with contextlib.AsyncExitStack() as stack:
        journal = await SqliteJournal.open(directory)
        stack.push_async_callback(journal.close)
        checkpoints = FileCheckpoints(directory)
        stack.push_async_callback(checkpoints.close)
        yield journal, checkpoints
