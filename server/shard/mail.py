"""Mail between shards, exactly once: what a shard sent and is not acknowledged, and what it has taken, is its state.

A stream is (source, destination, lane), numbered from 1 without a gap. The sender keeps a letter until the receiver's
acknowledgement comes as input; the receiver takes the next number of a stream and no other. So whatever carries
letters may lose, repeat and reorder them, and either side may die and come back from its journal: each letter is
taken once, in its stream's order.

    tick of the source:       send     unacked = [letter]          the letter leaves once this tick is durable
    tick of the destination:  take     received = its number       the acknowledgement leaves once this tick is durable
    tick of the source:       take     unacked = []

A letter that its receiver can't use goes back as a refusal; one that nobody can use is a dead letter of its sender,
kept for an operator to send again or to drop.

The limits here decide what the state becomes, so they are no settings: with others a journal would replay to
another state.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NamedTuple

import msgpack
import numpy as np
import xxhash
from numpy.typing import NDArray

from server.shard.errors import CaptureRefused, MailError

# Kinds below FIRST_MAIL are the engine's.
# Entities that go over a border.
HANDOFF: Final = 1
# A letter that comes back, with the reason; see Post.refuse.
REFUSAL: Final = 2
# LEAVE of sessions whose entity went over a border before it was said.
FOLLOW: Final = 3
# Which ground a part of a divided region has; see server/regions/division.py.
GROUND: Final = 4
# Where entities went, told to the region of their birth; see server/regions/borders.py.
WHEREABOUTS: Final = 5
# A game's kinds of mail are numbered from here.
FIRST_MAIL: Final = 16

LETTER_BYTES_MAX: Final = 1024 * 1024
# What one stream keeps unacknowledged. Full policy: `send` says no, and the sender keeps what it has.
STREAM_LETTERS_MAX: Final = 8192
STREAM_BYTES_MAX: Final = 16 * 1024 * 1024
# Full policy: the oldest dead letters go, and are counted.
DEAD_LETTERS_MAX: Final = 1024
DEAD_BYTES_MAX: Final = 16 * 1024 * 1024
REASON_BYTES_MAX: Final = 200

# Up to `seq` the peer has durably taken what it was sent on this lane.
ACK: Final = np.dtype([("peer", "<u4"), ("lane", "u1"), ("seq", "<u8")])
NO_ACKS: Final = np.zeros(0, ACK)

# (n,) records of ACK, one per stream.
Acks = NDArray[np.void]
# (destination or source, lane).
Stream = tuple[int, int]


class Lane(IntEnum):
    """Lanes do not wait for each other; where they share, the lower goes first and the others age."""

    # What the world's shape depends on: entities that go over a border.
    URGENT = 0
    # What players feel: a hit, a word.
    NORMAL = 1
    # What can wait: tallies, rumours.
    BULK = 2


class Letter(NamedTuple):
    """One letter. Ordered by source, destination, lane and number, as its first fields are."""

    source: int
    destination: int
    lane: int
    # Its number in its stream, from 1.
    seq: int
    kind: int
    # Of the source, when it was sent.
    tick: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A letter of ours that nobody could use."""

    # By which an operator names it; never given twice.
    number: int
    # Of this shard, when it died.
    tick: int
    letter: Letter
    reason: str

    @property
    def size(self) -> int:
        """Bytes that count."""
        return len(self.letter.payload) + REASON_BYTES_MAX


