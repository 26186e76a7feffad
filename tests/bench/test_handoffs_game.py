"""Shuttlers: by hand, without hosts, they cross as often as they are meant to."""

import numpy as np

from bench.handoffs_game import REGIONS, Shuttle, atlas
from games.frontier.components import AVATAR, Bag
from server.regions.frame import Frame
from server.shard.machine import NOTHING


def test_either_region_has_room_for_all():
    regions = atlas(1000)
    assert [r.id for r in regions.regions] == list(REGIONS)
    assert all(r.entities_max > 1000 for r in regions.regions)


def test_shuttlers_begin_on_their_side_with_something_to_carry():
    for number, side in zip(REGIONS, (-1, 1), strict=True):
        world = Shuttle(number, 64, 10).machine.world
        rows = world.rows_of(AVATAR)
        assert rows.size == 32
        assert len(np.unique(world[Bag].wood[rows])) == 32
        x0, _, x1, _ = world.bounds
        assert (x0 + x1) * side > 0


def test_they_leave_until_they_are_told_to_stand():
    machine = Shuttle(1, 64, 6).machine
    left = [Frame.decode(machine.step(NOTHING).frame, machine.game.schema).departed.size for _ in range(12)]
    assert sum(left) == 32
    assert not any(left[6:])
