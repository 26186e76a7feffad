"""`bench bus`, small: every message comes, by both buses, and one that does not is told."""

import pytest

from bench import bus
from bench.bus import BusBenchOptions, run
from bench.processes import WorkerError
from bench.redis_server import RedisUnavailable
from server.bus.memory import MemoryBus

SMALL = BusBenchOptions(size_bytes=64, round_trips=20, messages=3 * bus.WINDOW)


def test_a_small_run_times_every_round_trip():
    try:
        done = run(SMALL)
    except RedisUnavailable as error:
        pytest.skip(str(error))
    assert done.round_trip_ms.keys() == {"memory", "redis"}
    for name, trips in done.round_trip_ms.items():
        assert len(trips) == SMALL.round_trips
        assert 0 < done.figures[f"{name}_round_trip_us_p50"] <= done.figures[f"{name}_round_trip_us_p99"]
        assert done.figures[f"{name}_messages_per_s"] > 0


async def test_a_message_that_does_not_come_ends_the_run(monkeypatch):
    class Deaf(MemoryBus):
        def publish(self, topic, payload):
            if topic != "many":
                super().publish(topic, payload)

    monkeypatch.setattr(bus, "MemoryBus", Deaf)
    monkeypatch.setattr(bus, "PATIENCE_S", 0.05)
    with pytest.raises(WorkerError, match="did not come"):
        await bus._measure(SMALL, None)
