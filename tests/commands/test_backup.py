"""Backups taken beside a server that runs, and what they come back as."""

import asyncio
import json
import threading

import pytest

import server.commands.backup as backup_module
from server.commands.backup import LIST_NAME, backup, replayed, restore
from server.host.errors import NoWayBack
from server.host.recovery import recover
from server.store.checkpoint_files import FileCheckpoints
from server.store.errors import StoreDamaged, StoreError
from server.store.sqlite import SqliteJournal
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


async def test_a_server_starts_on_what_was_restored(life, data, tmp_path, settings):
    (data / "resume.key").write_text("k" * 64)
    listed = await backup(data, tmp_path / "copy", GAME, settings)
    await live(life, 30)
    assert await restore(tmp_path / "copy", tmp_path / "new", GAME, settings, None) == listed
    assert (tmp_path / "new" / "resume.key").read_text() == "k" * 64
    journal, checkpoints = await SqliteJournal.open(tmp_path / "new"), FileCheckpoints(tmp_path / "new")
    found = await recover(pasture, journal, checkpoints, VirtualClock())
    assert found.report.tick == listed["shards"][str(SHARD)]["tick"]
    assert found.machine.digest() == life.digests[found.report.tick]
    assert found.claim.tick == found.report.tick
    await checkpoints.close()
    await journal.close()


@pytest.mark.parametrize("tick", [40, 41, 70, 90, 91, 100])
async def test_any_tick_that_the_backup_reaches_can_be_restored(life, data, tmp_path, settings, tick):
    await backup(data, tmp_path / "copy", GAME, settings)
    listed = await restore(tmp_path / "copy", tmp_path / "new", GAME, settings, tick)
    # The last tick with a record, at or before the one asked for: what lies between had no input.
    found = listed["shards"][str(SHARD)]
    assert tick - 20 < found["tick"] <= tick
    assert found["digest"] == f"{life.digests[found['tick']]:016x}"
    journal, checkpoints = await SqliteJournal.open(tmp_path / "new"), FileCheckpoints(tmp_path / "new")
    recovered = await recover(pasture, journal, checkpoints, VirtualClock())
    assert f"{recovered.machine.digest():016x}" == found["digest"]
    await checkpoints.close()
    await journal.close()


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


async def test_a_tick_that_the_backup_does_not_reach_is_refused_and_leaves_nothing(life, data, tmp_path, settings):
    await backup(data, tmp_path / "copy", GAME, settings)
    with pytest.raises(NoWayBack):
        await restore(tmp_path / "copy", tmp_path / "new", GAME, settings, 20)
    assert not (tmp_path / "new").exists()


async def test_nothing_is_written_over(life, data, tmp_path, settings):
    await backup(data, tmp_path / "copy", GAME, settings)
    with pytest.raises(StoreError, match="not empty"):
        await backup(data, tmp_path / "copy", GAME, settings)
    with pytest.raises(StoreError, match="not empty"):
        await restore(tmp_path / "copy", data, GAME, settings, None)
    with pytest.raises(StoreError, match="no backup"):
        await restore(data, tmp_path / "new", GAME, settings, None)
    with pytest.raises(StoreError, match="no journal"):
        await backup(tmp_path / "nowhere", tmp_path / "copy2", GAME, settings)


async def test_a_damaged_backup_is_not_restored(life, data, tmp_path, settings):
    await backup(data, tmp_path / "copy", GAME, settings)
    newest = max((tmp_path / "copy" / "checkpoints").iterdir(), key=lambda path: int(path.stem.partition("-")[2]))
    content = bytearray(newest.read_bytes())
    content[5] ^= 1
    newest.write_bytes(content)
    with pytest.raises(StoreDamaged, match="hash does not hold"):
        await restore(tmp_path / "copy", tmp_path / "new", GAME, settings, None)
    assert not (tmp_path / "new").exists()


async def test_a_backup_that_replays_to_something_else_is_not_restored(life, data, tmp_path, settings):
    listed = await backup(data, tmp_path / "copy", GAME, settings)
    listed["shards"][str(SHARD)]["digest"] = "0" * 16
    (tmp_path / "copy" / LIST_NAME).write_text(json.dumps(listed))
    with pytest.raises(StoreDamaged, match="was backed up as"):
        await restore(tmp_path / "copy", tmp_path / "new", GAME, settings, None)
