"""Nodes that do not reach their store: what they run goes on at those who do, and they end all the same."""

import asyncio
from collections import Counter
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from server.observe.health import Health
from server.shard.ports import keyframes_topic
from server.store.memory_checkpoints import MemoryCheckpoints
from tests.host.test_node import OPTIONS, Cluster, Pair, all_followed, gapless
from tests.support.virtual_loop import run


def cut_off(node):
    """From now on this node alone does not reach the store."""

    async def nothing(shard):
        await asyncio.Event().wait()

    node._open = nothing
    for tenure in node.tenures.values():
        tenure._parts.journal._hold = True


def cut_followers_off(node):
    """From now on what this node follows is not to be read from here."""

    async def nothing(shard, after_tick):
        await asyncio.Event().wait()
        yield

    for following in node._following.values():
        following.parts.journal.read = nothing


def test_a_standby_whose_store_does_not_answer_stops_all_the_same():
    async def main():
        async with Cluster(standby=True, balance=False) as cluster:
            await cluster.start("a")
            await cluster.all_run()
            node = await cluster.start("b")
            await all_followed(cluster, "b")
            cut_followers_off(node)
            await asyncio.sleep(1)
            async with asyncio.timeout(1):
                await cluster.stop("b")
            assert cluster.opened["b"] == 0

    run(main())


def test_what_a_standby_can_not_take_over_is_let_go_of():
    async def main():
        async with Cluster(standby=True, balance=False) as cluster:
            await cluster.start("a")
            await cluster.start("c")
            await cluster.until(lambda: cluster.counts() == {"a": 3, "c": 3})
            node = await cluster.start("b")
            await asyncio.sleep(5)
            followings = dict(node._following)
            mine = {shard for shard in followings if cluster.owners()[shard] == "a"}
            assert mine
            assert cluster.opened["b"] == len(followings)
            cut_off(node)
            cut_followers_off(node)
            await asyncio.sleep(1)
            await cluster.kill("a")
            await cluster.until(lambda: set(node._taking) >= mine)
            await cluster.until(lambda: cluster.counts() == {"b": 0, "c": 6}, within_s=60.0)
            assert all(followings[shard].task.done() for shard in mine)
            assert cluster.opened["b"] == len(followings) - len(mine)

    run(main())


def test_who_is_cut_off_from_the_store_is_shown_that_it_is_there_by_those_whose_shards_sleep():
    class Sleepy(Pair):
        host_options = replace(OPTIONS, hibernate_after_s=5.0)

    async def main():
        async with Sleepy(balance=False) as cluster:
            node = await cluster.start("a")
            await cluster.all_run()
            other = await cluster.start("b")
            await cluster.until(lambda: len(node.standing.nodes) == 2)
            node.move(2, "b")
            await cluster.until(lambda: cluster.owners().get(2) == "b")

            async def look():
                while True:
                    cluster.bus.publish(keyframes_topic(1), b"")
                    await asyncio.sleep(0.5)

            looking = asyncio.create_task(look())
            await cluster.until(lambda: other.tenures[2].host.slumber.asleep)
            cut_off(node)
            await cluster.until(lambda: cluster.owners() == {1: "b", 2: "b"}, within_s=40.0)
            looking.cancel()
            await cluster.until(lambda: all(tenure.host.slumber.asleep for tenure in other.tenures.values()))

    run(main())


@pytest.mark.parametrize("standby", [False, True])
def test_who_is_cut_off_from_the_store_is_shown_that_it_is_there_by_those_who_run_nothing(standby):
    class One(Cluster):
        shards = (1,)

    async def main():
        async with One(standby=standby) as cluster:
            node = await cluster.start("a")
            await cluster.all_run()
            await cluster.start("b")
            await asyncio.sleep(5)
            cut_off(node)
            await cluster.until(lambda: cluster.owners() == {1: "b"}, within_s=40.0)
            assert cluster.opened["b"] == 1, "what it asked is closed again"

    run(main())


