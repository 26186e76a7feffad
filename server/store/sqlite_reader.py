"""A data directory, read beside the process that writes in it: for inspection, replays and backups."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from server.shard.journal import JournalRecord
from server.shard.ports import Span
from server.shard.tail import Tail
from server.store.errors import StoreDamaged, StoreError
from server.store.sqlite_file import FILE_NAME, JournalFile
from server.store.sqlite_log import check_log_of_others

_READ_ROWS: Final = 256
_BUSY_TIMEOUT_S: Final = 5.0


class SqliteReader:
    """The journal of a data directory, for reading alone: it takes no lock and changes nothing.

    Raises StoreError where there is none, StoreDamaged where SQLite would forget commits that were synced.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / FILE_NAME
        if not path.is_file():
            raise StoreError(f"{directory} holds no journal: there is no {FILE_NAME}")
        check_log_of_others(path.with_name(f"{FILE_NAME}-wal"))
        try:
            self.database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_BUSY_TIMEOUT_S)
            self._file = JournalFile(self.database)
        except sqlite3.Error as error:
            raise StoreDamaged(f"{path} can't be read: {error}") from error

    async def read(self, shard: int, after_tick: int) -> AsyncIterator[JournalRecord]:
        """See JournalStore. What is appended meanwhile may be seen or not."""
        tail = Tail(shard, after_tick)
        while True:
            rows = self._file.read(shard, after_tick, _READ_ROWS)
            for tick, data in rows:
                record = tail.read(tick, data)
                if record is not None:
                    yield record
            if len(rows) < _READ_ROWS:
                return
            after_tick = rows[-1][0]

    async def spans(self) -> dict[int, Span]:
        """See JournalStore."""
        try:
            return self._file.spans()
        except sqlite3.DatabaseError as error:
            raise StoreDamaged(f"the journal can't be read: {error}") from error

    async def known(self) -> dict[int, int]:
        """By shard, a tick whose record was durable: the last one when the shard was last claimed or trimmed."""
        try:
            return dict(self.database.execute("SELECT shard, tick FROM shards").fetchall())
        except sqlite3.DatabaseError as error:
            raise StoreDamaged(f"the journal can't be read: {error}") from error

    def close(self) -> None:
        """Let go of the file."""
        self.database.close()
