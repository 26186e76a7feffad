"""Checkpoints as files: the contract; what crashes and failing disks leave; nothing half there."""

import resource
import signal
import struct

import numpy as np
import pytest
from structlog.testing import capture_logs

from server.shard.errors import CheckpointDamaged
from server.store.checkpoint_files import DIRECTORY_NAME, FileCheckpoints
from server.store.errors import StoreClosed, StoreFailed
from tests.store.checkpoint_contract import ARRAYS, CheckpointContract, capture_of, checkpoint, ticks


class TestFileCheckpoints(CheckpointContract):
    @pytest.fixture
    async def checkpoints(self, tmp_path):
        opened = []

        async def reopen():
            for store in opened:
                await store.close()
            opened.append(FileCheckpoints(tmp_path))
            return opened[-1]

        yield reopen
        await opened[-1].close()


@pytest.fixture
async def store(tmp_path):
    store = FileCheckpoints(tmp_path)
    yield store
    await store.close()


def path_of(tmp_path, tick):
    return tmp_path / DIRECTORY_NAME / f"1-{tick}.checkpoint"


async def test_one_cut_anywhere_does_not_exist_and_the_one_before_does(tmp_path, store):
    for tick in (1, 2):
        await store.write(*checkpoint(tick, arrays={"Body.kind": ARRAYS["Body.kind"][:50]}))
    data = path_of(tmp_path, 2).read_bytes()
    for size in range(len(data)):
        path_of(tmp_path, 2).write_bytes(data[:size])
        with capture_logs() as logs:
            assert ticks(await store.manifests(1)) == [1]
        assert [(entry["event"], entry["tick"]) for entry in logs] == [("checkpoint left out", 2)]


async def test_a_flipped_bit_anywhere_is_found(tmp_path, store):
    """Left out, or refused by name when it is decoded, or where nobody looks: never another state."""
    small = {"Body.kind": ARRAYS["Body.kind"][:40], "Body.place": np.arange(6.0).reshape(3, 2)}
    await store.write(*checkpoint(1, arrays=small))
    data = path_of(tmp_path, 1).read_bytes()
    refused = 0
    for at in range(len(data) * 8):
        damaged = bytearray(data)
        damaged[at // 8] ^= 1 << at % 8
        path_of(tmp_path, 1).write_bytes(damaged)
        with capture_logs():
            found = await store.manifests(1)
        try:
            for manifest in found:
                capture = await capture_of(store, manifest)
                assert manifest == checkpoint(1, arrays=small)[0]
                assert all((capture.arrays[name] == array).all() for name, array in small.items())
        except CheckpointDamaged:
            refused += 1
        else:
            refused += not found
    # All but the padding of the manifest's head.
    assert refused >= len(data) * 8 - 16


async def test_damaged_ones_go_with_the_next_that_is_deleted(tmp_path, store):
    for tick in (1, 2, 3, 4):
        await store.write(*checkpoint(tick))
    for tick in (1, 4):
        path_of(tmp_path, tick).write_bytes(path_of(tmp_path, tick).read_bytes()[:-1])
    with capture_logs() as logs:
        await store.delete(1, 3)
    assert [(entry["event"], entry["path"]) for entry in logs] == [
        ("damaged checkpoint removed", str(path_of(tmp_path, 1)))
    ]
    assert sorted(path.name for path in (tmp_path / DIRECTORY_NAME).iterdir()) == ["1-2.checkpoint", "1-4.checkpoint"]


async def test_one_under_anothers_name_is_left_out(tmp_path, store):
    await store.write(*checkpoint(1))
    path_of(tmp_path, 1).rename(path_of(tmp_path, 8))
    with capture_logs() as logs:
        assert await store.manifests(1) == []
    assert "shard 1, tick 1" in logs[0]["reason"]


async def test_a_lying_trailer_is_left_out(tmp_path, store):
    path_of(tmp_path, 1).write_bytes(bytes(60) + struct.pack("<I4s", 2**32 - 1, b"EVCF"))
    with capture_logs():
        assert await store.manifests(1) == []
        assert await store.chunk(1, 1, "Body.kind#0") is None


async def test_what_an_interrupted_write_left_is_no_checkpoint_and_is_removed_by_the_next(tmp_path, store):
    left = path_of(tmp_path, 1).with_suffix(".unfinished")
    left.write_bytes(b"half of it")
    assert await store.manifests(1) == []
    await store.write(*checkpoint(2))
    assert not left.exists()


async def test_a_full_disk_leaves_what_was_there_and_no_rubbish(tmp_path, store):
    """The system's own limit on the size of a file: a write beyond it fails as on a full disk."""
    await store.write(*checkpoint(1))
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(StoreFailed, match="the checkpoints' write failed"):
            await store.write(*checkpoint(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert [path.name for path in (tmp_path / DIRECTORY_NAME).iterdir()] == ["1-1.checkpoint"]
    await store.write(*checkpoint(2))
    assert ticks(await store.manifests(1)) == [2, 1]


async def test_a_closed_store_takes_nothing(tmp_path):
    store = FileCheckpoints(tmp_path)
    await store.write(*checkpoint(1))
    await store.close()
    await store.close()
    with pytest.raises(StoreClosed):
        await store.write(*checkpoint(2))
