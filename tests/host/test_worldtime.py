"""One time for the whole world: whoever fell behind is told, and nobody drives anybody."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.bus.memory import MemoryBus
from server.host.host import HostOptions, ShardHost
from server.host.recovery import recover
from server.host.worldtime import WorldTime
from server.observe.health import Health
from server.observe.metrics import Metrics
from server.shard.machine import CLOCK, NOTHING, TickInput
from server.store.memory import MemoryJournal
from server.store.memory_checkpoints import MemoryCheckpoints
from tests.support.clock import VirtualClock
from tests.support.march import ATLAS, GAME, region

WEST, EAST = (site.id for site in ATLAS.sites[:2])
RATE_HZ = 20
CATCH_UP_TICKS = 5


@given(st.lists(st.integers(0, 10**12), max_size=20))
def test_the_worlds_time_never_goes_back(told):
    time, latest = WorldTime(), 0
    for tick in told:
        time.hear(tick)
        latest = max(latest, tick)
        assert time.latest_tick == latest
        assert time.behind_ticks(tick) == latest - tick
        assert time.behind_ticks(latest + 1) == 0


class Process:
    """Regions of one world in one process, ticked by hand."""

    def __init__(self, *, catch_up_ticks=CATCH_UP_TICKS, world_time=None):
        self.clock, self.bus, self.catch_up_ticks = VirtualClock(), MemoryBus(), catch_up_ticks
        self.world_time = world_time or WorldTime()
        self.journals = {n: MemoryJournal(keep_max=100_000) for n in (WEST, EAST)}
        self.hosts = {n: self.host(region(n), self.journals[n]) for n in (WEST, EAST)}

    def host(self, machine, journal, claim=None):
        options = HostOptions(float(RATE_HZ), self.catch_up_ticks, 1000, 8, "pipelined", machine.simulation)
        return ShardHost(
            machine, journal, self.bus, self.clock, options, Metrics(), Health(self.clock.now_s),
            claim=claim or journal.claim_now(machine.shard), world_time=self.world_time,
        )  # fmt: skip

    def tick(self, number, ticks=1):
        for _ in range(ticks):
            self.hosts[number].tick_once()

    def clock_of(self, number):
        return self.hosts[number].machine.world_tick

    def orders(self, number):
        """What the region was told, by tick."""

        async def read():
            shapes = self.hosts[number].machine.shapes
            found = {}
            async for record in self.journals[number].read(number, 0):
                if record.payload and CLOCK in (
                    batches := TickInput.decode(record.payload, shapes, record.format).batches
                ):
                    found[record.tick] = int(batches[CLOCK]["ahead"][0])
            return found

        return asyncio.run(read())


def test_a_region_that_stood_still_has_the_worlds_time_with_its_first_tick():
    world = Process()
    world.tick(EAST, 3)
    world.tick(WEST, 500)
    assert world.clock_of(EAST) == 3
    world.tick(EAST)
    assert (world.clock_of(EAST), world.hosts[EAST].machine.tick) == (500, 4)
    assert world.orders(EAST) == {4: 496}
    # From there on both make their own time.
    for _ in range(100):
        world.tick(WEST)
        world.tick(EAST)
    assert world.clock_of(EAST) == world.clock_of(WEST) == 600
    assert len(world.orders(EAST)) == 1
    assert world.orders(WEST) == {}


@pytest.mark.parametrize(("catch_up_ticks", "apart_ticks"), [(5, RATE_HZ), (60, 60)])
def test_who_may_still_make_up_for_it_is_told_nothing(catch_up_ticks, apart_ticks):
    world = Process(catch_up_ticks=catch_up_ticks)
    world.tick(EAST)
    for late in (1, apart_ticks, apart_ticks // 2, apart_ticks):
        world.tick(WEST, world.clock_of(EAST) + late - world.clock_of(WEST) + 1)
        world.tick(EAST, late + 1)
        assert world.clock_of(EAST) == world.clock_of(WEST) == world.hosts[WEST].machine.tick
    world.tick(WEST, apart_ticks + 2)
    world.tick(EAST)
    assert world.clock_of(EAST) == world.clock_of(WEST)
    assert len(world.orders(EAST)) == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2 * RATE_HZ)), max_size=8))
def test_no_clock_goes_back_nor_past_the_ticks_of_who_is_never_late(turns):
    """West is on time. East comes late by any number of ticks, and makes up for some of them."""
    world = Process()
    for makes_up, late in turns:
        before = world.clock_of(EAST)
        world.tick(WEST, late)
        world.tick(EAST)
        assert world.clock_of(EAST) > before
        owed = min(CATCH_UP_TICKS, max(0, late - 1)) if makes_up else 0
        world.tick(EAST, owed)
        assert world.clock_of(WEST) == world.hosts[WEST].machine.tick + world.hosts[WEST].machine.clock.ahead_ticks
        assert world.clock_of(WEST) - world.clock_of(EAST) <= RATE_HZ
        # Its lead is what it made up for at the most, and never drives the other.
        assert world.orders(WEST) == {}


def test_time_outlives_the_process_and_replays_to_the_same():
    world = Process()
    world.tick(WEST, 300)
    world.tick(EAST, 2)
    world.tick(WEST, 100)
    world.tick(EAST, 50)
    lives = {n: (host.machine.world_tick, host.machine.tick, host.machine.digest()) for n, host in world.hosts.items()}
    assert lives[EAST][0] > lives[EAST][1]
    after = Process()
    for number, journal in world.journals.items():
        machine = asyncio.run(
            recover(lambda n=number: region(n), journal.reopened(), MemoryCheckpoints(), after.clock)
        ).machine
        # Ticks without input after the last record are made anew.
        while machine.tick < lives[number][1]:
            machine.replay(NOTHING)
        assert (machine.world_tick, machine.tick, machine.digest()) == lives[number]


def test_what_a_region_brings_along_is_known_before_the_first_tick():
    ahead = region(WEST)
    for _ in range(900):
        ahead.replay(NOTHING)
    world = Process()
    world.hosts[WEST] = world.host(ahead, MemoryJournal())
    assert world.world_time.latest_tick == 900
    world.tick(EAST)
    assert world.clock_of(EAST) == 900


def test_a_host_that_shares_its_time_with_nobody_keeps_its_own():
    world = Process()
    world.hosts[WEST].close()
    journal = MemoryJournal()
    alone = ShardHost(
        region(WEST), journal, world.bus, world.clock,
        HostOptions(float(RATE_HZ), CATCH_UP_TICKS, 1000, 8, "pipelined", GAME.version), Metrics(),
        Health(world.clock.now_s), claim=journal.claim_now(WEST),
    )  # fmt: skip
    world.tick(EAST, 500)
    for _ in range(30):
        alone.tick_once()
    assert alone.machine.world_tick == 30
