"""Leases that can't be asked, or are forgotten: what ran before runs on where it was."""

import asyncio

import pytest

from server.store.errors import LeaseStoreAway
from tests.host.test_node import Cluster, Pair, gapless
from tests.support.virtual_loop import run


class Leases:
    """A node's way to the store of leases."""

    def __init__(self, leases):
        self.leases = leases
        self.up = True
        # Seconds until it is noticed that there is no answer, and questions so far that had none.
        self.silent_s = 0.0
        self.vain = 0
        # What is asked next by this name finds everything forgotten.
        self.forget_before = None

    def __getattr__(self, name):
        async def ask(*arguments):
            if not self.up:
                self.vain += 1
                await asyncio.sleep(self.silent_s)
                raise LeaseStoreAway(name)
            if name == self.forget_before:
                self.forget_before = None
                self.leases.forget()
            return await getattr(self.leases, name)(*arguments)

        return ask


async def begin(cluster, names):
    """Nodes of these names whose turns come one after the other, at rest. Their ways to the leases."""
    ways = {}
    for name in names:
        node = await cluster.start(name)
        ways[name] = node._leases = Leases(cluster.leases)
        await asyncio.sleep(0.3)
    await cluster.all_run()
    await asyncio.sleep(20)
    return ways


def tenures(cluster):
    return {shard: tenure for node in cluster.nodes.values() for shard, tenure in node.tenures.items()}


@pytest.mark.parametrize("standby", [False, True])
@pytest.mark.parametrize("away_s", [2.7, 10.3])
def test_what_ran_while_no_lease_could_be_renewed_is_where_it_was(away_s, standby):
    async def main():
        # The third has nothing to lose, and no turn before the others' have failed.
        async with Pair(standby=standby) as cluster:
            ways, before = await begin(cluster, "abc"), tenures(cluster)
            for way in ways.values():
                way.up = False
            await asyncio.sleep(away_s)
            for way in ways.values():
                way.up = True
            await asyncio.sleep(10)
            assert tenures(cluster) == before
            gapless(cluster)

    run(main())


@pytest.mark.parametrize("standby", [False, True])
@pytest.mark.parametrize("phase_s", [0.0, 0.4, 0.8])
def test_what_ran_as_all_leases_were_forgotten_is_where_it_was(phase_s, standby):
    async def main():
        async with Pair(standby=standby) as cluster:
            await begin(cluster, "abc")
            before = tenures(cluster)
            await asyncio.sleep(phase_s)
            cluster.leases.forget()
            await asyncio.sleep(10)
            assert tenures(cluster) == before
            gapless(cluster)

    run(main())


def test_what_ran_on_a_node_that_waited_for_an_answer_as_the_leases_were_back_is_where_it_was():
    async def main():
        async with Pair(answer_s=5.0) as cluster:
            ways, before = await begin(cluster, "ab"), tenures(cluster)
            for way in ways.values():
                way.up = False
            ways["b"].silent_s = 5.0
            # Its leases ran out as it waited for the first answer.
            await cluster.until(lambda: ways["b"].vain == 2)
            for way in ways.values():
                way.up = True
            await asyncio.sleep(15)
            assert tenures(cluster) == before
            gapless(cluster)

    run(main())


@pytest.mark.parametrize("call", ["renew", "announce", "holders", "nodes"])
@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_what_ran_as_all_leases_were_forgotten_in_the_middle_of_a_turn_is_where_it_was(call, name):
    async def main():
        async with Pair(standby=True) as cluster:
            ways, before = await begin(cluster, "abc"), tenures(cluster)
            ways[name].forget_before = call
            await asyncio.sleep(10)
            assert ways[name].forget_before is None
            assert tenures(cluster) == before
            gapless(cluster)

    run(main())


@pytest.mark.parametrize("away_s", [0.0, 5.1, 5.7])
def test_a_node_that_drains_as_leases_are_forgotten_or_are_back_gives_everything_away(away_s):
    async def main():
        async with Pair() as cluster:
            ways = await begin(cluster, "ab")
            name = cluster.owners()[1]
            began_s, node = cluster.clock.now_s(), cluster.nodes[name]
            for way in ways.values():
                way.up = not away_s
            if not away_s:
                cluster.leases.forget()
            draining = asyncio.create_task(node.drain())
            await asyncio.sleep(away_s)
            for way in ways.values():
                way.up = True
            await draining
            assert not node.tenures
            await cluster.stop(name)
            await asyncio.sleep(5)
            for shard in cluster.shards:
                assert cluster.gap_s(shard, began_s) <= 0.1001

    run(main())


def test_the_last_node_drains_nowhere_though_leases_can_not_be_asked():
    async def main():
        async with Pair() as cluster:
            ways = await begin(cluster, "a")
            ways["a"].up = False
            await asyncio.sleep(5)
            async with asyncio.timeout(1):
                await cluster.nodes["a"].drain()
            assert cluster.counts() == {"a": 2}

    run(main())


def test_what_ran_on_a_node_that_died_while_the_leases_were_away_is_shared_out_by_the_others():
    async def main():
        async with Cluster() as cluster:
            ways, before = await begin(cluster, "abc"), tenures(cluster)
            for way in ways.values():
                way.up = False
            await cluster.kill("c")
            await asyncio.sleep(10)
            for way in ways.values():
                way.up = True
            await cluster.until(lambda: cluster.counts() == {"a": 3, "b": 3}, within_s=8.0)
            kept = {shard for shard, tenure in tenures(cluster).items() if before[shard] is tenure}
            assert len(kept) == 4

    run(main())


def test_what_ran_on_a_node_that_alone_can_not_ask_for_leases_is_taken_by_the_others():
    async def main():
        async with Cluster() as cluster:
            ways, (a, b) = await begin(cluster, "ab"), cluster.nodes.values()
            ways["a"].up = False
            await cluster.until(lambda: len(b.tenures) == 6, within_s=8.0)
            ways["a"].up = True
            await cluster.until(lambda: len(a.tenures) == len(b.tenures) == 3)

    run(main())
