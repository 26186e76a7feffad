"""Who is far from every player has fewer turns and longer steps; who is near has all of them; nothing is remembered."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.schema import Wire
from server.regions.atlas import Atlas
from server.regions.frame import RegionSpec
from server.regions.machine import RegionMachine
from server.shard.machine import JOIN, LEAVE, NOTHING, PRESENCE, PROCESSED, TickInput
from server.sim import (
    F32,
    U16,
    Archetype,
    Component,
    DeclarationError,
    Far,
    Game,
    Tick,
    World,
    column,
)

EVERY, BEYOND, DT = 4, 100.0, 1 / 20


class Position(Component):
    x: F32 = column(np.float32, wire=Wire("u16", scale=1 / 32, axis="x"))
    y: F32 = column(np.float32, wire=Wire("u16", scale=1 / 32, axis="y"))


class Going(Component):
    vx: F32 = column(np.float32)
    vy: F32 = column(np.float32)
    # How often it had a turn.
    turns: U16 = column(np.uint16)


class Soul(Component):
    turns: U16 = column(np.uint16)


SHEEP = Archetype("sheep", Position, Going)
PLAYER = Archetype("player", Position, Going)
# Without a place.
GHOST = Archetype("ghost", Soul)
FAR = Far(EVERY, BEYOND)


def setup(world: World, tick: Tick) -> None:
    rows = world.spawn(SHEEP, 400)
    x0, y0, x1, y1 = world.bounds
    world[Position].x[rows] = tick.random("x").uniform(rows, x0, x1)
    world[Position].y[rows] = tick.random("y").uniform(rows, y0, y1)
    world[Going].vx[rows] = tick.random("vx").uniform(rows, -3, 3)
    world[Going].vy[rows] = tick.random("vy").uniform(rows, -3, 3)


def join(world: World, tick: Tick, session: int, name: str) -> int:
    rows = world.spawn(PLAYER)
    world[Position].x[rows], world[Position].y[rows] = (float(part) for part in name.split(","))
    return int(rows[0])


def walk(world: World, tick: Tick) -> None:
    rows = tick.due(world.rows(Going))
    going, place, step_s = world[Going], world[Position], tick.step_s(rows)
    for at, speed, low, high in (
        (place.x, going.vx, world.limits[0], world.limits[2]),
        (place.y, going.vy, world.limits[1], world.limits[3]),
    ):
        there = at[rows] + speed[rows] * step_s
        back = (there < np.float32(low)) | (there >= np.float32(high))
        speed[rows[back]] *= np.float32(-1)
        at[rows] = np.where(back, at[rows], there)
    going.turns[rows] += np.uint16(1)


GAME = Game(
    name="wide",
    version=1,
    position=Position,
    archetypes=(SHEEP, PLAYER, GHOST),
    systems=(walk,),
    setup=setup,
    join=join,
    far=FAR,
)
ONE = Atlas([RegionSpec(1, 0.0, 0.0, 1024.0, 1024.0, 600)])


def region(game=GAME, atlas=ONE, number=1):
    return RegionMachine(game, atlas[number], seed=5, tick_rate_hz=20, atlas=atlas)


def of(kind, session, *args):
    shapes = region().shapes
    return TickInput({kind: np.array([(session, 0, *args)], shapes[kind].dtype)}, np.zeros(0, PROCESSED))


def joins(session, x, y):
    return of(JOIN, session, b"", f"{x},{y}".encode())


def turns_at(world, number, far=FAR):
    return far.turns(world, Position, number, DT)


def flock(*places, bounds=(0.0, 0.0, 1024.0, 1024.0), limits=None, owners=()):
    """A world with sheep at these places; those in `owners` are somebody's."""
    world = GAME.world(1000, bounds, limits=limits)
    rows = world.spawn(SHEEP, len(places))
    world[Position].x[rows], world[Position].y[rows] = np.array(places, np.float32).T
    world.owner[rows[list(owners)]] = 7
    return world


def far_of(world, far=FAR):
    return turns_at(world, 1, far).far[: world.high_water].tolist()


# -- who is far ----------------------------------------------------------------


def test_nobody_near_a_player_is_far_and_everybody_far_off_is():
    rng = np.random.default_rng(3)
    places = [(500, 500), *rng.uniform(0, 1024, (800, 2))]
    world = flock(*places, owners=[0])
    far = np.array(far_of(world))
    distance = np.hypot(*(np.array(places, np.float32) - np.float32(500)).T)
    assert not far[distance <= BEYOND].any()
    assert far[distance > 1.8 * BEYOND].all()
    assert far.sum() > 500


