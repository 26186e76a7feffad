"""A machine that does nothing but write letters and take them: what is left is the mail's own cost."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from protocol.schema import CommandSchema
from server.shard.machine import NOTHING, SYSTEM_COMMANDS, Capture, Effects, TickInput
from server.shard.mail import FIRST_MAIL, Lane, Post


class Scribe:
    """A Machine that sends `letters` of `size` bytes in each tick to `peer`, the last in tick `last_tick`.

    It sums up what it takes. `latency_ticks`: of the letters that `step` took, in order; no part of the state.
    """

    def __init__(self, shard: int, peer: int, letters: int, size: int, last_tick: int) -> None:
        self._shard, self._peer, self._letters, self._size = shard, peer, letters, size
        self.last_tick = last_tick
        self._tick = 0
        self._post = Post(shard)
        self.taken = 0
        # CRC of all that was taken, and of all that was sent.
        self._sum_taken = self._sum_sent = 0
        self.latency_ticks: list[int] = []

    @property
    def shard(self) -> int:
        """Its number."""
        return self._shard

    @property
    def tick(self) -> int:
        """Ticks made."""
        return self._tick

    @property
    def world_tick(self) -> int:
        """It has no other clock."""
        return self._tick

    @property
    def simulation(self) -> int:
        """Its version."""
        return 1

    @property
    def fingerprint(self) -> Mapping[str, str]:
        """It computes the same everywhere."""
        return {}

    @property
    def shapes(self) -> Mapping[int, CommandSchema]:
        """The engine's alone."""
        return {command.id: command for command in SYSTEM_COMMANDS}

    @property
    def post(self) -> Post:
        """Its mail."""
        return self._post

    @property
    def sums(self) -> tuple[int, int]:
        """Of what was sent, and of what was taken: its peer has the same two, the other way round."""
        return self._sum_sent, self._sum_taken

    def high_water(self, sessions: NDArray[np.uint64]) -> NDArray[np.int64]:
        """It knows no session."""
        return np.full(sessions.size, -1, np.int64)

    def attending(self) -> Collection[int]:
        """Nobody."""
        return ()

    @property
    def restless(self) -> bool:
        """Never: its letters are what it has to do."""
        return False

    def find(self, _session: int, _player: bytes) -> bytes | None:
        """It knows no session."""
        return None

    def sending(self, _session: int, _player: bytes) -> bool:
        """Nobody is."""
        return False

    def step(self, inputs: TickInput) -> Effects:
        """One tick."""
        self.replay(inputs)
        self.latency_ticks += [self._tick - letter.tick for letter in inputs.mail]
        return Effects(self._tick, b"", NOTHING.processed, self._post.posted)

    def replay(self, inputs: TickInput) -> None:
        """One tick."""
        self._tick += 1
        self._post.take(self._tick, inputs.mail, inputs.acks)
        for letter in inputs.mail:
            self._sum_taken = zlib.crc32(letter.payload, self._sum_taken)
        self.taken += len(inputs.mail)
        if self._tick > self.last_tick:
            return
        for n in range(self._letters):
            payload = b"%04d%08d%04d" % (self._shard, self._tick, n) + bytes(self._size - 16)
            if self._post.send(self._peer, Lane.URGENT, FIRST_MAIL, payload):
                self._sum_sent = zlib.crc32(payload, self._sum_sent)

    def keyframe(self) -> bytes:
        """Nothing is to be seen."""
        return b""

    def capture(self, _spare: Capture | None = None) -> Capture:
        """The whole state."""
        own = np.array([self.taken, self._sum_taken, self._sum_sent], np.uint64)
        return Capture("scribe", 1, self._tick, {}, {}, {"own": own, **self._post.capture()})

    def adopt(self, capture: Capture) -> None:
        """Become that machine."""
        self._post.adopt(capture.arrays)
        self._tick = capture.tick
        self.taken, self._sum_taken, self._sum_sent = capture.arrays["own"].tolist()

    def migrated(self, capture: Capture) -> Capture:
        """There is one version."""
        return capture

    def digest(self) -> int:
        """Of the whole state."""
        return self._post.digest(zlib.crc32(b"%d %d %d" % (self.taken, self._sum_taken, self._sum_sent), self._tick))

    def gauges(self) -> Mapping[str, float]:
        """What it has taken."""
        return {"entities": self.taken}


def at_rest(machines: Sequence[Scribe]) -> bool:
    """Whether they have said all that they had to say, and know that it was heard."""
    return all(m.tick > m.last_tick and not m.post.unacked() for m in machines)
