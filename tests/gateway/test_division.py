"""A region divided and united under its players: nothing of it is to be seen, and nothing is lost."""

from __future__ import annotations

import random

import pytest

from protocol.messages import Cross, Error
from server.gateway.interest import ViewSpec
from server.regions.division import NOTICE_TICKS, division_order
from server.shard.ports import commands_topic
from tests.gateway.borderland import VIEW, WHOLE, Land, Player
from tests.gateway.glade import ADD, PAY, WALK, Body, glade
from tests.gateway.test_crossing import Watch, walk
from tests.gateway.test_crossing_story import Cast, LossyBus

# The region in the west, or the only one; 64 units wide, its middle.
WEST = 5
MIDDLE = (-68.0, 72.0)


def order(land: Land, *, divide: bool, region: int = WEST) -> None:
    land.bus.publish(commands_topic(region), division_order(divide=divide))


def sees_right(land: Land, player: Player) -> None:
    before = player.digests
    player.check()
    land.ticks(8)
    assert player.digests - before == len(player.session.seats)
    assert land.sees_all_there_is(player)


@pytest.mark.parametrize(
    ("seed", "columns", "view", "lag"),
    [(0, 2, VIEW, 0), (1, 2, WHOLE, 1), (2, 1, VIEW, 1), (3, 1, WHOLE, 0)],
    ids=["two regions", "two regions, late", "one region, late", "one region"],
)
def test_nobody_sees_a_division_or_a_union(seed: int, columns: int, view: ViewSpec, lag: int):
    chance = random.Random(seed)
    land = Land(columns, 1, game=glade(30), view=view, lag=lag, split_depth=1)
    # Alone it is 128 by 64 units.
    middle = (-36.0, 72.0) if columns == 1 else MIDDLE
    order_of_ticks = list(land.regions)
    chance.shuffle(order_of_ticks)
    ada, bob = land.join("ada", WEST), land.join("bob", WEST)
    land.put(bob, middle[0] + 3.0, middle[1] + 3.0)
    land.put(ada, middle[0] - 4.0, middle[1] - 4.0)
    land.ticks(8)
    watches = [Watch(one, name) for one in (ada, bob) for name in ("ada", "bob")]
    sums = dict.fromkeys((ada, bob), 0)

    def spend() -> None:
        for player in (ada, bob):
            if chance.random() < 0.4:
                amount = chance.randrange(1, 9)
                player.say(chance.choice((ADD, PAY)), amount)
                sums[player] += amount
        if chance.random() < 0.2:
            ada.check()
            bob.check()

    pauses: list[int] = []
    homes = set()
    for n in range(24):
        if n % 6 == 2:
            order(land, divide=n % 12 == 2)
        if n % 6 == 5:
            land.gateway.sweep()
        to = (middle[0] + chance.choice((-9.0, -5.0, 5.0, 9.0)), middle[1] + chance.choice((-9.0, -5.0, 5.0, 9.0)))
        pauses += walk(land, ada, to, order_of_ticks, spend)
        homes |= {ada.entity[0], bob.entity[0]}
    ada.say(WALK, 0.0, 0.0)
    land.ticks(30)
    assert len(homes) >= 4, "hardly a part was used"
    assert max(pauses) <= 2 + lag
    assert all(watch.messages > 300 for watch in watches)
    for player in (ada, bob):
        # It is the same connection from the first to the last.
        assert (player.welcomes, player.wire.ended) == (1, None)
        assert not [m for m in player.log if isinstance(m, Error)]
        assert player.acked == player.seq
        assert not player.session.due
        ((region, row),) = land.whereabouts(player.session.id)
        assert int(land.regions[region].machine.world[Body].sum[row]) == sums[player]
        assert player.digests > 10
        sees_right(land, player)


def test_who_comes_back_to_a_gateway_that_knows_nothing_of_a_division_is_at_home_in_its_part():
    land = Land(1, 1, game=glade(0), view=WHOLE, split_depth=1)
    ada = land.join("ada", WEST)
    land.put(ada, -20.0, 90.0)
    order(land, divide=True)
    land.ticks(NOTICE_TICKS + 6)
    assert ada.entity[0] in land.atlas.parts_of(WEST)
    ada.hang_up()
    # Before it has heard a frame of any region.
    land.gateways.append(land.another_gateway(land.bus))
    ada.connect(resume=ada.resume, gateway=1)
    paid = ada.say(PAY, 3)
    land.ticks(30)
    ada.say(PAY, 3)
    land.ticks(10)
    assert (ada.welcomes, ada.session.home.handle) == (2, ada.entity[1])
    assert ada.receipts[-1] > paid
    sees_right(land, ada)


