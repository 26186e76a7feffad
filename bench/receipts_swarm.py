"""A swarm of players who do reliable deeds at random moments, and time each from when it was due to its RECEIPT.

An open loop: when deeds are due is drawn beforehand, as in a Poisson process, and does not wait for answers. A
server that stalls is met by all the deeds that fell due meanwhile, and each of them counts from its own moment.
Words it hears: "start" (measure), "stop" (send no more, and tell the result once all receipts are in, or do not come).
"""

from __future__ import annotations

import asyncio
import functools
import random
import time
from collections import deque
from typing import Final

import uvloop

from bench.client import Client, Counts
from bench.frames import InputFrame, upgrade_request
from bench.processes import Line, arguments, failures_told, listen, settle_memory, tell
from protocol.codec import decode_server
from protocol.messages import MessageType, Receipt

_HOST: Final = "127.0.0.1"
_RECEIPT: Final = int(MessageType.RECEIPT)
_SLICE_S: Final = 0.001
_JOIN_TIMEOUT_S: Final = 60.0
# How long the last receipts are waited for.
_DRAIN_S: Final = 10.0


class Player(Client):
    """Knows when each of its deeds was due."""

    def __init__(self, number: int, counts: Counts, upgrade: bytes, latency_ms: list[float]) -> None:
        super().__init__(number, counts, upgrade)
        # Sequence number -> when it was due.
        self.open: dict[int, float] = {}
        self._latency_ms = latency_ms

    def do(self, frame: InputFrame, due_s: float) -> None:
        """Send a deed."""
        self.send(frame)
        self.open[self.seq] = due_s

    def rare(self, kind: int, message: bytes) -> None:
        """A receipt, or what the mass takes."""
        if kind != _RECEIPT:
            super().rare(kind, message)
            return
        receipt = decode_server(message)
        assert isinstance(receipt, Receipt)
        due_s = self.open.pop(receipt.seq, None)
        if due_s is None:
            self.counts.complain(f"a receipt for {receipt.seq}, which was not open")
            self.counts.refused += 1
        else:
            self._latency_ms.append((time.perf_counter() - due_s) * 1000)


class Players:
    """All of them."""

    def __init__(self, told: Line) -> None:
        self._told = told
        self._loop = asyncio.get_running_loop()
        self._counts = Counts()
        self._frame = InputFrame(told["command"], ())
        self._random = random.Random(told["seed"])  # noqa: S311  # moments, not secrets
        self._latency_ms: list[float] = []
        self._players: list[Player] = []
        self._due: deque[float] = deque()
        self._sent = 0
        self._on = False
        self.ended = asyncio.Event()
        self._result: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Bring all in. Raises ConnectionError."""
        upgrade = upgrade_request(_HOST, self._told["port"])
        for number in range(self._told["clients"]):
            player = Player(number, self._counts, upgrade, self._latency_ms)
            await self._loop.create_connection(functools.partial(_same, player), _HOST, self._told["port"])
            self._players.append(player)
        deadline_s = self._loop.time() + _JOIN_TIMEOUT_S
        while self._counts.joined < len(self._players):
            if self._counts.lost or self._loop.time() > deadline_s:
                raise ConnectionError(f"{self._counts.joined} joined: {self._counts.reasons}")
            await asyncio.sleep(0.02)

    def run(self) -> None:
        """Begin to send."""
        settle_memory()
        self._on = True
        self._next_s = time.perf_counter()
        self._slice()

    def hear(self, word: str) -> None:
        """A word of the parent's."""
        if word == "start":
            self._latency_ms.clear()
        elif word == "stop":
            self._on = False
            self._result = self._loop.create_task(self._tell_result())
        elif word == "end":
            self.ended.set()

    def _slice(self) -> None:
        """Send what has fallen due."""
        now_s = time.perf_counter()
        while self._next_s <= now_s and self._on:
            self._random.choice(self._players).do(self._frame, self._next_s)
            self._sent += 1
            self._next_s += self._random.expovariate(self._told["per_s"])
        if self._on:
            self._loop.call_later(_SLICE_S, self._slice)

    async def _tell_result(self) -> None:
        deadline_s = self._loop.time() + _DRAIN_S
        while any(player.open for player in self._players) and self._loop.time() < deadline_s:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        tell(
            "result",
            sent=self._sent,
            unanswered=sum(len(player.open) for player in self._players),
            latency_ms=[round(v, 3) for v in self._latency_ms],
            lost=self._counts.lost,
            refused=self._counts.refused,
            reasons=self._counts.reasons,
        )


def _same(player: Player) -> Player:
    return player


async def main() -> None:
    """One run."""
    players = Players(arguments())
    listen(players.hear)
    await players.connect()
    players.run()
    tell("joined")
    await players.ended.wait()


if __name__ == "__main__":
    with failures_told():
        uvloop.run(main())
