"""A node that is to end: what it runs goes on elsewhere, or is kept, or is said not to be known to be."""

import asyncio
import contextlib

from server.store.errors import Fenced
from tests.host.test_node import SHARDS, Cluster, open_slowly
from tests.support.virtual_loop import run


def test_a_node_that_drains_gives_everything_away():
    async def main():
        async with Cluster() as cluster:
            await cluster.start("a")
            await cluster.start("b")
            await cluster.all_run()
            began_s = cluster.clock.now_s()
            await cluster.nodes["a"].drain()
            assert cluster.counts() == {"a": 0, "b": 6}
            await cluster.stop("a")
            await asyncio.sleep(5)
            for shard in SHARDS:
                assert cluster.gap_s(shard, began_s) <= 0.1001

    run(main())


def test_a_node_that_drains_has_several_shards_followed_at_once_and_hands_over_one_after_the_other():
    class Wide(Cluster):
        shards = tuple(range(1, 13))

    async def main():
        async with Wide(drain_regions_max=4) as cluster:
            await cluster.start("a")
            await cluster.all_run()
            await cluster.start("b")
            node, taker = cluster.nodes["a"], cluster.nodes["b"]
            await cluster.until(lambda: cluster.counts() == {"a": 6, "b": 6})
            followed, under_way, hand_over = set(), [0, 0], cluster.leases.hand_over

            async def slowly(lease, target):
                under_way[0] += 1
                under_way[1] = max(under_way)
                await asyncio.sleep(0.02)
                under_way[0] -= 1
                return await hand_over(lease, target)

            cluster.leases.hand_over = slowly
            began_s = cluster.clock.now_s()
            draining = asyncio.create_task(node.drain())
            while not draining.done():
                followed.add(len(taker._following))
                await asyncio.sleep(0.001)
            assert cluster.counts() == {"a": 0, "b": 12}
            assert 1 < max(followed) <= 4
            assert under_way == [0, 1]
            await asyncio.sleep(5)
            for shard in cluster.shards:
                assert cluster.gap_s(shard, began_s) <= 0.1001

    run(main())


def test_a_node_whose_store_does_not_answer_at_its_stop_says_what_is_not_known_to_be_kept():
    async def main():
        async with Cluster() as cluster:
            node = await cluster.start("a")
            await cluster.all_run()
            await asyncio.sleep(5)
            journals = {shard: tenure._parts.journal for shard, tenure in node.tenures.items()}
            journals[2]._hold = journals[4]._hold = True
            durable = node.tenures[2].host.durable_tick
            await cluster.until(lambda: journals[4].backlog)
            # Another has this one, and what it took over is its own to say.
            cluster.medium.reopened().claim_now(4)
            with contextlib.suppress(Fenced):
                journals[4].sync()
            await cluster.stop("a")
            assert list(node.unkept) == [2]
            assert node.unkept[2].endswith(f"what came after tick {durable} is not known to be kept")

    run(main())


def test_a_shard_on_its_way_to_a_node_that_begins_to_drain_stays_where_it_is():
    async def main():
        async with Cluster(balance=False) as cluster:
            node = await cluster.start("a")
            await cluster.all_run()
            target = await cluster.start("b")
            open_slowly(target)
            await asyncio.sleep(3)
            began_s = cluster.clock.now_s()
            node.move(1, "b")
            await cluster.until(lambda: 1 in target._busy)
            target.draining = True
            # A turn of each, and not the time after which a move is given up.
            await cluster.until(lambda: not (node._moving or target._busy or target._following), within_s=3.0)
            assert cluster.opened["b"] == 0
            await asyncio.sleep(5)
            assert cluster.owners()[1] == "a"
            assert cluster.gap_s(1, began_s) <= 0.06

    run(main())


def test_a_shard_handed_over_to_a_node_that_has_begun_to_drain_is_free_at_once():
    async def main():
        async with Cluster(balance=False) as cluster:
            node = await cluster.start("a")
            await cluster.all_run()
            target = await cluster.start("b")
            await asyncio.sleep(3)
            hand_over = cluster.leases.hand_over

            async def late(lease, name):
                # In the very moment in which it is under way.
                target.draining = True
                return await hand_over(lease, name)

            cluster.leases.hand_over = late
            began_s = cluster.clock.now_s()
            node.move(1, "b")
            await cluster.until(lambda: cluster.owners().get(1) == "a" and node.tenures[1].lease.epoch > 1)
            await asyncio.sleep(1)
            # A turn, and not the time that a lease lasts.
            assert cluster.gap_s(1, began_s) < 1.5

    run(main())


def test_a_node_that_stops_while_it_brings_shards_back_gives_all_their_leases_back_at_once():
    async def main():
        async with Cluster() as cluster:
            node = await cluster.start("a")
            open_slowly(node)
            await cluster.until(lambda: set(node._taking) == set(SHARDS))
            release, under_way, all_asked = cluster.leases.release, [], asyncio.Event()

            async def when_all_are_asked_for(lease):
                under_way.append(lease)
                if len(under_way) == len(SHARDS):
                    all_asked.set()
                await all_asked.wait()
                await release(lease)

            cluster.leases.release = when_all_are_asked_for
            async with asyncio.timeout(1):
                await cluster.stop("a")
            assert not await cluster.leases.holders(SHARDS)

    run(main())


async def checkpoints_hang(cluster):
    """The store takes no checkpoint, and has been given one of every shard."""

    async def write(manifest, chunks):
        await asyncio.Event().wait()

    cluster.checkpoints.write = write
    tenures = [tenure for node in cluster.nodes.values() for tenure in node.tenures.values()]
    await cluster.until(lambda: all(tenure._checkpoints.busy for tenure in tenures))
    return tenures


def test_a_stop_waits_for_its_store_no_longer_than_it_may_whatever_is_on_its_way_to_it():
    async def main():
        async with Cluster() as cluster:
            await cluster.start("a")
            await cluster.all_run()
            for tenure in await checkpoints_hang(cluster):
                # Half of them become durable yet, and want another checkpoint.
                tenure._parts.journal._hold = tenure.lease.shard % 2 == 0
            async with asyncio.timeout(2 * 5.0 + 0.1):
                await cluster.stop("a")

    run(main())


def test_the_last_node_drains_nowhere_and_keeps_what_it_has_until_it_stops():
    async def main():
        async with Cluster() as cluster:
            await cluster.start("a")
            await cluster.all_run()
            await cluster.nodes["a"].drain()
            assert cluster.counts() == {"a": 6}
            ticks = {s: t.host.machine.tick for s, t in cluster.nodes["a"].tenures.items()}
            await cluster.stop("a")
            # Stopped in order: nothing has to be replayed.
            await cluster.start("b")
            await cluster.all_run()
            for shard, tenure in cluster.nodes["b"].tenures.items():
                assert tenure.report.ticks_replayed == 0
                assert tenure.report.tick >= ticks[shard]

    run(main())
