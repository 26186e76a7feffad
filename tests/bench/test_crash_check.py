"""The independent replay reads the books, and sees a checkpoint that is not what the journal makes."""

from dataclasses import replace

import pytest

from bench.crash_check import OneCheckpoint, check
from bench.crash_game import GAME
from bench.crash_load import Load, Verdict, judge
from bench.crash_server import environment
from bench.stores import Store
from config.settings import load as load_settings
from server.app import opened
from server.roles.world import data_directory
from server.shard.checkpoint import Chunk
from server.store.checkpoint_files import FileCheckpoints


@pytest.fixture
async def kept(tmp_path):
    """What the check is told, what tellers were promised, where it lies."""
    told = {name: value for name, value in environment(Store.SQLITE).items() if name.startswith("EVERSTEP_")}
    told["EVERSTEP_STORE__CHECKPOINT_EVERY_S"] = "1000"
    settings = load_settings(overrides={"server.data_dir": tmp_path, "server.port": 0}, environment=told)
    async with opened(settings, GAME) as app, Load(2, 200.0) as load:
        load.address.set(app.ws_url)
        await load.all_joined()
        await load.receipt(60.0)
        await app.checkpoints.take()
        await load.receipt(60.0)
        await load.settled(60.0)
    told = {"data": str(tmp_path), "store": "sqlite", "uri": None, "environment": told}
    return told, load.promises(), data_directory(settings, GAME)


async def test_the_books_hold_what_was_promised(kept):
    told, promises, _ = kept
    found = await check(told)
    assert judge(promises, found["books"]) == Verdict(sum(len(numbers) for _, numbers in promises), 0, 0)
    assert found["mismatches"] == []
    assert found["digests_checked"] > 0
    assert len(found["digests"]) >= 2
    assert len(set(found["digests"].values())) == 1


async def test_a_checkpoint_that_is_not_what_the_journal_makes_is_seen(kept):
    told, _, directory = kept
    store = FileCheckpoints(directory)
    # One more is there where the last ticks had nothing to journal: it goes with the next that is taken.
    newest, before, *_ = await store.manifests(1)
    assert await OneCheckpoint(store, before).manifests(1) == [before]
    assert await OneCheckpoint(store, before).manifests(2) == []
    # The newest takes the state of the one before for its own.
    chunks = [Chunk(info.name, await store.chunk(1, before.tick, info.name)) for info in before.chunks]
    await store.write(replace(before, tick=newest.tick, digest=newest.digest ^ 1), chunks)
    await store.close()
    found = await check(told)
    assert found["mismatches"]
