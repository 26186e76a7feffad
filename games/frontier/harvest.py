"""Wood, stone, berries and meat; fires; and how wounds heal."""

from __future__ import annotations

from typing import Final

import numpy as np

from games.frontier.avatar import tell_bag
from games.frontier.combat import add_points
from games.frontier.commands import Build, Goods, Harvest
from games.frontier.components import (
    AVATAR,
    BUSH,
    CAMPFIRE,
    CREATURES,
    MEAT,
    ROCK,
    TREE,
    Bag,
    Health,
    Stock,
)
from games.frontier.constants import (
    BAG_MAX,
    EAT_EVERY_S,
    EAT_HEALS,
    FIRE_APART_UNITS,
    FIRE_BURNS_EVERY_S,
    FIRE_FOR_EVER,
    FIRE_FUEL,
    FIRE_HEALS_EVERY_S,
    FIRE_STONE,
    FIRE_WARMTH_UNITS,
    FIRE_WOOD,
    FULL_HEALTH,
    HARVEST_EVERY_S,
    HARVEST_REACH_UNITS,
    HEAL_AFTER_WOUND_S,
    MEAT_ROTS_EVERY_S,
    REGENERATE_EVERY_S,
    REGROW_EVERY_S,
    ticks,
)
from games.frontier.creatures import grid_of, nearest_of, places
from games.frontier.world import put, spawn_if_room
from server.sim import U16, Archetype, Bool, Rows, Tick, World

# What each node gives.
GIVES: Final[tuple[tuple[Archetype, Goods], ...]] = (
    (TREE, Goods.WOOD),
    (ROCK, Goods.STONE),
    (BUSH, Goods.BERRIES),
    (MEAT, Goods.MEAT),
)
# Points for taking one of anything.
HARVEST_POINTS: Final = 1
# One piece of meat is worth this many berries.
MEAT_IS_FOOD: Final = 2
FUEL_PER_WOOD: Final = 20


# -- systems -------------------------------------------------------------------


def harvest(world: World, tick: Tick) -> None:
    """Each hand that is free takes one from the nearest node within reach."""
    rows = np.unique(tick.commands(Harvest).row)
    rows = rows[(world[Health].hp[rows] > 0) & (world[Bag].hand_ready_tick[rows] <= tick.number)]
    if not rows.size:
        return
    amount = world[Stock].amount[: world.high_water]
    nodes = np.flatnonzero(world.mask_of(TREE, ROCK, BUSH, MEAT) & (amount > 0))
    rows, nodes = nearest_node(world, rows, nodes)
    served = first_come(nodes, world[Stock].amount[nodes].astype(np.int64))
    rows, nodes = rows[served], nodes[served]
    if not rows.size:
        return
    world[Bag].hand_ready_tick[rows] = tick.number + ticks(HARVEST_EVERY_S, tick)
    np.subtract.at(world[Stock].amount, nodes, np.uint8(1))
    add_points(world, rows, np.full(rows.size, HARVEST_POINTS, np.uint8))
    for archetype, goods in GIVES:
        takers = rows[world.is_a(nodes, archetype)]
        if takers.size:
            put_in_bag(world, takers, goods)
            tell_bag(world, tick, takers, goods, 1)
    world.despawn(nodes[world.is_a(nodes, MEAT) & (world[Stock].amount[nodes] == 0)])


def regrow(world: World, tick: Tick) -> None:
    """Nodes grow back one at a time; meat rots; fires burn down."""
    stock, n = world[Stock], world.high_water
    picked = np.flatnonzero(world.mask_of(TREE, ROCK, BUSH) & (stock.amount[:n] < stock.full[:n]))
    stock.amount[due(picked, tick, REGROW_EVERY_S)] += np.uint8(1)

    rotting = due(world.rows_of(MEAT), tick, MEAT_ROTS_EVERY_S)
    burning = due(world.rows_of(CAMPFIRE), tick, FIRE_BURNS_EVERY_S)
    rows = np.concatenate([rotting, burning[stock.amount[burning] != FIRE_FOR_EVER]])
    if not rows.size:
        return
    stock.amount[rows] -= np.minimum(stock.amount[rows], np.uint8(1))
    world.despawn(rows[stock.amount[rows] == 0])


def build(world: World, tick: Tick) -> None:
    """Feed the fire one stands at, or light a new one. Rare, so one by one."""
    for row in np.unique(tick.commands(Build).row).tolist():
        if world[Health].hp[row] == 0:
            continue
        me = np.array([row])
        fire = nearest_of(world, me, world.rows_of(CAMPFIRE), FIRE_APART_UNITS)
        lit = feed(world, row, int(fire[0])) if fire[0] >= 0 else light(world, row)
        if lit:
            tell_bag(world, tick, me, Goods.NOTHING, 0)


