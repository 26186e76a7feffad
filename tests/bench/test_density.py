"""`bench density`: the same crowd, whatever the number of regions of its world."""

from dataclasses import replace

import numpy as np
import pytest

from bench.crowd_game import CELL_UNITS, VISIBLE, Heading, Position
from bench.density import DensityOptions, edge_units, run
from bench.density_game import GAME, OTHER, PER_CELL, RIM_UNITS, ground, ground_units, ground_within
from bench.density_server import settings_of, spread_evenly
from server.regions.machine import RegionMachine
from server.roles.world import host_options, region_machine, world_atlas
from server.shard.machine import JOIN, NOTHING, command_shapes
from server.sim.component import Rows

PER_REGION = 40


def machines(regions: int) -> list[RegionMachine]:
    cuts = round(regions**0.5)
    settings = settings_of({"hz": 20, "cuts": cuts, "world_units": edge_units(regions, PER_REGION)})
    assert host_options(settings, GAME).tick_rate_hz == 20
    return [region_machine(settings, GAME, spec.id) for spec in world_atlas(settings).sites]


def crowd(regions: int) -> list[RegionMachine]:
    """A world with everyone in it."""
    made = machines(regions)
    choose = spread_evenly(made[0].atlas)
    chosen = [choose(None) for _ in range(PER_REGION * regions)]  # type: ignore[arg-type]  # it looks at nobody
    shape = command_shapes(GAME.schema)[JOIN].dtype
    for machine in made:
        mine = [n for n, region in enumerate(chosen, 1) if region == machine.shard]
        joins = np.zeros(len(mine), shape)
        joins["session"], joins["seq"] = mine, 1
        machine.step(replace(NOTHING, batches={JOIN: joins}))
    return made


def places(machine: RegionMachine, rows: Rows) -> np.ndarray:
    position = machine.world[Position]
    return np.stack([position.x[rows], position.y[rows]], axis=1)


@pytest.mark.parametrize("regions", [1, 4, 16])
def test_everybody_sees_as_much_in_a_small_world_as_in_a_large_one(regions: int):
    made = crowd(regions)
    avatars = np.concatenate([places(m, m.world.rows(Position, Heading)) for m in made])
    assert len(avatars) == PER_REGION * regions
    x0, y0, x1, y1 = ground(made[0].world.limits)
    assert ((avatars >= (x0, y0)) & (avatars <= (x1, y1))).all(), "nobody is in the rim"
    everyone = np.concatenate([avatars, *(places(m, m.world.rows_of(OTHER)) for m in made)])
    cells, own = everyone // CELL_UNITS, avatars // CELL_UNITS
    seen = (np.abs(own[:, None, :] - cells[None, :, :]).max(axis=2) <= 2).sum(axis=1)
    assert seen.mean() == pytest.approx(VISIBLE, rel=0.15)
    assert seen.min() > VISIBLE / 4, "not even who stands in a corner of the ground"


def test_the_others_move_in_every_tick_and_stay_in_the_rim_of_their_region():
    for machine in machines(4):
        world = machine.world
        rows = world.rows_of(OTHER)
        x0, y0, x1, y1 = ground_within(world.bounds, world.limits)
        rim_cells = ((world.bounds[2] - world.bounds[0]) ** 2 - (x1 - x0) * (y1 - y0)) / CELL_UNITS**2
        assert rows.size == pytest.approx(PER_CELL * rim_cells, rel=0.25)
        for _ in range(70):
            before = world[Position].x[rows].copy()
            machine.step(NOTHING)
            x, y = world[Position].x[rows], world[Position].y[rows]
            assert (x != before).all()
            assert (x >= world.bounds[0]).all()
            assert (x <= world.bounds[2]).all()
            # A pace into the ground at the most.
            assert not ((x > x0 + 4) & (x < x1) & (y > y0) & (y < y1)).any()
        assert world.rows_of(OTHER).size == rows.size


def test_as_many_clients_have_as_much_ground_in_every_world():
    for regions, cuts in ((1, 1), (4, 2), (16, 4)):
        assert edge_units(regions, PER_REGION) - 2 * RIM_UNITS == cuts * ground_units(PER_REGION)
    assert ground_units(PER_REGION) % CELL_UNITS == 0


def test_the_same_crowd_in_four_worlds_of_one_region_and_in_one_of_four():
    figures = run(DensityOptions((1, 4), clients_per_region=6, seconds=1.0, runs=2, warm_up_s=0.1))
    assert (figures["clients_1"], figures["clients_4"]) == (24, 24)
    # The medians lie between the two turns.
    low, high = sorted(figures["last_by_first_runs"])
    assert 0 < low <= high
    assert figures["lost"] == 0
    # A border is no border where there is one region.
    assert figures["deltas_per_client_tick_1"] < figures["deltas_per_client_tick_4"]
    # For one client as for six; at the begin and the end of measuring there may be some ticks more or less.
    for key in ("frame_decodes_per_region_tick_1", "bare_frame_decodes_per_region_tick_1"):
        assert figures[key] == pytest.approx(1.0, abs=0.25)
