"""The journal's SQLite file: its layout, its statements, what is checked when it is opened. For one thread.

SQLite's write-ahead log with `synchronous=FULL` is what makes a commit survive a power cut: one write and
one sync per commit. Other processes may read the file meanwhile (`everstep inspect`, a backup); that only one
writes is the data directory's lock.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from server.shard.errors import JournalDamaged, RecordError
from server.shard.journal import JournalRecord
from server.shard.ports import Claim, Span
from server.shard.tail import last_whole
from server.store.directory import sync_directory
from server.store.errors import StoreDamaged, StoreFailed
from server.store.sqlite_log import check_log
from server.store.writers import next_epoch

FILE_NAME: Final = "everstep.db"
# "EVST": `file` and SQLite's own tools can tell whose it is.
APPLICATION_ID: Final = 0x45565354
LAYOUT: Final = 1

_SCHEMA: Final = (
    # Without a row id there is one tree to write to instead of two.
    "CREATE TABLE journal (shard INTEGER, tick INTEGER, record BLOB NOT NULL, PRIMARY KEY (shard, tick)) WITHOUT ROWID",
    # `tick`: the last durable one when the shard was last claimed or trimmed; the journal may be empty since.
    "CREATE TABLE shards (shard INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, tick INTEGER NOT NULL)",
)
# Rows written with one statement: one, because each statement gives up the interpreter's lock and has to
# get it back from a busy tick.
ROWS_MAX: Final = 256
# Records per step of a trim, so that no commit waits long for one.
TRIM_ROWS: Final = 200
# A statement that meets another process's lock waits for so long, then fails.
_BUSY_TIMEOUT_S: Final = 5.0
# Truncated to this after a checkpoint.
_LOG_BYTES_KEPT: Final = 16 * 1024 * 1024
# Above, a whole check at the start would take longer than a start should.
CHECK_BYTES_MAX: Final = 1024 * 1024 * 1024


class JournalFile:
    """An open file. Methods raise sqlite3.Error where the medium does, and what the ports say."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Open or make the file, and see to it that what is read from it is on the disk. Raises StoreDamaged.

        A sync that failed leaves the system's cache with pages that no disk has and that nobody writes
        again. What this process reads may come from there, and a record appended after it would
        be cut off with it. So everything in the log is first copied into the file anew, and synced.
        """
        path = directory / FILE_NAME
        check_log(path.with_name(f"{FILE_NAME}-wal"))
        database = sqlite3.connect(path, isolation_level=None, timeout=_BUSY_TIMEOUT_S)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            # Where a sync alone does not reach the disk (macOS).
            database.execute("PRAGMA fullfsync = ON")
            database.execute("PRAGMA checkpoint_fullfsync = ON")
            # Done by hand, between commits rather than within one.
            database.execute("PRAGMA wal_autocheckpoint = 0")
            database.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES_KEPT}")
            database.execute("PRAGMA cell_size_check = ON")
            file = cls(database)
            file._check_layout(path)
            if path.stat().st_size <= CHECK_BYTES_MAX:
                file._check_whole(path)
            file.checkpoint("TRUNCATE")
            sync_directory(directory)
        except sqlite3.DatabaseError as error:
            database.close()
            if _damage(error):
                raise StoreDamaged(f"{path}: {error}") from error
            raise StoreFailed(f"{path} cannot be opened: {describe(error)}") from error
        except BaseException:
            database.close()
            raise
        return file

    def insert(self, rows: Sequence[tuple[int, int, bytes]]) -> None:
        """Make these (shard, tick, record) durable, all or none. Returns when they are."""
        if len(rows) <= ROWS_MAX:
            places = ",".join(["(?,?,?)"] * len(rows))
            statement = f"INSERT INTO journal VALUES {places}"  # noqa: S608  # question marks
            self._db.execute(statement, [value for row in rows for value in row])
            return
        with self._transaction():
            self._db.executemany("INSERT INTO journal VALUES (?,?,?)", rows)

    def claim(self, shard: int, epoch: int | None) -> Claim:
        """See JournalStore; durable when it returns. Removes what an interrupted write left at the end."""
        with self._transaction():
            newest = self._db.execute(
                "SELECT tick, record FROM journal WHERE shard = ? ORDER BY tick DESC LIMIT 2", (shard,)
            ).fetchall()[::-1]
            whole = last_whole(shard, newest)
            known = self._db.execute("SELECT epoch, tick FROM shards WHERE shard = ?", (shard,)).fetchone() or (0, 0)
            tick = whole.tick if whole else known[1]
            if tick < known[1]:
                raise JournalDamaged(shard, tick, f"its end is missing: tick {known[1]} was durable")
            claim = Claim(next_epoch(shard, max(known[0], whole.epoch if whole else 0), epoch), tick)
            self._db.execute("DELETE FROM journal WHERE shard = ? AND tick > ?", (shard, whole.tick if whole else 0))
            self._db.execute("INSERT OR REPLACE INTO shards VALUES (?,?,?)", (shard, claim.epoch, claim.tick))
        return claim

    def read(self, shard: int, after_tick: int, rows_max: int) -> list[tuple[int, bytes]]:
        """(tick, record) of the shard's next rows, in order. Raises JournalDamaged where the file is."""
        try:
            return self._db.execute(
                "SELECT tick, record FROM journal WHERE shard = ? AND tick > ? ORDER BY tick LIMIT ?",
                (shard, after_tick, rows_max),
            ).fetchall()
        except sqlite3.DatabaseError as error:
            if not _damage(error):
                raise
            raise JournalDamaged(shard, after_tick + 1, str(error)) from error

    def spans(self) -> dict[int, Span]:
        """See JournalStore."""
        spans: dict[int, Span] = {}
        query = "SELECT shard, MIN(tick), MAX(tick), COUNT(*) FROM journal GROUP BY shard ORDER BY shard"
        for shard, first, last, records in self._db.execute(query).fetchall():
            rows = self.read(shard, first - 1, 1)
            if not rows:
                # Whoever reads beside a server does so without the check of the whole file.
                raise JournalDamaged(shard, first, "it is listed, and is not where it should be")
            try:
                after_tick = JournalRecord.decode(rows[0][1]).previous
            except RecordError:
                after_tick = first
            spans[shard] = Span(after_tick, last, records)
        return spans

    def trim(self, shard: int, up_to_tick: int) -> bool:
        """Remove some records at and below `up_to_tick`, oldest first; True: there are more."""
        (last,) = self._db.execute("SELECT MAX(tick) FROM journal WHERE shard = ?", (shard,)).fetchone()
        if last is None:
            return False
        with self._transaction():
            self._db.execute("UPDATE shards SET tick = MAX(tick, ?) WHERE shard = ?", (last, shard))
            removed = self._db.execute(
                "DELETE FROM journal WHERE shard = ?1 AND tick IN"
                " (SELECT tick FROM journal WHERE shard = ?1 AND tick <= ?2 ORDER BY tick LIMIT ?3)",
                (shard, up_to_tick, TRIM_ROWS),
            ).rowcount
        return removed == TRIM_ROWS

    def checkpoint(self, mode: str = "PASSIVE") -> int:
        """Copy the log into the file, and sync it. TRUNCATE: all of it, and raise if that cannot be.

        Returns the log's length in bytes: what was copied is written over, unless somebody reads it still.
        """
        busy, log, copied = self._db.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        if mode == "TRUNCATE" and busy and log != copied:
            raise sqlite3.OperationalError("another process keeps the log from being copied")
        (page_bytes,) = self._db.execute("PRAGMA page_size").fetchone()
        length: int = log * page_bytes
        return length

    def close(self) -> None:
        """Copy the log into the file and close it."""
        self._db.close()

    # -- what is checked -------------------------------------------------------

    def _check_layout(self, path: Path) -> None:
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (layout,) = self._db.execute("PRAGMA user_version").fetchone()
        (tables,) = self._db.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()
        if (application, layout, tables) == (0, 0, 0):
            with self._transaction():
                for statement in _SCHEMA:
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                self._db.execute(f"PRAGMA user_version = {LAYOUT}")
            return
        if application != APPLICATION_ID:
            raise StoreDamaged(f"{path} is no journal of this program (application id {application:#x})")
        if layout != LAYOUT:
            raise StoreDamaged(f"{path} has layout {layout}; this program reads layout {LAYOUT}")
        schema = [sql for (sql,) in self._db.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")]
        if sorted(schema) != sorted(_SCHEMA):
            raise StoreDamaged(f"{path} has other tables than this program makes")

    def _check_whole(self, path: Path) -> None:
        """Trees and free pages. Without it a flipped count or pointer could hide records and hand out their pages.

        Not `quick_check`, which takes half the time and does not see rows out of order: what zeros in a page make.
        """
        found = [text for (text,) in self._db.execute("PRAGMA integrity_check(3)")]
        if found != ["ok"]:
            raise StoreDamaged(f"{path}: {'; '.join(' '.join(text.split()) for text in found)}")

    def _transaction(self) -> _Transaction:
        return _Transaction(self._db)


class _Transaction:
    """BEGIN, and COMMIT or ROLLBACK."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._db.execute("COMMIT")
        elif self._db.in_transaction:
            self._db.execute("ROLLBACK")


def _damage(error: sqlite3.DatabaseError) -> bool:
    """Whether it says that the file is damaged, and not that the medium or the program failed."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def describe(error: BaseException) -> str:
    """What failed, with SQLite's name for it where it has one: "disk I/O error (SQLITE_IOERR_FSYNC)"."""
    name = getattr(error, "sqlite_errorname", None)
    return f"{error} ({name})" if name else f"{type(error).__name__}: {error}"
