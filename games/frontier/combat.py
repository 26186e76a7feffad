"""Blows, arrows, wounds and deaths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from games.frontier.avatar import face, tell_bag
from games.frontier.commands import Died, Goods, Hit, Shoot, Shot, Strike
from games.frontier.components import (
    ARCHETYPES,
    AVATAR,
    BEAR,
    CREATURES,
    DEER,
    HERDS,
    HISTORY,
    MEAT,
    PREDATORS,
    SHEEP,
    WOLF,
    Bag,
    Health,
    Mind,
    Mood,
    Motion,
    Score,
    Stock,
)
from games.frontier.constants import (
    POINTS_MAX,
    RUN_MAX_UNITS_PER_S,
    SEEN_AGE_TICKS_MAX,
    SHOOT_EVERY_S,
    SHOT_BODY_UNITS,
    SHOT_RANGE_UNITS,
    STRIKE_ARC_COSINE,
    STRIKE_EVERY_S,
    STRIKE_REACH_UNITS,
    ticks,
)
from games.frontier.creatures import grid_of, places
from games.frontier.mail import Arrow, Blow, has_neighbours
from games.frontier.world import put, spawn_if_room
from server.sim import F32, I64, U8, Archetype, Bool, Rows, Tick, World
from server.sim.dmath import normalise


def by_archetype(values: dict[Archetype, int]) -> U8:
    """(256,) uint8: a table over archetype numbers."""
    table = np.zeros(256, np.uint8)
    for archetype, value in values.items():
        table[ARCHETYPES.index(archetype)] = value
    return table


# Health each body loses to an avatar's blow, to its arrow, and to a wolf's or a bear's bite.
STRIKE_DAMAGE: Final = by_archetype({DEER: 34, SHEEP: 50, WOLF: 26, BEAR: 9, AVATAR: 15})
SHOT_DAMAGE: Final = by_archetype({DEER: 40, SHEEP: 50, WOLF: 30, BEAR: 8, AVATAR: 12})
WOLF_BITE_DAMAGE: Final = by_archetype({DEER: 34, SHEEP: 50, AVATAR: 6})
BEAR_BITE_DAMAGE: Final = by_archetype({DEER: 100, SHEEP: 100, AVATAR: 24})
# What the hunter's score gains, and how much meat lies there afterwards.
POINTS: Final = by_archetype({DEER: 5, SHEEP: 3, WOLF: 15, BEAR: 60, AVATAR: 10})
MEAT_LEFT: Final = by_archetype({DEER: 4, SHEEP: 3, WOLF: 2, BEAR: 6})
# A wounded predator turns on the archer for so long; a wounded herd animal bolts for so many thoughts.
ANGER_S: Final = 8.0
BOLT_THOUGHTS: Final = 11
BOLT_UNITS_PER_S: Final = 8.0


# -- systems -------------------------------------------------------------------


def strike(world: World, tick: Tick) -> None:
    """A blow hits all bodies within reach in the arc before the striker."""
    rows = np.unique(tick.commands(Strike).row)
    rows = rows[can_attack(world, tick, rows)]
    if not rows.size:
        return
    world[Bag].arm_ready_tick[rows] = tick.number + ticks(STRIKE_EVERY_S, tick)
    x, y = places(world, rows)
    face_x, face_y = world[Bag].face_x[rows], world[Bag].face_y[rows]
    blow, body = in_reach(world, x, y, face_x, face_y)
    another = rows[blow] != body
    wound(world, tick, rows[blow][another], body[another], STRIKE_DAMAGE)
    if has_neighbours(world):
        circle = (x, y, STRIKE_REACH_UNITS)
        tick.send(Blow, at=circle, here=False, striker=world.id_of(rows), face_x=face_x, face_y=face_y)


def shoot(world: World, tick: Tick) -> None:
    """An arrow hits the first body on its line, where bodies were at the tick the shooter saw."""
    shots = tick.commands(Shoot)
    # A session's first arrow of the tick counts.
    rows, first = np.unique(shots.row, return_index=True)
    dx, dy = normalise(shots.dx[first], shots.dy[first])
    flies = can_attack(world, tick, rows) & ((dx != 0) | (dy != 0))
    rows, dx, dy = rows[flies], dx[flies], dy[flies]
    if not rows.size:
        return
    world[Bag].arm_ready_tick[rows] = tick.number + ticks(SHOOT_EVERY_S, tick)
    face(world, rows, dx, dy)
    x, y = places(world, rows)
    arrows = Arrows(rows, x, y, dx, dy, shots.seen_tick[first][flies].astype(np.int64))
    target, length = first_on_line(world, tick, arrows)
    tick.emit(Shot, at=(x, y), who=rows, x=x, y=y, dx=dx, dy=dy, length=length)
    hit = target >= 0
    wound(world, tick, rows[hit], target[hit], SHOT_DAMAGE)
    if has_neighbours(world):
        fly_on(world, tick, arrows, np.flatnonzero(~hit))


def fall(world: World, tick: Tick) -> None:
    """Who has no health left falls: avatars lie, creatures leave meat."""
    health = world[Health]
    rows = np.flatnonzero(world.mask_of(AVATAR, *CREATURES) & (health.hp[: world.high_water] == 0))
    if not rows.size:
        return
    avatar = world.is_a(rows, AVATAR)
    lying = avatar & (world[Bag].died_tick[rows] > 0)
    rows, avatar = rows[~lying], avatar[~lying]
    if not rows.size:
        return
    killer = world.resolve(health.hurt_by[rows])
    killer = np.where(killer >= 0, killer, rows)
    tick.emit(Died, at=places(world, rows), who=rows, killer=killer)
    reward(world, killer, POINTS[world.archetype[rows]], except_for=rows)
    lie_down(world, tick, rows[avatar])
    leave_meat(world, rows[~avatar])
    world.despawn(rows[~avatar])


# -- leaves --------------------------------------------------------------------


def in_reach(world: World, x: F32, y: F32, face_x: F32, face_y: F32) -> tuple[I64, Rows]:
    """Whom blows from these places in these directions reach: (k,) the blow, (k,) the body's row."""
    bodies = world.rows_of(AVATAR, *CREATURES)
    near = grid_of(world, bodies, 16.0).radius(x, y, STRIKE_REACH_UNITS)
    blow, body = near.query, bodies[near.index]
    bx, by = places(world, body)
    ahead = (bx - x[blow]) * face_x[blow] + (by - y[blow]) * face_y[blow]
    struck = ahead >= np.sqrt(near.distance2) * np.float32(STRIKE_ARC_COSINE)
    return blow[struck], body[struck]


