"""The journal in SQLite: the embedded default, one file in the data directory, no service to install.

    append ──queue──▶ writer's thread: one commit per group ──call_soon_threadsafe──▶ on_durable

Three modules: this one is the loop's side, sqlite_writer.py the thread, sqlite_file.py the file.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Self, TypeVar

import structlog

from server.shard.journal import JournalRecord
from server.shard.ports import Claim, Span
from server.shard.tail import Tail
from server.store.directory import DirectoryLock
from server.store.errors import StoreClosed, StoreFailed
from server.store.sqlite_file import JournalFile
from server.store.sqlite_writer import Entry, Writer
from server.store.writers import Writers

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")

# Records fetched at a time: a few megabytes, and a few turns of the loop per second of replay.
_READ_ROWS: Final = 256


class SqliteJournal:
    """A JournalStore. Made by `open`; to be used from that loop's thread alone."""

    def __init__(self, lock: DirectoryLock) -> None:
        self._lock = lock
        self._loop = asyncio.get_running_loop()
        self._writers = Writers()
        self._writer = Writer(self._on_commit, self._on_failure)
        self._failure: StoreFailed | None = None
        self._backlog = 0
        self._closed = False

    @classmethod
    async def open(cls, directory: Path) -> Self:
        """Open the journal of a data directory, made where there is none.

        Raises StoreInUse, StoreDamaged, StoreFailed.
        """
        lock = DirectoryLock(directory)
        journal = cls(lock)
        try:
            await asyncio.shield(asyncio.wrap_future(journal._writer.start(directory)))
        except asyncio.CancelledError:
            # The thread opens the file all the same.
            journal._writer.stop(lock.release)
            raise
        except BaseException:
            lock.release()
            raise
        return journal

    async def claim(self, shard: int, epoch: int | None = None) -> Claim:
        """See JournalStore."""
        self._check()
        # Not while the claim is on its way to the disk either: its tick would not be the last.
        self._writers.revoke(shard)
        claim = await self._write("claim", lambda file: file.claim(shard, epoch))
        self._writers.grant(shard, claim)
        return claim

    def append(self, record: JournalRecord, on_durable: Callable[[], None]) -> None:
        """See JournalStore. Takes microseconds: what is slow is done on the writer's thread."""
        self._check()
        self._writers.admit(record)
        self._backlog += 1
        self._writer.put((record, on_durable))

    @property
    def backlog(self) -> int:
        """Records taken and not yet durable."""
        return self._backlog

    @property
    def failure(self) -> Exception | None:
        """See JournalStore. From when it is seen nothing at all is reported: what was durable has been."""
        return self._failure

    @property
    def commits(self) -> int:
        """Groups made durable since the start: records per commit is what grouping gains."""
        return self._writer.commits

    async def read(self, shard: int, after_tick: int) -> AsyncIterator[JournalRecord]:
        """See JournalStore. Sees what was appended before."""
        tail = Tail(shard, after_tick)
        while True:
            self._check_open()
            rows = await asyncio.wrap_future(self._writer.submit(partial(_read, shard, after_tick)))
            for tick, data in rows:
                record = tail.read(tick, data)
                if record is not None:
                    yield record
            if len(rows) < _READ_ROWS:
                if tail.cut is not None:
                    _log.warning("journal ends in a torn record", shard=shard, reason=tail.cut)
                return
            after_tick = rows[-1][0]

    async def spans(self) -> dict[int, Span]:
        """See JournalStore."""
        self._check_open()
        return await asyncio.wrap_future(self._writer.submit(lambda file: file.spans()))

    async def trim(self, shard: int, up_to_tick: int) -> None:
        """See JournalStore. In steps, with commits between them."""
        self._check()
        while await self._write("trim", lambda file: file.trim(shard, up_to_tick)):
            self._check()

    async def close(self) -> None:
        """See JournalStore. Once closed it can be closed again, which does nothing.

        Whoever is cancelled while it waits leaves the thread to finish, and the directory to be freed after.
        """
        if self._closed:
            return
        self._closed = True
        await asyncio.shield(asyncio.wrap_future(self._writer.stop(self._lock.release)))

    # -- the writer's thread -----------------------------------------------------

    async def _write(self, what: str, write: Callable[[JournalFile], _T]) -> _T:
        job = self._writer.submit(lambda file: self._writer.written(what, lambda: write(file)))
        return await asyncio.wrap_future(job)

    def _on_commit(self, group: Sequence[Entry]) -> None:
        # A loop that has ended has nobody left to be told.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._tell, group)

    def _on_failure(self, failure: StoreFailed) -> None:
        # By the same way as the groups, so behind those that were durable before.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._set_failure, failure)

    def _set_failure(self, failure: StoreFailed) -> None:
        self._failure = failure

    def _tell(self, group: Sequence[Entry]) -> None:
        for record, on_durable in group:
            self._backlog -= 1
            try:
                on_durable()
            except Exception as error:  # noqa: BLE001  # the others have to be told all the same
                self._loop.call_exception_handler(
                    {"message": f"on_durable of shard {record.shard}, tick {record.tick}", "exception": error}
                )

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._check_open()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreClosed("the journal is closed")


def _read(shard: int, after_tick: int, file: JournalFile) -> list[tuple[int, bytes]]:
    return file.read(shard, after_tick, _READ_ROWS)
