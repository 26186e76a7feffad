"""A borderland whose regions and gateways are far from each other: what they say is lost, repeated and late."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from protocol.errors import CloseCode, ErrorCode
from protocol.messages import Error, Receipt, Welcome
from server.gateway.gateway import Gateway
from server.shard.ports import Bus
from tests.gateway.borderland import TICK_S, Land, Player
from tests.support.faulty import FaultyNetwork

# Ticks between two looks of a gateway at what takes long.
_SWEEP_TICKS = 20


class FarLand(Land):
    """Each region and each gateway is at an end of its own of a FaultyNetwork."""

    def __init__(self, seed: int = 1, columns: int = 2, rows: int = 1, *, gateways: int = 2, **options: Any) -> None:
        self.random = random.Random(seed)
        self.network = FaultyNetwork(random.Random(seed + 1))
        self.made = 0
        # Gateways that died.
        self.dead: set[Gateway] = set()
        super().__init__(columns, rows, gateways=gateways, **options)

    def bus_of(self, name: str) -> Bus:
        return self.network.end(name)

    def gather(self, number: int) -> None:
        """Gateways are elsewhere."""

    def tick(self, order: Sequence[int] | None = None) -> None:
        """A tick of every region, in any order unless asked otherwise, and all that is said meanwhile."""
        self.clock.work(TICK_S)
        self.made += 1
        for gateway in self.gateways:
            if gateway not in self.dead:
                gateway.flush()
                if self.made % _SWEEP_TICKS == 0:
                    gateway.sweep()
        self.network.advance(self.clock.now_s())
        numbers = list(self.regions)
        self.random.shuffle(numbers)
        for number in numbers if order is None else order:
            self.run(number)
        self.network.advance(self.clock.now_s())
        for player in self.players:
            player.read()

    def seconds(self, seconds: float) -> None:
        self.ticks(round(seconds / TICK_S))

    def kill(self, number: int) -> None:
        """A gateway is no more; its players' connections break with it."""
        gateway = self.gateways[number]
        gateway.close()
        for stream in gateway.router.streams.values():
            stream.close()
        self.dead.add(gateway)

    def settle(self, seconds: float = 10.0) -> None:
        """From now on nothing is lost, and there is time for all that was."""
        self.network.heal()
        self.seconds(seconds)


class Patron(Player):
    """A player that says a reliable command again, at whichever gateway, until its receipt comes."""

    def __init__(self, land: FarLand, name: str, **options: Any) -> None:
        # Number -> command and arguments, of what has no receipt.
        self.owed: dict[int, tuple[Any, ...]] = {}
        # All that it has ever promised.
        self.promised = 0
        # HELLOs that nobody answered in time, or whose answer it did not wait for.
        self.vain = 0
        super().__init__(land, name, **options)

    def pay(self, command: int, amount: int) -> None:
        self.promised += amount
        self.owed[self.seq + 1] = (command, amount)
        self.say(command, amount)

    @property
    def here(self) -> bool:
        """Whether it is in the world, as far as it knows."""
        return self.wire.ended is None and self.hellos == self.welcomes + self.vain

    def go(self) -> None:
        """Hang up."""
        self.vain = self.hellos - self.welcomes
        self.hang_up()
        self.wire.ended = self.wire.ended or (CloseCode.NORMAL, "hung up")

    def read(self) -> None:
        super().read()
        for message in self.told:
            match message:
                case Error(ErrorCode.RESUME_FAILED):
                    self.go()
                case Receipt(seq):
                    self.owed.pop(seq, None)
                case Welcome() if self.welcomes > 1:
                    newest = self.seq
                    for seq in sorted(self.owed):
                        self.seq = seq - 1
                        self.say(*self.owed[seq])
                    self.seq = max(newest, self.seq)


def patron(land: FarLand, name: str, **options: Any) -> Patron:
    """One that has joined."""
    player = Patron(land, name, **options)
    land.players.append(player)
    while player.views is None:
        land.tick()
    return player
