"""The in-memory checkpoint store keeps the contract of every other."""

import pytest

from server.shard.errors import CheckpointDamaged
from server.store.errors import StoreFailed
from server.store.memory_checkpoints import MemoryCheckpoints
from tests.store.checkpoint_contract import CheckpointContract, capture_of, checkpoint, ticks


class TestMemoryCheckpoints(CheckpointContract):
    @pytest.fixture
    async def checkpoints(self):
        # The medium is the object: who opens it again finds it as it is.
        store = MemoryCheckpoints()

        async def reopen():
            return store

        return reopen


async def test_a_damaged_manifest_is_left_out_and_a_damaged_chunk_is_found():
    store = MemoryCheckpoints()
    for tick in (5, 9):
        await store.write(*checkpoint(tick))
    store.damage(1, 9, "manifest")
    (kept,) = await store.manifests(1)
    assert kept.tick == 5
    store.damage(1, 5, "Body.kind#0")
    with pytest.raises(CheckpointDamaged, match=r"Body\.kind#0: its hash"):
        await capture_of(store, kept)


async def test_a_medium_that_fails_keeps_what_it_had():
    store = MemoryCheckpoints()
    await store.write(*checkpoint(5))
    store.fail("full")
    with pytest.raises(StoreFailed, match="full"):
        await store.write(*checkpoint(9))
    assert ticks(await store.manifests(1)) == [5]
