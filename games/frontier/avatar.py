"""Players: how they come and go, walk, speak, and rise again."""

from __future__ import annotations

from typing import Final

import numpy as np

from games.frontier.commands import Gathered, Goods, Move, Respawn, Said, Say
from games.frontier.components import (
    AVATAR,
    TURN_STEP_RADIANS,
    Bag,
    Heading,
    Health,
    Motion,
    Name,
    Pose,
    Position,
    State,
)
from games.frontier.constants import (
    AVATAR_SPEED_UNITS_PER_S,
    FULL_HEALTH,
    HAMLET_RADIUS_UNITS,
    NAME_BYTES_MAX,
    RESPAWN_AFTER_S,
    RESPAWN_AT_THE_LATEST_S,
    SAFE_AFTER_SPAWN_S,
    ticks,
)
from games.frontier.world import around, hamlets, put
from server.sim import F32, Rows, Tick, World
from server.sim.dmath import atan2, normalise

# An avatar's heading takes one of 32 values: fine enough to draw, and it changes rarely.
HEADING_STEPS: Final = 32
NAMELESS: Final = "Wanderer"


# -- coming and going ---------------------------------------------------------


def join(world: World, tick: Tick, session: int, name: str) -> int:
    """A new avatar at one of the hamlets."""
    rows = world.spawn(AVATAR)
    world[Name].text[rows] = name_bytes(name)
    home_x, home_y = hamlets(world)
    pick = tick.random("home").integers(rows, home_x.size)
    settle(world, tick, rows, home_x[pick], home_y[pick])
    tell_bag(world, tick, rows, Goods.NOTHING, 0)
    return int(rows[0])


def away(world: World, tick: Tick, row: int) -> None:
    """The connection broke: the avatar stops where it is."""
    world[Motion].vx[row] = world[Motion].vy[row] = 0


def back(world: World, tick: Tick, row: int) -> None:
    """The player is back, with a client that knows nothing of its bag."""
    tell_bag(world, tick, np.array([row]), Goods.NOTHING, 0)


def name_bytes(name: str) -> bytes:
    """A name that fits its column, cut between two characters."""
    cut = name.strip().encode("utf-8", "replace")[:NAME_BYTES_MAX].decode("utf-8", "ignore").replace("\0", "")
    return (cut or NAMELESS).encode()


def settle(world: World, tick: Tick, rows: Rows, x: F32, y: F32) -> None:
    """Make avatars whole and put them near (x, y), safe from harm for a moment."""
    random = tick.random("settle")
    dx = around(random, 4 * rows, HAMLET_RADIUS_UNITS)
    dy = around(random, 4 * rows + 2, HAMLET_RADIUS_UNITS)
    put(world, rows, x + dx, y + dy)
    world[Health].hp[rows] = FULL_HEALTH
    world[Health].safe_until_tick[rows] = tick.number + ticks(SAFE_AFTER_SPAWN_S, tick)
    world[Bag].died_tick[rows] = 0
    world[Motion].vx[rows] = world[Motion].vy[rows] = 0


def tell_bag(world: World, tick: Tick, rows: Rows, kind: Goods, amount: int) -> None:
    """Tell owners what their bags hold."""
    bag = world[Bag]
    tick.emit(
        Gathered,
        to=rows,
        kind=np.uint8(kind),
        amount=np.uint8(amount),
        wood=bag.wood[rows],
        stone=bag.stone[rows],
        food=bag.food[rows],
    )


# -- systems -------------------------------------------------------------------


def steer_avatars(world: World, tick: Tick) -> None:
    """Moves become intents; an intent holds until the next."""
    moves = tick.commands(Move)
    living = world[Health].hp[moves.row] > 0
    rows = moves.row[living]
    dx, dy = at_most_unit(moves.dx[living], moves.dy[living])
    motion = world[Motion]
    motion.vx[rows] = dx
    motion.vy[rows] = dy
    going = (dx != 0) | (dy != 0)
    face(world, rows[going], dx[going], dy[going])


