"""The journal in SQLite keeps the contract; what its disk does to it; one process at a time."""

import asyncio
import contextlib
import random
import sqlite3
import threading
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from server.shard.errors import JournalDamaged
from server.shard.ports import Claim, Span
from server.store.directory import DirectoryLock
from server.store.errors import StoreDamaged, StoreFailed, StoreInUse
from server.store.sqlite import SqliteJournal
from server.store.sqlite_file import FILE_NAME, ROWS_MAX, JournalFile
from tests.store.contract import JournalContract, chain, durable, opened, read, record


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


@pytest.fixture
async def journal(tmp_path):
    async with opened(SqliteMedium(tmp_path)) as journal:
        await journal.claim(1)
        yield journal


async def pages(journal):
    return await on_thread(journal, lambda file: file._db.execute("PRAGMA page_count").fetchone()[0])


async def test_the_file_does_not_grow_however_long_the_world_lives(tmp_path):
    """Two hundred checkpoints' worth of records and trims, in a file that had its size after the first few."""
    rng = random.Random(2)
    async with opened(SqliteMedium(tmp_path)) as journal:
        await journal.claim(1)
        tick, sizes = 0, []
        for _ in range(200):
            records = chain(range(tick + 1, tick + 41), previous=tick)
            await durable(journal, [replace(r, payload=rng.randbytes(rng.randrange(6000))) for r in records])
            tick += 40
            # What two checkpoints need.
            await journal.trim(1, tick - 80)
            sizes.append(await pages(journal))
        assert (await journal.spans())[1].records == 80
        log = tmp_path / f"{FILE_NAME}-wal"
        assert log.stat().st_size < 16 * 1024 * 1024
    assert max(sizes[20:]) <= 1.1 * max(sizes[:20])


async def test_who_reads_for_ever_makes_the_log_grow_and_the_operator_is_told(tmp_path):
    async with opened(SqliteMedium(tmp_path)) as journal:
        await journal.claim(1)
        with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as other, capture_logs() as logs:
            other.execute("BEGIN")
            other.execute("SELECT COUNT(*) FROM journal").fetchone()
            for tick in range(1, 25):
                await durable(journal, [record(tick, tick - 1, payload=bytes(2**20))])
            await journal.spans()
        # At 8 MiB and at twice as much, and not for every megabyte.
        assert [(line["event"], line["log_level"]) for line in logs] == [
            ("journal's log grows while another process reads the journal", "warning")
        ] * 2
        held = (tmp_path / f"{FILE_NAME}-wal").stat().st_size
        assert held > 24 * 2**20
        await durable(journal, chain(range(25, 60), previous=24))
        for tick in range(60, 65):
            await durable(journal, [record(tick, tick - 1, payload=bytes(2**20))])
        await journal.spans()
        assert (tmp_path / f"{FILE_NAME}-wal").stat().st_size <= 16 * 2**20, "let go of, it is used again"


async def test_commits_go_on_between_the_steps_of_a_trim(journal):
    await durable(journal, chain(range(1, 2001)))
    told = []
    trim = asyncio.create_task(journal.trim(1, 1990))
    await asyncio.sleep(0)
    journal.append(record(2001, 2000), lambda: told.append(trim.done()))
    await trim
    assert told == [False]
    assert await journal.spans() == {1: Span(1990, 2001, 11)}


async def test_all_shards_share_a_commit(journal):
    for shard in range(2, 12):
        await journal.claim(shard)
    before = journal.commits
    await durable(journal, [r for shard in range(1, 12) for r in chain([1, 2, 3], shard=shard)])
    # The first may go alone; what gathered behind it is one.
    assert journal.commits - before <= 3


async def test_whoever_fails_when_told_does_not_keep_others_from_being_told(journal):
    told, met = [], []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: met.append(context))
    journal.append(record(1, 0), lambda: 1 / 0)
    journal.append(record(2, 1), lambda: told.append(2))
    await durable(journal, chain([3], previous=2))
    assert (told, journal.backlog) == ([2], 0)
    assert [(type(m["exception"]), m["message"]) for m in met] == [(ZeroDivisionError, "on_durable of shard 1, tick 1")]


