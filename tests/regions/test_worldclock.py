"""A region's part of the world's clock: told by orders, kept with the state, never going back."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.regions.frame import Frame
from server.regions.worldclock import AHEAD_TICKS_MAX, WorldClock, clock_order
from server.shard.errors import CaptureRefused
from server.shard.inbox import Inbox
from server.shard.machine import NOTHING, TickInput
from tests.support.captures import damaged, frozen
from tests.support.march import ATLAS, GAME, region

NUMBER = ATLAS.sites[0].id
DT_S = 1 / 20


def told(machine, *ahead_ticks):
    """The input of a tick that hears these orders."""
    inbox = Inbox(machine.shapes, 100, 8)
    for ticks in ahead_ticks:
        inbox.offer(clock_order(ticks))
    return inbox.take(machine.high_water)


def clocked(heard):
    """A region of a game whose system tells `heard` what time it is."""

    def look(world, tick):
        heard.append((tick.number, tick.world_s))

    return region(NUMBER, game=replace(GAME, systems=(*GAME.systems, look)))


def test_a_region_that_was_told_nothing_has_its_tick_for_the_worlds():
    heard = []
    machine = clocked(heard)
    for _ in range(3):
        machine.step(NOTHING)
    assert heard == [(n, n * DT_S) for n in (1, 2, 3)]
    assert machine.world_tick == machine.tick == 3
    assert not [name for name in machine.capture().arrays if name.startswith("@clock")]
    assert WorldClock().digest(99) == 99


def test_systems_of_the_tick_that_is_told_have_the_new_time():
    heard = []
    machine = clocked(heard)
    machine.step(told(machine, 500))
    machine.step(NOTHING)
    assert heard == [(1, 501 * DT_S), (2, 502 * DT_S)]
    assert machine.world_tick == 502


def test_of_several_orders_the_furthest_counts_and_a_lower_one_later_does_nothing():
    machine = region(NUMBER)
    machine.step(told(machine, 7, 40, 12))
    assert machine.clock.ahead_ticks == 40
    digest = machine.clock.digest(1)
    machine.step(told(machine, 39))
    assert machine.clock.ahead_ticks == 40
    assert machine.clock.digest(1) == digest
    machine.step(told(machine, AHEAD_TICKS_MAX + 5))
    assert machine.clock.ahead_ticks == AHEAD_TICKS_MAX


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(0, 300), st.integers(0, AHEAD_TICKS_MAX)), max_size=12), st.integers())
def test_time_never_goes_back_and_replays_to_the_same(orders, cut):
    live, behind, heard = region(NUMBER), region(NUMBER), []
    journal, before = [], live.world_tick
    for order in orders:
        inputs = NOTHING if order is None else told(live, order)
        journal.append(inputs.encode())
        frame = Frame.decode(live.step(inputs).frame, GAME.schema)
        assert live.world_tick > before
        assert live.world_tick - live.tick == frame.ahead == max([0, *(o for o in orders[: live.tick] if o)])
        before = live.world_tick
        heard.append(live.digest())
    at = cut % (len(journal) + 1)
    for n, data in enumerate(journal):
        if n == at:
            # It goes on from a checkpoint, elsewhere.
            capture, behind = behind.capture(), region(NUMBER)
            behind.adopt(capture)
        behind.replay(TickInput.decode(data, behind.shapes))
        assert behind.digest() == heard[n]
    assert behind.world_tick == live.world_tick
    assert frozen(behind.capture().arrays) == frozen(live.capture().arrays)
    assert Frame.decode(live.keyframe(), GAME.schema).ahead == live.clock.ahead_ticks


def test_the_digest_and_the_capture_have_it():
    one, other = region(NUMBER), region(NUMBER)
    one.step(told(one, 3))
    other.step(told(other, 4))
    one.replay(NOTHING)
    other.replay(NOTHING)
    assert one.digest() != other.digest()
    assert len({one.clock.digest(seed) for seed in range(8)}) == 8


def test_a_refused_clock_changes_nothing():
    whole = region(NUMBER)
    whole.step(told(whole, 60))
    machine = region(NUMBER)
    before = frozen(machine.capture().arrays)
    capture = whole.capture()
    own = {name: a for name, a in capture.arrays.items() if name.startswith("@clock.")}
    cases = [(n, a) for n, a in damaged(own) if n not in ("one too many", "@clock.ahead missing")]
    cases.append(("more than an order can say", {"@clock.ahead": np.array([AHEAD_TICKS_MAX + 1], np.uint64)}))
    assert len(cases) == 3
    for name, arrays in cases:
        with pytest.raises(CaptureRefused):
            machine.adopt(replace(capture, arrays={**capture.arrays, **arrays}))
        assert frozen(machine.capture().arrays) == before, name
