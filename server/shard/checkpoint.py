"""The checkpoint's format: a capture as compressed, hashed chunks, and the manifest that makes them one.

A chunk is a column, or a stretch of rows of a long one, so that none is stored in more than
`CHUNK_BYTES_MAX`. The manifest is written last and names every chunk with its hash: a
checkpoint without its manifest does not exist, and one whose chunks do not hash to it is damaged.

Everything here is a function of bytes. Compressing takes far longer than a tick may, so it is done on a
thread, of a capture that nobody else writes to.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgpack
import numpy as np
import xxhash
import zstandard
from numpy.typing import NDArray

from server.shard.errors import CheckpointDamaged
from server.shard.machine import Capture, Terms

# What a document store takes with room to spare; SQLite and files would take more.
CHUNK_BYTES_MAX: Final = 4 * 1024 * 1024
# Raw bytes of a chunk: what does not compress grows a little (by 1/256 and a header at the most).
_RAW_BYTES_MAX: Final = CHUNK_BYTES_MAX - 64 * 1024
# zstandard's own default: noise floors and positions gain little from more, and pay for it in seconds.
_LEVEL: Final = 3

FORMAT: Final = 2
_MAGIC: Final = b"EVC1"
# magic, format, xxh3 of the body
_HEAD: Final = struct.Struct("<4sHxxQ")


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a store keeps under a name."""

    name: str
    # Compressed, at most CHUNK_BYTES_MAX.
    data: bytes


@dataclass(frozen=True, slots=True)
class ChunkInfo:
    """What the manifest knows of a chunk."""

    name: str
    # The capture's array that it is a stretch of.
    column: str
    # numpy's name of the type, byte order included.
    dtype: str
    # Of this stretch; the first is its rows.
    shape: tuple[int, ...]
    raw_bytes: int
    stored_bytes: int
    # XXH3, 64 bits, of the stored bytes.
    digest: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a checkpoint is of, and what it consists of."""

    shard: int
    # Ticks made: the first to replay is the next one.
    tick: int
    # The owner that wrote it.
    epoch: int
    # Tick of the last record that the state was made of, 0 for none. The shard's next record names the same as its
    # previous one, or this state is not of its history.
    previous: int
    game: str
    # The game version whose state it is.
    simulation: int
    # What the state was made under, as in a Capture.
    terms: Terms
    # What determinism depends on where it was written, as in a Capture.
    fingerprint: Mapping[str, str]
    # Machine.digest() of the state.
    digest: int
    # Columns in the capture's order, each with its stretches in order of rows.
    chunks: tuple[ChunkInfo, ...]

    @property
    def stored_bytes(self) -> int:
        """Of all its chunks."""
        return sum(chunk.stored_bytes for chunk in self.chunks)  # exact: integers

    def encode(self) -> bytes:
        """The manifest's bytes."""
        body: bytes = msgpack.packb(
            [
                self.shard,
                self.tick,
                self.epoch,
                self.previous,
                self.game,
                self.simulation,
                dict(self.terms),
                dict(self.fingerprint),
                self.digest,
                [
                    [c.name, c.column, c.dtype, list(c.shape), c.raw_bytes, c.stored_bytes, c.digest]
                    for c in self.chunks
                ],
            ]
        )
        return _HEAD.pack(_MAGIC, FORMAT, xxhash.xxh3_64_intdigest(body)) + body

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """Read what `encode` wrote. Raises CheckpointDamaged naming the damage."""
        if len(data) < _HEAD.size:
            raise CheckpointDamaged("manifest", f"torn: {len(data)} bytes of a {_HEAD.size}-byte head")
        magic, version, digest = _HEAD.unpack_from(data)
        if magic != _MAGIC:
            raise CheckpointDamaged("manifest", f"it begins with {magic!r}")
        if version != FORMAT:
            raise CheckpointDamaged("manifest", f"format {version}; this program reads format {FORMAT}")
        body = data[_HEAD.size :]
        if xxhash.xxh3_64_intdigest(body) != digest:
            raise CheckpointDamaged("manifest", "its hash does not hold")
        # The hash held, so this is what `encode` wrote.
        shard, tick, epoch, previous, game, simulation, terms, fingerprint, state, chunks = msgpack.unpackb(body)
        infos = tuple(ChunkInfo(n, c, d, tuple(shape), *sizes) for n, c, d, shape, *sizes in chunks)
        return cls(shard, tick, epoch, previous, game, simulation, terms, fingerprint, state, infos)


