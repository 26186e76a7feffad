"""Health: a server is alive when its ticks advance and its frames leave."""

from __future__ import annotations

import pytest

from server.observe.health import Health


class Clock:
    """Time that passes when told to, in seconds."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    made = Health(clock, tick_stall_s=5.0, frame_stall_s=10.0)
    made.expect(1)
    made.ticked(1, 0)
    return made


def test_a_server_that_ticks_is_alive_and_ready(health: Health):
    verdict = health.judge()
    assert (verdict.alive, verdict.ready, verdict.reasons) == (True, True, ())


def test_before_its_first_tick_a_region_is_not_ready_and_not_dead_either(clock: Clock):
    health = Health(clock, tick_stall_s=5.0)
    assert not health.judge().ready
    health.expect(7)
    verdict = health.judge()
    assert verdict.alive
    assert not verdict.ready
    assert "region 7" in verdict.reasons[0]
    clock.now_s += 5.5
    assert not health.judge().alive, "a region that never begins is dead in the end"


def test_a_server_that_answers_health_checks_while_its_ticks_are_dead_is_not_alive(health: Health, clock: Clock):
    clock.now_s += 5.0
    assert health.judge().alive
    clock.now_s += 0.1
    verdict = health.judge()
    assert not verdict.alive
    assert not verdict.ready
    assert "stands at tick 0" in verdict.reasons[0]
    health.ticked(1, 1)
    assert health.judge().alive


def test_the_same_tick_again_is_no_sign_of_life(health: Health, clock: Clock):
    clock.now_s += 5.1
    health.ticked(1, 0)
    assert not health.judge().alive


def test_one_dead_region_among_living_ones_is_seen(health: Health, clock: Clock):
    health.expect(2)
    health.ticked(2, 0)
    clock.now_s += 5.1
    health.ticked(1, 1)
    assert "region 2" in health.judge().reasons[0]
    health.forget(2)
    assert health.judge().alive


def test_ticks_without_frames_are_no_life_when_somebody_could_take_one(health: Health, clock: Clock):
    health.readers(3)
    for tick in range(1, 12):
        clock.now_s += 1.0
        health.ticked(1, tick)
    verdict = health.judge()
    assert not verdict.alive
    assert "3 clients" in verdict.reasons[0]
    health.sent(1)
    assert health.judge().alive


def test_no_frame_is_awaited_when_nobody_can_take_one(health: Health, clock: Clock):
    # All clients lag, or none is there: the process is not to be restarted for that.
    health.readers(0)
    for tick in range(1, 100):
        clock.now_s += 1.0
        health.ticked(1, tick)
    assert health.judge().alive
    # The first reader starts the wait, whatever the silence before.
    health.readers(1)
    assert health.judge().alive
    clock.now_s += 1.0
    health.sent(0)
    health.readers(2)
    clock.now_s += 9.5
    health.ticked(1, 100)
    assert not health.judge().alive


def test_a_stopping_server_is_alive_but_takes_nobody(health: Health):
    health.drain()
    verdict = health.judge()
    assert verdict.alive
    assert not verdict.ready
    assert verdict.reasons == ("the server is stopping",)


def test_a_world_that_waits_for_its_store_is_alive_and_takes_nobody(health: Health, clock: Clock):
    health.readers(3)
    for _ in range(60):
        clock.now_s += 1.0
        health.holds(1, "its store falls behind")
    verdict = health.judge()
    assert (verdict.alive, verdict.ready) == (True, False)
    assert verdict.reasons == ("region 1 waits: its store falls behind",)
    # The next tick ends the wait; and who stops saying that it waits is as dead as before.
    health.ticked(1, 1)
    assert health.judge().ready
    clock.now_s += 60.0
    assert not health.judge().alive


def test_a_region_that_sleeps_is_neither_dead_nor_a_reason_to_stay_away(health: Health, clock: Clock):
    health.expect(2)
    health.ticked(2, 0)
    health.sleeps(2)
    clock.now_s += 3600.0
    health.ticked(1, 1)
    verdict = health.judge()
    assert (verdict.alive, verdict.ready, verdict.reasons, verdict.asleep) == (True, True, (), (2,))
    # Awake it has the usual time for its next tick, and no more.
    health.wakes(2)
    assert health.judge().alive
    clock.now_s += 5.1
    health.ticked(1, 2)
    assert "region 2 stands" in health.judge().reasons[0]
    assert health.judge().asleep == ()
    health.sleeps(2)
    health.forget(2)
    assert health.judge().asleep == ()


def test_a_process_that_waits_for_what_it_stands_on_is_alive_and_takes_no_clients(clock: Clock, health: Health):
    health.readers(5)
    for _ in range(30):
        clock.now_s += 1.0
        health.ticked(1, int(clock.now_s))
        health.waits("Redis does not answer")
    verdict = health.judge()
    assert (verdict.alive, verdict.ready, verdict.reasons) == (True, False, ("waits: Redis does not answer",))
    assert health.lacks == "Redis does not answer"
    health.waits(None)
    assert health.judge().ready
    assert health.lacks is None
    clock.now_s += 11.0
    health.ticked(1, int(clock.now_s))
    assert not health.judge().alive


def test_a_process_that_runs_no_regions_lacks_none(clock: Clock):
    assert Health(clock, runs_regions=False).judge().ready
    assert not Health(clock).judge().ready
