"""What players suffer from where a world is several regions, and here never will: each ill a test that bears its name.

The finer tests are tests/regions/test_borders.py and tests/regions/test_letters.py.
"""

import numpy as np
import pytest

from tests.support.captures import frozen
from tests.support.country import Country
from tests.support.march import WALKER, Body, Going, Position, Purse

WEST, EAST = 3, 4
# When a region dies, in its part of a crossing: before its tick, after it and before it is durable, after that.
MOMENTS = ("before", "not durable", "durable")


def traveller(country):
    """A walker in the west about to cross, wounded and rich; its number and all it has."""
    world = country.machines[WEST].world
    rows = world.spawn(WALKER)
    world[Position].x[rows], world[Position].y[rows], world[Going].vx[rows] = -1.0, -30.0, 4.0
    world[Body].health[rows], world[Body].scars[rows], world[Purse].coins[rows] = 41, [1, 2, 3], 123_456_789
    country.checkpoint(WEST)
    return int(world.id_of(rows)[0])


def belongings(arrays):
    return frozen({n: a for n, a in arrays.items() if n.startswith(("Body.", "Purse."))})


def test_health_or_items_lost_when_crossing_a_border():
    country = Country()
    number = traveller(country)
    world = country.machines[WEST].world
    before = belongings(world.extract(world.rows_by_id(np.array([number], np.uint64))))
    crossings, at = 0, WEST
    while crossings < 4:
        country.round()
        if found := country.find(number):
            world, row = country.machines[found[0]].world, found[1]
            assert belongings(world.extract(np.array([row]))) == before
            crossings += found[0] != at
            at = found[0]
            # And back again.
            world[Going].vx[row] = 4.0 if at == WEST else -4.0
        else:
            (travellers,) = country.under_way()
            assert belongings(travellers.arrays) == before


@pytest.mark.parametrize("east_dies", MOMENTS)
@pytest.mark.parametrize("west_dies", MOMENTS)
@pytest.mark.parametrize("lost", [0, 1, 2], ids=["nothing lost", "the letter lost", "the acknowledgement lost"])
def test_an_entity_destroyed_at_its_source_before_the_destination_had_it(west_dies, east_dies, lost):
    """Whichever region dies at whichever moment, and whatever is lost on the way."""
    country = Country()
    number = traveller(country)

    def once():
        assert country.census()[number] == 1

    def tick(which, dies):
        if dies == "before":
            country.crash(which)
        country.tick(which, sync=dies != "not durable")
        once()
        if dies != "before":
            country.crash(which)
            once()

    tick(WEST, west_dies)
    if west_dies == "not durable":
        assert country.find(number)[0] == WEST, "nobody was told that it went"
        country.tick(WEST)
    country.carry(lost=float(lost == 1))
    once()
    tick(EAST, east_dies)
    country.carry(lost=float(lost == 2))
    once()
    country.settle()
    once()
    assert country.find(number)[0] == EAST
