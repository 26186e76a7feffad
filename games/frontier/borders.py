"""Over borders: what those who come bring with them that was about another region, and blows that fall from there.

Who is struck belongs to the region it is in, so that region decides whether a blow or an arrow hits; the one it came
from hears of it if somebody fell. An arrow that crosses two borders within its flight may hit somebody behind each.
"""

from __future__ import annotations

import numpy as np

from games.frontier.combat import (
    POINTS,
    SHOT_DAMAGE,
    STRIKE_DAMAGE,
    Arrows,
    add_points,
    bolt,
    first_on_line,
    in_reach,
    wound,
)
from games.frontier.components import AVATAR, HERDS, Bag, Health, Mind, Mood
from games.frontier.mail import Arrow, Blow, Reward
from server.sim import F32, I64, U8, U32, U64, Rows, Tick, World


def arrive(world: World, tick: Tick, rows: Rows, ticks: I64) -> None:
    """Tick numbers become this region's; who was prey, or gave a wound, is of another region and forgotten.

    Hunters look at once for whom they came after.
    """
    health, bag, mind = world[Health], world[Bag], world[Mind]
    for column in (
        health.hurt_tick,
        health.safe_until_tick,
        bag.arm_ready_tick,
        bag.hand_ready_tick,
        bag.died_tick,
        mind.until_tick,
        mind.bite_ready_tick,
    ):
        column[rows] = in_our_time(column[rows], ticks)
    health.hurt_by[rows] = 0
    mind.prey[rows] = 0
    hunters = rows[(mind.mood[rows] == Mood.STALK) | (mind.mood[rows] == Mood.CHASE)]
    mind.mood[hunters], mind.until_tick[hunters] = Mood.ROAM, 0


def in_our_time(then: U32, ticks: I64) -> U32:
    """Tick numbers, (n,), of a clock that ours is `ticks` ahead of; 0 stands for never, and stays."""
    return np.where(then == 0, 0, np.maximum(then.astype(np.int64) + ticks, 1)).astype(np.uint32)


def fall_from_afar(world: World, tick: Tick) -> None:
    """Blows and arrows from over the border, and what players have earned there."""
    if not tick.letters:
        return
    blows = tick.mail(Blow)
    if len(blows):
        blow, body = in_reach(world, blows.x, blows.y, blows.face_x, blows.face_y)
        hit(world, tick, blows.striker[blow], blows.source[blow], body, STRIKE_DAMAGE)
        frighten(world, body, blows.x[blow], blows.y[blow])
    arrows = tick.mail(Arrow)
    if len(arrows):
        # They were on their way for a tick.
        seen = tick.number - 1 - arrows.seen_ago.astype(np.int64)
        nobody = np.full(len(arrows), -1, np.int64)
        flying = Arrows(nobody, arrows.from_x, arrows.from_y, arrows.dx, arrows.dy, seen)
        body, _ = first_on_line(world, tick, flying)
        arrow = np.flatnonzero(body >= 0)
        hit(world, tick, arrows.archer[arrow], arrows.source[arrow], body[arrow], SHOT_DAMAGE)
        frighten(world, body[arrow], arrows.from_x[arrow], arrows.from_y[arrow])
    earned = tick.mail(Reward)
    avatars = world.is_a(earned.row, AVATAR)
    add_points(world, earned.row[avatars], earned.points[avatars])


def hit(world: World, tick: Tick, attackers: U64, regions: U32, bodies: Rows, damage_table: U8) -> None:
    """Wound bodies; who fells one is told: of several the last, as among those who are here."""
    hp = world[Health].hp
    alive = hp[bodies] > 0
    wound(world, tick, np.full(bodies.size, -1, np.int64), bodies, damage_table)
    felled = np.flatnonzero(alive & (hp[bodies] == 0))[::-1]
    fallen, first = np.unique(bodies[felled], return_index=True)
    last = felled[first]
    tick.send(Reward, to=attackers[last], region=regions[last], points=POINTS[world.archetype[fallen]])


def frighten(world: World, bodies: Rows, from_x: F32, from_y: F32) -> None:
    """Herd animals that were hit run from where it came from."""
    meek = world.is_a(bodies, HERDS[0]) | world.is_a(bodies, HERDS[1])
    bolt(world, bodies[meek], from_x[meek], from_y[meek])