def test_who_is_cut_off_from_the_store_leaves_its_shards_to_those_who_are_not():
    async def main():
        async with Cluster() as cluster:
            node = await cluster.start("a")
            await cluster.start("b")
            await cluster.until(lambda: cluster.counts() == {"a": 3, "b": 3})
            await asyncio.sleep(5)
            cut_off(node)
            await cluster.until(lambda: cluster.counts() == {"a": 0, "b": 6}, within_s=40.0)
            # It takes its share of what another leaves behind, and leaves what it can't bring back as well.
            await cluster.kill("b")
            await cluster.start("c")
            await cluster.until(lambda: node._taking)
            await cluster.until(lambda: cluster.counts() == {"a": 0, "c": 6}, within_s=120.0)

    run(main())


def test_who_leaves_its_shards_to_others_does_not_hold_them_for_a_checkpoint_that_its_store_does_not_take():
    async def main():
        async with Cluster() as cluster:
            node = await cluster.start("a")
            await cluster.start("b")
            await cluster.until(lambda: cluster.counts() == {"a": 3, "b": 3})
            stuck, write = set(node.tenures), cluster.checkpoints.write

            async def never_of_these(manifest, chunks):
                if manifest.shard in stuck:
                    await asyncio.Event().wait()
                await write(manifest, chunks)

            cluster.checkpoints.write = never_of_these
            await cluster.until(lambda: all(tenure._checkpoints.busy for tenure in node.tenures.values()))
            cut_off(node)
            cut_s = cluster.clock.now_s()
            with capture_logs() as logs:
                await cluster.until(lambda: not node.tenures)
            told = [line["shard"] for line in logs if line["event"].startswith("the store can't be reached")]
            assert sorted(told) == sorted(stuck), "each once, however long its end takes"
            # What a node has patience for, the grace, some turns, and the time of an end.
            assert cluster.clock.now_s() - cut_s < 20.0 + 5.0 + 3.0 + 5.0

    run(main())


def test_the_lease_of_what_ends_out_of_order_runs_out_however_long_that_takes():
    async def main():
        async with Pair(balance=False) as cluster:
            node = await cluster.start("a")
            node._around = replace(node._around, end_timeout_s=100.0)
            await cluster.all_run()
            await cluster.start("b")
            written, stuck, ends = cluster.checkpoints.write, asyncio.Event(), dict(node.tenures)

            async def write(*_):
                await stuck.wait()

            cluster.checkpoints.write = write
            await cluster.until(lambda: all(tenure._checkpoints.busy for tenure in ends.values()))
            cluster.checkpoints.write = written
            for tenure in ends.values():
                tenure.host.machine.step = lambda inputs: 1 / 0
            await cluster.until(lambda: cluster.owners() == {1: "b", 2: "b"}, within_s=10.0)
            assert node.tenures == ends
            stuck.set()

    run(main())


def test_who_is_cut_off_while_it_brings_a_shard_back_leaves_it_to_others_too():
    class Silent(MemoryCheckpoints):
        """A database that was there a moment ago."""

        async def manifests(self, *_):
            await asyncio.Event().wait()

    async def main():
        async with Cluster() as cluster:
            for name in "abc":
                await cluster.start(name)
            await cluster.until(lambda: cluster.counts() == {"a": 2, "b": 2, "c": 2})
            node = cluster.nodes["a"]
            opened = node._open

            async def cut_off_then(shard):
                return replace(await opened(shard), checkpoints=Silent())

            node._open = cut_off_then
            await cluster.kill("b")
            await cluster.until(lambda: node._taking)
            await cluster.until(lambda: cluster.counts() == {"a": 2, "c": 4}, within_s=40.0)

    run(main())


def read_slowly(node):
    """From now on it takes this node long to read. How often it opened each shard."""
    opened, begun = node._open, Counter()

    async def slowly(shard):
        begun[shard] += 1
        parts = await opened(shard)
        read = parts.journal.read

        async def one_by_one(shard, after_tick):
            async for record in read(shard, after_tick):
                await asyncio.sleep(6)
                yield record

        parts.journal.read = one_by_one
        return parts

    node._open = slowly
    return begun


