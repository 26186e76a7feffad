"""What a cluster's processes have of Redis beside the bus: what operators are told of it, and the key they share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.redis_server import RedisServer, RedisUnavailable
from config.settings import Settings, load
from server.observe.metrics import Metrics
from server.roles.redis import BusGauges, connected


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    try:
        server = RedisServer(tmp_path).__enter__()
    except RedisUnavailable as why:
        pytest.skip(str(why))
    yield server
    server.kill()


def settings_of(redis: RedisServer) -> Settings:
    return load(None, {"redis.url": redis.url}, environment={})


async def test_what_the_bus_drops_and_whether_it_tries_is_told(redis: RedisServer):
    metrics = Metrics()

    def told(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, labels)

    async with connected(settings_of(redis)) as here, asyncio.timeout(20):
        gauges = BusGauges(here.bus, metrics)
        here.bus.subscribe("a", lambda _: None)
        await here.bus.settled()
        gauges.show()
        for way in ("speaking", "hearing"):
            assert told("everstep_bus_circuit", way=way, state="closed") == 1
            assert told("everstep_bus_circuit", way=way, state="open") == 0
        redis.kill()
        while not here.bus.dropped["away"]:
            here.bus.publish("a", b"lost")
            await asyncio.sleep(0.005)
        gauges.show()
        assert told("everstep_bus_circuit", way="speaking", state="closed") == 0
        assert told("everstep_bus_dropped_total", reason="away") == here.bus.dropped["away"]
        redis.start()
        await here.bus.settled()
        gauges.show()
        gauges.show()
        assert told("everstep_bus_reconnects_total") == here.bus.reconnects >= 1
        assert told("everstep_bus_circuit", way="hearing", state="closed") == 1
