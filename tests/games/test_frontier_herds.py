"""Herds keep together and apart, pass on their fear, and outrun what they can."""

import numpy as np
import pytest

from games.frontier.components import DEER, SHEEP, WOLF, Mind, Motion, Pose, Position, State
from games.frontier.creatures import THINK_EVERY_TICKS
from games.frontier.herds import (
    ALARM_LOST_PER_NEIGHBOUR,
    ALARM_THOUGHTS,
    AVATAR_DREAD_UNITS,
    RUN_UNITS_PER_S,
    SNEAK_INTENT,
    next_alarm,
)
from tests.games.play import Play


def scattered(play: Play, n: int, spread: float, archetype=SHEEP):
    rng = np.random.default_rng(5)
    return play.put(archetype, *(128 + rng.uniform(-spread, spread, (n, 2))))


def distances(play: Play, rows) -> np.ndarray:
    """(n, n) between all, infinite on the diagonal."""
    p = play.world[Position]
    at = p.x[rows] + 1j * p.y[rows]
    between = np.abs(at[:, None] - at)
    np.fill_diagonal(between, np.inf)
    return between


def test_a_herd_stays_a_herd():
    play = Play()
    rows = scattered(play, 30, 12.0)
    for _ in range(20):
        play.tick(60)
        between = distances(play, rows)
        assert np.median(between.min(axis=1)) < 5, "each has others near"
        assert np.median(np.where(np.isinf(between), 0, between).max(axis=1)) < 70, "and the herd has not dispersed"


def test_without_cohesion_it_would_be_wider():
    """The spread of a herd shrinks from a loose crowd to a herd: cohesion is measurable."""
    play = Play()
    rows = scattered(play, 60, 22.0)
    nearest_before = np.mean(np.sort(distances(play, rows), axis=1)[:, :6])
    play.tick(400)
    assert np.mean(np.sort(distances(play, rows), axis=1)[:, :6]) < 0.75 * nearest_before


def test_animals_do_not_stand_in_each_other():
    play = Play()
    rows = play.put(SHEEP, *[(128 + 0.01 * (i // 2), 128) for i in range(12)])
    assert distances(play, rows).min() == 0
    play.tick(200)
    assert distances(play, rows).min() > 1.0


def test_neighbours_go_the_same_way():
    play = Play()
    rows = scattered(play, 30, 8.0, DEER)
    play.world[Mind].alarm[rows] = 200
    rng = np.random.default_rng(1)
    play.world[Motion].vx[rows], play.world[Motion].vy[rows] = rng.uniform(-3, 3, (2, 30))
    play.tick(60)
    v = play.world[Motion].vx[rows] + 1j * play.world[Motion].vy[rows]
    order = np.abs(np.mean(v / np.abs(v)))
    assert order > 0.8, "frightened deer that see no enemy run as one"


@pytest.mark.parametrize(("archetype", "speed"), RUN_UNITS_PER_S.items())
def test_they_flee_from_wolves_as_fast_as_they_can(archetype, speed):
    play = Play()
    (row,) = play.put(archetype, (128, 128))
    play.put(WOLF, (120, 128), Mind_until_tick=10_000)
    play.tick(THINK_EVERY_TICKS)
    assert play.get(State, "pose", row) == Pose.RUN
    assert play.get(Motion, "vx", row) == pytest.approx(speed, rel=0.05)


@pytest.mark.parametrize(("intent", "flees"), [(1.0, True), (SNEAK_INTENT - 0.1, False), (0.0, False)])
def test_a_running_player_frightens_and_a_walking_one_does_not(intent, flees):
    play = Play()
    (ann,) = play.join("Ann")
    (row,) = play.put(DEER, (128, 128))
    play.move([ann], (128 - AVATAR_DREAD_UNITS + 3, 128))
    play.order(1, "Move", intent, 0.0)
    play.tick(THINK_EVERY_TICKS)
    assert (play.get(Mind, "alarm", row) > 0) == flees


def test_fear_is_passed_on_and_dies_down():
    play = Play()
    rows = play.put(DEER, *[(100 + 5 * i, 128) for i in range(4)])
    wolf = play.put(WOLF, (90, 128), Mind_until_tick=10_000)
    play.tick(3 * THINK_EVERY_TICKS)
    # The last is 25 units from the wolf and has not seen it.
    assert play.get(Mind, "alarm", rows[3]) > 0
    play.world.despawn(wolf)
    play.tick(400)
    assert play.world[Mind].alarm[rows].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("alarm", "threatened", "neighbours", "expected"),
    [
        (0, False, 0, 0),
        (1, False, 0, 0),
        (9, False, 0, 8),
        (0, True, 0, ALARM_THOUGHTS),
        (0, False, ALARM_THOUGHTS, ALARM_THOUGHTS - ALARM_LOST_PER_NEIGHBOUR),
        (0, False, ALARM_LOST_PER_NEIGHBOUR, 0),
        (9, False, 10, 8),
        (200, False, 255, 255 - ALARM_LOST_PER_NEIGHBOUR),
    ],
)
def test_alarm(alarm, threatened, neighbours, expected):
    one = np.array([alarm], np.uint8), np.array([threatened]), np.array([neighbours], np.uint8)
    assert next_alarm(*one).tolist() == [expected]


def test_grazing_costs_nothing_on_the_wire():
    play = Play(size=1024)
    scattered(play, 40, 10.0)
    play.tick(200)
    frames = [play.tick() for _ in range(600)]
    moving = [f.changes[0][0].size if 0 in f.changes else 0 for f in frames]
    assert min(moving) <= 4, "there are times when nearly all stand"