@given(
    size=st.floats(1, 5000),
    beyond=st.floats(0.01, 3000),
    places=st.lists(st.tuples(st.floats(-0.1, 1.1), st.floats(-0.1, 1.1)), min_size=1, max_size=30),
    players=st.integers(0, 3),
)
def test_it_holds_in_any_world(size, beyond, places, players):
    world = flock(
        *((3 + x * size, y * size) for x, y in places),
        bounds=(3.0, 0.0, 3.0 + size, size),
        owners=range(min(players, len(places))),
    )
    far = np.array(far_of(world, Far(EVERY, beyond)))
    x, y = (
        np.clip(v[: world.high_water], low, low + size) for v, low in ((world[Position].x, 3), (world[Position].y, 0))
    )
    if not players:
        assert far.all()
        return
    owned = world.owner[: world.high_water] > 0
    nearest = np.hypot(x[:, None] - x[owned], y[:, None] - y[owned]).min(axis=1)
    assert not far[nearest < beyond * 0.999].any()
    assert far[nearest > max(1.8 * beyond, beyond + 2 * size / 256) * 1.001].all()


def test_a_player_whose_connection_broke_is_one_still():
    machine = region()
    machine.step(joins(9, 300, 300))
    machine.step(of(PRESENCE, 9, 0))
    assert not all(far_of(machine.world)[:400])
    machine.step(of(LEAVE, 9))
    assert all(far_of(machine.world)[:400])


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((0, 0, 1000, 1000), [True] * 5),
        ((-500, 0, 1000, 1000), [False, True, True, True, True]),
        ((0, 0, 1500, 1000), [True, False, True, True, True]),
        ((0, -500, 1000, 1000), [True, True, False, True, True]),
        ((0, 0, 1000, 1500), [True, True, True, False, True]),
        ((-500, -500, 1500, 1500), [False, False, False, False, True]),
    ],
)
def test_near_a_border_is_near(limits, expected):
    places = [(99, 500), (901, 500), (500, 99), (500, 901), (500, 500)]
    assert far_of(flock(*places, bounds=(0, 0, 1000, 1000), limits=limits)) == expected


def test_in_a_small_region_among_others_nobody_is_far():
    world = flock(
        *np.random.default_rng(1).uniform(0, 250, (50, 2)), bounds=(0, 0, 250, 250), limits=(-1, -1, 251, 251)
    )
    assert not any(far_of(world, Far(EVERY, 200.0)))


def test_places_that_are_no_places_do_no_harm():
    world = flock((np.nan, 5), (np.inf, 5), (-np.inf, np.nan), (3e38, -3e38), (900, 900), owners=[0])
    assert far_of(world) == [False, True, False, True, True]


def test_who_has_no_place_is_never_far():
    world = flock((900, 900))
    world.spawn(GHOST, 2)
    assert far_of(world) == [True, False, False]


def test_a_game_says_who_may_be_far():
    world = flock((100, 100), (900, 900), (910, 900), owners=[0])
    world[Going].vx[[1]] = 5
    calm = Far(EVERY, BEYOND, lambda world: world[Going].vx[: world.high_water] == 0)
    assert far_of(world, calm) == [False, False, True]


# -- turns ---------------------------------------------------------------------


def test_far_rows_have_their_turns_one_after_the_other():
    world = flock((5, 5), *[(900, 900)] * 40, owners=[0])
    seen = [np.flatnonzero(turns_at(world, number).due[:41]).tolist() for number in range(8, 8 + EVERY)]
    assert [len(rows) for rows in seen] == [11] * EVERY
    assert sorted(row for rows in seen for row in rows if row) == list(range(1, 41))
    assert all(0 in rows for rows in seen)


def test_steps_make_up_for_the_turns_that_are_left_out():
    world = flock((5, 5), (900, 900), owners=[0])
    rows = np.array([1, 0, 1])
    assert turns_at(world, 1).step_s(rows).tolist() == [np.float32(DT * EVERY), np.float32(DT), np.float32(DT * EVERY)]


def test_what_is_done_in_place_gets_its_steps_in_place():
    world = flock((5, 5), *[(900, 900)] * 8, owners=[0])
    tick = Tick(4, DT, 1, {}, turns=turns_at(world, 4))
    steps, rows = tick.steps_s(world), np.arange(world.high_water)
    assert steps.size == world.high_water
    due = tick.due(rows)
    assert np.flatnonzero(steps).tolist() == due.tolist() == [0, 4, 8]
    assert steps[due].tolist() == tick.step_s(due).tolist()
    assert tick.is_far(rows).tolist() == [False] + [True] * 8


def test_who_begins_during_the_tick_is_near():
    world = flock((900, 900))
    turns = turns_at(world, 1)
    young = world.spawn(SHEEP, 8)
    assert turns.due[young].all()
    assert not turns.far[young].any()


def test_a_game_that_declares_nothing_has_everyone_s_turn_at_every_tick():
    tick, rows = Tick(3, DT, 1, {}), np.array([4, 9])
    assert tick.due(rows) is rows
    assert tick.step_s(rows).tolist() == [np.float32(DT)] * 2
    assert tick.is_far(rows).tolist() == [False] * 2
    assert set(tick.steps_s(flock((1, 1), (9, 9))).tolist()) == {np.float32(DT)}
    machine = region(replace(GAME, far=None))
    for _ in range(6):
        machine.step(NOTHING)
    assert set(machine.world[Going].turns[:400].tolist()) == {6}