def heal(world: World, tick: Tick) -> None:
    """Wounds close by themselves, sooner at a fire, soonest by eating."""
    health = world[Health]
    hp = health.hp[: world.high_water]
    rows = np.flatnonzero(world.mask_of(AVATAR, *CREATURES) & (hp > 0) & (hp < FULL_HEALTH))
    quiet = tick.number - health.hurt_tick[rows].astype(np.int64) >= ticks(HEAL_AFTER_WOUND_S, tick)
    rows = rows[quiet | (health.hurt_tick[rows] == 0)]
    if not rows.size:
        return
    gain_health(world, due(rows, tick, REGENERATE_EVERY_S), 1)
    players = rows[world.is_a(rows, AVATAR)]
    warm = due(players, tick, FIRE_HEALS_EVERY_S)
    gain_health(world, warm[nearest_of(world, warm, world.rows_of(CAMPFIRE), FIRE_WARMTH_UNITS) >= 0], 1)
    eaters = due(players, tick, EAT_EVERY_S)
    eaters = eaters[(world[Bag].food[eaters] > 0) & (health.hp[eaters] <= FULL_HEALTH - EAT_HEALS)]
    world[Bag].food[eaters] -= np.uint16(1)
    gain_health(world, eaters, EAT_HEALS)
    tell_bag(world, tick, eaters, Goods.NOTHING, 0)


# -- leaves --------------------------------------------------------------------


def due(rows: Rows, tick: Tick, every_s: float) -> Rows:
    """Those of `rows` whose turn it is at this tick, so that each has one every so many seconds."""
    period = ticks(every_s, tick)
    turn: Rows = rows[rows % period == tick.number % period]
    return turn


def nearest_node(world: World, rows: Rows, nodes: Rows) -> tuple[Rows, Rows]:
    """Those rows with a node within reach, and that node."""
    if not rows.size or not nodes.size:
        return rows[:0], nodes[:0]
    x, y = places(world, rows)
    index, _ = grid_of(world, nodes, 16.0).nearest(x, y, 1, HARVEST_REACH_UNITS)
    found = index[:, 0] >= 0
    return rows[found], nodes[index[found, 0]]


def first_come(wanted: Rows, left: Rows) -> Bool:
    """(n,) bool: who is served, where the k-th to want one thing gets it if more than k are left."""
    order = np.argsort(wanted, kind="stable")
    _, first, count = np.unique(wanted[order], return_index=True, return_counts=True)
    place = np.empty(wanted.size, np.int64)
    place[order] = np.arange(wanted.size) - np.repeat(first, count)
    served: Bool = place < left
    return served


def put_in_bag(world: World, rows: Rows, goods: Goods) -> None:
    """One more of these goods for each row, up to what a bag holds."""
    bag = world[Bag]
    column: U16 = {Goods.WOOD: bag.wood, Goods.STONE: bag.stone}.get(goods, bag.food)
    worth = MEAT_IS_FOOD if goods == Goods.MEAT else 1
    column[rows] = np.minimum(column[rows] + np.uint16(worth), np.uint16(BAG_MAX))


def feed(world: World, row: int, fire: int) -> bool:
    """Put a piece of wood on a fire. False for want of wood, or of need."""
    stock, bag = world[Stock], world[Bag]
    if bag.wood[row] == 0 or stock.amount[fire] >= FIRE_FUEL:
        return False
    bag.wood[row] -= np.uint16(1)
    stock.amount[fire] = min(int(stock.amount[fire]) + FUEL_PER_WOOD, FIRE_FUEL)
    return True


def light(world: World, row: int) -> bool:
    """Light a fire where the avatar stands. False for want of wood, stone or room in the region."""
    bag = world[Bag]
    if bag.wood[row] < FIRE_WOOD or bag.stone[row] < FIRE_STONE:
        return False
    fire = spawn_if_room(world, CAMPFIRE, 1)
    if not fire.size:
        return False
    bag.wood[row] -= np.uint16(FIRE_WOOD)
    bag.stone[row] -= np.uint16(FIRE_STONE)
    put(world, fire, *places(world, np.array([row])))
    world[Stock].amount[fire] = world[Stock].full[fire] = FIRE_FUEL
    return True


def gain_health(world: World, rows: Rows, points: int) -> None:
    """Health up to the full."""
    hp = world[Health].hp
    hp[rows] = np.minimum(hp[rows].astype(np.int64) + points, FULL_HEALTH).astype(np.uint8)
