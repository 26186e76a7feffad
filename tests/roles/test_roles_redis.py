"""What a cluster's processes have of Redis beside the bus: what operators are told of it, and the key they share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.redis_server import RedisServer, RedisUnavailable
from config.settings import Settings, load
from server.observe.metrics import Metrics
from server.roles.errors import RedisAway, SettingsRefuse
from server.roles.redis import BusGauges, Connected, ResumeKeys, connected
from tests.support.redis_cluster import three


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    try:
        server = RedisServer(tmp_path).__enter__()
    except RedisUnavailable as why:
        pytest.skip(str(why))
    yield server
    server.kill()


def settings_of(redis: RedisServer) -> Settings:
    return load(None, {"redis.url": redis.url, "redis.cluster": redis.cluster}, environment={})


async def test_a_redis_cluster_serves_as_one_server_does_and_its_fall_is_told_as_such(tmp_path: Path):
    with contextlib.ExitStack() as stack:
        try:
            servers = stack.enter_context(three(tmp_path))
        except RedisUnavailable as why:
            pytest.skip(str(why))
        async with connected(settings_of(servers[0])) as here, connected(settings_of(servers[1])) as there:
            keys = await here.resume_keys()
            assert (await there.resume_keys()).known == keys.known
            await here.agree({"columns": "2"})
            with pytest.raises(SettingsRefuse, match="columns is 1 here and 2 in other processes"):
                await there.agree({"columns": "1"})
            for server in servers:
                server.kill()
            for _ in range(2):
                with pytest.raises(RedisAway):
                    await here.agree({"columns": "2"})


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


async def test_gateways_take_each_others_tokens_though_redis_forgot_the_key_of_one_as_the_other_began(
    redis: RedisServer,
):
    async def keep(there: Connected, keys: ResumeKeys) -> None:
        done = asyncio.Event()
        kept = asyncio.create_task(there.keep({}, keys, lambda _: done.set()))
        await done.wait()
        kept.cancel()

    async with connected(settings_of(redis)) as one, asyncio.timeout(60):
        first = await one.resume_keys()
        assert len(first.known) == 1
        redis.kill()
        redis.start()
        async with connected(settings_of(redis)) as other:
            later = await other.resume_keys()
            # Whoever comes with the token of before is not told that it is nobody's.
            assert set(later.known).isdisjoint(first.known)
            assert not later.all_known
            await keep(one, first)
            # A node makes none, and gives back what it saw.
            of_a_node = ResumeKeys()
            await keep(one, of_a_node)
            redis.kill()
            redis.start()
            await keep(one, of_a_node)
            await keep(other, later)
            assert set(first.known) == set(later.known) == set(of_a_node.known)
            assert len(first.known) == 2
            # Each signs on with its own.
            assert first.known[0] != later.known[0]
            while not later.all_known:
                await keep(other, later)
