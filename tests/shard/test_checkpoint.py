"""Captures as chunks and back, and every damage named."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.shard.checkpoint import CHUNK_BYTES_MAX, Manifest, decode, encode
from server.shard.errors import CheckpointDamaged
from server.shard.machine import Capture
from tests.support.captures import frozen
from tests.support.orders import tick_input
from tests.support.pasture import pasture


def written(capture, digest=77):
    manifest, chunks = encode(capture, shard=4, epoch=9, previous=70, digest=digest)
    return manifest, {chunk.name: chunk.data for chunk in chunks}


def capture_of(arrays):
    return Capture("g", 1, 5, {"seed": 1}, {"numpy": "2"}, arrays)


def test_a_machine_comes_back_from_manifest_and_chunks():
    machine = pasture()
    machine.step(tick_input(machine, ("join", 3, 0, b"account", b"Ada"), ("join", 2**64 - 1, 0, b"b", "Zoë".encode())))
    manifest, chunks = written(machine.capture(), machine.digest())
    manifest = Manifest.decode(manifest.encode())
    assert (manifest.shard, manifest.tick, manifest.epoch, manifest.simulation) == (4, 1, 9, 3)
    assert manifest.stored_bytes == sum(len(data) for data in chunks.values())
    other = pasture()
    other.adopt(decode(manifest, chunks))
    assert other.digest() == machine.digest() == manifest.digest
    assert other.keyframe() == machine.keyframe()


ARRAYS = st.dictionaries(
    st.sampled_from(("@free", "@archetypes", "Body.wool", "Body.name", "Trail.x", "Flag.up")),
    st.one_of(
        st.lists(st.integers(-(2**63), 2**63 - 1)).map(lambda v: np.array(v, np.int64)),
        st.lists(st.floats(width=32)).map(lambda v: np.array(v, np.float32)),
        st.lists(st.booleans()).map(lambda v: np.array(v, np.bool_)),
        st.lists(st.binary(max_size=5)).map(lambda v: np.array(v, "S5")),
        st.integers(0, 9).map(lambda n: np.arange(n * 6, dtype=np.uint16).reshape(n, 2, 3)),
    ),
)


@given(ARRAYS)
def test_any_arrays_come_back_byte_for_byte(arrays):
    capture = capture_of(arrays)
    manifest, chunks = written(capture)
    back = decode(Manifest.decode(manifest.encode()), chunks)
    assert frozen(back.arrays) == frozen(arrays)
    assert list(back.arrays) == list(arrays)
    assert replace(back, arrays={}) == replace(capture, arrays={})


def test_a_long_column_is_cut_and_no_chunk_is_too_large():
    # Noise, which does not compress, in rows of 48 bytes that no power of two fits.
    noise = np.random.default_rng(5).integers(0, 2**32, (200_000, 12), np.uint32)
    manifest, chunks = written(capture_of({"A.x": noise, "A.y": noise[:3]}))
    assert len(chunks) == 4
    assert all(len(data) <= CHUNK_BYTES_MAX for data in chunks.values())
    back = decode(manifest, chunks)
    assert (back.arrays["A.x"] == noise).all()
    assert (back.arrays["A.y"] == noise[:3]).all()


def test_what_is_calm_is_small():
    _, chunks = written(capture_of({"A.x": np.zeros(1_000_000, np.float32)}))
    assert sum(map(len, chunks.values())) < 10_000


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_chunk_is_named(data):
    manifest, chunks = written(capture_of({"A.x": np.arange(50), "B.y": np.arange(3, dtype=np.uint8)}))
    name = data.draw(st.sampled_from(sorted(chunks)))
    whole = chunks[name]
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    flipped = bytearray(whole)
    flipped[bit // 8] ^= 1 << bit % 8
    harm = data.draw(st.sampled_from(("flipped", "torn", "longer", "missing")))
    bad = {"flipped": bytes(flipped), "torn": whole[: bit // 8], "longer": whole + b"\0", "missing": None}[harm]
    kept = {**chunks, name: bad}
    if bad is None:
        del kept[name]
    with pytest.raises(CheckpointDamaged) as refused:
        decode(manifest, kept)
    assert refused.value.chunk == name


def test_a_chunk_that_hashes_but_is_no_column_is_refused():
    manifest, _ = written(capture_of({"A.x": np.arange(50)}))
    other, others = written(capture_of({"A.x": np.arange(51)}))
    foreign = replace(manifest, chunks=(replace(other.chunks[0], shape=(50,)),))
    with pytest.raises(CheckpointDamaged, match=r"A\.x#0"):
        decode(foreign, others)


def test_any_damage_to_a_manifest_is_found():
    data = written(capture_of({"A.x": np.arange(5)}))[0].encode()
    for at in range(len(data)):
        with pytest.raises(CheckpointDamaged) as refused:
            Manifest.decode(data[:at])
        assert refused.value.chunk == "manifest"
        # The two bytes after the format are padding: nobody reads them.
        if at not in (6, 7):
            with pytest.raises(CheckpointDamaged):
                Manifest.decode(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
    with pytest.raises(CheckpointDamaged, match="format 9"):
        Manifest.decode(data[:4] + b"\x09\0" + data[6:])
