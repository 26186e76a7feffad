"""What nodes say of themselves: read by nodes of other versions, and by whoever else is there."""

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


def test_what_a_newer_node_tells_beside_is_passed_over():
    told = msgpack.packb({"draining": False, "shards": [{"shard": 4, "load": None, "mood": "fair"}], "version": 9})
    assert node_load(NodeInfo("newer", told)) == NodeLoad("newer", shards=(ShardLoad(4, None),))
