"""Nodes deplete and grow back, hands take turns, fires burn, warm and go out, food heals."""

import numpy as np
import pytest

from games.frontier.commands import Goods
from games.frontier.components import BUSH, CAMPFIRE, MEAT, ROCK, TREE, Bag, Health, Score, Stock
from games.frontier.constants import (
    BAG_MAX,
    EAT_HEALS,
    FIRE_BURNS_EVERY_S,
    FIRE_FOR_EVER,
    FIRE_FUEL,
    FIRE_STONE,
    FIRE_WOOD,
    HARVEST_EVERY_S,
    HARVEST_REACH_UNITS,
    HEAL_AFTER_WOUND_S,
    REGROW_EVERY_S,
)
from games.frontier.harvest import FUEL_PER_WOOD, MEAT_IS_FOOD, first_come, put_in_bag
from tests.games.play import RATE_HZ, Play

HAND_TICKS = int(HARVEST_EVERY_S * RATE_HZ)


def camp(*names: str) -> Play:
    play = Play()
    rows = play.join(*(names or ("Ann",)))
    play.move(rows, *[(100, 100)] * len(rows))
    return play


@pytest.mark.parametrize(
    ("archetype", "column", "worth", "goods"),
    [
        (TREE, "wood", 1, Goods.WOOD),
        (ROCK, "stone", 1, Goods.STONE),
        (BUSH, "food", 1, Goods.BERRIES),
        (MEAT, "food", MEAT_IS_FOOD, Goods.MEAT),
    ],
)
def test_what_nodes_give(archetype, column, worth, goods):
    play = camp()
    node = play.put(archetype, (102, 100), Stock_amount=5, Stock_full=5)
    play.order(1, "Harvest")
    play.tick()
    assert play.get(Bag, column, 0) == worth
    assert play.get(Stock, "amount", node[0]) == 4
    assert play.get(Score, "points", 0) == 1
    (news,) = [e for e in play.heard("Gathered") if e["kind"] != Goods.NOTHING]
    assert news == {"wood": 0, "stone": 0, "food": 0} | {"kind": goods, "amount": 1, column: worth}


def test_a_tree_is_used_up_and_grows_back():
    play = camp()
    tree = play.put(TREE, (102, 100), Stock_amount=2, Stock_full=2)
    for _ in range(3):
        play.order(1, "Harvest")
        play.tick(HAND_TICKS)
    assert play.get(Bag, "wood", 0) == 2
    assert play.get(Stock, "amount", tree[0]) == 0
    play.tick(int(2 * REGROW_EVERY_S * RATE_HZ))
    assert play.get(Stock, "amount", tree[0]) == 2
    play.tick(int(2 * REGROW_EVERY_S * RATE_HZ))
    assert play.get(Stock, "amount", tree[0]) == 2, "no more than it had"


def test_a_hand_needs_time():
    play = camp()
    play.put(TREE, (102, 100), Stock_amount=9, Stock_full=9)
    for _ in range(HAND_TICKS):
        play.order(1, "Harvest")
        play.order(1, "Harvest")
        play.tick()
    assert play.get(Bag, "wood", 0) == 1


def test_a_hand_takes_what_is_nearest_and_within_reach():
    play = camp()
    play.put(TREE, (103, 100), Stock_amount=5, Stock_full=5)
    play.put(ROCK, (100, 98), Stock_amount=5, Stock_full=5)
    play.put(BUSH, (100, 100.5), Stock_amount=0, Stock_full=5)
    play.order(1, "Harvest")
    play.tick()
    assert (play.get(Bag, "wood", 0), play.get(Bag, "stone", 0), play.get(Bag, "food", 0)) == (0, 1, 0)
    play.move([0], (103 + HARVEST_REACH_UNITS + 0.1, 100))
    play.tick(HAND_TICKS)
    play.order(1, "Harvest")
    play.tick()
    assert play.get(Bag, "wood", 0) == 0


def test_the_last_piece_goes_to_one():
    play = camp("Ann", "Bob", "Cy")
    meat = play.put(MEAT, (102, 100), Stock_amount=2, Stock_full=2)
    for session in (3, 1, 2):
        play.order(session, "Harvest")
    play.tick()
    assert [play.get(Bag, "food", r) for r in range(3)] == [MEAT_IS_FOOD, MEAT_IS_FOOD, 0]
    assert not play.world.is_a(meat, MEAT).any(), "an eaten kill is gone"
    assert play.get(Bag, "hand_ready_tick", 2) == 0, "who got nothing may try again at once"


def test_first_come_first_served():
    wanted = np.array([5, 9, 5, 5, 9, 7])
    left = np.array([2, 1, 2, 2, 1, 3])
    assert first_come(wanted, left).tolist() == [True, True, True, False, False, True]


