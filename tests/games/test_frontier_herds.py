"""Herds keep together and apart, pass on their fear, and outrun what they can."""

import numpy as np
import pytest

from games.frontier import herds
from games.frontier.components import DEER, SHEEP, WOLF, Mind, Motion, Pose, Position, State
from games.frontier.creatures import FAR, FAR_EVERY_THOUGHTS, THINK_EVERY_TICKS
from games.frontier.herds import (
    ALARM_LOST_PER_NEIGHBOUR,
    ALARM_THOUGHTS,
    AVATAR_DREAD_UNITS,
    RUN_UNITS_PER_S,
    SNEAK_INTENT,
    agreed,
    next_alarm,
)
from tests.games.play import Play, still_world


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


def order(archetype, seed: int, *, far=None) -> float:
    """How much frightened animals that see no enemy run as one after three seconds: 1 is altogether."""
    play = Play(still_world(far=far), seed=seed)
    rng = np.random.default_rng(seed)
    rows = play.put(archetype, *(128 + rng.uniform(-8, 8, (30, 2))))
    play.world[Mind].alarm[rows] = 200
    play.world[Motion].vx[rows], play.world[Motion].vy[rows] = rng.uniform(-3, 3, (2, 30))
    play.tick(60)
    v = play.world[Motion].vx[rows] + 1j * play.world[Motion].vy[rows]
    return float(np.abs(np.mean(v / np.abs(v))))


@pytest.mark.parametrize("archetype", [DEER, SHEEP])
def test_neighbours_go_the_same_way(archetype):
    assert np.mean([order(archetype, seed) for seed in range(12)]) > 0.8


def test_those_who_agree_within_a_thought_come_to_one_course():
    """A row of animals, each seeing the next, of two minds."""
    course = np.array([[1, 0, 1, 0, 1, 0, 1], [0, 1, 0, 1, 0, 1, 0]], np.float32)
    one = np.arange(5)
    after = agreed(course.copy(), one, one + 1)
    assert (after[:, 6] == course[:, 6]).all(), "who has no frightened neighbour keeps its own"
    angles = np.arctan2(after[1, :6], after[0, :6])
    assert np.ptp(angles) < 0.6 * (np.pi / 2)
    assert np.hypot(*after) == pytest.approx(1, rel=1e-6)
    assert (agreed(course, one[:0], one[:0]) == course).all()


def thoughts(play: Play, rows, ticks: int) -> np.ndarray:
    """(ticks, n) bool: at which ticks they think. Motion that nobody would choose is set before each."""
    seen = []
    for _ in range(ticks):
        play.world[Motion].vx[rows] = play.world[Motion].vy[rows] = np.float32(1e-3)
        play.tick()
        seen.append(play.world[Motion].vx[rows] != np.float32(1e-3))
    return np.array(seen)


@pytest.mark.parametrize("many", [8192, 10])
def test_herd_animals_think_so_often_and_the_far_so_many_times_less_often(monkeypatch, many):
    monkeypatch.setattr(herds, "MANY", many)
    play = Play(still_world(far=FAR), size=1000)
    (ann,) = play.join("Ann")
    play.move([ann], (500, 500))
    rng = np.random.default_rng(2)
    near = play.put(DEER, *rng.uniform(450, 550, (40, 2)))
    # Not all in one strip.
    far = play.put(DEER, *np.column_stack([rng.uniform(10, 300, 200), rng.uniform(10, 990, 200)]))
    n = THINK_EVERY_TICKS * FAR_EVERY_THOUGHTS
    seen = thoughts(play, np.concatenate([near, far]), 3 * n)
    assert (seen[:, :40].sum(axis=0) == 3 * FAR_EVERY_THOUGHTS).mean() > 0.9, "but for who went over to another strip"
    assert (seen[:, 40:].sum(axis=0) == 3).mean() > 0.9
    per_tick = seen[:, 40:].sum(axis=1)
    strips = 4 if many == 10 else 2
    assert (per_tick > 0).sum() == 3 * strips
    assert per_tick.max() < 200 / strips * 1.5


def test_near_a_player_it_makes_no_difference_what_may_be_far():
    def run(far):
        play = Play(still_world(far=far), size=1000)
        (ann,) = play.join("Ann")
        play.move([ann], (500, 500))
        rng = np.random.default_rng(2)
        rows = play.put(SHEEP, *rng.uniform(470, 530, (40, 2)))
        play.put(WOLF, (480, 480), (520, 520))
        play.order(1, "Move", 0.3, 0.0)
        play.tick(200)
        return play.world[Position].x[rows].tolist(), play.world[Position].y[rows].tolist()

    assert run(FAR) == run(None)


def test_far_herds_stay_herds_too():
    play = Play(still_world(far=FAR))
    rows = scattered(play, 30, 12.0)
    play.tick(1200)
    between = distances(play, rows)
    assert np.median(between.min(axis=1)) < 5
    assert np.median(np.where(np.isinf(between), 0, between).max(axis=1)) < 70


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
