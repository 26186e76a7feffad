"""Backups taken beside a server that runs, and what they come back as."""

import asyncio
import contextlib
import json
import shutil
import sqlite3
import threading

import pytest

import server.commands.backup as backup_module
from config.settings import Settings
from server.commands.backup import LIST_NAME, backup, replayed, restore
from server.commands.kept import opened
from server.host.errors import NoWayBack
from server.host.recovery import recover
from server.shard.errors import JournalDamaged
from server.store.checkpoint_files import FileCheckpoints
from server.store.errors import LayoutWrong, StoreDamaged, StoreError, StoreFailed
from server.store.mongo_layout import init
from server.store.sqlite import SqliteJournal
from tests.commands.conftest import committed
from tests.support.clock import VirtualClock
from tests.support.life import SHARD, live
from tests.support.pasture import GAME, pasture


async def test_a_backup_is_what_was_when_it_was_taken(life, data, tmp_path, settings):
    listed = await backup(data, tmp_path / "copy", GAME, settings)
    shard = listed["shards"][str(SHARD)]
    assert shard["digest"] == f"{life.digests[shard['tick']]:016x}"
    assert 110 < shard["tick"] <= 120
    assert json.loads((tmp_path / "copy" / LIST_NAME).read_text()) == listed
    # The server goes on, and the copy stays.
    await live(life, 50)
    assert await replayed(tmp_path / "copy", GAME, settings) == listed["shards"]


async def test_a_server_starts_on_what_was_restored(life, data, tmp_path, settings, target):
    data.mkdir(parents=True, exist_ok=True)
    (data / "resume.key").write_text("k" * 64)
    listed = await backup(data, tmp_path / "copy", GAME, settings)
    await live(life, 30)
    assert await restore(tmp_path / "copy", target.directory, GAME, target.settings, None) == listed
    assert (target.directory / "resume.key").read_text() == "k" * 64
    async with target.opened() as (journal, checkpoints):
        found = await recover(pasture, journal, checkpoints, VirtualClock())
        assert found.report.tick == listed["shards"][str(SHARD)]["tick"]
        assert found.machine.digest() == life.digests[found.report.tick]
        assert found.claim.tick == found.report.tick
        assert found.claim.epoch > life.recovered.claim.epoch
        assert [m.tick for m in await checkpoints.manifests(SHARD)] == [90, 40]


@pytest.mark.parametrize("tick", [40, 41, 70, 77, 90, 91, 100, 111])
async def test_any_tick_that_the_backup_reaches_can_be_restored(life, data, tmp_path, settings, target, tick):
    await backup(data, tmp_path / "copy", GAME, settings)
    listed = await restore(tmp_path / "copy", target.directory, GAME, target.settings, tick)
    found = listed["shards"][str(SHARD)]
    assert found["tick"] == tick
    assert found["digest"] == f"{life.digests[found['tick']]:016x}"
    async with target.opened() as (journal, checkpoints):
        recovered = await recover(pasture, journal, checkpoints, VirtualClock())
        assert f"{recovered.machine.digest():016x}" == found["digest"]


async def test_a_backup_of_a_busy_world_is_whole(life, data, tmp_path, settings, monkeypatch):
    """It ticks, takes checkpoints and trims while it is copied: between any two files, and between any two pages."""
    monkeypatch.setattr(backup_module, "_PAGES", 1)
    done = threading.Event()

    def back_up():
        try:
            return asyncio.run(backup(data, tmp_path / "copy", GAME, settings))
        finally:
            done.set()

    task = asyncio.create_task(asyncio.to_thread(back_up))
    while not done.is_set():
        await live(life, 5)
        assert await life.checkpoints.take()
    (shard,) = (await task)["shards"].values()
    assert shard["digest"] == f"{life.digests[shard['tick']]:016x}"