async def test_a_lock_that_another_program_holds_is_a_failure_and_no_acknowledgement(journal, tmp_path):
    await durable(journal, chain([1]))
    await on_thread(journal, lambda file: file._db.execute("PRAGMA busy_timeout = 0"))
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        journal.append(record(2, 1), pytest.fail)
        with pytest.raises(StoreFailed, match="commit failed: database is locked"):
            await journal.trim(1, 1)
        assert await read(journal) == chain([1]), "what there is can still be read"
        other.execute("ROLLBACK")
    with pytest.raises(StoreFailed):
        journal.append(record(3, 2), pytest.fail)


async def test_others_may_read_while_it_is_written(journal, tmp_path):
    await durable(journal, chain([1, 2]))
    with contextlib.closing(sqlite3.connect(f"file:{tmp_path / FILE_NAME}?mode=ro", uri=True)) as other:
        assert other.execute("SELECT COUNT(*) FROM journal").fetchone() == (2,)
        await durable(journal, chain([3, 4], previous=2))
        assert other.execute("SELECT COUNT(*) FROM journal").fetchone() == (4,)


async def test_an_end_that_is_missing_is_missed_where_it_was_once_noted(tmp_path):
    medium = SqliteMedium(tmp_path)
    async with opened(medium) as journal:
        await journal.claim(1)
        await durable(journal, chain([1, 2, 3]))
        await journal.claim(1)
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as database, database:
        database.execute("DELETE FROM journal WHERE tick = 3")
    async with opened(medium) as journal:
        with pytest.raises(JournalDamaged, match="tick 3 was durable"):
            await journal.claim(1)
        assert journal.failure is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("PRAGMA user_version = 2", "has layout 2; this program reads layout 1"),
        ("PRAGMA application_id = 7", "no journal of this program"),
        ("CREATE TABLE extra (n)", "has other tables"),
        ("DROP TABLE shards", "has other tables"),
    ],
)
async def test_a_file_of_another_program_or_version_is_refused_and_left_alone(tmp_path, change, reason):
    async with opened(SqliteMedium(tmp_path)):
        pass
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as database, database:
        database.execute(change)
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(StoreDamaged, match=reason):
        await SqliteJournal.open(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before
    DirectoryLock(tmp_path).release()


async def test_more_rows_than_a_statement_takes_are_one_commit_all_the_same(tmp_path):
    file = JournalFile.open(tmp_path)
    rows = [(1, tick, b"x") for tick in range(1, ROWS_MAX + 2)]
    with pytest.raises(sqlite3.IntegrityError):
        file.insert([*rows, rows[5]])
    assert file.read(1, 0, 1000) == []
    file.insert(rows)
    assert len(file.read(1, 0, 1000)) == ROWS_MAX + 1
    file.close()


async def test_closing_twice_and_after_its_failure_frees_the_directory(tmp_path):
    medium = SqliteMedium(tmp_path)
    journal = await medium.open()
    await journal.claim(1)
    await medium.fail(journal)
    journal.append(record(1, 0), pytest.fail)
    await journal.close()
    await journal.close()
    assert isinstance(journal.failure, StoreFailed)
    async with opened(medium) as journal:
        assert await journal.claim(1) == Claim(2, 0)


async def test_a_close_that_is_cancelled_frees_the_directory_only_when_all_is_written(tmp_path):
    medium = SqliteMedium(tmp_path)
    journal = await medium.open()
    await journal.claim(1)
    go = threading.Event()
    busy = asyncio.create_task(on_thread(journal, lambda file: go.wait()))
    await asyncio.sleep(0)
    journal.append(record(1, 0), lambda: None)
    closing = asyncio.create_task(journal.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    with pytest.raises(StoreInUse):
        await medium.open()
    go.set()
    await busy
    await asyncio.to_thread(join, "journal")
    async with opened(medium) as journal:
        assert await journal.claim(1) == Claim(2, 1)


def join(name):
    for thread in threading.enumerate():
        if thread.name == name:
            thread.join()


async def test_a_torn_end_is_logged(tmp_path):
    medium = SqliteMedium(tmp_path)
    await medium.put(1, 1, record(1, 0).encode()[:-1])
    async with opened(medium) as journal:
        with capture_logs() as logs:
            assert await read(journal) == []
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("journal ends in a torn record", "warning")]
