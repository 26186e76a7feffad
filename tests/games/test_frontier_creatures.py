"""What creatures share: turns to think, the wind, the edge of the world, births."""

import numpy as np
import pytest

from config.settings import Settings
from games.frontier import GAME
from games.frontier.components import (
    AVATAR,
    DEER,
    SHEEP,
    TREE,
    WOLF,
    Heading,
    Mind,
    Mood,
    Motion,
    Pose,
    Position,
    State,
)
from games.frontier.constants import CREATURES_PER_MILLION
from games.frontier.creatures import (
    BIRTH_AWAY_UNITS,
    BIRTHS_MAX,
    FAR,
    FAR_EVERY_TICKS,
    FAR_UNITS,
    STANDSTILL_UNITS_PER_S,
    WIND_CELL_UNITS,
    WIND_HOLDS_S,
    Going,
    births,
    far_from,
    inward,
    living,
    nearest_of,
    pushed,
    steer,
    strip,
    unit,
    wind,
)
from games.frontier.herds import think_herds
from games.frontier.predators import think_predators
from games.frontier.world import PLACINGS
from server.sim import Random, Tick
from tests.games.play import RATE_HZ, Play, still_world

DEER_PLACING = next(p for p in PLACINGS if p.archetype is DEER)


def at(number: int) -> Tick:
    return Tick(number, 1 / RATE_HZ, 7, {})


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@pytest.mark.parametrize("strips", [1, 2, 4, 16])
def test_strips_are_the_region_without_gap_or_overlap(strips):
    play = Play(size=100, x=200)
    edges = [strip(play.world, number, strips) for number in range(strips)]
    assert (edges[0][0], edges[-1][1]) == (-np.inf, np.inf)
    assert [high for _, high in edges[:-1]] == [low for low, _ in edges[1:]]
    assert [high for _, high in edges[:-1]] == pytest.approx([100 * n / strips for n in range(1, strips)])


def far_and_near(*, ticks, speed=2.0):
    """How far deer that go their way come, none of them thinking: near a player, and far from all."""
    play = Play(still_world(without=(think_herds, think_predators), far=FAR), size=1000)
    (ann,) = play.join("Ann")
    play.move([ann], (500, 100))
    near = play.put(DEER, *[(450 + n, 150) for n in range(20)])
    far = play.put(DEER, *[(450 + n, 900) for n in range(20)])
    rows = np.concatenate([near, far])
    play.world[Motion].vx[rows] = speed
    before = play.world[Position].x[rows].copy()
    steps = []
    for _ in range(ticks):
        at = play.world[Position].x[rows].copy()
        play.tick()
        steps.append(play.world[Position].x[rows] - at)
    return (play.world[Position].x[rows] - before).reshape(2, 20), np.array(steps).reshape(ticks, 2, 20)


