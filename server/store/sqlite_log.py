"""Damage in SQLite's write-ahead log that SQLite itself takes for its end.

When SQLite opens a log it stops at the first frame whose checksum does not hold, as a torn write
would leave it, and forgets whatever follows. A flipped bit in the middle so takes back every commit after it, silently.
The two can be told apart: a commit is written only after the one before it has been synced. A bad frame with a
later commit behind it was whole once, and it is damage; a bad frame in the last commit may be
either, and there the log ends.

Source: "WAL-mode File Format", sqlite.org/walformat.html.
"""

from __future__ import annotations

import functools
import struct
import sys
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from server.store.errors import StoreDamaged

# magic, format, page size, sequence, two salts, two checksums
_HEAD: Final = struct.Struct(">8I")
_FRAME_HEAD_BYTES: Final = 24
# Its lowest bit says in which byte order the checksums read the data.
_MAGIC: Final = 0x377F0682
# What this program's files have: for a log whose head is damaged.
_PAGE_BYTES: Final = 4096

# How often a log that somebody may be writing in is looked at before it is called damaged.
_LOOKS: Final = 3

_Words = NDArray[np.uint32]


def check_log_of_others(path: Path) -> None:
    """As `check_log`, beside whoever may be writing in it.

    A frame that was read before it was written, or a log that began anew meanwhile, looks like damage once. The next
    look finds it whole; damage stays.
    """
    for left in reversed(range(_LOOKS)):
        try:
            check_log(path)
        except FileNotFoundError:
            # Closed just now: all of it is in the file.
            return
        except StoreDamaged:
            if not left:
                raise
        else:
            return


def check_log(path: Path) -> None:
    """Raise StoreDamaged where commits that were synced would be forgotten. Call it before SQLite opens the log."""
    data = path.read_bytes() if path.exists() else b""
    if len(data) < _HEAD.size:
        return
    magic, _, page_bytes, _, *rest = _HEAD.unpack_from(data)
    head_holds = magic & ~1 == _MAGIC and _sums(data[:24], magic & 1, (0, 0)) == tuple(rest[2:])
    if not head_holds:
        magic, page_bytes = _MAGIC | (sys.byteorder == "big"), _PAGE_BYTES
    frame_bytes = _FRAME_HEAD_BYTES + page_bytes
    count = (len(data) - _HEAD.size) // frame_bytes
    if not count:
        return
    frames = np.frombuffer(data, np.uint8, count * frame_bytes, _HEAD.size).reshape(count, frame_bytes)
    head: _Words = frames[:, :_FRAME_HEAD_BYTES].copy().view(">u4").astype(np.uint32)
    salts, stored = head[:, 2:4], head[:, 4:6]
    if head_holds:
        own = (salts == np.array(rest[:2], np.uint32)).all(axis=1)
        before = np.concatenate([np.array([rest[2:]], np.uint32), stored[:-1]])
    else:
        # The first frame's word is taken for the head's.
        own = (salts == salts[0]).all(axis=1)
        before = np.concatenate([stored[:1], stored[:-1]])
    covered = np.concatenate([frames[:, :8], frames[:, _FRAME_HEAD_BYTES:]], axis=1)
    words: _Words = covered.view(">u4" if magic & 1 else "<u4").astype(np.uint32)
    linked = (_fold(words, before) == stored).all(axis=1)

    good = linked & own
    if good.all() or not good.any():
        return
    first_bad, last_good = int(np.argmin(good)), count - 1 - int(np.argmax(good[::-1]))
    # What ends a commit of this generation. Leftovers of an older one have other salts, and link to their like; a frame
    # that links to a good one had its salts flipped.
    ends = (head[:, 1] != 0) & (own | (linked & (np.arange(count) == first_bad)))
    if ends[first_bad:last_good].any():
        what = f"frame {first_bad + 1} of {count} is damaged" if head_holds else "its head is damaged"
        raise StoreDamaged(f"{path}: {what}, and what was committed after it would be lost")


def _sums(data: bytes, big_endian: int, before: tuple[int, int]) -> tuple[int, int]:
    words: _Words = np.frombuffer(data, ">u4" if big_endian else "<u4").astype(np.uint32).reshape(1, -1)
    (one, two) = _fold(words, np.array([before], np.uint32))[0].tolist()
    return one, two


@functools.cache
def _weights(pairs: int) -> _Words:
    """Row k: what s1, then s2, before the pair k from the end adds to s1 and s2; modulo 2**32 as everything here."""
    weights = np.empty((pairs + 1, 4), np.uint32)
    a, b, c, d = 1, 0, 0, 1
    for k in range(pairs + 1):
        weights[k] = a, b, c, d
        a, b, c, d = (a + b) & 0xFFFF_FFFF, (a + 2 * b) & 0xFFFF_FFFF, (c + d) & 0xFFFF_FFFF, (c + 2 * d) & 0xFFFF_FFFF
    return weights


def _fold(words: _Words, before: _Words) -> _Words:
    """The log's checksum of each row of `words` (n, w), begun with `before` (n, 2): (n, 2), all uint32.

    For each pair x, y: s1 += x + s2; s2 += y + s1. That is linear, so each pair has its weight in the result.
    """
    pairs = words.shape[1] // 2
    weights = _weights(pairs)
    x, y = words[:, 0::2], words[:, 1::2]
    behind = weights[:pairs][::-1]
    result = np.empty_like(before)
    for at in (0, 1):
        on_one, on_two = behind[:, 2 * at], behind[:, 2 * at + 1]
        added = (x * (on_one + on_two) + y * on_two).sum(axis=1, dtype=np.uint32)
        begun = before[:, 0] * weights[pairs, 2 * at] + before[:, 1] * weights[pairs, 2 * at + 1]
        result[:, at] = added + begun
    return result
