"""The journal's records: one per tick that had input or sent mail, and one now and then that only carries a digest.

    magic  format  flags  shard  simulation  tick  epoch  previous  digest  length  head check | input bytes | checksum

The checksum (XXH3, 64 bits) covers everything before it. It stands last, and the head has a check of its own,
so that what an interrupted write leaves can be told from what a failing disk makes of a whole
record: the one is cut short or ends in bytes never written, the other has all its bytes and does not add up.

A record names the tick of the one before it. So ticks without input need no record: they are
those in between; and a record that is missing is missed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

import xxhash

from server.shard.errors import RecordError, RecordOfTheFuture, RecordTorn

_MAGIC: Final = b"EVJ1"
# 1: an entity that a command names is a handle of the shard. 2: it is the entity's number. The rest is the same.
FORMAT: Final = 2
_HEAD: Final = struct.Struct("<4sHHIIQQQQI")
_CHECK: Final = struct.Struct("<I")
_SUM: Final = struct.Struct("<Q")
_BEGIN: Final = _HEAD.size + _CHECK.size
# What a record takes beside its payload.
OVERHEAD_BYTES: Final = _BEGIN + _SUM.size
_HAS_DIGEST: Final = 1


@dataclass(frozen=True, slots=True)
class JournalRecord:
    """What one tick was given. Numbers of 64 bits but for `shard` and `simulation`, which have 32."""

    shard: int
    tick: int
    # Who wrote: the owner's fencing token.
    epoch: int
    # The game version whose replay of these bytes is the state.
    simulation: int
    # TickInput.encode(); empty for a tick without input, which has a record to carry a digest, or because it sent mail.
    payload: bytes
    # Tick of the shard's record before this one, 0 where there is none.
    previous: int
    # Machine.digest() before this tick, after the one before it; every so many ticks.
    digest: int | None = None
    format: int = FORMAT

    def encode(self) -> bytes:
        """The record's bytes."""
        head = _HEAD.pack(
            _MAGIC,
            self.format,
            0 if self.digest is None else _HAS_DIGEST,
            self.shard,
            self.simulation,
            self.tick,
            self.epoch,
            self.previous,
            self.digest or 0,
            len(self.payload),
        )
        whole = b"".join((head, _CHECK.pack(_check(head)), self.payload))
        return whole + _SUM.pack(xxhash.xxh3_64_intdigest(whole))

    @classmethod
    def decode(cls, data: bytes) -> JournalRecord:
        """Read what `encode` wrote.

        Raises RecordTorn where the end was not written, RecordOfTheFuture, and RecordError for other damage.
        """
        if len(data) < _BEGIN:
            raise RecordTorn(f"torn: {len(data)} bytes of a {_BEGIN}-byte head")
        magic, version, flags, shard, simulation, tick, epoch, previous, digest, length = _HEAD.unpack_from(data)
        if magic == _MAGIC and version > FORMAT:
            raise RecordOfTheFuture(f"format {version}; this program reads up to format {FORMAT}")
        if magic != _MAGIC or not version or _CHECK.unpack_from(data, _HEAD.size)[0] != _check(data[: _HEAD.size]):
            if not any(data[-_SUM.size :]):
                raise RecordTorn(f"torn: only the beginning of {len(data)} bytes was written")
            raise RecordError(f"its head does not add up; it begins with {magic!r}")
        end = _BEGIN + length
        missing = end + _SUM.size - len(data)
        if missing > 0:
            raise RecordTorn(f"torn: the last {missing} bytes of tick {tick} are missing")
        if missing < 0:
            raise RecordError(f"{-missing} bytes follow the record of tick {tick}")
        (checksum,) = _SUM.unpack_from(data, end)
        if xxhash.xxh3_64_intdigest(data[:end]) != checksum:
            if not checksum:
                raise RecordTorn(f"torn: the end of tick {tick} was never written")
            raise RecordError(f"checksum of tick {tick} does not hold")
        digested = digest if flags & _HAS_DIGEST else None
        return cls(shard, tick, epoch, simulation, data[_BEGIN:end], previous, digested, version)


def _check(head: bytes) -> int:
    return xxhash.xxh3_64_intdigest(head) & 0xFFFF_FFFF
