"""A journal is read beside its writer, who does not notice."""

import shutil

import pytest

from server.shard.errors import JournalDamaged
from server.shard.journal import JournalRecord
from server.store.errors import StoreDamaged, StoreError
from server.store.sqlite import SqliteJournal
from server.store.sqlite_file import FILE_NAME
from server.store.sqlite_reader import SqliteReader


def record(tick, previous, epoch=1):
    return JournalRecord(1, tick, epoch, 3, b"input %d" % tick, previous)


@pytest.fixture
async def journal(tmp_path):
    journal = await SqliteJournal.open(tmp_path)
    claim = await journal.claim(1)
    for tick in range(1, 601):
        journal.append(record(tick, tick - 1, claim.epoch), lambda: None)
    await journal.spans()
    yield journal
    await journal.close()


async def test_it_reads_what_is_durable_while_more_is_written(journal, tmp_path):
    reader = SqliteReader(tmp_path)
    assert [r.tick async for r in reader.read(1, 17)] == list(range(18, 601))
    assert await reader.spans() == await journal.spans()
    journal.append(record(601, 600), lambda: None)
    await journal.spans()
    assert [r.tick async for r in reader.read(1, 599)] == [600, 601]
    await journal.trim(1, 100)
    assert [r.tick async for r in reader.read(1, 100)][0] == 101  # noqa: RUF015  # the whole is read
    with pytest.raises(JournalDamaged, match="a gap"):
        [r async for r in reader.read(1, 50)]
    reader.close()


async def test_it_can_read_what_nobody_writes_any_more(journal, tmp_path):
    await journal.close()
    reader = SqliteReader(tmp_path)
    assert len([r async for r in reader.read(1, 0)]) == 600
    reader.close()
    with pytest.raises(StoreError, match="no journal"):
        SqliteReader(tmp_path / "elsewhere")


async def test_it_cannot_write(journal, tmp_path):
    reader = SqliteReader(tmp_path)
    with pytest.raises(Exception, match="readonly"):
        reader.database.execute("DELETE FROM journal")
    reader.close()


async def test_what_is_no_database_is_refused(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"no database" * 1000)
    reader = SqliteReader(tmp_path)
    with pytest.raises(StoreDamaged, match="not a database"):
        await reader.spans()
    with pytest.raises(JournalDamaged):
        [r async for r in reader.read(1, 0)]
    reader.close()


@pytest.mark.parametrize("with_index", [True, False])
async def test_it_reads_what_a_crash_left(journal, tmp_path, with_index):
    """The log is not copied into the file yet; its index, which is memory that is shared, may be gone with a reboot."""
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for suffix in ("", "-wal", "-shm") if with_index else ("", "-wal"):
        shutil.copy(tmp_path / f"{FILE_NAME}{suffix}", crashed)
    log = (crashed / f"{FILE_NAME}-wal").read_bytes()
    assert len(log) > 10_000
    reader = SqliteReader(crashed)
    assert [r.tick async for r in reader.read(1, 0)] == list(range(1, 601))
    reader.close()
    assert (crashed / f"{FILE_NAME}-wal").read_bytes() == log, "it is the next server's to copy"
    # And again, and then the next server.
    reader = SqliteReader(crashed)
    assert (await reader.spans())[1].last_tick == 600
    reader.close()
    after = await SqliteJournal.open(crashed)
    assert (await after.claim(1)).tick == 600
    await after.close()
