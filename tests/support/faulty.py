"""Buses that lose, repeat and reorder what they carry, as a seeded Random has it."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterable

from server.bus.listeners import Handler, Listeners
from server.shard.ports import Bus


class FaultyNetwork:
    """Ends that reach each other. Nothing arrives by itself: call `advance`.

    `loss`, `repetition`: chances of a message to each end; `delay_s`: it arrives that much later, so that those of
    different delays change places. They may be changed at any time.
    """

    def __init__(
        self,
        rng: random.Random,
        *,
        loss: float = 0.0,
        repetition: float = 0.0,
        delay_s: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.loss, self.repetition, self.delay_s = loss, repetition, delay_s
        self._rng = rng
        self._now_s = 0.0
        self._ends: dict[str, Listeners] = {}
        self._cut: list[frozenset[str]] = []
        # (when, in which order it was sent, to whom, topic, payload).
        self._under_way: list[tuple[float, int, str, str, bytes]] = []
        self._numbers = itertools.count()
        # What was done to messages, so that a test can tell that there were faults.
        self.lost = self.repeated = 0

    def end(self, name: str) -> FaultyBus:
        """The bus as this end has it; the same one whenever it is asked for, so that it outlives a crash."""
        return FaultyBus(self, name, self._ends.setdefault(name, Listeners()))

    def partition(self, *groups: Iterable[str]) -> None:
        """From now on ends reach only those of their own group; those in none reach nobody but themselves."""
        self._cut = [frozenset(group) for group in groups]

    def heal(self) -> None:
        """Everybody reaches everybody, and nothing is lost, repeated or delayed any more."""
        self._cut = []
        self.loss, self.repetition, self.delay_s = 0.0, 0.0, (0.0, 0.0)

    def advance(self, now_s: float) -> None:
        """Deliver what is due at `now_s`, and what that leads to."""
        self._now_s = max(self._now_s, now_s)
        while self._under_way and self._under_way[0][0] <= self._now_s:
            _, _, name, topic, payload = heapq.heappop(self._under_way)
            self._ends[name].tell(topic, payload)

    def send(self, source: str, topic: str, payload: bytes) -> None:
        """Put a message under way to every end that listens."""
        for name, listeners in self._ends.items():
            if topic not in listeners.topics:
                continue
            if not self._reaches(source, name) or self._rng.random() < self.loss:
                self.lost += 1
                continue
            copies = 1
            if self._rng.random() < self.repetition:
                copies = 2
                self.repeated += 1
            for _ in range(copies):
                due_s = self._now_s + self._rng.uniform(*self.delay_s)
                heapq.heappush(self._under_way, (due_s, next(self._numbers), name, topic, payload))

    def _reaches(self, source: str, name: str) -> bool:
        return source == name or not self._cut or any({source, name} <= group for group in self._cut)


class FaultyBus:
    """A Bus: one end of a FaultyNetwork."""

    def __init__(self, network: FaultyNetwork, name: str, listeners: Listeners) -> None:
        self._network, self._name, self._listeners = network, name, listeners

    def publish(self, topic: str, payload: bytes) -> None:
        self._network.send(self._name, topic, payload)

    def subscribe(self, topic: str, handler: Handler) -> Callable[[], None]:
        return self._listeners.add(topic, handler)


class BadWay:
    """A Bus: another one, to which the way is bad. Whatever was held back goes before the next that is not."""

    def __init__(self, bus: Bus, rng: random.Random, *, loss: float, repetition: float, reordering: float) -> None:
        self.loss, self.repetition, self.reordering = loss, repetition, reordering
        # Nothing gets through.
        self.cut = False
        # What was done to messages, so that a test can tell that there were faults.
        self.lost = self.repeated = self.held_back = 0
        self._bus, self._rng = bus, rng
        self._held: list[tuple[str, bytes]] = []

    def publish(self, topic: str, payload: bytes) -> None:
        if self.cut or self._rng.random() < self.loss:
            self.lost += 1
            return
        copies = 1
        if self._rng.random() < self.repetition:
            copies = 2
            self.repeated += 1
        self._held += [(topic, payload)] * copies
        if self._rng.random() < self.reordering:
            self.held_back += 1
            return
        self._rng.shuffle(self._held)
        held, self._held = self._held, []
        for message in held:
            self._bus.publish(*message)

    def subscribe(self, topic: str, handler: Handler) -> Callable[[], None]:
        return self._bus.subscribe(topic, handler)

    def mend(self) -> None:
        """From now on it is a good one."""
        self.loss = self.repetition = self.reordering = 0.0
        self.cut = False
