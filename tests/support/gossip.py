"""A small machine that writes letters all the time: tokens go round, and every stream keeps a chain of its contents."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, ClassVar

import msgpack
import numpy as np
from numpy.typing import NDArray

from protocol.schema import Argument, CommandSchema
from server.shard.machine import NOTHING, SYSTEM_COMMANDS, Capture, Effects, TickInput
from server.shard.mail import REFUSAL, Lane, Letter, Post, unwrap_refusal

# Tokens that the receiver takes, and such as it may refuse.
GIFT, OFFER = 16, 17
NUDGE = CommandSchema(16, "nudge", (Argument("salt", "u32"),), latest_wins=False, reliable=True)


class Gossip:
    """A Machine. What it writes depends on all that it was ever given: one input lost, and every later letter differs.

    `letters_max`: letters of one tick. It is silent in most ticks, so that letters come from ticks with and
    without input. `stop_tick`: from there on it writes nothing.
    """

    def __init__(self, shard: int, peers: tuple[int, ...], *, letters_max: int = 3, stop_tick: int = 10**9) -> None:
        self.shard, self.peers = shard, peers
        self.letters_max, self.stop_tick = letters_max, stop_tick
        self.post = Post(shard)
        self.tick = 0
        self.salt = shard
        self.seq = 0
        self.tokens = 100
        # (destination or source, lane) -> CRC of all that was sent, that was taken.
        self.sent: dict[tuple[int, int], int] = {}
        self.taken: dict[tuple[int, int], int] = {}

    simulation = 1
    restless = False
    fingerprint: ClassVar[Mapping[str, str]] = {}
    shapes: ClassVar = {c.id: c for c in (*SYSTEM_COMMANDS, NUDGE)}

    @property
    def world_tick(self) -> int:
        return self.tick

    def high_water(self, sessions: NDArray[np.uint64]) -> NDArray[np.int64]:
        return np.where(sessions == 1, self.seq, -1).astype(np.int64)

    def attending(self) -> tuple[int, ...]:
        return ()

    def find(self, _session: int, _player: bytes) -> bytes | None:
        return None

    def sending(self, _session: int, _player: bytes) -> bool:
        return False

    def step(self, inputs: TickInput) -> Effects:
        self.replay(inputs)
        return Effects(self.tick, b"", NOTHING.processed, self.post.posted)

    def replay(self, inputs: TickInput) -> None:
        self.tick += 1
        self.post.take(self.tick, inputs.mail, inputs.acks)
        for letter in inputs.mail:
            self._take(letter)
        for nudge in inputs.batches.get(NUDGE.id, ()):
            self.salt = zlib.crc32(b"%d" % nudge["salt"], self.salt)
        for record in inputs.processed:
            self.seq = int(record["seq"])
        chance = zlib.crc32(b"%d" % self.tick, self.salt)
        if self.tick < self.stop_tick and chance % 3 == 0:
            for n in range(1 + chance // 3 % self.letters_max):
                self._write(zlib.crc32(b"%d" % n, chance))
        if chance % 17 == 0:
            self._settle(chance)

    def _write(self, chance: int) -> None:
        destination = self.peers[chance % len(self.peers)]
        lane = Lane(chance // 7 % 3)
        amount = min(self.tokens, chance // 31 % 4)
        payload = msgpack.packb([amount, self.salt, bytes(chance // 101 % 200)])
        if self.post.send(destination, lane, (GIFT, OFFER)[chance // 1009 % 2], payload):
            self.tokens -= amount
            self._note(self.sent, destination, lane, payload)

    def _take(self, letter: Letter) -> None:
        self._note(self.taken, letter.source, letter.lane, letter.payload)
        chance = zlib.crc32(letter.payload, self.salt)
        if letter.kind == REFUSAL:
            back, reason = unwrap_refusal(letter)
            if chance % 4:
                self.tokens += msgpack.unpackb(back.payload)[0]
            else:
                self.post.bury(back, reason)
        elif letter.kind == OFFER and chance % 3 == 0:
            self.post.refuse(letter, "not today")
            self._note(self.sent, letter.source, letter.lane, self.post.posted[-1].payload)
        else:
            self.tokens += msgpack.unpackb(letter.payload)[0]

    def _settle(self, chance: int) -> None:
        """Do something with a dead letter."""
        for dead in self.post.dead[:1]:
            if chance % 2:
                self.post.replay(dead.number)
                if dead not in self.post.dead:
                    self._note(self.sent, dead.letter.destination, dead.letter.lane, dead.letter.payload)
            else:
                self.post.drop(dead.number)
                self.tokens += msgpack.unpackb(dead.letter.payload)[0]

    def _note(self, chains: dict[tuple[int, int], int], peer: int, lane: int, payload: bytes) -> None:
        chains[peer, int(lane)] = zlib.crc32(payload, chains.get((peer, int(lane)), 0))

    def tokens_dead(self) -> int:
        """Tokens in dead letters."""
        return sum(msgpack.unpackb(dead.letter.payload)[0] for dead in self.post.dead)

    def keyframe(self) -> bytes:
        return b""

    def capture(self, _spare: Capture | None = None) -> Capture:
        arrays: dict[str, NDArray[Any]] = {
            "own": np.array([self.salt, self.seq, self.tokens], np.uint64),
            "sent": _table(self.sent),
            "taken": _table(self.taken),
        }
        return Capture("gossip", 1, self.tick, {}, {}, {**arrays, **self.post.capture()})

    def adopt(self, capture: Capture) -> None:
        self.post.adopt(capture.arrays)
        self.tick = capture.tick
        self.salt, self.seq, self.tokens = capture.arrays["own"].tolist()
        self.sent, self.taken = ({(a, b): c for a, b, c in capture.arrays[name].tolist()} for name in ("sent", "taken"))

    def migrated(self, capture: Capture) -> Capture:
        return capture

    def digest(self) -> int:
        own = self.capture().arrays
        return self.post.digest(zlib.crc32(b"".join(own[n].tobytes() for n in ("own", "sent", "taken")), self.tick))

    def gauges(self) -> Mapping[str, float]:
        return {"entities": self.tokens}


def _table(chains: dict[tuple[int, int], int]) -> NDArray[Any]:
    return np.array([(*s, c) for s, c in sorted(chains.items())], np.uint64).reshape(-1, 3)
