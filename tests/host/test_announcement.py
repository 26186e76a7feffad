"""What nodes say of themselves: read by nodes of other versions, and by whoever else is there."""

import math

import msgpack
import pytest

from server.host.announcement import node_load
from server.regions.balance import NodeLoad, ShardLoad
from server.shard.lease import NodeInfo
from tests.host.test_node import Cluster
from tests.support.virtual_loop import run


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"\xc1",
        msgpack.packb(["draining"]),
        msgpack.packb({"draining": False}),
        msgpack.packb({"draining": False, "shards": [[1, 0.5]]}),
        msgpack.packb({"draining": False, "shards": [{"shard": 1, "load": "much"}]}),
        msgpack.packb({"draining": False, "shards": [{"shard": 1, "load": math.nan}]}),
        msgpack.packb({"draining": False, "shards": [{"shard": 1, "load": math.inf}]}),
        msgpack.packb({"draining": False, "shards": [{"shard": 1, "load": 0.5, "entities": math.inf}]}),
    ],
)
def test_a_node_that_can_not_be_understood_takes_nothing_and_stops_nobody(told):
    async def main():
        async with Cluster() as cluster:
            await cluster.leases.announce(NodeInfo("stranger", told))
            await cluster.start("a")
            await cluster.all_run()
            assert set(cluster.owners().values()) == {"a"}

    run(main())
    assert node_load(NodeInfo("stranger", told)) == NodeLoad("stranger", draining=True)


def test_what_a_newer_node_tells_beside_is_passed_over():
    told = msgpack.packb({"draining": False, "shards": [{"shard": 4, "load": None, "mood": "fair"}], "version": 9})
    assert node_load(NodeInfo("newer", told)) == NodeLoad("newer", shards=(ShardLoad(4, None),))


def test_a_node_of_before_that_does_not_say_so_may_follow():
    assert node_load(NodeInfo("older", msgpack.packb({"draining": False, "shards": []}))).follows
    assert not node_load(NodeInfo("a", msgpack.packb({"draining": False, "shards": [], "follows": False}))).follows