@pytest.mark.parametrize(("every", "beyond"), [(1, 10.0), (0, 10.0), (4, 0.0), (4, -1.0), (4, np.inf), (4, np.nan)])
def test_what_is_no_pace_or_distance_is_refused(every, beyond):
    with pytest.raises(DeclarationError):
        Far(every, beyond)


# -- in a machine --------------------------------------------------------------


def journey(game, ticks, *, joined=(300, 300)):
    """The world after so many ticks with one player, and how far each sheep has come; nobody reached an edge."""
    machine = region(game)
    world = machine.world
    inside = world.rows_of(SHEEP)
    world[Position].x[inside] = 100 + world[Position].x[inside] * np.float32(0.8)
    world[Position].y[inside] = 100 + world[Position].y[inside] * np.float32(0.8)
    x, y = world[Position].x[:400].copy(), world[Position].y[:400].copy()
    machine.step(joins(9, *joined))
    for _ in range(ticks - 1):
        machine.step(NOTHING)
    return machine, np.hypot(world[Position].x[:400] - x, world[Position].y[:400] - y)


def test_the_near_go_as_they_would_and_the_far_as_far():
    machine, come = journey(GAME, 400)
    plain, plain_come = journey(replace(GAME, far=None), 400)
    far, turns = np.array(far_of(machine.world)[:400]), machine.world[Going].turns[:400]
    always = (turns == 400) & ~far
    assert always.sum() > 10
    place, plain_place = machine.world[Position], plain.world[Position]
    assert (place.x[:400][always] == plain_place.x[:400][always]).all()
    assert (place.y[:400][always] == plain_place.y[:400][always]).all()
    assert (turns == 400 // EVERY).sum() > 250
    # Steps of four times the length are exact but for their rounding.
    assert come[turns == 100] == pytest.approx(plain_come[turns == 100], rel=1e-3, abs=0.05)
    assert come.mean() == pytest.approx(plain_come.mean(), rel=0.005)


def test_who_comes_and_goes_between_near_and_far_keeps_its_pace():
    """A player that is now here, now there: sheep change sides hundreds of times, and gain or lose half a step each."""
    ratios = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        machine = region()
        world = machine.world
        rows, place = world.rows_of(SHEEP), world[Position]
        place.x[rows], place.y[rows] = rng.uniform(300, 600, (2, 400))
        world[Going].vx[rows], world[Going].vy[rows] = 0.5, 0
        began = place.x[rows].copy()
        machine.step(joins(9, 100, 500))
        (player,) = world.rows_of(PLAYER)
        changes, before = 0, turns_at(world, 1).far[rows]
        for _ in range(599):
            place.x[player] = rng.uniform(0, 1000) if rng.random() < 0.2 else place.x[player]
            machine.step(NOTHING)
            far = turns_at(world, 1).far[rows]
            changes, before = changes + int((far != before).sum()), far
        assert changes > 5_000
        ratios.append((place.x[rows] - began).mean() / (0.5 * 600 * DT))
    assert np.mean(ratios) == pytest.approx(1, abs=0.01)


def digests(machine, inputs):
    found = []
    for taken in inputs:
        machine.step(taken)
        found.append(machine.digest())
    return found


STORY = [joins(9, 300, 300), *[NOTHING] * 30, joins(11, 800, 200), *[NOTHING] * 20, of(LEAVE, 9), *[NOTHING] * 30]


def test_it_replays_and_goes_on_from_any_state():
    live = region()
    told = digests(live, STORY)
    assert digests(region(), STORY) == told
    replayed = region()
    for taken in STORY:
        replayed.replay(taken)
    assert replayed.digest() == told[-1]
    for cut in (1, 17, 40, 55):
        first, second = region(), region()
        digests(first, STORY[:cut])
        second.adopt(first.capture())
        assert digests(second, STORY[cut:]) == told[cut:]


def test_what_nobody_sees_travels_less():
    sizes = {}
    for name, game in (("far", GAME), ("plain", replace(GAME, far=None))):
        machine = region(game)
        machine.step(joins(9, 20, 20))
        sizes[name] = sum(len(machine.step(NOTHING).frame) for _ in range(40))
    assert sizes["far"] < sizes["plain"] / 3


def test_in_a_world_of_several_regions_the_middle_of_each_is_far():
    atlas = Atlas.grid(RegionSpec(1, 0.0, 0.0, 1024.0, 1024.0, 600, 16.0), columns=2, rows=1)
    machine = region(atlas=atlas, number=2)
    machine.step(NOTHING)
    turns = machine.world[Going].turns[:400]
    near = machine.world[Position].x[:400] < 512 + BEYOND - 1
    assert (turns[near] == 1).all()
    assert 0.15 < (turns[~near] == 1).mean() < 0.5