def test_far_creatures_come_as_far_in_fewer_steps():
    (near, far), steps = far_and_near(ticks=10 * FAR_EVERY_TICKS)
    assert near == pytest.approx(2.0 * 10 * FAR_EVERY_TICKS / RATE_HZ, rel=1e-4)
    assert far == pytest.approx(near, rel=1e-4)
    assert (steps[:, 0] > 0).all()
    assert ((steps[:, 1] > 0).sum(axis=0) == 10).all()
    # As many in every tick.
    assert set((steps[:, 1] > 0).sum(axis=1).tolist()) == {20 // FAR_EVERY_TICKS}


def test_those_who_hunt_or_fear_are_never_far():
    play = Play(still_world(far=FAR), size=1000)
    rows = play.put(DEER, (900, 900), (910, 900))
    wolves = play.put(WOLF, *[(500 + 10 * n, 500) for n in range(5)], Mind_mood=list(range(5)))
    tree = play.put(TREE, (700, 700))
    play.world[Mind].alarm[rows[1]] = 1
    found = FAR.turns(play.world, Position, 1, 1 / RATE_HZ).far
    assert found[rows].tolist() == [True, False]
    assert found[wolves].tolist() == [mood not in (Mood.STALK, Mood.CHASE) for mood in range(5)]
    assert not found[tree].any()


def test_what_is_far_is_outside_of_what_players_are_shown_at_every_tick():
    view = Settings().view
    assert view.cell_units * (view.near_cells + 1) + view.hysteresis_units < FAR_UNITS
    assert view.far_every_ticks == FAR_EVERY_TICKS, "and farther off no more of it is shown"


def test_all_of_a_kind_in_one_square_feel_the_same_wind():
    play = Play(size=1024)
    rows = play.put(DEER, (10, 10), (WIND_CELL_UNITS - 1, 100), (WIND_CELL_UNITS + 1, 100), (10, 500))
    sheep = play.put(SHEEP, (10, 10))
    x, y, strength = wind(play.world, at(5), np.concatenate([rows, sheep]))
    assert x * x + y * y == pytest.approx(1, rel=1e-5)
    assert (x[0], y[0], strength[0]) == (x[1], y[1], strength[1])
    assert len({float(v) for v in x[1:]}) == 4
    assert 0 <= strength.min() <= strength.max() < 1


def test_the_wind_holds_for_a_while_and_turns():
    play = Play(size=1024)
    rows = play.put(DEER, (10, 10))
    hold = int(WIND_HOLDS_S * RATE_HZ)
    directions = [float(wind(play.world, at(n), rows)[0][0]) for n in range(3 * hold)]
    assert [directions.index(d) for d in dict.fromkeys(directions)] == [0, hold, 2 * hold]


def test_the_edge_pushes_inward():
    play = Play(size=100, x=200)
    x, y = inward(play.world, f32(200, 250, 300, 210), f32(50, 50, 50, 100))
    assert x.tolist() == [1, 0, -1, 0.5]
    assert y.tolist() == [0, 0, 0, -1]


def test_steering_cuts_speed_and_stops_the_slow():
    play = Play()
    rows = play.put(DEER, (50, 50), (60, 50), (70, 50))
    slow = STANDSTILL_UNITS_PER_S * 0.9
    going = Going(f32(30, 3, slow), f32(40, 0, 0), f32(5, 5, 5), np.full(3, Pose.RUN), np.full(3, Pose.EAT))
    steer(play.world, rows, going)
    motion = play.world[Motion]
    assert motion.vx[rows] == pytest.approx([3, 3, 0])
    assert motion.vy[rows] == pytest.approx([4, 0, 0])
    assert play.world[State].pose[rows].tolist() == [Pose.RUN, Pose.RUN, Pose.EAT]
    assert play.world[Heading].angle[rows[1]] == 0


def test_neighbours_push_apart_even_from_the_same_place():
    dx, dy, d2 = f32(0, 0, 1, 5), f32(0, 0, 0, 0), f32(0, 0, 1, 25)
    x, y = pushed(dx, dy, d2, np.array([True, False, True, True]), 3.0)
    assert x.tolist() == [-3, 3, -2, 0]
    assert y.tolist() == [0, 0, 0, 0]


def test_unit_vectors():
    vectors = np.array([[3, 0, 0, -1e-4], [4, 0, -2, 0]], np.float32)
    assert unit(vectors).T.ravel() == pytest.approx([0.6, 0.8, 0, 0, 0, -1, -1, 0], rel=1e-6)


def test_nearest_of_agrees_with_looking_at_each():
    play = Play()
    rng = np.random.default_rng(3)
    rows = play.put(DEER, *rng.uniform(0, 256, (40, 2)))
    others = play.put(WOLF, *rng.uniform(0, 256, (25, 2)))
    p = play.world[Position]
    for row, found in zip(rows, nearest_of(play.world, rows, others, 30.0), strict=True):
        d2 = (p.x[others] - p.x[row]) ** 2 + (p.y[others] - p.y[row]) ** 2
        assert found == (others[d2.argmin()] if d2.min() <= 900 else -1)
    assert nearest_of(play.world, rows, others[:0], 30.0).tolist() == [-1] * 40
    assert nearest_of(play.world, rows[:0], others, 30.0).size == 0
    assert far_from(play.world, p.x[rows], p.y[rows], others, 30.0).sum() == np.count_nonzero(
        nearest_of(play.world, rows, others, 30.0) < 0
    )


def test_young_are_born_beside_their_kin_and_away_from_players():
    play = Play(size=512)
    (ann,) = play.join("Ann")
    play.move([ann], (100, 100))
    kin = play.put(DEER, (100, 110), (400, 400))
    seen = 0
    for seed in range(30):
        x, y = births(play.world, Random(seed, 1, "deer"), DEER_PLACING)
        assert x.size <= BIRTHS_MAX
        assert (np.hypot(x - 100, y - 100) > BIRTH_AWAY_UNITS).all()
        assert (np.abs(x - 400) < 10).all()
        assert (np.abs(y - 400) < 10).all()
        seen += x.size
    assert seen > 30
    play.world.despawn(kin)
    assert births(play.world, Random(1, 1, "deer"), DEER_PLACING)[0].size > 0, "even when none is left"


def test_a_kind_that_was_wiped_out_comes_back():
    play = Play(GAME, size=256)
    wanted = play.world.rows_of(DEER).size
    assert wanted == int(CREATURES_PER_MILLION["deer"] * 256 * 256 / 1e6)
    play.world.despawn(play.world.rows_of(DEER))
    play.tick(int(wanted / 2 * RATE_HZ))
    assert wanted * 0.8 <= play.world.rows_of(DEER).size <= wanted


def test_the_dead_are_not_living():
    play = Play()
    rows = play.put(DEER, (50, 50), (60, 60), Health_hp=[0, 1])
    assert living(play.world, rows).tolist() == [rows[1]]
    assert play.world.rows_of(AVATAR).size == 0
