"""The crowd is what the figures say it is: so many in view, everyone moving, everyone steerable."""

import numpy as np
import pytest

from bench.crowd_game import CELL_UNITS, GAME, NEAR_CELLS, SCALE, Mark, Position, world_units_for
from bench.crowd_server import settings_for
from bench.entities import run
from bench.entities_game import entities_game
from bench.swarm import TURNS, turns
from server.regions.frame import Frame, RegionSpec
from server.regions.machine import RegionMachine
from server.shard.machine import JOIN, NOTHING, PROCESSED, TickInput, command_shapes


def crowd(clients):
    edge = world_units_for(clients)
    machine = RegionMachine(GAME, RegionSpec(1, 0.0, 0.0, edge, edge, 4096), seed=1, tick_rate_hz=20.0)
    joins = np.zeros(clients, command_shapes(GAME.schema)[JOIN].dtype)
    joins["session"] = np.arange(1, clients + 1)
    machine.step(TickInput({JOIN: joins}, np.zeros(0, PROCESSED)))
    return machine


def visible_mean(machine, edge):
    place = machine.world[Position]
    rows = machine.world.rows(Position)
    last = int(np.ceil(edge / CELL_UNITS)) - 1
    column = np.minimum((place.x[rows] // CELL_UNITS).astype(int), last)
    row = np.minimum((place.y[rows] // CELL_UNITS).astype(int), last)
    near = abs(column[:, None] - column) <= NEAR_CELLS
    return float((near & (abs(row[:, None] - row) <= NEAR_CELLS)).sum(axis=1).mean())


@pytest.mark.parametrize("clients", [300, 1000, 2000, 2500])
def test_the_average_client_sees_forty(clients):
    edge = world_units_for(clients)
    assert edge / SCALE < 65_536
    assert 39 <= visible_mean(crowd(clients), edge) <= 41


def test_a_small_crowd_has_the_smallest_world():
    assert world_units_for(20) == 5 * CELL_UNITS


def test_everyone_moves_every_tick():
    machine = crowd(300)
    for _ in range(100):
        frame = Frame.decode(machine.step(NOTHING).frame, GAME.schema)
        # One that turns at a border may come back to the very spot.
        assert len(frame.changes[0][0]) >= 297


def test_commands_turn_and_mark():
    machine = crowd(10)
    shapes = command_shapes(GAME.schema)
    move, set_mark = np.zeros(1, shapes[16].dtype), np.zeros(1, shapes[17].dtype)
    move["session"], move["seq"], move["dx"], move["dy"] = 4, 1, 0.0, 0.5
    set_mark["session"], set_mark["seq"], set_mark["value"] = 4, 2, 77
    row = int(np.flatnonzero(machine.world.owner == 4)[0])
    before = (float(machine.world[Position].x[row]), float(machine.world[Position].y[row]))
    machine.step(TickInput({16: move, 17: set_mark}, np.zeros(0, PROCESSED)))
    assert machine.world[Mark].value[row] == 77
    assert machine.world[Position].x[row] == before[0]
    assert machine.world[Position].y[row] - before[1] == pytest.approx(0.2, rel=1e-3)


def test_turns_lead_nowhere():
    # The frames' arguments, unmasked by what made them: a sum that is not zero would be a drift.
    frames = turns(16)
    assert len({frame.with_seq(1) for frame in frames}) == TURNS == len(frames)
    from_zero = np.exp(2j * np.pi * np.arange(TURNS) / TURNS).sum()
    assert abs(from_zero) < 1e-9


def test_the_server_shows_five_by_five_cells_at_the_full_rate():
    settings = settings_for(1000, 20, lag_timeout_s=20.0, store={})
    assert settings.view.near_cells == settings.view.far_cells == 2
    assert settings.world.width == world_units_for(1000)


def test_many_entities_have_wide_handles_and_one_digest():
    first, second = run(3000, 10), run(3000, 10)
    assert first.figures["digest"] == second.figures["digest"]
    assert len(first.step_ms) == len(first.replica_ms) == 10
    assert RegionSpec(1, 0.0, 0.0, 10.0, 10.0, 100_000).handle == "u32"
    assert entities_game(5).name == "entities"
