"""The journal's records: one per tick that had input.

    magic  version  shard  tick  epoch  simulation  length  crc32 | input bytes

The checksum covers everything before and after it. Ticks without input have no record: the
next record's tick tells how many there were.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from server.shard.errors import RecordError

_HEAD: Final = struct.Struct("<4sHxxIQQIII")
_MAGIC: Final = b"EVJ1"
FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class JournalRecord:
    """What one tick was given."""

    shard: int
    tick: int
    # Who wrote: the owner's fencing token.
    epoch: int
    # The game version whose replay of these bytes is the state.
    simulation: int
    # TickInput.encode().
    payload: bytes

    def encode(self) -> bytes:
        """The record's bytes."""
        head = _HEAD.pack(_MAGIC, FORMAT, self.shard, self.tick, self.epoch, self.simulation, len(self.payload), 0)
        crc = zlib.crc32(self.payload, zlib.crc32(head))
        return head[:-4] + struct.pack("<I", crc) + self.payload

    @classmethod
    def decode(cls, data: bytes) -> JournalRecord:
        """Read what `encode` wrote. Raises RecordError naming the damage."""
        if len(data) < _HEAD.size:
            raise RecordError(f"torn: {len(data)} bytes of a {_HEAD.size}-byte head")
        magic, version, shard, tick, epoch, simulation, length, crc = _HEAD.unpack_from(data)
        if magic != _MAGIC:
            raise RecordError(f"no journal record: it begins with {magic!r}")
        if version != FORMAT:
            raise RecordError(f"format {version}; this program reads format {FORMAT}")
        payload = data[_HEAD.size :]
        if len(payload) != length:
            raise RecordError(f"torn: {len(payload)} bytes of a {length}-byte payload")
        if zlib.crc32(payload, zlib.crc32(data[: _HEAD.size - 4] + bytes(4))) != crc:
            raise RecordError(f"checksum of tick {tick} does not hold")
        return cls(shard, tick, epoch, simulation, payload)
