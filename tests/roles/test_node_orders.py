"""What a node makes of operators' orders, which the bus may bring more than once."""

from __future__ import annotations

from typing import Any, cast

import pytest

from config.settings import load
from server.bus.memory import MemoryBus
from server.roles.node import DRAIN, NodeProcess, orders_topic
from server.roles.redis import Connected
from server.roles.stores import Shelf
from server.store.leases_memory import MemoryLeases
from tests.support.pasture import GAME


class Told:
    """A node that runs nothing yet, over a bus in memory, and how often it was told to leave."""

    def __init__(self) -> None:
        self.bus, self.times = MemoryBus(), 0
        leases = MemoryLeases(3.0, lambda: 0.0)
        # Any: only the adapters of Redis are named there.
        redis = Connected(cast("Any", self.bus), cast("Any", leases), cast("Any", None), "")
        self.process = NodeProcess(load(environment={}), GAME, redis, self._no_shelf, self._leave)

    async def _no_shelf(self, shard: int) -> Shelf:
        raise AssertionError(f"shard {shard} is run")

    def _leave(self) -> None:
        self.times += 1

    def order(self, data: bytes) -> None:
        self.bus.publish(orders_topic(self.process.name), data)


async def test_told_to_drain_again_it_goes_on_draining():
    node = Told()
    node.order(b"something else")
    assert node.times == 0
    node.order(DRAIN)
    node.order(DRAIN)
    assert node.times == 1


@pytest.mark.parametrize("data", [DRAIN, b"", b"\xc1"])
async def test_one_that_drains_already_is_not_hurried_by_an_order(data: bytes):
    node = Told()
    await node.process.drain()
    node.order(data)
    assert node.times == 0