async def test_a_tick_that_the_backup_does_not_reach_is_refused_and_leaves_nothing(
    life, data, tmp_path, settings, target
):
    await backup(data, tmp_path / "copy", GAME, settings)
    with pytest.raises(NoWayBack):
        await restore(tmp_path / "copy", target.directory, GAME, target.settings, 20)
    assert await target.empty()


async def test_a_tick_past_the_end_is_refused_and_leaves_nothing(life, data, tmp_path, settings, target):
    listed = await backup(data, tmp_path / "copy", GAME, settings)
    last = listed["shards"][str(SHARD)]["tick"]
    with pytest.raises(NoWayBack, match=f"has tick {last} as its last, and 999 is asked for"):
        await restore(tmp_path / "copy", target.directory, GAME, target.settings, 999)
    assert await target.empty()


async def test_nothing_is_written_over(life, data, tmp_path, settings, target):
    await backup(data, tmp_path / "copy", GAME, settings)
    with pytest.raises(StoreError, match="not empty"):
        await backup(data, tmp_path / "copy", GAME, settings)
    with pytest.raises(StoreError, match=f"not empty|has shard {SHARD} already"):
        await restore(tmp_path / "copy", data, GAME, settings, None)
    with pytest.raises(StoreError, match="no backup"):
        await restore(tmp_path / "elsewhere", target.directory, GAME, target.settings, None)
    await live(life, 20)
    await committed(life)
    assert life.journal.failure is None


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_a_directory_without_a_journal_is_no_world(tmp_path, settings):
    with pytest.raises(StoreError, match="no journal"):
        await backup(tmp_path / "nowhere", tmp_path / "copy", GAME, settings)


@pytest.mark.parametrize("kind", ["mongodb"])
async def test_a_restore_that_ends_half_way_leaves_nothing_that_starts(life, data, tmp_path, settings, target):
    listed = await backup(data, tmp_path / "copy", GAME, settings)
    # Not authorised to write a checkpoint: the journal is there by then.
    await target.mongo.fail_point("update", {"errorCode": 13})
    with pytest.raises(StoreFailed):
        await restore(tmp_path / "copy", target.directory, GAME, target.settings, None)
    assert not await target.empty()
    with pytest.raises(LayoutWrong, match="a restore left that did not come to its end"):
        async with opened(target.directory, GAME, target.settings):
            pass
    with pytest.raises(LayoutWrong, match="drop it"):
        await restore(tmp_path / "copy", target.directory, GAME, target.settings, None)
    await target.mongo.client.drop_database(target.mongo.name)
    await init(target.mongo.client, target.mongo.name)
    assert await restore(tmp_path / "copy", target.directory, GAME, target.settings, None) == listed
    async with opened(target.directory, GAME, target.settings) as kept:
        assert await kept.shards() == [SHARD]


async def test_a_damaged_backup_is_not_restored(life, data, tmp_path, settings, target):
    await backup(data, tmp_path / "copy", GAME, settings)
    newest = max((tmp_path / "copy" / "checkpoints").iterdir(), key=lambda path: int(path.stem.partition("-")[2]))
    content = bytearray(newest.read_bytes())
    content[5] ^= 1
    newest.write_bytes(content)
    with pytest.raises(StoreDamaged, match="hash does not hold"):
        await restore(tmp_path / "copy", target.directory, GAME, target.settings, None)
    assert await target.empty()


async def test_a_backup_that_replays_to_something_else_is_not_restored(life, data, tmp_path, settings, target):
    listed = await backup(data, tmp_path / "copy", GAME, settings)
    listed["shards"][str(SHARD)]["digest"] = "0" * 16
    (tmp_path / "copy" / LIST_NAME).write_text(json.dumps(listed))
    with pytest.raises(StoreDamaged, match="was backed up as"):
        await restore(tmp_path / "copy", target.directory, GAME, target.settings, None)
    assert await target.empty()


