"""The ledger counts what came once, what came again, and which numbers those were."""

import numpy as np
import pytest

from bench.crash_game import GAME, GRAINS, MASK, Grain, Ledger, order_hash
from server.regions.frame import RegionSpec
from server.regions.machine import RegionMachine
from server.shard.machine import JOIN, NOTHING, PROCESSED, TickInput, command_shapes

ORDER = 16


@pytest.fixture
def machine():
    made = RegionMachine(GAME, RegionSpec(1, 0.0, 0.0, 256.0, 256.0, 65_536), seed=1, tick_rate_hz=20.0)
    joins = np.zeros(1, made.shapes[JOIN].dtype)
    joins["session"] = 7
    made.step(TickInput({JOIN: joins}, np.zeros(0, PROCESSED)))
    return made


def order(machine, *numbers):
    records = np.zeros(len(numbers), command_shapes(GAME.schema)[ORDER].dtype)
    records["session"], records["number"] = 7, numbers
    records["seq"] = np.arange(1, len(numbers) + 1)
    return machine.step(TickInput({ORDER: records}, np.zeros(0, PROCESSED)))


def books(machine):
    ledger, row = machine.world[Ledger], int(np.flatnonzero(machine.world.owner == 7)[0])
    return [int(column[row]) for column in (ledger.count, ledger.again, ledger.last, ledger.mix)]


@pytest.mark.parametrize(
    ("ticks", "count", "again", "last"),
    [
        ([[1, 2], [3]], 3, 0, 3),
        ([[1, 2], [2, 3]], 3, 1, 3),
        ([[1, 1, 1]], 1, 2, 1),
        ([[1], [3]], 2, 0, 3),
        ([[1, 3], [2]], 2, 1, 3),
    ],
)
def test_orders_are_counted(machine, ticks, count, again, last):
    for numbers in ticks:
        order(machine, *numbers)
    assert books(machine)[:3] == [count, again, last]


def test_other_numbers_have_another_sum(machine):
    order(machine, 1, 2, 4)
    assert books(machine)[3] == sum(map(order_hash, (1, 2, 4))) & MASK != sum(map(order_hash, (1, 2, 3))) & MASK
    assert len({order_hash(n) for n in range(1000)}) == 1000


def test_an_order_is_answered_with_a_receipt(machine):
    assert order(machine, 1, 2).receipts["seq"].tolist() == [1, 2]


def test_every_grain_changes_with_every_tick(machine):
    rows = machine.world.rows(Grain)
    assert len(rows) == GRAINS
    before = machine.world[Grain].value[rows].copy()
    machine.step(NOTHING)
    assert (machine.world[Grain].value[rows] != before).all()
