"""Nodes that even out what is measured, let empty regions sleep, and divide what is too much for one."""

import asyncio
from dataclasses import replace
from itertools import pairwise

from server.host.announcement import node_load
from server.regions.atlas import Atlas
from server.regions.balance import Policy
from server.regions.frame import RegionSpec
from server.regions.machine import RegionMachine
from server.shard.ports import keyframes_topic
from tests.host.test_node import OPTIONS, Cluster, gapless
from tests.support.pasture import GAME
from tests.support.virtual_loop import run

PERIOD_S = 1 / OPTIONS.tick_rate_hz


class Laborious(RegionMachine):
    """A region whose ticks take time. `work`: by region, the part of a tick's time."""

    work: dict[int, float]

    def step(self, inputs):
        asyncio.get_running_loop().now_s += self.work.get(self.shard, 0.0) * PERIOD_S
        return super().step(inputs)


class Workshop(Cluster):
    """A cluster whose regions take time: `work`, by region, may be changed at any time."""

    def __init__(self, work=None, **options):
        self.work = dict(work or {})
        super().__init__(**options)

    def make(self, shard):
        region = RegionSpec(id=shard, x=0.0, y=0.0, width=128.0, height=128.0, entities_max=256)
        return self.working(RegionMachine(GAME, region, seed=11, tick_rate_hz=20.0, digest_every_ticks=5))

    def working(self, machine):
        machine.__class__ = Laborious
        machine.work = self.work
        return machine

    def load(self, name):
        return sum(self.work.get(shard, 0.0) for shard, owner in self.owners().items() if owner == name)

    async def announced(self):
        return {node.name: node_load(node) for node in await self.leases.nodes()}


def test_a_node_that_comes_gets_what_evens_out_the_work_and_not_the_number():
    async def main():
        work = {1: 0.30, 2: 0.05, 3: 0.05, 4: 0.05, 5: 0.05, 6: 0.05}
        async with Workshop(work) as cluster:
            await cluster.start("a")
            await cluster.all_run()
            await cluster.start("b")
            await cluster.until(lambda: set(cluster.counts().values()) == {1, 5}, within_s=120)
            assert abs(cluster.load("a") - cluster.load("b")) < 0.06
            # And so it stays.
            owners = cluster.owners()
            for _ in range(30):
                await asyncio.sleep(2)
                assert cluster.owners() == owners
            told = await cluster.announced()
            for name, node in told.items():
                assert abs(node.load - cluster.load(name)) < 0.02
                assert all(shard.entities == 6 and shard.players == 0 for shard in node.shards)
            gapless(cluster)

    run(main())


def test_work_that_wanders_is_followed_and_nothing_moves_while_it_is_even():
    async def main():
        async with Workshop(dict.fromkeys(range(1, 7), 0.1)) as cluster:
            await cluster.start("a")
            await cluster.start("b")
            await cluster.all_run()
            await cluster.until(lambda: cluster.counts() == {"a": 3, "b": 3}, within_s=120)
            await asyncio.sleep(30)
            owners = cluster.owners()
            await asyncio.sleep(30)
            assert cluster.owners() == owners
            # All of one node's regions become crowded.
            for shard, owner in owners.items():
                cluster.work[shard] = 0.22 if owner == "a" else 0.02
            await cluster.until(lambda: abs(cluster.load("a") - cluster.load("b")) < 0.3, within_s=120)

    run(main())


def test_without_balancing_nothing_moves():
    async def main():
        async with Workshop(dict.fromkeys(range(1, 7), 0.1), balance=False) as cluster:
            await cluster.start("a")
            await cluster.all_run()
            await cluster.start("b")
            await asyncio.sleep(60)
            assert cluster.counts() == {"a": 6, "b": 0}

    run(main())


class Broken(Workshop):
    """Region 6 is nobody's: no node can run it."""

    def make(self, shard):
        if shard == 6:
            raise ValueError("its game is not here")
        return super().make(shard)


def test_a_region_that_nobody_can_run_keeps_the_others_from_nothing():
    async def main():
        async with Broken(dict.fromkeys(range(1, 6), 0.1)) as cluster:
            await cluster.start("a")
            await cluster.until(lambda: cluster.counts() == {"a": 5})
            await cluster.start("b")
            await cluster.until(lambda: sorted(cluster.counts().values()) == [2, 3], within_s=120)

    run(main())


class Dormitory(Cluster):
    host_options = replace(OPTIONS, hibernate_after_s=5.0)