def can_attack(world: World, tick: Tick, rows: Rows) -> Bool:
    """(n,) bool: alive, and the arm is free again."""
    ready: Bool = (world[Health].hp[rows] > 0) & (world[Bag].arm_ready_tick[rows] <= tick.number)
    return ready


@dataclass(frozen=True, slots=True)
class Arrows:
    """Arrows in flight: (n,) each."""

    archer: Rows
    # Where they start.
    x: F32
    y: F32
    # Unit vectors.
    dx: F32
    dy: F32
    seen_tick: I64


def fly_on(world: World, tick: Tick, arrows: Arrows, which: I64) -> None:
    """Arrows that hit nobody here may hit somebody over the border."""
    x, y, dx, dy = arrows.x[which], arrows.y[which], arrows.dx[which], arrows.dy[which]
    half = SHOT_RANGE_UNITS / 2
    tick.send(
        Arrow,
        at=(x + dx * half, y + dy * half, half + SHOT_BODY_UNITS),
        here=False,
        archer=world.id_of(arrows.archer[which]),
        from_x=x,
        from_y=y,
        dx=dx,
        dy=dy,
        seen_ago=np.clip(tick.number - arrows.seen_tick[which], 0, SEEN_AGE_TICKS_MAX),
    )


def first_on_line(world: World, tick: Tick, arrows: Arrows) -> tuple[I64, F32]:
    """What each arrow meets first, (n,) rows or -1, and how far it flies, (n,) float32 units.

    Where bodies were, not where they are; the history is SEEN_AGE_TICKS_MAX long: nobody shoots further back.
    """
    bodies = world.rows_of(AVATAR, *CREATURES)
    x, y, dx, dy = arrows.x, arrows.y, arrows.dx, arrows.dy
    # Candidates lie round the middle of the line, as far off as anyone runs in the time compensated.
    middle = np.float32(SHOT_RANGE_UNITS / 2)
    slack = SHOT_RANGE_UNITS / 2 + SHOT_BODY_UNITS + RUN_MAX_UNITS_PER_S * SEEN_AGE_TICKS_MAX * tick.dt
    near = grid_of(world, bodies, 32.0).radius(x + dx * middle, y + dy * middle, slack)
    query, body = near.query, bodies[near.index]
    alive = world[Health].hp[body] > 0
    query, body = query[alive], body[alive]
    then_x, then_y = HISTORY.at(world, arrows.seen_tick[query], body)
    off_x, off_y = then_x - x[query], then_y - y[query]
    along = off_x * dx[query] + off_y * dy[query]
    across = off_x * dy[query] - off_y * dx[query]
    met = (
        (along > 0)
        & (along <= np.float32(SHOT_RANGE_UNITS))
        & (np.abs(across) <= np.float32(SHOT_BODY_UNITS))
        & (body != arrows.archer[query])
    )
    query, body, along = query[met], body[met], along[met]
    order = np.lexsort((body, along, query))
    shooter, first = np.unique(query[order], return_index=True)
    target = np.full(x.size, -1, np.int64)
    length = np.full(x.size, SHOT_RANGE_UNITS, np.float32)
    target[shooter], length[shooter] = body[order][first], along[order][first]
    return target, length