def test_everyone_crosses_at_once_and_nobody_is_gone_for_a_frame():
    land = Land(1, 1, game=glade(0), view=WHOLE, split_depth=1)
    players = [land.join(f"p{n}", WEST) for n in range(8)]
    for n, player in enumerate(players):
        land.put(player, -36.0 + (n % 4) * 4.0 - 6.0, 72.0 + (n // 4) * 8.0 - 4.0)
    land.ticks(10)
    watches = [Watch(one, other.session.name) for one in players for other in players]
    order(land, divide=True)
    land.ticks(NOTICE_TICKS + 6)
    homes = {player.entity[0] for player in players}
    assert homes == {WEST, *land.atlas.parts_of(WEST)}
    crossed = [[m for m in player.log if isinstance(m, Cross)] for player in players]
    assert all(len(crosses) == len(crossed[0]) > 0 for crosses in crossed)
    order(land, divide=False)
    land.ticks(10)
    assert {player.entity[0] for player in players} == {WEST}
    assert all(watch.messages > 30 for watch in watches)
    for player in players:
        sees_right(land, player)


def test_parts_are_watched_while_they_are_in_use_and_no_longer():
    land = Land(2, 1, game=glade(5), view=VIEW, split_depth=1)
    parts = land.atlas.parts_of(WEST)
    ada = land.join("ada", WEST)
    land.put(ada, *MIDDLE)
    router = land.gateway.router

    def settled() -> None:
        for _ in range(8):
            land.ticks(20)
            land.gateway.sweep()

    settled()
    assert not router.streams.keys() & {*parts, *land.atlas.parts_of(6)}
    assert ada.session.seats.keys() <= {5, 6}
    order(land, divide=True)
    land.ticks(2)
    assert router.streams.keys() >= {*parts}
    assert ada.session.seats.keys() >= {*parts}
    settled()
    assert ada.session.seats.keys() >= {*parts}
    order(land, divide=False)
    settled()
    assert not router.streams.keys() & {*parts}
    assert not ada.session.seats.keys() & {*parts}
    sees_right(land, ada)


def test_newcomers_begin_in_regions_that_are_there():
    land = Land(2, 1, game=glade(0), split_depth=1)
    begun = {land.join(f"p{n}").entity[0] for n in range(12)}
    assert begun == {5, 6}


def test_one_who_looks_while_a_region_is_divided_sees_its_parts():
    land = Land(1, 1, game=glade(30), view=WHOLE, split_depth=1)
    order(land, divide=True)
    land.ticks(NOTICE_TICKS + 6)
    ada = land.join("ada", WEST)
    land.ticks(10)
    assert ada.session.seats.keys() >= {*land.atlas.parts_of(WEST)}
    sees_right(land, ada)


@pytest.mark.parametrize(
    ("loss", "deaths"),
    [(0.0, 0.0), (0.03, 0.0), (0.02, 0.01)],
    ids=["nothing lost", "frames lost", "frames lost and regions dead"],
)
@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_while_regions_are_divided_all_is_right_in_the_end(seed: int, loss: float, deaths: float):
    chance = random.Random(seed)
    bus = LossyBus(random.Random(seed))
    land = Land(
        2, 1, game=glade(10), view=chance.choice((VIEW, WHOLE)), lag=chance.randrange(3), bus=bus, split_depth=1
    )
    cast = Cast(land, chance, 8)
    if deaths:
        cast.kinds = (PAY,)
    bus.loss = loss
    used: set[int] = set()
    for n in range(300):
        cast.whims()
        if chance.random() < 0.02:
            order(land, divide=chance.random() < 0.6, region=chance.choice((5, 6)))
        if chance.random() < deaths:
            land.restart(chance.choice(list(land.regions)))
        ticks = list(land.regions)
        chance.shuffle(ticks)
        land.tick(ticks)
        used |= {session.region for session in land.gateway.sessions.values()}
        if n % 20 == 0:
            land.gateway.sweep()
    assert len(used) > 4, "hardly anybody was in a part: the story is too tame"
    bus.loss = 0.0
    cast.come_to_rest()
    assert bool(bus.lost) == bool(loss)
    cast.check(f"seed {seed}")
