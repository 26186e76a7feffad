"""The server's clock from PONGs made by hand."""

from __future__ import annotations

import pytest

from clients.python import ServerClock
from protocol.messages import Pong


def test_before_any_pong_it_runs_on_from_welcome() -> None:
    clock = ServerClock(100, 20.0, now_s=5.0)
    assert clock.tick_at(5.0) == 100
    assert clock.tick_at(6.5) == 130
    assert clock.rtt_s == 0


def test_a_pong_sets_it_halfway_back() -> None:
    clock = ServerClock(0, 20.0, now_s=0.0)
    # Answered at tick 200.5; 40 ms on the way back are 0.8 ticks.
    clock.pong(Pong(0, 200, 25_000, 20_000), rtt_s=0.08, now_s=10.0)
    assert clock.tick_at(10.0) == pytest.approx(201.3)
    assert clock.tick_at(11.0) == pytest.approx(221.3)


def test_the_shortest_round_trip_of_the_last_eight_is_believed() -> None:
    clock = ServerClock(0, 20.0, now_s=0.0)
    clock.pong(Pong(0, 100, 0, 20_000), rtt_s=0.01, now_s=1.0)
    for i in range(7):
        clock.pong(Pong(0, 120 + 20 * i, 0, 20_000), rtt_s=0.5 + i / 100, now_s=2.0 + i)
    assert clock.rtt_s == 0.01
    assert clock.tick_at(1.0) == pytest.approx(100.1)
    clock.pong(Pong(0, 260, 0, 20_000), rtt_s=0.9, now_s=9.0)
    assert clock.rtt_s == 0.5


def test_it_slows_with_the_server() -> None:
    clock = ServerClock(0, 20.0, now_s=0.0)
    clock.pong(Pong(0, 100, 0, 15_000), rtt_s=0.0, now_s=0.0)
    assert clock.rate_hz == 15
    assert clock.tick_at(2.0) == pytest.approx(130)


def test_what_was_said_before_the_server_stood_is_not_believed_after_it() -> None:
    clock = ServerClock(0, 20.0, now_s=0.0)
    clock.pong(Pong(0, 100, 0, 20_000), rtt_s=0.01, now_s=1.0)
    # It stands for five seconds.
    clock.pong(Pong(0, 110, 4_500_000, 20_000), rtt_s=0.01, now_s=6.0)
    assert clock.tick_at(6.0) == pytest.approx(200.1)
    clock.pong(Pong(0, 130, 0, 20_000), rtt_s=0.4, now_s=7.5)
    assert clock.tick_at(7.5) == pytest.approx(134)