def test_who_brings_a_shard_back_slowly_is_left_to_it():
    async def main():
        async with Cluster() as cluster:
            for name in "abc":
                await cluster.start(name)
            await cluster.until(lambda: cluster.counts() == {"a": 2, "b": 2, "c": 2})
            await asyncio.sleep(9)
            node = cluster.nodes["a"]
            begun = read_slowly(node)
            await cluster.kill("b")
            killed_s = cluster.clock.now_s()
            await cluster.until(lambda: node._taking)
            taken = set(node._taking)
            await cluster.until(lambda: taken <= node.tenures.keys(), within_s=120.0)
            assert cluster.clock.now_s() - killed_s > 2 * 20.0
            assert all(begun[shard] == 1 for shard in taken)

    run(main())


def test_whose_owner_dies_before_its_standby_has_caught_up_for_the_first_time_is_left_to_it():
    async def main():
        async with Cluster(standby=True, balance=False) as cluster:
            await cluster.start("a")
            await cluster.all_run()
            await asyncio.sleep(9)
            node = await cluster.start("b")
            begun = read_slowly(node)
            await cluster.until(lambda: len(node._following) == len(cluster.shards))
            # It takes some, and shows that the store is there.
            await cluster.start("c")
            await asyncio.sleep(1)
            killed_s = cluster.clock.now_s()
            await cluster.kill("a")
            await cluster.until(lambda: node._taking)
            taken = set(node._taking)
            await cluster.until(lambda: taken <= node.tenures.keys(), within_s=120.0)
            assert cluster.clock.now_s() - killed_s > 2 * 20.0
            assert all(begun[shard] == 1 for shard in taken)

    run(main())


@pytest.mark.parametrize("late_s", [0.0, 2.5, 4.0])
def test_while_the_store_is_away_for_all_everything_stays_where_it_is(late_s):
    async def main():
        async with Pair() as cluster:
            for name in "ab":
                await cluster.start(name)
            await cluster.until(lambda: cluster.counts() == {"a": 1, "b": 1})
            await asyncio.sleep(5)
            tenures = {s: t for node in cluster.nodes.values() for s, t in node.tenures.items()}
            for node in cluster.nodes.values():
                for tenure in node.tenures.values():
                    tenure._parts.journal._hold = True
            await asyncio.sleep(120)
            for node in cluster.nodes.values():
                for tenure in node.tenures.values():
                    tenure._parts.journal._hold = False
                    tenure._parts.journal.sync()
                # One hears later than the other that it is back.
                await asyncio.sleep(late_s)
            await asyncio.sleep(10)
            assert {s: t for node in cluster.nodes.values() for s, t in node.tenures.items()} == tenures
            gapless(cluster)

    run(main())


def test_a_node_is_alive_while_the_store_takes_its_time_with_a_shard_that_begins_or_ends():
    async def main():
        async with Cluster() as cluster:
            node = await cluster.start("a")
            health = Health(cluster.clock.now_s, tick_stall_s=1.0)
            node._around = replace(node._around, health=health)
            stuck, written = asyncio.Event(), cluster.checkpoints.write

            async def write(manifest, chunks):
                if manifest.shard == 3:
                    await stuck.wait()
                await written(manifest, chunks)

            cluster.checkpoints.write = write
            await cluster.until(lambda: set(node.tenures) == {*cluster.shards} - {3})
            await asyncio.sleep(5)
            assert 3 in node._busy, "a new world's first checkpoint is on its way"
            assert health.judge().alive
            stuck.set()
            await cluster.all_run()
            stuck.clear()
            tenure = node.tenures[3]
            taking = asyncio.create_task(tenure._checkpoints.take())
            await cluster.until(lambda: tenure._checkpoints.busy)
            other = replace(tenure.lease, owner="b", epoch=tenure.lease.epoch + 1)
            cluster.leases._held[3] = (other, cluster.clock.now_s() + 9.0)
            await cluster.until(tenure._ticks.done)
            await asyncio.sleep(3)
            assert node.tenures[3] is tenure, "what it was writing is on its way"
            assert health.judge().alive
            stuck.set()
            taking.cancel()

    run(main())
