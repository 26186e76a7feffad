"""Standbys: who follows what, where not everybody does, and what comes of it."""

import asyncio
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from tests.host.test_node import Cluster, gapless
from tests.support.virtual_loop import run


@pytest.mark.parametrize("names", ["abc", "cab", "bca"])
@pytest.mark.parametrize("victim", ["b", "c"])
def test_the_one_node_that_stands_by_follows_all_that_others_run_and_takes_it_over(victim, names):
    async def main():
        async with Cluster() as cluster:
            plain = cluster.options
            # Whoever comes first has its turn first.
            for name in names:
                cluster.options = replace(plain, standby=name == "a")
                await cluster.start(name)
                await asyncio.sleep(0.3)
            await cluster.all_run()
            await asyncio.sleep(20)
            lost = {shard for shard, owner in cluster.owners().items() if owner == victim}
            assert lost
            node = cluster.nodes["a"]
            assert set(node._following) == {shard for shard, owner in cluster.owners().items() if owner != "a"}
            await cluster.kill(victim)
            with capture_logs() as logs:
                await cluster.all_run()
            taken = {(log["shard"], log["node"], log["stood_by"]) for log in logs if log["event"] == "shard taken"}
            assert taken == {(shard, "a", True) for shard in lost}
            await asyncio.sleep(5)
            gapless(cluster)

    run(main())
