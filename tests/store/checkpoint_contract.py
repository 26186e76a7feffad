"""What every checkpoint store keeps to. To plug one in: subclass `CheckpointContract` and give it a `checkpoints`.

class TestMyCheckpoints(CheckpointContract):
    @pytest.fixture
    async def checkpoints(self, tmp_path):
        # Called again, it opens what the one before left.
        async def open():
            return MyCheckpoints(tmp_path)
        return open
"""

import numpy as np

from server.shard.checkpoint import Manifest, decode, encode
from server.shard.machine import Capture

RNG = np.random.Generator(np.random.PCG64(5))
ARRAYS = {
    "Body.position": RNG.random((3000, 2), np.float32),
    "Body.kind": np.arange(3000, dtype=np.uint8),
    "Herd.nobody": np.zeros((0, 4), np.int64),
    "Ümlaut/..\\name": np.arange(7, dtype=">u4"),
}


def checkpoint(tick, *, shard=1, epoch=1, arrays=ARRAYS):
    capture = Capture("meadow", 3, tick, {"seed": 1}, {"numpy": "2"}, arrays)
    return encode(capture, shard=shard, epoch=epoch, previous=tick - 1, digest=tick * 7)


async def capture_of(store, manifest):
    """The capture, as recovery gets it. Raises CheckpointDamaged."""
    chunks = {c.name: await store.chunk(manifest.shard, manifest.tick, c.name) for c in manifest.chunks}
    return decode(manifest, {name: data for name, data in chunks.items() if data is not None})


def ticks(manifests):
    return [m.tick for m in manifests]


class CheckpointContract:
    """Tests of one store. A subclass gives the fixture `checkpoints`: an async function that opens the store."""

    async def test_what_was_written_is_there_after_a_restart(self, checkpoints):
        store = await checkpoints()
        manifest, chunks = checkpoint(40)
        await store.write(manifest, chunks)
        for restart in (False, True):
            opened = await checkpoints() if restart else store
            (found,) = await opened.manifests(1)
            assert found == manifest
            assert isinstance(found, Manifest)
            capture = await capture_of(opened, found)
            assert list(capture.arrays) == list(ARRAYS)
            for name, array in ARRAYS.items():
                assert capture.arrays[name].dtype == array.dtype
                np.testing.assert_array_equal(capture.arrays[name], array)

    async def test_newest_first_and_shards_apart(self, checkpoints):
        store = await checkpoints()
        for tick in (9, 10, 2, 1000):
            await store.write(*checkpoint(tick))
        await store.write(*checkpoint(11, shard=11))
        assert ticks(await store.manifests(1)) == [1000, 10, 9, 2]
        assert ticks(await store.manifests(11)) == [11]
        assert await store.manifests(2) == []
        assert await store.shards() == [1, 11]

    async def test_one_of_the_same_tick_is_replaced(self, checkpoints):
        store = await checkpoints()
        await store.write(*checkpoint(5))
        await store.manifests(1)
        other = {"Body.kind": np.full(9, 4, np.uint8)}
        manifest, chunks = checkpoint(5, epoch=2, arrays=other)
        await store.write(manifest, chunks)
        assert await store.manifests(1) == [manifest]
        capture = await capture_of(store, manifest)
        np.testing.assert_array_equal(capture.arrays["Body.kind"], other["Body.kind"])

    async def test_what_is_deleted_is_gone_and_the_rest_stays(self, checkpoints):
        store = await checkpoints()
        for tick in (1, 2, 3):
            await store.write(*checkpoint(tick))
        await store.delete(1, 2)
        await store.delete(1, 2)
        await store.delete(1, 77)
        assert ticks(await store.manifests(1)) == [3, 1]
        assert await store.chunk(1, 2, "Body.kind#0") is None
        assert (await capture_of(store, (await store.manifests(1))[1])).tick == 1

    async def test_what_is_not_there_is_none(self, checkpoints):
        store = await checkpoints()
        await store.write(*checkpoint(1))
        assert await store.chunk(1, 1, "No.such#0") is None
        assert await store.chunk(1, 9, "Body.kind#0") is None
        assert await store.chunk(9, 1, "Body.kind#0") is None