def test_a_full_bag_stays_full():
    play = camp()
    play.put(TREE, (102, 100), Stock_amount=5, Stock_full=5)
    play.world[Bag].wood[0] = BAG_MAX
    play.order(1, "Harvest")
    play.tick()
    assert play.get(Bag, "wood", 0) == BAG_MAX


def test_meat_rots():
    play = camp()
    meat = play.put(MEAT, (150, 150), Stock_amount=3, Stock_full=3)
    play.tick(2000)
    assert not play.world.is_a(meat, MEAT).any()


def test_a_fire_costs_wood_and_stone_and_burns_down():
    play = camp()
    play.order(1, "Build")
    play.tick()
    assert play.world.rows_of(CAMPFIRE).size == 0
    play.world[Bag].wood[0], play.world[Bag].stone[0] = FIRE_WOOD + 1, FIRE_STONE
    play.order(1, "Build")
    play.tick()
    (fire,) = play.world.rows_of(CAMPFIRE)
    assert play.place(fire) == (100, 100)
    assert (play.get(Bag, "wood", 0), play.get(Bag, "stone", 0)) == (1, 0)
    assert play.heard("Gathered")[0]["wood"] == 1
    play.tick(int(10 * FIRE_BURNS_EVERY_S * RATE_HZ))
    assert play.get(Stock, "amount", fire) == FIRE_FUEL - 10
    play.world[Stock].amount[fire] = 40
    play.order(1, "Build")
    play.tick()
    assert 40 + FUEL_PER_WOOD - 1 <= play.get(Stock, "amount", fire) <= 40 + FUEL_PER_WOOD
    assert play.get(Bag, "wood", 0) == 0
    play.tick(int((40 + FUEL_PER_WOOD) * FIRE_BURNS_EVERY_S * RATE_HZ) + 1)
    assert play.world.rows_of(CAMPFIRE).size == 0


def test_a_hamlet_s_fire_never_goes_out():
    play = camp()
    fire = play.put(CAMPFIRE, (100, 100), Stock_amount=FIRE_FOR_EVER, Stock_full=FIRE_FOR_EVER)
    play.world[Bag].wood[0], play.world[Bag].stone[0] = 50, 50
    play.order(1, "Build")
    play.tick(1000)
    assert play.get(Stock, "amount", fire[0]) == FIRE_FOR_EVER
    assert play.world.rows_of(CAMPFIRE).size == 1
    assert play.get(Bag, "wood", 0) == 50, "it needs no feeding"


def test_the_dead_build_and_harvest_nothing():
    play = camp()
    play.put(TREE, (102, 100), Stock_amount=5, Stock_full=5)
    play.world[Health].hp[0] = 0
    play.world[Bag].wood[0], play.world[Bag].stone[0] = 50, 50
    play.tick()
    play.order(1, "Build")
    play.order(1, "Harvest")
    play.tick()
    assert play.world.rows_of(CAMPFIRE).size == 0
    assert play.get(Bag, "wood", 0) == 25, "half was lost with its life, and nothing gained"


def healed(play: Play, seconds: float) -> int:
    play.world[Health].hp[0] = 20
    play.tick(int(seconds * RATE_HZ))
    return play.hp(0) - 20


def test_wounds_close_slowly_sooner_at_a_fire_and_soonest_by_eating():
    alone = healed(camp(), 4)
    by_fire = camp()
    by_fire.put(CAMPFIRE, (105, 100), Stock_amount=FIRE_FOR_EVER)
    fed = camp()
    fed.world[Bag].food[0] = 3
    assert alone == 4
    assert healed(by_fire, 4) == 4 + 16
    assert healed(fed, 4) == 4 + 3 * EAT_HEALS
    assert fed.get(Bag, "food", 0) == 0


def test_nobody_heals_right_after_a_wound():
    play = camp()
    play.world[Health].hurt_tick[0] = play.machine.tick
    assert healed(play, HEAL_AFTER_WOUND_S - 0.1) == 0
    assert healed(play, 3) > 0


def test_nobody_eats_more_than_is_needed():
    play = camp()
    play.world[Bag].food[0] = 3
    play.world[Health].hp[0] = 100 - EAT_HEALS + 1
    play.tick(200)
    assert play.hp(0) == 100
    assert play.get(Bag, "food", 0) == 3


def test_what_comes_twice_in_a_tick_is_in_the_bag_twice():
    """As two hands' worth from over a border, after a stall."""
    play = Play()
    (ann,) = play.join("Ann")
    put_in_bag(play.world, np.array([ann, ann, ann]), Goods.WOOD)
    assert play.get(Bag, "wood", ann) == 3
    put_in_bag(play.world, np.array([ann] * BAG_MAX), Goods.MEAT)
    assert play.get(Bag, "food", ann) == BAG_MAX
