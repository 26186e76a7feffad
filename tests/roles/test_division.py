"""A region divided and united over several nodes and gateways, as real processes."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.gateway.glade import HEIGHT, NORTH, REGION, WEST
from tests.roles.processes import PATIENCE_S, Cluster, Player, until_says

PARTS = (REGION + 2, REGION + 3, REGION + 4)


@pytest.fixture
def cluster(cluster: Cluster) -> Cluster:
    """Whose regions may be divided."""
    cluster.environment |= {
        "EVERSTEP_WORLD__SPLIT_DEPTH": "1",
        # What these players do is too little for four: only they are to say so.
        "EVERSTEP_NODE__BALANCE": "false",
    }
    return cluster


async def until_home(player: Player, *regions: int) -> None:
    await asyncio.wait_for(player.client.until(lambda: player.client.entity[0] in regions), PATIENCE_S)


async def test_players_of_two_gateways_play_on_while_their_region_is_divided_and_a_node_killed(cluster: Cluster):
    ada, bob = await cluster.node("--name", "ada", "--standby"), await cluster.node("--name", "bob", "--standby")
    here, there = await cluster.gateway(), await cluster.gateway()
    players = eve, kim = await Player.join(here, "eve"), await Player.join(there, "kim")
    async with eve.client, kim.client:
        tokens = [player.client.resume_token for player in players]
        # In the south-east of the region in the west, and a little apart.
        for player, x in ((eve, WEST + 90.0), (kim, WEST + 100.0)):
            player.client.send("Jump", x=x, y=NORTH + HEIGHT - 20.0)
            player.pay(10)
        await asyncio.gather(until_home(eve, REGION), until_home(kim, REGION))
        await cluster.ask("divide", str(REGION), "--url", here.url)
        await asyncio.gather(until_home(eve, PARTS[-1]), until_home(kim, PARTS[-1]))
        for player in players:
            player.pay(10)
            await player.settle()
        await eve.until_sees("kim")
        assert "nobody" not in await cluster.ask("nodes")
        await ada.end(signal.SIGKILL)
        for player in players:
            player.pay(10)
            await player.settle()
        await cluster.ask("unite", str(REGION), "--url", there.url)
        await asyncio.gather(until_home(eve, REGION), until_home(kim, REGION))
        for player in players:
            player.pay(10)
            await player.settle()
            assert player.paid == 40
            assert await asyncio.wait_for(player.client.check(), PATIENCE_S)
        await kim.until_sees("eve")
        # One connection all the time: each brings a token of its own.
        assert [player.client.resume_token for player in players] == tokens
    assert await bob.end(signal.SIGTERM) == 0


async def test_a_region_that_is_too_much_for_one_shard_is_divided_by_its_nodes(cluster: Cluster):
    cluster.environment |= {
        "EVERSTEP_NODE__BALANCE": "true",
        # Any tick at all is too much, and nothing too little.
        "EVERSTEP_BALANCE__SPLIT_LOAD": "0.0001",
        "EVERSTEP_BALANCE__MERGE_LOAD": "0.0",
        "EVERSTEP_BALANCE__DIVIDE_AFTER_S": "0.0",
        "EVERSTEP_BALANCE__REST_S": "1.0",
    }
    await cluster.node("--name", "ada")
    gateway = await cluster.gateway()
    eve = await Player.join(gateway, "eve")
    async with eve.client:
        eve.client.send("Jump", x=WEST + 90.0, y=NORTH + HEIGHT - 20.0)
        await until_home(eve, REGION, PARTS[-1])
        await cluster.node("--name", "bob")
        await until_home(eve, PARTS[-1])
        eve.pay(10)
        await eve.settle()


async def test_an_order_that_would_reach_nobody_is_refused(cluster: Cluster):
    gateway = await cluster.gateway()
    cluster.redis.kill()
    await until_says(f"{gateway.url}readyz", "Redis does not answer")
    with pytest.raises(AssertionError, match="Redis does not answer: nothing was ordered"):
        await cluster.ask("divide", str(REGION), "--url", gateway.url)
