"""Hosts that tick in this process."""

import pytest

from bench.mail_machine import Scribe
from bench.pace import at_their_pace, bytes_in
from server.bus.memory import MemoryBus
from server.host.clock import LoopClock
from server.host.host import HostOptions, ShardHost
from server.observe.health import Health
from server.observe.metrics import Metrics
from server.store.memory import MemoryJournal


def host():
    clock = LoopClock()
    options = HostOptions(60.0, 5, 100, 8, "pipelined", 1)
    machine = Scribe(1, 2, 1, 16, 5)
    return ShardHost(machine, MemoryJournal(), MemoryBus(), clock, options, Metrics(), Health(clock.now_s))


async def test_they_tick_until_it_is_over():
    one = host()
    await at_their_pace([one], lambda: one.machine.tick >= 3)
    assert one.machine.tick >= 3
    assert one.after_tick == []


async def test_who_waits_in_vain_is_told():
    def never():
        raise AssertionError("it does not end")

    with pytest.raises(AssertionError, match="does not end"):
        await at_their_pace([host()], never)


def test_bytes_of_a_directory(tmp_path):
    (tmp_path / "one").write_bytes(b"123")
    (tmp_path / "two").write_bytes(b"45")
    assert bytes_in(tmp_path) == 5