class Post:
    """A shard's mail: part of its state. `take` begins its tick; then send, refuse and bury as the machine likes."""

    def __init__(self, shard: int) -> None:
        self.shard = shard
        # What the current tick sent.
        self._posted: list[Letter] = []
        self._tick = 0
        # The number last given, by (destination, lane), and taken, by (source, lane).
        self._sent: dict[Stream, int] = {}
        self._received: dict[Stream, int] = {}
        self._unacked: dict[Stream, deque[Letter]] = {}
        # Their rows in a capture, made once: thousands of letters, and a tick waits for every capture and digest.
        self._rows: dict[Stream, deque[bytes]] = {}
        self._unacked_bytes: dict[Stream, int] = {}
        self._dead: deque[DeadLetter] = deque()
        self._dead_bytes = 0
        # The number last given to a dead letter.
        self._dead_number = 0
        # Dead letters that went because there were too many.
        self.dead_dropped = 0
        # Letters that `send` said no to.
        self.unsent = 0

    # -- a tick ------------------------------------------------------------------

    def take(self, tick: int, letters: Sequence[Letter], acks: Acks) -> None:
        """Begin tick number `tick`. `letters`: in order of (source, lane, seq), each the next of its stream."""
        self._tick = tick
        self._posted = []
        for peer, lane, seq in acks.tolist():
            unacked = self._unacked.get((peer, lane))
            while unacked and unacked[0].seq <= seq:
                self._unacked_bytes[peer, lane] -= len(unacked.popleft().payload)
                self._rows[peer, lane].popleft()
        for letter in letters:
            stream = (letter.source, letter.lane)
            assert letter.destination == self.shard, f"mail for {letter.destination} came to {self.shard}"
            assert letter.seq == self._received.get(stream, 0) + 1, f"{letter[:4]} is not the next of its stream"
            self._received[stream] = letter.seq

    def send(self, destination: int, lane: Lane, kind: int, payload: bytes) -> bool:
        """Send a letter, to oneself too. False: the stream is full, and nothing is changed but a count."""
        assert len(payload) <= LETTER_BYTES_MAX, f"a letter of {len(payload)} bytes"
        stream = (destination, int(lane))
        waiting = self._unacked.get(stream, ())
        if len(waiting) >= STREAM_LETTERS_MAX or self._unacked_bytes.get(stream, 0) + len(payload) > STREAM_BYTES_MAX:
            self.unsent += 1
            return False
        self._post(stream, kind, payload)
        return True

    def send_or_bury(self, destination: int, lane: Lane, kind: int, payload: bytes) -> None:
        """Send a letter; where its stream is full it is dead, for an operator to replay."""
        if not self.send(destination, lane, kind, payload):
            seq = self._sent[destination, int(lane)] + 1
            letter = Letter(self.shard, destination, int(lane), seq, kind, self._tick, payload)
            self.bury(letter, f"the way to region {destination} is blocked")

    def refuse(self, letter: Letter, reason: str) -> None:
        """Send it back to where it came from; see `unwrap_refusal`. A refusal becomes a dead letter here instead.

        No stream is too full for it: what is refused is what the other side sent, and that is bounded.
        """
        if letter.kind == REFUSAL:
            self.bury(letter, reason)
            return
        payload = msgpack.packb([letter.seq, letter.kind, letter.tick, _cut(reason), letter.payload])
        self._post((letter.source, letter.lane), REFUSAL, payload)

    def _post(self, stream: Stream, kind: int, payload: bytes) -> None:
        seq = self._sent.get(stream, 0) + 1
        letter = Letter(self.shard, *stream, seq, kind, self._tick, payload)
        self._sent[stream] = seq
        self._keep(stream, letter)
        self._posted.append(letter)

    def _keep(self, stream: Stream, letter: Letter) -> None:
        size = len(letter.payload)
        self._unacked.setdefault(stream, deque()).append(letter)
        self._rows.setdefault(stream, deque()).append(_ROW.pack(*letter[:-1], size))
        self._unacked_bytes[stream] = self._unacked_bytes.get(stream, 0) + size

    @property
    def posted(self) -> tuple[Letter, ...]:
        """What was sent since the tick began, in that order."""
        return tuple(self._posted)

    # -- what a host asks ----------------------------------------------------------

    def unacked(self) -> list[Letter]:
        """Every letter that is not acknowledged, each stream in order."""
        return [letter for stream in sorted(self._unacked) for letter in self._unacked[stream]]

    def unacked_since(self, destination: int, lane: Lane) -> int | None:
        """The tick of the oldest letter of a stream that is not acknowledged; None where all are."""
        letters = self._unacked.get((destination, int(lane)))
        return letters[0].tick if letters else None

    def sent(self) -> dict[Stream, int]:
        """Number of the last letter sent, by (destination, lane)."""
        return dict(self._sent)

    def acknowledged(self) -> dict[Stream, int]:
        """Number of the last letter that its receiver is known to have taken, by (destination, lane)."""
        return {stream: seq - len(self._unacked.get(stream, ())) for stream, seq in self._sent.items()}

    def received(self) -> dict[Stream, int]:
        """Number of the last letter taken, by (source, lane)."""
        return dict(self._received)

    # -- dead letters --------------------------------------------------------------

    @property
    def dead(self) -> tuple[DeadLetter, ...]:
        """Oldest first."""
        return tuple(self._dead)

    def bury(self, letter: Letter, reason: str) -> None:
        """Keep a letter that nobody can use, for an operator."""
        self._dead_number += 1
        dead = DeadLetter(self._dead_number, self._tick, letter, _cut(reason))
        self._dead.append(dead)
        self._dead_bytes += dead.size
        while len(self._dead) > DEAD_LETTERS_MAX or (self._dead_bytes > DEAD_BYTES_MAX and len(self._dead) > 1):
            self._dead_bytes -= self._dead.popleft().size
            self.dead_dropped += 1

    def replay(self, number: int) -> None:
        """Send a dead letter of ours again, as a new letter of its stream; nothing where there is none of this number.

        One that came to us, or that its stream has no room for, stays.
        """
        for dead in self._dead:
            letter = dead.letter
            if dead.number == number and letter.source == self.shard and letter.kind != REFUSAL:
                if self.send(letter.destination, Lane(letter.lane), letter.kind, letter.payload):
                    self.drop(number)
                return

    def drop(self, number: int) -> None:
        """Forget a dead letter; nothing where there is none of this number."""
        kept = [dead for dead in self._dead if dead.number != number]
        self._dead = deque(kept)
        self._dead_bytes = sum(dead.size for dead in kept)  # exact: integers

    # -- state ---------------------------------------------------------------------

    def digest(self, seed: int = 0) -> int:
        """64 bits that differ with any of it, and with `seed`; `seed` itself where there was never any mail."""
        arrays = self.capture()
        if not arrays:
            return seed
        h = xxhash.xxh3_64(seed=seed)
        for array in arrays.values():
            h.update(len(array).to_bytes(8, "little"))
            h.update(array.tobytes())
        return h.intdigest()

    def capture(self) -> dict[str, NDArray[Any]]:
        """All of it as named arrays that nobody else has; none where there was never any mail."""
        if not (self._sent or self._received or self._dead_number or self.unsent):
            return {}
        unacked = self.unacked()
        dead = [(d, d.reason.encode()) for d in self._dead]
        return {
            "@mail.counts": np.array(
                [self._dead_number, self.dead_dropped, self.unsent, len(self._sent), len(self._received)], np.uint64
            ),
            "@mail.sent": _table([(*s, n) for s, n in sorted(self._sent.items())], 3),
            "@mail.received": _table([(*s, n) for s, n in sorted(self._received.items())], 3),
            "@mail.unacked": np.frombuffer(
                bytearray().join(row for stream in sorted(self._rows) for row in self._rows[stream]), "<u8"
            ).reshape(-1, 7),
            "@mail.unacked_payloads": _bytes([x.payload for x in unacked]),
            "@mail.dead": _table(
                [(*d.letter[:-1], len(d.letter.payload), d.number, d.tick, len(r)) for d, r in dead], 10
            ),
            "@mail.dead_payloads": _bytes([d.letter.payload for d, _ in dead]),
            "@mail.dead_reasons": _bytes([r for _, r in dead]),
        }

    def adopt(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Become the post that `capture` was called on; others' arrays are passed over.

        Raises CaptureRefused; nothing is then changed.
        """
        post = Post(self.shard)
        if any(name in arrays for name in _SHAPES):
            try:
                post._fill({name: _checked(arrays, name, width) for name, width in _SHAPES.items()})
            except (ValueError, MailError) as error:
                raise CaptureRefused(f"not a shard's mail: {error}") from error
        self.__dict__.update(post.__dict__)

    def _fill(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._dead_number, self.dead_dropped, self.unsent, *streams = arrays["@mail.counts"].tolist()
        self._sent = {(a, b): n for a, b, n in arrays["@mail.sent"].tolist()}
        self._received = {(a, b): n for a, b, n in arrays["@mail.received"].tolist()}
        if streams != [len(self._sent), len(self._received)]:
            raise ValueError("not as many streams as there were")
        payloads = _Reader(arrays["@mail.unacked_payloads"])
        for row in arrays["@mail.unacked"].tolist():
            letter = letter_of([*row[:6], payloads.read(row[6])])
            self._keep((letter.destination, letter.lane), letter)
        payloads.end()
        for stream, letters in self._unacked.items():
            last = self._sent.get(stream, 0)
            if [x.seq for x in letters] != list(range(last - len(letters) + 1, last + 1)):
                raise ValueError(f"the letters to {stream[0]} have a gap")
        payloads, reasons = _Reader(arrays["@mail.dead_payloads"]), _Reader(arrays["@mail.dead_reasons"])
        for row in arrays["@mail.dead"].tolist():
            size, number, tick, reason = row[6:]
            letter = letter_of([*row[:6], payloads.read(size)])
            self._dead.append(DeadLetter(number, tick, letter, reasons.read(reason).decode()))
        payloads.end()
        reasons.end()
        self._dead_bytes = sum(dead.size for dead in self._dead)  # exact: integers


def unwrap_refusal(letter: Letter) -> tuple[Letter, str]:
    """The letter that a REFUSAL brings back, as it was sent, and the reason. Raises MailError."""
    try:
        seq, kind, tick, reason, payload = msgpack.unpackb(letter.payload)
        # Of the refused letter, who refuses was the destination.
        return letter_of([letter.destination, letter.source, int(letter.lane), seq, kind, tick, payload]), str(reason)
    except (ValueError, TypeError) as error:
        raise MailError(f"not a refusal: {error}") from error


def letter_of(parts: Any) -> Letter:  # Any: as msgpack read it
    """A letter of its fields as msgpack brings them, checked. Raises MailError."""
    if (
        type(parts) is not list
        or len(parts) != len(Letter._fields)
        # `type(...) is`: True would be journalled as other bytes than 1.
        or any(type(n) is not int or n < 0 for n in parts[:-1])
        or type(parts[-1]) is not bytes
    ):
        raise MailError(f"not a letter: {str(parts)[:100]}")
    letter = Letter(*parts)
    if not (
        letter.source < 2**32
        and letter.destination < 2**32
        and letter.lane in _LANES
        and 0 < letter.seq < 2**63
        and 0 < letter.kind < 2**16
        and letter.tick < 2**63
    ):
        raise MailError(f"not a letter: {letter[:-1]}")
    return letter


_ROW: Final = struct.Struct("<7Q")
_LANES: Final = frozenset(int(lane) for lane in Lane)
# Array -> its columns; 0: one-dimensional bytes.
_SHAPES: Final = {
    "@mail.counts": 1,
    "@mail.sent": 3,
    "@mail.received": 3,
    "@mail.unacked": 7,
    "@mail.unacked_payloads": 0,
    "@mail.dead": 10,
    "@mail.dead_payloads": 0,
    "@mail.dead_reasons": 0,
}


class _Reader:
    """Bytes in a row, read back piece by piece."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._data = array.tobytes()
        self._at = 0

    def read(self, size: int) -> bytes:
        self._at += size
        if self._at > len(self._data):
            raise ValueError("a payload is cut short")
        return self._data[self._at - size : self._at]

    def end(self) -> None:
        if self._at != len(self._data):
            raise ValueError(f"{len(self._data) - self._at} bytes belong to no letter")


def _cut(reason: str) -> str:
    return reason.encode()[:REASON_BYTES_MAX].decode(errors="ignore")


def _table(rows: list[tuple[int, ...]], columns: int) -> NDArray[Any]:
    return np.array(rows, np.uint64).reshape(-1, columns)


def _bytes(parts: list[bytes]) -> NDArray[Any]:
    # A bytearray: the array may be written to, and nobody else has it.
    return np.frombuffer(bytearray().join(parts), np.uint8)


def _checked(arrays: Mapping[str, NDArray[Any]], name: str, columns: int) -> NDArray[Any]:
    array = arrays.get(name)
    if array is None:
        raise ValueError(f"{name} is missing")
    dtype = np.uint64 if columns else np.uint8
    shape = (5,) if name == "@mail.counts" else (len(array), columns) if columns else (len(array),)
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(f"{name} is {array.dtype} {array.shape}")
    return array
