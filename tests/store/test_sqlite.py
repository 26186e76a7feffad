"""The journal in SQLite keeps the contract; what its disk does to it; one process at a time."""

import asyncio
import contextlib
import sqlite3

import pytest

from server.store.sqlite import SqliteJournal
from server.store.sqlite_file import FILE_NAME, JournalFile
from tests.store.contract import JournalContract


async def on_thread(journal, work):
    """Do something to the file where it may be touched."""
    return await asyncio.wrap_future(journal._writer.submit(work))


class SqliteMedium:
    def __init__(self, directory):
        self.directory = directory

    async def open(self):
        return await SqliteJournal.open(self.directory)

    async def fail(self, journal):
        await on_thread(journal, lambda file: file._db.execute("PRAGMA query_only = ON"))

    async def put(self, shard, tick, data):
        self.directory.mkdir(exist_ok=True)
        JournalFile.open(self.directory).close()
        with contextlib.closing(sqlite3.connect(self.directory / FILE_NAME)) as database, database:
            database.execute("INSERT INTO journal VALUES (?,?,?)", (shard, tick, data))


class TestSqliteJournal(JournalContract):
    @pytest.fixture
    async def medium(self, tmp_path):
        return SqliteMedium(tmp_path)