def encode(capture: Capture, *, shard: int, epoch: int, previous: int, digest: int) -> tuple[Manifest, list[Chunk]]:
    """A capture as a checkpoint. `digest`: of the state it was taken of. Takes as long as compressing takes."""
    compressor = zstandard.ZstdCompressor(level=_LEVEL)
    infos: list[ChunkInfo] = []
    chunks: list[Chunk] = []
    for column, array in capture.arrays.items():
        for number, stretch in enumerate(_stretches(array)):
            # A view and no copy: compressing lets other threads run, copying does not.
            raw = np.ascontiguousarray(stretch).view(np.uint8).data
            chunk = Chunk(f"{column}#{number}", compressor.compress(raw))
            assert len(chunk.data) <= CHUNK_BYTES_MAX
            chunks.append(chunk)
            infos.append(
                ChunkInfo(
                    chunk.name,
                    column,
                    stretch.dtype.str,
                    stretch.shape,
                    stretch.nbytes,
                    len(chunk.data),
                    xxhash.xxh3_64_intdigest(chunk.data),
                )
            )
    manifest = Manifest(
        shard,
        capture.tick,
        epoch,
        previous,
        capture.game,
        capture.simulation,
        dict(capture.terms),
        dict(capture.fingerprint),
        digest,
        tuple(infos),
    )
    return manifest, chunks


def decode(manifest: Manifest, chunks: Mapping[str, bytes]) -> Capture:
    """The capture that `encode` was given. `chunks`: by name, as stored.

    Raises CheckpointDamaged naming the chunk that is missing, torn, or hashes to something else.
    """
    stretches: dict[str, list[NDArray[Any]]] = {}
    for info in manifest.chunks:
        stretches.setdefault(info.column, []).append(_open(info, chunks.get(info.name)))
    return Capture(
        game=manifest.game,
        simulation=manifest.simulation,
        tick=manifest.tick,
        terms=manifest.terms,
        fingerprint=manifest.fingerprint,
        arrays={name: parts[0] if len(parts) == 1 else np.concatenate(parts) for name, parts in stretches.items()},
    )


def _stretches(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The array cut by rows so that each piece fits a chunk; an empty one is one piece."""
    row_bytes = max(1, array[:1].nbytes)
    rows = max(1, _RAW_BYTES_MAX // row_bytes)
    assert row_bytes <= _RAW_BYTES_MAX, "one entity's value is larger than a chunk"
    for at in range(0, max(1, len(array)), rows):
        yield array[at : at + rows]


def _open(info: ChunkInfo, data: bytes | None) -> NDArray[Any]:
    if data is None:
        raise CheckpointDamaged(info.name, "missing")
    if len(data) != info.stored_bytes:
        raise CheckpointDamaged(info.name, f"{len(data)} bytes; the manifest says {info.stored_bytes}")
    if xxhash.xxh3_64_intdigest(data) != info.digest:
        raise CheckpointDamaged(info.name, "its hash does not hold")
    try:
        raw = zstandard.ZstdDecompressor().decompress(data, max_output_size=info.raw_bytes)
        return np.frombuffer(raw, info.dtype).reshape(info.shape)
    except (zstandard.ZstdError, ValueError, TypeError) as error:
        # The hash held: whoever wrote it was not this program.
        raise CheckpointDamaged(info.name, str(error)) from error