def wound(world: World, tick: Tick, attackers: Rows, targets: Rows, damage_table: U8) -> None:
    """Take health from targets, by their archetype; one may be named twice. The safe and the dead are spared.

    An attacker of -1 is one of another region.
    """
    health = world[Health]
    open_ = (health.hp[targets] > 0) & (health.safe_until_tick[targets] <= tick.number)
    attackers, targets = attackers[open_], targets[open_]
    if not targets.size:
        return
    damage = damage_table[world.archetype[targets]]
    wounded, which = np.unique(targets, return_inverse=True)
    lost = np.zeros(wounded.size, np.int64)
    np.add.at(lost, which, damage)
    health.hp[wounded] = np.maximum(health.hp[wounded] - lost, 0).astype(np.uint8)
    health.hurt_tick[targets] = tick.number
    # Of several in one tick the last is remembered; the order is that of rows, so every run agrees.
    here = attackers >= 0
    health.hurt_by[targets] = np.where(here, world.ref(attackers), np.uint64(0))
    # Clients know nobody by a handle of another region: the wounded stands for both.
    shown = np.where(here, attackers, targets)
    tick.emit(Hit, at=places(world, targets), attacker=shown, target=targets, damage=damage)
    by_avatar = world.is_a(attackers, AVATAR)
    if by_avatar.any():
        provoke(world, tick, attackers[by_avatar], targets[by_avatar])


def provoke(world: World, tick: Tick, attackers: Rows, targets: Rows) -> None:
    """Wounded predators turn on their attacker, herd animals bolt from it."""
    mind = world[Mind]
    fierce = world.is_a(targets, PREDATORS[0]) | world.is_a(targets, PREDATORS[1])
    rows = targets[fierce]
    mind.mood[rows] = Mood.CHASE
    mind.prey[rows] = world.ref(attackers[fierce])
    mind.until_tick[rows] = tick.number + ticks(ANGER_S, tick)

    meek = world.is_a(targets, HERDS[0]) | world.is_a(targets, HERDS[1])
    bolt(world, targets[meek], *places(world, attackers[meek]))


def bolt(world: World, rows: Rows, from_x: F32, from_y: F32) -> None:
    """Run from these places, (n,) world units each, and keep running for a while."""
    if not rows.size:
        return
    mind, motion = world[Mind], world[Motion]
    x, y = places(world, rows)
    dx, dy = normalise(x - from_x, y - from_y)
    motion.vx[rows], motion.vy[rows] = dx * np.float32(BOLT_UNITS_PER_S), dy * np.float32(BOLT_UNITS_PER_S)
    mind.alarm[rows] = BOLT_THOUGHTS


def reward(world: World, killers: Rows, points: U8, *, except_for: Rows) -> None:
    """Add points to those killers who are avatars and did not kill themselves."""
    earned = world.is_a(killers, AVATAR) & (killers != except_for)
    add_points(world, killers[earned], points[earned])


def add_points(world: World, rows: Rows, points: U8) -> None:
    """Raise avatars' scores; a row may come twice."""
    who, which = np.unique(rows, return_inverse=True)
    gained = np.zeros(who.size, np.int64)
    np.add.at(gained, which, points)
    score = world[Score]
    score.points[who] = np.minimum(score.points[who] + gained, POINTS_MAX).astype(np.uint16)


def lie_down(world: World, tick: Tick, rows: Rows) -> None:
    """Avatars die: they lie where they fell and lose half of their bags."""
    bag, motion = world[Bag], world[Motion]
    bag.died_tick[rows] = tick.number
    motion.vx[rows] = motion.vy[rows] = 0
    for goods in (bag.wood, bag.stone, bag.food):
        goods[rows] = goods[rows] // 2
    tell_bag(world, tick, rows, Goods.NOTHING, 0)


def leave_meat(world: World, rows: Rows) -> None:
    """Meat where creatures fell, if the region has room for it."""
    meat = spawn_if_room(world, MEAT, rows.size)
    if not meat.size:
        return
    put(world, meat, *places(world, rows))
    world[Stock].amount[meat] = world[Stock].full[meat] = MEAT_LEFT[world.archetype[rows]]