def walk_avatars(world: World, tick: Tick) -> None:
    """Adds intent * speed * dt to each position, clamped to the world, and nothing else: clients predict this."""
    rows = world.rows_of(AVATAR)
    motion = world[Motion]
    going = rows[(motion.vx[rows] != 0) | (motion.vy[rows] != 0)]
    step = np.float32(AVATAR_SPEED_UNITS_PER_S * tick.dt)
    position = world[Position]
    put(world, going, position.x[going] + motion.vx[going] * step, position.y[going] + motion.vy[going] * step)


def talk(world: World, tick: Tick) -> None:
    """What is said reaches all who see the speaker."""
    said = tick.commands(Say)
    spoken = said.text != b""
    rows = said.row[spoken]
    position = world[Position]
    tick.emit(
        Said,
        at=(position.x[rows], position.y[rows]),
        who=rows,
        name=world[Name].text[rows],
        text=said.text[spoken],
    )


def respawn(world: World, tick: Tick) -> None:
    """The dead rise when they ask, and after a while even if they don't."""
    bag = world[Bag]
    asked = np.zeros(world.high_water, np.bool_)
    asked[tick.commands(Respawn).row] = True
    rows = world.rows_of(AVATAR)
    rows = rows[world[Health].hp[rows] == 0]
    dead_ticks = tick.number - bag.died_tick[rows].astype(np.int64)
    early = asked[rows] & (dead_ticks >= ticks(RESPAWN_AFTER_S, tick))
    rows = rows[early | (dead_ticks >= ticks(RESPAWN_AT_THE_LATEST_S, tick))]
    if rows.size:
        settle(world, tick, rows, *nearest_hamlet(world, rows))


def pose_avatars(world: World, tick: Tick) -> None:
    """What each avatar looks like doing, after all it did."""
    rows = world.rows_of(AVATAR)
    motion, bag = world[Motion], world[Bag]
    going = (motion.vx[rows] != 0) | (motion.vy[rows] != 0)
    swinging = bag.arm_ready_tick[rows] > tick.number
    pose = np.where(swinging, Pose.ATTACK, np.where(going, Pose.RUN, Pose.IDLE))
    world[State].pose[rows] = np.where(world[Health].hp[rows] == 0, Pose.DEAD, pose)


# -- leaves --------------------------------------------------------------------


def at_most_unit(dx: F32, dy: F32) -> tuple[F32, F32]:
    """Vectors cut to length 1; those within it are untouched, to the bit."""
    length = np.sqrt(dx * dx + dy * dy)
    divisor: F32 = np.maximum(length, np.float32(1))
    return dx / divisor, dy / divisor


def face(world: World, rows: Rows, dx: F32, dy: F32) -> None:
    """Turn avatars towards (dx, dy), which must not be (0, 0)."""
    world[Bag].face_x[rows], world[Bag].face_y[rows] = normalise(dx, dy)
    world[Heading].angle[rows] = coarse_angle(dx, dy, HEADING_STEPS)


def coarse_angle(dx: F32, dy: F32, steps: int) -> F32:
    """Directions as one of `steps` angles, radians in [0, 2 pi), (n,) float32."""
    step = np.float32(TURN_STEP_RADIANS * 256 / steps)
    nearest = np.floor(atan2(dy, dx) / step + np.float32(0.5)).astype(np.int64) % steps
    angle: F32 = nearest.astype(np.float32) * step
    return angle


def nearest_hamlet(world: World, rows: Rows) -> tuple[F32, F32]:
    """The hamlet nearest to each row, (n,) float32 each."""
    home_x, home_y = hamlets(world)
    dx = world[Position].x[rows][:, None] - home_x
    dy = world[Position].y[rows][:, None] - home_y
    pick = np.argmin(dx * dx + dy * dy, axis=1)
    return home_x[pick], home_y[pick]
