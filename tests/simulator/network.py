"""Everything between the parts of the cluster: a bus that loses, repeats, reorders and is cut, as the seed has it."""

from __future__ import annotations

from random import Random

from server.bus.listeners import Listeners
from tests.simulator.process import Process


class Network:
    """`loss`, `repetition`: chances; `delay_s`: up to that long, so that messages change places."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.loss = self.repetition = 0.0
        self.delay_s = 0.002
        # As long again, at the most, between the processes of two kinds: gateways may be far from nodes.
        self.far_s = 0.0
        # Whether the bus is there at all: Redis may be away.
        self.up = True
        # Groups that reach each other; nobody is cut off while there are none.
        self.groups: list[frozenset[str]] = []
        self.ends: dict[str, SimBus] = {}
        # Told of each message as it is published: (process, topic, payload).
        self.watchers = []

    def reaches(self, a: str, b: str) -> bool:
        return a == b or not self.groups or any({a, b} <= group for group in self.groups)

    def publish(self, source: Process, topic: str, payload: bytes) -> None:
        for watcher in self.watchers:
            watcher(source, topic, payload)
        for end in tuple(self.ends.values()):
            if not end.listeners.hears(topic):
                continue
            if source is end.process:
                # Redis brings it back too, and no sooner.
                if not self.up:
                    continue
            elif not self.up or not self.reaches(source.name, end.process.name) or self.random.random() < self.loss:
                continue
            copies = 1 + (self.random.random() < self.repetition)
            for _ in range(copies):
                delay_s = 0.0005 + self.random.random() * self.delay_s
                if self.far_s and source.name[0] != end.process.name[0]:
                    delay_s += self.random.random() * self.far_s
                source.loop.call_later(delay_s, end.deliver, topic, payload)


class SimBus:
    """A Bus: one process's end."""

    def __init__(self, network: Network, process: Process) -> None:
        self.network, self.process = network, process
        self.listeners = Listeners()
        network.ends[process.name] = self
        process.on_crash.append(lambda: network.ends.pop(process.name, None))

    def publish(self, topic, payload):
        with self.process.effect("publish", (topic, payload)):
            if self.process.paused:
                # It is stopped in the middle of this.
                self.process.loop.call_at(self.process.awake_s, self._go_on, topic, payload)
            else:
                self.network.publish(self.process, topic, payload)

    def _go_on(self, topic, payload):
        self.process.when_awake(lambda: self.network.publish(self.process, topic, payload))

    def subscribe(self, topic, handler):
        return self.listeners.add(topic, handler)

    def deliver(self, topic, payload):
        self.process.when_awake(lambda: self._receive(topic, payload))

    def _receive(self, topic, payload):
        with self.process.effect("receive", (topic, payload)):
            self.listeners.tell(topic, payload)
