"""Wood, stone, berries and meat; fires; and how wounds heal."""

from __future__ import annotations

from typing import Final

import numpy as np

from games.frontier.avatar import tell_bag
from games.frontier.combat import add_points, by_archetype
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
from games.frontier.mail import Given, Reach, has_neighbours
from games.frontier.world import put, spawn_if_room
from server.sim import F32, U8, U16, Bool, Rows, Tick, World

# What each node gives.
GIVES: Final = by_archetype({TREE: Goods.WOOD, ROCK: Goods.STONE, BUSH: Goods.BERRIES, MEAT: Goods.MEAT})
# Points for taking one of anything.
HARVEST_POINTS: Final = 1
# One piece of meat is worth this many berries.
MEAT_IS_FOOD: Final = 2
FUEL_PER_WOOD: Final = 20


# -- systems -------------------------------------------------------------------


def harvest(world: World, tick: Tick) -> None:
    """Each hand that is free takes one from the nearest node within reach, or reaches over the border for one."""
    rows = np.unique(tick.commands(Harvest).row)
    rows = rows[(world[Health].hp[rows] > 0) & (world[Bag].hand_ready_tick[rows] <= tick.number)]
    if not rows.size:
        return
    served, goods = take_nearest(world, *places(world, rows))
    receive(world, tick, rows[served], goods)
    others = np.delete(rows, served)
    beyond = others[at_border(world, others)]
    x, y = places(world, beyond)
    tick.send(Reach, at=(x, y, HARVEST_REACH_UNITS), here=False, hand=world.id_of(beyond))
    busy = np.concatenate([rows[served], beyond])
    world[Bag].hand_ready_tick[busy] = tick.number + ticks(HARVEST_EVERY_S, tick)


def reach_over(world: World, tick: Tick) -> None:
    """Hands from over the border take what is within reach here, and get it there."""
    if not tick.letters:
        return
    hands = tick.mail(Reach)
    served, goods = take_nearest(world, hands.x, hands.y)
    tick.send(Given, to=hands.hand[served], region=hands.source[served], goods=goods)
    given = tick.mail(Given)
    # The dead drop what they are given.
    alive = world.is_a(given.row, AVATAR) & (world[Health].hp[given.row] > 0)
    receive(world, tick, given.row[alive], given.goods[alive])


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


def take_nearest(world: World, x: F32, y: F32) -> tuple[Rows, U8]:
    """From each of n places one is taken of the nearest node within reach: which of them got one, and what (Goods)."""
    amount = world[Stock].amount[: world.high_water]
    nodes = np.flatnonzero(world.mask_of(TREE, ROCK, BUSH, MEAT) & (amount > 0))
    if not x.size or not nodes.size:
        return np.zeros(0, np.int64), np.zeros(0, np.uint8)
    index, _ = grid_of(world, nodes, 16.0).nearest(x, y, 1, HARVEST_REACH_UNITS)
    found = np.flatnonzero(index[:, 0] >= 0)
    nodes = nodes[index[found, 0]]
    served = first_come(nodes, world[Stock].amount[nodes].astype(np.int64))
    found, nodes = found[served], nodes[served]
    np.subtract.at(world[Stock].amount, nodes, np.uint8(1))
    goods = GIVES[world.archetype[nodes]]
    world.despawn(nodes[world.is_a(nodes, MEAT) & (world[Stock].amount[nodes] == 0)])
    return found, goods


def at_border(world: World, rows: Rows) -> Bool:
    """(n,) bool: a hand reaches into another region from there."""
    if not has_neighbours(world):
        return np.zeros(rows.size, np.bool_)
    (x, y), (x0, y0, x1, y1), reach = places(world, rows), world.bounds, np.float32(HARVEST_REACH_UNITS)
    beyond: Bool = (x - reach < x0) | (x + reach > x1) | (y - reach < y0) | (y + reach > y1)
    return beyond


def receive(world: World, tick: Tick, rows: Rows, goods: U8) -> None:
    """Into the bags of rows, (n,), one each of these goods."""
    add_points(world, rows, np.full(rows.size, HARVEST_POINTS, np.uint8))
    for kind in np.unique(goods).tolist():
        takers = rows[goods == kind]
        put_in_bag(world, takers, Goods(kind))
        tell_bag(world, tick, takers, Goods(kind), 1)


def first_come(wanted: Rows, left: Rows) -> Bool:
    """(n,) bool: who is served, where the k-th to want one thing gets it if more than k are left."""
    order = np.argsort(wanted, kind="stable")
    _, first, count = np.unique(wanted[order], return_index=True, return_counts=True)
    place = np.empty(wanted.size, np.int64)
    place[order] = np.arange(wanted.size) - np.repeat(first, count)
    served: Bool = place < left
    return served


def put_in_bag(world: World, rows: Rows, goods: Goods) -> None:
    """One more of these goods for each row, up to what a bag holds; a row may come twice."""
    bag = world[Bag]
    column: U16 = {Goods.WOOD: bag.wood, Goods.STONE: bag.stone}.get(goods, bag.food)
    worth = MEAT_IS_FOOD if goods == Goods.MEAT else 1
    who, times = np.unique(rows, return_counts=True)
    column[who] = np.minimum(column[who] + worth * times, BAG_MAX).astype(np.uint16)


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
