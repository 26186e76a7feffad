"""Checkpoints in MongoDB, against a real server: the contract, and what a stale owner and a bad network do to them."""

import asyncio

import numpy as np
import pytest

from bench.mongo_proxy import Fault
from server.shard.checkpoint import CHUNK_BYTES_MAX, Chunk
from server.store.errors import Fenced, StoreClosed, StoreFailed
from server.store.mongo_checkpoints import _batches
from tests.store.checkpoint_contract import CheckpointContract, capture_of, checkpoint, ticks

MIB = 1024 * 1024


class TestMongoCheckpoints(CheckpointContract):
    @pytest.fixture
    async def checkpoints(self, mongo):
        async def opened():
            return mongo.checkpoints_through(mongo.uri)

        return opened


@pytest.fixture
def store(mongo):
    return mongo.checkpoints_through(mongo.uri)


async def test_what_was_interrupted_does_not_exist_and_goes_with_the_next_that_is_deleted(mongo, store):
    await store.write(*checkpoint(10))
    await store.write(*checkpoint(20))
    await store.write(*checkpoint(30))
    # As an owner leaves it that ends between its last chunk and its manifest.
    await mongo.checkpoints.delete_one({"tick": 20, "chunk": ""})
    assert ticks(await store.manifests(1)) == [30, 10]
    assert await store.chunk(1, 20, "Body.kind#0") is None
    await store.delete(1, 30)
    assert await mongo.checkpoints.distinct("tick") == [10]
    assert (await capture_of(store, (await store.manifests(1))[0])).tick == 10


async def test_a_damaged_manifest_is_left_out(mongo, store):
    await store.write(*checkpoint(1))
    await store.write(*checkpoint(2))
    await mongo.checkpoints.update_one({"tick": 2, "chunk": ""}, {"$set": {"data": b"EVC1 nonsense"}})
    assert ticks(await store.manifests(1)) == [1]


async def test_a_stale_owner_neither_replaces_a_checkpoint_nor_spoils_its_chunks(store):
    manifest, chunks = checkpoint(5, epoch=2)
    await store.write(manifest, chunks)
    stale, other = checkpoint(5, epoch=1, arrays={"Body.kind": np.arange(7, dtype=np.uint8)})
    with pytest.raises(Fenced, match="epoch 2 has a checkpoint of tick 5"):
        await store.write(stale, other)
    assert await store.manifests(1) == [manifest]
    assert (await capture_of(store, manifest)).tick == 5


@pytest.mark.parametrize("fault", Fault)
async def test_a_fault_under_a_write_is_got_over(mongo, proxy, fault):
    store = mongo.checkpoints_through(proxy.uri)
    proxy.fail("update", fault, fault)
    manifest, chunks = checkpoint(7)
    await store.write(manifest, chunks)
    await proxy.deliver()
    assert proxy.met == [fault, fault]
    assert await store.manifests(1) == [manifest]
    assert (await capture_of(store, manifest)).tick == 7
    assert await mongo.checkpoints.count_documents({}) == len(chunks) + 1


async def test_chunks_go_together_so_that_a_world_that_lives_for_seconds_has_a_checkpoint(mongo, proxy):
    # A question that is asked again is no answer to how many there are.
    mongo.answer_timeout_s = 60.0
    store = mongo.checkpoints_through(proxy.uri)
    manifest, _ = checkpoint(1)
    await store.write(manifest, [Chunk(f"column {i}#0", bytes(1000)) for i in range(50)])
    # Each waits for a sync: one for the chunks, one for the manifest.
    assert proxy.seen.count("update") == 2
    assert await mongo.checkpoints.count_documents({}) == 51


@pytest.mark.parametrize(
    ("sizes", "batches"),
    [([], []), ([1, 1, 1], [[1, 1, 1]]), ([3 * MIB, 2 * MIB, 2 * MIB, 1], [[3 * MIB], [2 * MIB, 2 * MIB], [1]])],
)
def test_no_question_holds_more_than_four_mebibytes(sizes, batches):
    chunks = [Chunk(str(i), bytes(size)) for i, size in enumerate(sizes)]
    found = list(_batches(chunks))
    assert [chunk for batch in found for chunk in batch] == chunks
    assert [[len(chunk.data) for chunk in batch] for batch in found] == batches


async def test_a_server_that_says_no_is_a_failure_and_one_that_is_away_is_waited_for_until_closed(mongo, proxy):
    store = mongo.checkpoints_through(proxy.uri)
    await mongo.fail_point("update", {"errorCode": 13})
    with pytest.raises(StoreFailed):
        await store.write(*checkpoint(1))
    await proxy.cut()
    writing = asyncio.create_task(store.write(*checkpoint(1)))
    await store.close()
    with pytest.raises(StoreClosed):
        await writing


async def test_the_largest_chunk_fits_a_document(store):
    manifest, _ = checkpoint(1)
    await store.write(manifest, [Chunk("large", bytes(CHUNK_BYTES_MAX))])
    assert await store.chunk(1, 1, "large") == bytes(CHUNK_BYTES_MAX)
