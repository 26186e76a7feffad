"""The frontier at tick 0: everything inside, herds in groups, a hamlet within reach."""

import numpy as np
import pytest

from games.frontier import GAME
from games.frontier.components import ARCHETYPES, CAMPFIRE, DEER, MEAT, TREE, WOLF, Position, Stock
from games.frontier.constants import EDGE_UNITS, FIRE_FOR_EVER
from games.frontier.world import around, clamped, hamlets, spawn_if_room
from server.sim import Random
from tests.games.play import Play


@pytest.mark.parametrize(("size", "n"), [(1024, 16), (512, 4), (300, 1), (50, 1)])
def test_hamlets_lie_on_a_lattice(size, n):
    play = Play(size=size, x=1024)
    x, y = hamlets(play.world)
    assert x.size == n
    assert x.min() > 1024
    assert x.max() < 1024 + size
    assert y.mean() == pytest.approx(size / 2)


def test_each_hamlet_has_its_fire():
    play = Play(GAME, size=512)
    fires = play.world.rows_of(CAMPFIRE)
    assert (play.world[Stock].amount[fires] == FIRE_FOR_EVER).all()
    x, y = hamlets(play.world)
    assert play.world[Position].x[fires].tolist() == x.tolist()
    assert play.world[Position].y[fires].tolist() == y.tolist()


def test_all_kinds_but_meat_are_there_from_the_start():
    play = Play(GAME, size=512)
    there = [a for a in ARCHETYPES if play.world.rows_of(a).size]
    assert there == [a for a in ARCHETYPES if a not in (MEAT, ARCHETYPES[0])]


@pytest.mark.parametrize("archetype", [DEER, WOLF, TREE])
def test_things_lie_in_groups(archetype):
    play = Play(GAME, size=1024)
    rows, p = play.world.rows_of(archetype), play.world[Position]
    at = p.x[rows] + 1j * p.y[rows]
    between = np.abs(at[:, None] - at)
    np.fill_diagonal(between, np.inf)
    nearest = np.median(between.min(axis=1))
    # Strewn evenly, the nearest would be at half the root of the area per thing.
    assert nearest < 0.7 * 0.5 * np.sqrt(1024 * 1024 / rows.size)


def test_another_seed_is_another_world():
    one, two, three = (Play(GAME, size=256, seed=s).machine.digest() for s in (1, 1, 2))
    assert one == two
    assert one != three


def test_places_are_clamped_to_the_near_edge_and_short_of_the_far():
    play = Play(size=64, x=128)
    x, y = clamped(play.world, np.array([0, 150, 900], np.float32), np.array([-1, 64, 64 - 1 / 128], np.float32))
    assert x.tolist() == [128, 150, 192 - EDGE_UNITS]
    assert y.tolist() == [0, 64 - EDGE_UNITS, 64 - EDGE_UNITS]


def test_spread_lies_round_the_middle():
    offsets = around(Random(1, 2, "here"), 2 * np.arange(10_000), 8.0)
    assert abs(offsets.mean()) < 0.2
    assert offsets.min() > -8
    assert offsets.max() < 8
    assert np.abs(offsets).mean() == pytest.approx(8 / 3, rel=0.05)


def test_a_full_region_spawns_nothing():
    play = Play(entities_max=3)
    assert spawn_if_room(play.world, DEER, 2).size == 2
    assert spawn_if_room(play.world, DEER, 2).size == 0
    assert play.world.count == 2
