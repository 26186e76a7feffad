"""Leases in a real Redis, alone and as a cluster."""

import asyncio
import contextlib
import uuid

import pytest
from redis.asyncio import Redis, RedisCluster

from bench.redis_server import RedisServer, RedisUnavailable
from server.shard.lease import NodeInfo
from server.store.errors import LeaseStoreAway
from server.store.leases_redis import RedisLeases
from tests.store.leases_contract import LeasesContract
from tests.support.redis_cluster import three


@pytest.fixture(scope="module", params=["alone", "cluster of one", "cluster of three"])
def server(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("redis")
    try:
        if request.param == "cluster of three":
            with three(directory) as servers:
                yield servers[0]
            return
        with RedisServer(directory, cluster=request.param == "cluster of one") as started:
            yield started
    except RedisUnavailable as why:
        pytest.skip(str(why))


class Server:
    """A medium. Time passes by Redis' own command for it: a key is told to end now."""

    def __init__(self, client, name):
        self.client = client
        self.prefix = f"{name}:"
        self.leases = RedisLeases(client, 60.0, self.prefix)

    async def expire(self):
        async for key in self.client.scan_iter(f"{self.prefix}lease:*"):
            await self.client.pexpire(key, 0)
        for name, value in (await self.client.hgetall(f"{self.prefix}nodes")).items():
            await self.client.hset(f"{self.prefix}nodes", name, b"0 " + value.partition(b" ")[2])

    async def forget(self):
        async for key in self.client.scan_iter(f"{self.prefix}*"):
            await self.client.delete(key)


class TestRedisLeases(LeasesContract):
    @pytest.fixture
    async def medium(self, server):
        kind = RedisCluster if server.cluster else Redis
        async with kind.from_url(server.url) as client:
            yield Server(client, uuid.uuid4().hex)


async def test_many_leases_are_renewed_at_once_by_one_who_has_asked_nothing_before(server):
    kind = RedisCluster if server.cluster else Redis
    for turn in range(5):
        async with kind.from_url(server.url) as before:
            leases = [await RedisLeases(before, 60.0, f"many {turn}:").acquire(shard, "a", 0) for shard in range(24)]
        async with kind.from_url(server.url) as client:
            assert await RedisLeases(client, 60.0, f"many {turn}:").renew(leases) == [True] * 24


async def test_connections_of_a_cluster_that_are_cut_at_any_moment_are_a_store_that_is_away(tmp_path):
    with contextlib.ExitStack() as stack:
        try:
            servers = stack.enter_context(three(tmp_path))
        except RedisUnavailable as why:
            pytest.skip(str(why))
        async with RedisCluster.from_url(servers[0].url) as client, asyncio.timeout(180):
            store = RedisLeases(client, 60.0, "cut:")
            leases = [await store.acquire(shard, "a", 0) for shard in range(24)]
            renewing = True

            async def cut():
                while renewing:
                    for server in servers:
                        await asyncio.to_thread(server.ask, b"CLIENT KILL TYPE normal\r\n")

            cutting = asyncio.create_task(cut())
            # About every second ends otherwise than with an error of Redis; and each makes all connections anew.
            for _ in range(10):
                with contextlib.suppress(LeaseStoreAway):
                    assert all(await store.renew(leases))
            renewing = False
            await cutting
            renewed = []
            while not renewed:
                # The driver still finds connections that were cut.
                with contextlib.suppress(LeaseStoreAway):
                    renewed = await store.renew(leases)
            assert all(renewed)
            for server in servers:
                server.kill()
            with pytest.raises(LeaseStoreAway):
                await store.renew(leases)


async def test_what_is_not_renewed_ends_by_itself(server):
    kind = RedisCluster if server.cluster else Redis
    async with kind.from_url(server.url) as client:
        leases = RedisLeases(client, 0.05, "short:")
        first = await leases.acquire(1, "a", 0)
        async with asyncio.timeout(10):
            while (second := await leases.acquire(1, "b", 0)) is None:  # noqa: ASYNC110  # Redis' own clock
                await asyncio.sleep(0.005)
        assert second.epoch == first.epoch + 1


async def test_a_redis_that_is_away_is_told_as_such(tmp_path):
    try:
        with RedisServer(tmp_path) as server:
            url = server.url
    except RedisUnavailable as why:
        pytest.skip(str(why))
    async with Redis.from_url(url) as client:
        leases = RedisLeases(client, 1.0)
        for ask in (leases.acquire(1, "a", 0), leases.holders([1]), leases.nodes(), leases.withdraw("a")):
            with pytest.raises(LeaseStoreAway):
                await ask


async def test_many_leases_are_renewed_at_once_also_by_a_redis_that_has_forgotten_everything(server):
    kind = RedisCluster if server.cluster else Redis
    async with kind.from_url(server.url) as client:
        leases = RedisLeases(client, 60.0, "many:")
        held = [lease for shard in range(50) if (lease := await leases.acquire(shard, "a", 0)) is not None]
        assert await leases.renew(held) == [True] * 50
        await client.flushall()
        await client.script_flush()
        assert await leases.renew(held) == [True] * 50
        assert await leases.holders(range(50)) == {lease.shard: lease for lease in held}
        assert await leases.renew([]) == []
        assert await leases.holders([]) == {}


async def test_what_others_wrote_there_is_no_lease_and_no_node_and_harms_neither(server):
    async with Redis.from_url(server.url) if not server.cluster else RedisCluster.from_url(server.url) as client:
        medium = Server(client, uuid.uuid4().hex)
        leases = medium.leases
        await leases.announce(NodeInfo("a", b"\x00 as it \n is"))
        for name, value in (("b", b"nothing"), ("c", b""), ("d", b"soon 1")):
            await client.hset(f"{medium.prefix}nodes", name, value)
        assert await leases.nodes() == [NodeInfo("a", b"\x00 as it \n is")]
        one = await leases.acquire(1, "a", 0)
        for shard, value in ((2, b"nothing"), (3, b""), (4, b"first a"), (5, b"\xff \xff")):
            await client.set(f"{medium.prefix}lease:{{{shard}}}", value)
        assert await leases.holders(range(1, 7)) == {1: one}
        assert [await leases.acquire(shard, "a", 0) for shard in range(2, 6)] == [None] * 4
        assert await leases.renew([one]) == [True]
