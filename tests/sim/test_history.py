"""The past of entities, against a plain list of what was where."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.sim import F32, Archetype, Component, DeclarationError, History, Tick, Wire, World, column


class Position(Component):
    x: F32 = column(np.float32, wire=Wire("u16", axis="x"))
    y: F32 = column(np.float32, wire=Wire("u16", axis="y"))


HISTORY = History(Position, ticks=5)
RUNNER = Archetype("runner", Position, HISTORY.trail)
STONE = Archetype("stone", Position)


def make_world():
    return World((Position, HISTORY.trail), (RUNNER, STONE), 12, (0, 0, 100, 100))


def tick(number):
    return Tick(number, 0.05, 0, {})


def run(world, first, last):
    """Every tick each entity stands at (tick + row / 100, -tick)."""
    for number in range(first, last + 1):
        rows = world.rows(Position)
        world[Position].x[rows] = number + rows / 100
        world[Position].y[rows] = -number
        HISTORY.record(world, tick(number))
        world.end_tick()


def test_it_remembers_each_tick_it_holds_and_clamps_the_rest():
    world = make_world()
    rows = world.spawn(RUNNER, 3)
    run(world, 0, 20)
    for asked, held in [(20, 20), (18, 18), (16, 16), (15, 16), (0, 16), (-9, 16), (21, 20), (1000, 20)]:
        x, y = HISTORY.at(world, asked, rows)
        assert x.dtype == y.dtype == np.float32
        np.testing.assert_allclose(x, held + rows / 100, rtol=1e-6)
        assert y.tolist() == [-held] * 3


def test_each_row_may_ask_for_a_tick_of_its_own():
    world = make_world()
    rows = world.spawn(RUNNER, 3)
    run(world, 1, 9)
    assert HISTORY.at(world, np.array([6, 9, 2]), rows)[1].tolist() == [-6, -9, -5]
    assert HISTORY.at(world, np.array([7, 8]), rows[[2, 2]])[1].tolist() == [-7, -8]


def test_without_a_past_an_entity_is_where_it_is():
    world = make_world()
    runner, stone = world.spawn(RUNNER), world.spawn(STONE)
    both = np.concatenate([runner, stone])
    world[Position].x[both] = [7, 8]
    assert HISTORY.at(world, 3, both)[0].tolist() == [7, 8]
    run(world, 1, 3)
    world[Position].y[stone] = 50
    assert HISTORY.at(world, 2, stone)[1].tolist() == [50]


def test_a_respawned_row_never_shows_its_predecessor():
    world = make_world()
    first = world.spawn(RUNNER, 12)
    run(world, 1, 10)
    world.despawn(first[4:5])
    world.end_tick()
    again = world.spawn(RUNNER)
    assert again.tolist() == [4]
    world[Position].y[again] = 77
    assert HISTORY.at(world, 9, again)[1].tolist() == [77]
    run(world, 11, 12)
    assert HISTORY.at(world, 9, again)[1].tolist() == [-11]


def test_a_gap_in_the_record_is_not_shown_as_past():
    world = make_world()
    rows = world.spawn(RUNNER)
    run(world, 1, 4)
    run(world, 8, 9)
    assert HISTORY.at(world, 3, rows)[1].tolist() == [-8]


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 30))
def test_it_survives_capture_and_adoption(seed, last):
    world = make_world()
    rng = np.random.default_rng(seed)
    for number in range(1, last + 1):
        if world.count < 10:
            world.spawn(RUNNER if rng.integers(2) else STONE)
        elif rng.integers(3) == 0:
            world.despawn(rng.integers(0, 12, 2))
        run(world, number, number)
    copy = make_world()
    copy.adopt(world.capture())
    assert copy.digest() == world.digest()
    rows = world.rows(Position)
    for number in range(last - 6, last + 2):
        for a, b in zip(HISTORY.at(world, number, rows), HISTORY.at(copy, number, rows), strict=True):
            assert a.tobytes() == b.tobytes()
    run(world, last + 1, last + 3)
    run(copy, last + 1, last + 3)
    assert copy.digest() == world.digest()


def test_the_past_is_part_of_the_digest():
    a, b = make_world(), make_world()
    for world, before in ((a, 1), (b, 2)):
        row = world.spawn(RUNNER)
        for number, x in ((1, before), (2, 5)):
            world[Position].x[row] = x
            HISTORY.record(world, tick(number))
    assert a.digest() != b.digest()


@pytest.mark.parametrize("ticks", [0, -1, 1025])
def test_a_history_has_a_length(ticks):
    with pytest.raises(DeclarationError):
        History(Position, ticks)
