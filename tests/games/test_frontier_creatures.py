"""What creatures share: turns to think, the wind, the edge of the world, births."""

import numpy as np
import pytest

from games.frontier import GAME
from games.frontier.components import AVATAR, CREATURES, DEER, SHEEP, WOLF, Heading, Motion, Pose, Position, State
from games.frontier.constants import CREATURES_PER_MILLION
from games.frontier.creatures import (
    BIRTH_AWAY_UNITS,
    BIRTHS_MAX,
    STANDSTILL_UNITS_PER_S,
    THINK_EVERY_TICKS,
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
    their_turn,
    wind,
)
from games.frontier.world import PLACINGS
from server.sim import Random, Tick
from tests.games.play import RATE_HZ, Play

DEER_PLACING = next(p for p in PLACINGS if p.archetype is DEER)


def at(number: int) -> Tick:
    return Tick(number, 1 / RATE_HZ, 7, {})


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


@pytest.mark.parametrize("kind", CREATURES)
def test_each_kind_has_one_turn_in_so_many_ticks(kind):
    turns = [their_turn(kind, at(n)) for n in range(11, 11 + THINK_EVERY_TICKS)]
    assert turns.count(True) == 1
    assert [their_turn(kind, at(n + THINK_EVERY_TICKS)) for n in range(11, 11 + THINK_EVERY_TICKS)] == turns


def test_the_two_herds_do_not_think_at_the_same_tick():
    assert not any(their_turn(DEER, at(n)) and their_turn(SHEEP, at(n)) for n in range(THINK_EVERY_TICKS))


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
