"""What a frame travels in: the epoch of the owner that sent it.

Who lost a shard may go on for a moment, and its frames look like any. The machine knows nothing of owners, so its host
says it outside the frame.
"""

from __future__ import annotations

import struct
from typing import Final

from server.shard.errors import BatchError

_EPOCH: Final = struct.Struct("<Q")


def seal(epoch: int, frame: bytes) -> bytes:
    """Bytes for the bus. `epoch`: the sender's claim, 0 before it has any: no tick is then made yet."""
    return _EPOCH.pack(epoch) + frame


def unseal(data: bytes) -> tuple[int, memoryview]:
    """(epoch, frame). Raises BatchError."""
    if len(data) < _EPOCH.size:
        raise BatchError(f"not a frame in its envelope: {len(data)} bytes")
    return _EPOCH.unpack_from(data)[0], memoryview(data)[_EPOCH.size :]
