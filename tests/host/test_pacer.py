"""The pacer: a schedule that adds up, catches up, and gives way before it spirals."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.host.pacer import Pacer


class Simulated:
    """Ticks that each take some time, made as early as the pacer lets them."""

    def __init__(self, rate_hz, catch_up_ticks_max, start_s=1000.0):
        self.pacer = Pacer(rate_hz, catch_up_ticks_max, start_s)
        self.now_s = start_s

    def tick(self, took_s):
        self.now_s = max(self.now_s, self.pacer.due_s)
        times = self.pacer.begin(self.now_s)
        self.now_s += took_s
        return times


@pytest.mark.parametrize("rate_hz", [1, 20, 30, 60, 17.3])
def test_a_million_ticks_add_up_to_their_time(rate_hz):
    pacer = Pacer(rate_hz, 5, 1000.0)
    worst = 0.0
    for n in range(1, 1_000_001):
        due_s = pacer.due_s
        if n % 9973 == 0 or n == 1_000_000:
            worst = max(worst, abs(due_s - (1000.0 + n / rate_hz)))
        pacer.begin(due_s)
    # Two roundings of a number of this size, not a million.
    assert worst <= 2 * 2.0**-52 * (1000.0 + 1_000_000 / rate_hz)
    assert pacer.dilated_s == 0


def test_after_a_rest_the_next_tick_is_due_at_once_and_none_is_made_up_for():
    simulated = Simulated(20, 5)
    for _ in range(100):
        simulated.tick(0.01)
    pacer = simulated.pacer
    simulated.now_s += 3600.0
    pacer.rest(simulated.now_s)
    assert pacer.due_s == pytest.approx(simulated.now_s)
    assert pacer.measured_hz(simulated.now_s + 100.0) == 20, "nothing was measured since"
    starts = [simulated.tick(0.01).start_s for _ in range(40)]
    assert [b - a for a, b in itertools.pairwise(starts)] == pytest.approx([0.05] * 39)
    assert pacer.dilated_s == 0
    assert pacer.measured_hz(simulated.now_s) == pytest.approx(20)


def test_the_first_tick_is_due_one_period_after_the_start():
    assert Pacer(20, 5, 7.0).due_s == 7.05


def test_after_a_late_tick_the_next_start_at_once_until_the_schedule_is_met():
    world = Simulated(10, catch_up_ticks_max=5, start_s=0.0)
    world.tick(0.35)
    # Due at 0.1; over at 0.45: the ticks of 0.2, 0.3 and 0.4 are late, that of 0.5 is not.
    starts = [world.tick(0.0) for _ in range(5)]
    assert [t.start_s for t in starts] == pytest.approx([0.45, 0.45, 0.45, 0.5, 0.6])
    assert [t.due_s for t in starts] == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6])
    assert [t.lateness_s for t in starts] == pytest.approx([0.25, 0.15, 0.05, 0, 0])
    assert world.pacer.dilated_s == 0


def test_a_backlog_past_its_limit_moves_the_schedule_and_skips_no_tick():
    world = Simulated(10, catch_up_ticks_max=2, start_s=0.0)
    world.tick(1.0)
    # Over at 1.1; the tick of 0.2 is 0.9 late, and 0.2 may be caught up with: 0.7 are lost for good.
    late = world.tick(0.0)
    assert (late.due_s, late.start_s) == pytest.approx((0.2, 1.1))
    assert world.pacer.dilated_s == pytest.approx(0.7)
    assert [world.tick(0.0).start_s for _ in range(4)] == pytest.approx([1.1, 1.1, 1.2, 1.3])
    assert world.pacer.dilated_s == pytest.approx(0.7)


def test_twice_the_load_halves_the_rate_and_lateness_stays_bounded():
    world = Simulated(20, catch_up_ticks_max=5)
    times = [world.tick(0.1) for _ in range(1000)]
    # What may be caught up with, and the one tick that is being late.
    assert max(t.lateness_s for t in times) == pytest.approx(5 * 0.05 + 0.05)
    assert [b.start_s - a.start_s for a, b in itertools.pairwise(times)] == pytest.approx([0.1] * 999)
    assert world.pacer.measured_hz(world.now_s) == pytest.approx(10)
    assert world.pacer.dilation(world.now_s) == pytest.approx(0.5)
    # The load goes: the schedule is met within the backlog's limit, and stays met.
    after = [world.tick(0.0) for _ in range(100)]
    assert [t.lateness_s for t in after[7:]] == pytest.approx([0] * 93)
    assert world.pacer.measured_hz(world.now_s) == pytest.approx(20)
    assert world.pacer.dilation(world.now_s) == pytest.approx(1.0)


@given(
    st.sampled_from((1.0, 7.0, 20.0, 60.0)),
    st.integers(1, 10),
    st.lists(st.floats(0, 2), min_size=1, max_size=60),
)
def test_whatever_ticks_take_time_is_accounted_for(rate_hz, catch_up_ticks_max, loads):
    world = Simulated(rate_hz, catch_up_ticks_max)
    period_s = 1 / rate_hz
    before_s = 0.0
    for n, took_s in enumerate(loads, 1):
        times = world.tick(took_s)
        assert times.lateness_s >= 0
        assert times.start_s >= before_s
        # No tick's time is lost but what is counted as lost.
        assert world.pacer.due_s == pytest.approx(1000 + (n + 1) * period_s + world.pacer.dilated_s)
        # No backlog above its limit outlives the tick that finds it.
        assert times.start_s - (world.pacer.due_s - period_s) <= catch_up_ticks_max * period_s + 1e-9
        before_s = times.start_s


def test_the_rate_is_nominal_until_it_is_known_and_never_reads_above_real_time():
    pacer = Pacer(20, 5, 0.0)
    assert (pacer.measured_hz(0.0), pacer.dilation(0.0)) == (20, 1.0)
    pacer.begin(0.05)
    pacer.begin(0.05)
    assert (pacer.measured_hz(0.05), pacer.dilation(0.05)) == (20, 1.0)
    pacer.begin(0.06)
    assert pacer.measured_hz(0.06) == pytest.approx(200)
    assert pacer.dilation(0.06) == 1.0


def test_the_rate_falls_while_no_tick_is_made():
    world = Simulated(20, catch_up_ticks_max=5)
    for _ in range(100):
        world.tick(0.0)
    at_rest_s = world.now_s
    assert world.pacer.measured_hz(at_rest_s + 0.05) == pytest.approx(20), "the next is not late yet"
    # 39 periods seen, and as much again without one.
    assert world.pacer.measured_hz(at_rest_s + 0.05 + 39 * 0.05) == pytest.approx(10)
    assert world.pacer.dilation(at_rest_s + 3600) < 0.001


def test_the_rate_is_that_of_the_last_two_seconds():
    world = Simulated(20, catch_up_ticks_max=1)
    for _ in range(100):
        world.tick(0.2)
    assert world.pacer.measured_hz(world.now_s) == pytest.approx(5)
    for _ in range(50):
        world.tick(0.0)
    assert world.pacer.measured_hz(world.now_s) == pytest.approx(20)
