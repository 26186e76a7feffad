"""What processes promise, held against what is durable at that moment.

A receipt says that a command is done for good, an acknowledgement of mail that a letter was taken for good, a letter
that the tick which sent it was made. Each may leave only when a recovery would find what it says, whoever sends it: an
owner that was paused beyond its lease does not know that it is none any more.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np

from server.host.postman import decode_packet
from server.shard.journal import JournalRecord
from server.shard.machine import JOIN, LEAVE, PRESENCE, PROCESSED, TickInput, command_shapes
from tests.simulator.game import GAME
from tests.simulator.process import Process

_SHAPES = command_shapes(GAME.schema)


class Promises:
    """`epochs`: (process, shard) -> (epoch as which it runs the shard, the newest epoch there is); None: it doesn't."""

    def __init__(self, epochs: Callable[[Process, int], tuple[int, int] | None]) -> None:
        self._epochs = epochs
        # Session -> highest number of a command that a durable tick had.
        self._done: dict[int, int] = {}
        # (shard, source, lane) -> number of the last letter that a durable tick took.
        self._taken: dict[tuple[int, int, int], int] = {}
        # Shard -> tick -> epoch, of what is durable.
        self._written: dict[int, dict[int, int]] = defaultdict(dict)
        # Session -> when a tick in which it joined became durable, in seconds.
        self.joined_s: dict[int, float] = {}
        # (shard, session) -> when that region was told last that the player is away, in seconds; none where it is back.
        self._away_s: dict[tuple[int, int], float] = {}
        # Told of each session whose LEAVE became durable, and since when its region has it as away.
        self.on_leave: list[Callable[[int, float], None]] = []
        # (session, number) of every receipt.
        self.receipted: set[tuple[int, int]] = set()
        # Promises of what was not durable.
        self.broken: list[str] = []
        # Promises by who was the owner; those of an owner of before are true: their ticks were durable in its time.
        self.counts: Counter[str] = Counter()

    def durable(self, record: JournalRecord, appended_s: float) -> None:
        """A record is in the journal."""
        self._written[record.shard][record.tick] = record.epoch
        if not record.payload:
            return
        inputs = TickInput.decode(record.payload, _SHAPES, record.format)
        for session, seq in inputs.processed.tolist():
            self._done[session] = max(self._done.get(session, 0), seq)
        if (joins := inputs.batches.get(JOIN)) is not None:
            for session in joins["session"].tolist():
                self.joined_s.setdefault(session, asyncio.get_running_loop().time())
        if (presences := inputs.batches.get(PRESENCE)) is not None:
            for session, here in presences[["session", "here"]].tolist():
                if here:
                    self._away_s.pop((record.shard, session), None)
                else:
                    self._away_s[record.shard, session] = appended_s
        if (leaves := inputs.batches.get(LEAVE)) is not None:
            for session in leaves["session"].tolist():
                for told in self.on_leave:
                    told(session, self._away_s.get((record.shard, session), math.inf))
        for letter in inputs.mail:
            self._taken[record.shard, letter.source, letter.lane] = letter.seq

    def left(self, process: Process, topic: str, payload: bytes) -> None:
        """A message was published."""
        kind, _, where = topic.partition("/")
        if kind == "receipts":
            self._receipts(process, int(where), payload)
        elif kind == "mail":
            self._mail(process, int(where), payload)

    def told(self, session: int, seq: int) -> None:
        """A receipt reached a player."""
        if self._done.get(session, 0) < seq:
            self.broken.append(
                f"player {session} has a receipt of {seq}, and the journal has {self._done.get(session)}"
            )

    def _receipts(self, process: Process, shard: int, payload: bytes) -> None:
        self._by(process, shard)
        for session, seq in np.frombuffer(payload, PROCESSED).tolist():
            self.receipted.add((session, seq))
            if self._done.get(session, 0) < seq:
                self.broken.append(f"receipt of {seq} for {session}, and the journal has {self._done.get(session)}")

    def _mail(self, process: Process, destination: int, payload: bytes) -> None:
        source, letters, acks = decode_packet(payload)
        epoch = self._by(process, source)
        for _, lane, seq in acks.tolist():
            if self._taken.get((source, destination, lane), 0) < seq:
                self.broken.append(f"{source} acknowledges letter {seq} of {destination}, and its journal lacks it")
        for letter in letters:
            # None, or a later owner's: that tick of this process never was.
            if not self._written[source].get(letter.tick, epoch + 1) <= epoch:
                self.broken.append(f"a letter of {source} from tick {letter.tick} of epoch {epoch}, which never was")

    def _by(self, process: Process, shard: int) -> int:
        epochs = self._epochs(process, shard)
        if epochs is None:
            # It has just let go of the shard, and what it wrote before becomes durable.
            self.counts["by an owner of before"] += 1
            return max(self._written[shard].values(), default=0)
        mine, newest = epochs
        self.counts["by the owner" if mine >= newest else "by an owner of before"] += 1
        return mine
