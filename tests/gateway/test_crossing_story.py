"""A story of eight players in a world of four regions, by a seeded whim: whatever happens, in the end all is right.

They walk and jump over borders, stop reading, hang up and come back, pay and add; frames of regions are lost on their
way to the gateway. In the end everyone is in one place, sees what is there and nothing else, and has paid what it said.
"""

from __future__ import annotations

import random

import pytest

from protocol.messages import Error
from server.bus.memory import MemoryBus
from tests.gateway.borderland import VIEW, WHOLE, Land, Player
from tests.gateway.glade import ADD, JUMP, PAY, WALK, Body, glade


class LossyBus(MemoryBus):
    """Loses frames, one in so many; anything else gets there."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.loss = 0.0
        self.lost = 0
        self._chance = chance

    def publish(self, topic: str, payload: bytes) -> None:
        if topic.startswith("frames/") and self._chance.random() < self.loss:
            self.lost += 1
            return
        super().publish(topic, payload)


class Cast:
    """The players, and what each has said that must count."""

    def __init__(self, land: Land, chance: random.Random, n: int) -> None:
        self.land = land
        self.chance = chance
        self.players = [land.join(f"p{i}") for i in range(n)]
        self.sums = dict.fromkeys(self.players, 0)
        self.here = dict.fromkeys(self.players, True)
        # What they say that counts: of two commands, PAY alone is kept whatever dies.
        self.kinds = (ADD, PAY)

    def whims(self) -> None:
        for player in self.players:
            self.whim(player, self.chance.random())

    def whim(self, player: Player, whim: float) -> None:
        chance, land = self.chance, self.land
        if not self.here[player]:
            if whim < 0.2:
                player.connect(resume=player.resume)
                self.here[player] = True
            return
        if player.hellos != player.welcomes:
            return
        if whim < 0.15:
            player.say(WALK, chance.uniform(-1, 1), chance.uniform(-1, 1))
        elif whim < 0.17:
            x0, y0, x1, y1 = land.atlas.limits
            player.say(JUMP, chance.uniform(x0, x1 - 1), chance.uniform(y0, y1 - 1))
        elif whim < 0.35:
            amount = chance.randrange(1, 9)
            player.say(chance.choice(self.kinds), amount)
            self.sums[player] += amount
        elif whim < 0.38:
            player.wire.reading = False
        elif whim < 0.4:
            player.check()
        elif whim < 0.41:
            player.hang_up()
            self.here[player] = False
        if not player.wire.reading and chance.random() < 0.2:
            player.wire.read_again()

    def come_to_rest(self) -> None:
        """All are back, read again, and stand still for a while."""
        for player in self.players:
            if not self.here[player]:
                player.connect(resume=player.resume)
            player.wire.read_again()
        for n in range(160):
            if n % 20 == 0:
                for player in self.players:
                    player.say(WALK, 0.0, 0.0)
                self.land.gateway.sweep()
            self.land.tick()

    def check(self, story: str) -> None:
        """Everyone is in one place, sees what is there and nothing else, and has paid what it said."""
        land = self.land
        for player in self.players:
            where = f"{story}, {player.session.name}"
            assert not [m for m in player.log if isinstance(m, Error)], where
            assert player.wire.ended is None, where
            ((region, row),) = land.whereabouts(player.session.id)
            assert player.entity == (region, row), where
            assert int(land.regions[region].machine.world[Body].sum[row]) == self.sums[player], where
            assert player.acked == player.seq, where
            assert not player.session.due, where
        before = [player.digests for player in self.players]
        for player in self.players:
            player.check()
        land.ticks(8)
        for player, digests in zip(self.players, before, strict=True):
            where = f"{story}, {player.session.name}"
            assert player.digests - digests == len(player.session.seats), where
            assert land.sees_all_there_is(player), where


@pytest.mark.parametrize("loss", [0.0, 0.03], ids=["nothing lost", "frames lost"])
@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_all_is_right_in_the_end(seed: int, loss: float):
    chance = random.Random(seed)
    bus = LossyBus(random.Random(seed))
    land = Land(2, 2, game=glade(10), view=chance.choice((VIEW, WHOLE)), lag=chance.randrange(3), bus=bus)
    cast = Cast(land, chance, 8)
    bus.loss = loss
    for n in range(300):
        cast.whims()
        order = list(land.regions)
        chance.shuffle(order)
        land.tick(order)
        if n % 20 == 0:
            land.gateway.sweep()
    bus.loss = 0.0
    cast.come_to_rest()
    assert bool(bus.lost) == bool(loss)
    told = sum(len(player.yous) for player in cast.players)
    assert told > 20, "hardly anybody crossed: the story is too tame"
    cast.check(f"seed {seed}")
