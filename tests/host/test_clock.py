"""Clocks: never early, never blocking the others."""

import asyncio

import pytest

from server.host.clock import LoopClock
from tests.support.clock import VirtualClock


@pytest.mark.parametrize("make", [LoopClock, VirtualClock])
async def test_nobody_is_woken_early(make):
    clock = make()
    for wait_s in (0.0001, 0.0009, 0.0011, 0.002, 0.003):
        due_s = clock.now_s() + wait_s
        await clock.sleep_until(due_s)
        assert clock.now_s() >= due_s


@pytest.mark.parametrize("make", [LoopClock, VirtualClock])
async def test_who_waits_for_the_past_gives_others_a_turn(make):
    clock = make()
    turns = []

    async def other():
        turns.append("other")

    task = asyncio.create_task(other())
    await clock.sleep_until(clock.now_s() - 1)
    assert turns == ["other"]
    await task


def test_the_loops_clock_never_goes_back():
    clock = LoopClock()
    read = [clock.now_s() for _ in range(1000)]
    assert read == sorted(read)