def test_sleeping_regions_keep_their_leases_and_wake_wherever_they_are():
    async def main():
        async with Dormitory() as cluster:
            await cluster.start("a")
            await cluster.all_run()

            def asleep():
                return {s for n in cluster.nodes.values() for s, t in n.tenures.items() if t.host.slumber.asleep}

            await cluster.until(lambda: len(asleep()) == 6)
            ticks = {s: t.host.machine.tick for s, t in cluster.nodes["a"].tenures.items()}
            epochs = {s: t.lease.epoch for s, t in cluster.nodes["a"].tenures.items()}
            await asyncio.sleep(600)
            assert asleep() == set(ticks)
            assert {s: t.lease.epoch for s, t in cluster.nodes["a"].tenures.items()} == epochs
            (told,) = [node_load(node) for node in await cluster.leases.nodes()]
            assert all(shard.asleep and shard.load == 0.0 for shard in told.shards)
            # A second node: some go there, are run for a while, and sleep again.
            await cluster.start("b")
            await cluster.until(lambda: cluster.counts() == {"a": 3, "b": 3}, within_s=120)
            await cluster.until(lambda: len(asleep()) == 6)
            # One dies: what slept there is taken from the journal, at the very tick.
            digests = {s: (t.host.machine.tick, t.host.machine.digest()) for s, t in cluster.nodes["b"].tenures.items()}
            await cluster.kill("b")
            await cluster.all_run()
            for shard, (tick, _) in digests.items():
                assert cluster.nodes["a"].tenures[shard].report.tick == tick
            await cluster.until(lambda: len(asleep()) == 6)
            # And whoever looks wakes it.
            tick = cluster.nodes["a"].tenures[1].host.machine.tick
            cluster.bus.publish(keyframes_topic(1), b"")
            await asyncio.sleep(1)
            assert cluster.nodes["a"].tenures[1].host.machine.tick > tick + 15
            assert asleep() == {2, 3, 4, 5, 6}
            await cluster.nodes["a"].drain()
            gapless(cluster)

    run(main())


WHOLE = RegionSpec(id=1, x=0.0, y=0.0, width=128.0, height=128.0, entities_max=256, margin=8.0)


class Divisible(Workshop):
    """One region and its three parts. The work is its own while it is whole, and a quarter each while it is divided."""

    atlas = Atlas([WHOLE], hysteresis_units=2.0, split_depth=1)
    shards = tuple(site.id for site in atlas.sites)
    host_options = replace(OPTIONS, hibernate_after_s=5.0)

    def make(self, shard):
        machine = RegionMachine(
            GAME, self.atlas[shard], seed=11, tick_rate_hz=20.0, digest_every_ticks=5, atlas=self.atlas
        )
        return self.working(machine)

    async def look(self):
        """Players are about: without them regions sleep."""
        while True:
            for shard in self.shards if self.divided() else (1,):
                self.bus.publish(keyframes_topic(shard), b"")
            await asyncio.sleep(1)

    def divided(self):
        return next(t.host.machine.division.shown for n in self.nodes.values() for s, t in n.tenures.items() if s == 1)


def test_a_region_that_is_too_much_for_one_is_divided_after_a_while_and_united_when_it_has_little_to_do():
    async def main():
        parts = {1: Divisible.atlas.parts_of(1)}
        policy = Policy(split_load=0.6, merge_load=0.2, entities_max=256)
        async with Divisible({1: 0.7}, parts=parts, policy=policy, divide_after_s=20.0) as cluster:
            for name in "ab":
                await cluster.start(name)
            await cluster.all_run()
            players = asyncio.create_task(cluster.look())
            # It has to last.
            await asyncio.sleep(15)
            assert not cluster.divided()
            await cluster.until(cluster.divided, within_s=30)
            # What was there is in all four by now, and each has its part of the work.
            cluster.work.update(dict.fromkeys(cluster.shards, 0.18))
            await asyncio.sleep(60)
            assert cluster.divided()
            herd = [t.host.machine.world.count for n in cluster.nodes.values() for t in n.tenures.values()]
            assert sum(herd) == 6
            cluster.work.update(dict.fromkeys(cluster.shards, 0.01))
            await cluster.until(lambda: not cluster.divided(), within_s=60)
            await asyncio.sleep(60)
            assert not cluster.divided()
            players.cancel()
            tenures = {s: t for n in cluster.nodes.values() for s, t in n.tenures.items()}
            assert tenures[1].host.machine.world.count == 6
            assert all(tenures[part].host.slumber.asleep for part in parts[1]), "they cost nothing"

    run(main())


def test_shards_that_begin_together_have_their_checkpoints_one_after_the_other():
    async def main():
        async with Workshop() as cluster:
            await cluster.start("a")
            await cluster.all_run()
            taken = {shard: set() for shard in cluster.shards}
            for _ in range(250):
                await asyncio.sleep(0.1)
                for shard, ticks in taken.items():
                    ticks.update(m.tick for m in await cluster.checkpoints.manifests(shard))
            first, second = zip(*(sorted(ticks - {0})[:2] for ticks in taken.values()), strict=True)
            for ticks in (first, second):
                # Six in ten seconds: as far apart as that many can be, but for what is owed to the multiples.
                assert min(b - a for a, b in pairwise(sorted(ticks))) > 10
            assert all(195 <= b - a <= 210 for a, b in zip(first, second, strict=True))

    run(main())
