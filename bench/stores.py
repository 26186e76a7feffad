"""Where a measured server keeps its world: the settings for each kind of store, and the database if it needs one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any

from bench.mongo_server import MongoServer
from bench.processes import on_core

DATABASE = "bench"


class Store(StrEnum):
    """The values of `store.kind`."""

    # Until the process ends.
    MEMORY = "memory"
    # In a directory of the run's own.
    SQLITE = "sqlite"
    # On a server of the run's own, which speaks MongoDB's protocol; scripts/setup-test-mongo.sh installs it.
    MONGODB = "mongodb"


@contextmanager
def kept_in(store: Store, directory: Path, core: int) -> Iterator[dict[str, Any]]:  # Any: checked by the settings
    """Settings of a server that keeps its world there, as long as it lasts. `core`: for a database, where there is one.

    Raises MongoUnavailable.
    """
    settings: dict[str, Any] = {"store.kind": str(store), "server.data_dir": str(directory)}
    if store is not Store.MONGODB:
        yield settings
        return
    database = MongoServer(directory / "database")
    with on_core(core):
        database.start()
    try:
        asyncio.run(_lay_out(database.uri))
        yield settings | {"store.mongodb_uri": database.uri, "store.mongodb_database": DATABASE}
    finally:
        database.kill()


async def _lay_out(uri: str) -> None:
    # Who measures SQLite needs no driver.
    from server.store.mongo_client import connect  # noqa: PLC0415
    from server.store.mongo_layout import init  # noqa: PLC0415

    async with connect(uri) as client:
        await init(client, DATABASE)