@pytest.mark.parametrize("kind", ["mongodb"])
async def test_a_world_moves_from_a_directory_into_a_database_and_back(life, data, tmp_path, settings, target):
    """A backup is the same whatever it was taken of."""
    first = await backup(data, tmp_path / "first", GAME, settings)
    alone = Settings()
    await restore(tmp_path / "first", tmp_path / "directory", GAME, alone, None)
    second = await backup(tmp_path / "directory", tmp_path / "second", GAME, alone)
    assert await restore(tmp_path / "second", target.directory, GAME, target.settings, None) == first == second


@pytest.mark.parametrize("kind", ["mongodb"])
async def test_a_journal_trimmed_to_nothing_is_copied_with_what_it_knows(life, data, tmp_path, settings, target):
    for _ in range(2):
        await live(life, 20)
        assert await life.checkpoints.take()
    await life.journal.trim(SHARD, life.machine.tick)
    # Nothing but the seal, and its last slot.
    listed = await backup(data, tmp_path / "copy", GAME, settings)
    assert await restore(tmp_path / "copy", target.directory, GAME, target.settings, None) == listed
    async with target.opened() as (journal, checkpoints):
        found = await recover(pasture, journal, checkpoints, VirtualClock())
        assert found.machine.digest() == life.digests[found.report.tick]


def killed(data, to):
    """A data directory as a power cut leaves it: what is shared between processes is gone."""
    shutil.copytree(data, to)
    (to / "everstep.db-shm").unlink()
    return to


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_a_damaged_log_is_neither_backed_up_nor_replayed(life, data, tmp_path, settings):
    await live(life, 60)
    await committed(life)
    dead = killed(data, tmp_path / "dead")
    log = dead / "everstep.db-wal"
    content = bytearray(log.read_bytes())
    # The seventh frame from the end: every record is a commit of its own, or one of a few.
    content[len(content) - 7 * (24 + 4096) + 100] ^= 1
    log.write_bytes(content)
    with pytest.raises(StoreDamaged, match="is damaged, and what was committed after it would be lost"):
        await SqliteJournal.open(dead)
    with pytest.raises(StoreDamaged, match="is damaged, and what was committed after it would be lost"):
        await replayed(dead, GAME, settings)
    with pytest.raises(StoreDamaged, match="is damaged, and what was committed after it would be lost"):
        await backup(dead, tmp_path / "copy", GAME, settings)


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_a_journal_without_what_its_checkpoints_were_made_of_is_not_backed_up(life, data, tmp_path, settings):
    dead = killed(data, tmp_path / "dead")
    (dead / "everstep.db-wal").unlink()
    with pytest.raises(JournalDamaged, match="it is not here"):
        await backup(dead, tmp_path / "copy", GAME, settings)
    # Nor does a server start on it.
    journal = await SqliteJournal.open(dead)
    with pytest.raises(JournalDamaged, match="it is not here"):
        await recover(pasture, journal, FileCheckpoints(dead), VirtualClock())
    await journal.close()


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_a_journal_that_lost_its_end_is_not_backed_up(life, data, tmp_path, settings):
    dead = killed(data, tmp_path / "dead")
    with contextlib.closing(sqlite3.connect(dead / "everstep.db")) as database, database:
        (last,) = database.execute("SELECT MAX(tick) FROM journal").fetchone()
        database.execute("UPDATE shards SET tick = ?", (last,))
        database.execute("DELETE FROM journal WHERE tick > ?", (last - 3,))
    with pytest.raises(NoWayBack, match=f"and knows of {last}"):
        await backup(dead, tmp_path / "copy", GAME, settings)


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_a_trimmed_journal_without_checkpoints_is_refused(life, data, tmp_path, settings):
    await life.journal.trim(SHARD, 60)
    for path in (data / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(NoWayBack, match=f"the journal of shard {SHARD} .after tick .*: they are missing"):
        await backup(data, tmp_path / "copy", GAME, settings)
