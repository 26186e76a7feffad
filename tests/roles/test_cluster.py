"""A world on several nodes and gateways, as real processes: nobody is lost whatever ends."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest

from bench.mongo_server import MongoServer
from tests.roles.processes import PATIENCE_S, Cluster, Player, fetched, until_says


async def test_players_of_two_gateways_meet_and_outlive_a_node_that_is_killed(cluster: Cluster):
    ada, bob = await cluster.node("--name", "ada", "--standby"), await cluster.node("--name", "bob", "--standby")
    here, there = await cluster.gateway(), await cluster.gateway()
    eve, kim = await Player.join(here, "eve"), await Player.join(there, "kim")
    async with eve.client, kim.client:
        await eve.until_sees("kim")
        await kim.until_sees("eve")
        for player in (eve, kim):
            player.pay(20)
        await ada.end(signal.SIGKILL)
        for player in (eve, kim):
            player.pay(20)
            await player.settle()
        said = await cluster.ask("nodes")
        assert "ada" not in said
        assert "nobody" not in said
        # And the other way round: what comes takes its part, and what was taken over is given back.
        eva = await cluster.node("--name", "eva", "--standby")
        await bob.end(signal.SIGTERM)
        assert bob.process.returncode == 0
        for player in (eve, kim):
            player.pay(20)
            await player.settle()
        assert (await cluster.ask("nodes")).startswith(eva.name)
        await eve.until_sees("kim")


async def test_a_node_that_is_drained_goes_and_nobody_notices(cluster: Cluster):
    ada = await cluster.node("--name", "ada")
    gateway = await cluster.gateway()
    eve = await Player.join(gateway, "eve")
    async with eve.client:
        bob = await cluster.node("--name", "bob")
        assert f"{bob.name}  load" in await cluster.ask("balance", "--plan")
        eve.pay(20)
        token = eve.client.resume_token
        assert "ada" in await cluster.ask("drain", "ada")
        assert await asyncio.wait_for(ada.process.wait(), PATIENCE_S) == 0
        eve.pay(20)
        await eve.settle()
        # One connection all the time: each brings a token of its own.
        assert eve.client.resume_token == token
        said = await cluster.ask("nodes")
        assert said.startswith(bob.name)
        assert "regions 3-4" in said


async def test_who_loses_the_gateway_goes_on_at_another(cluster: Cluster):
    await cluster.node()
    here, there = await cluster.gateway(), await cluster.gateway()
    eve = await Player.join(here, "eve")
    eve.pay(10)
    await eve.settle()
    token, session = eve.client.resume_token, eve.client.session
    await here.end(signal.SIGKILL)
    await eve.client.close()
    again = await Player.join(there, "eve", resume=token)
    async with again.client:
        assert again.client.session == session
        again.paid = 10
        await again.settle()


async def test_a_node_whose_store_does_not_answer_at_its_stop_ends_with_the_store_s_status(
    cluster: Cluster, mongo_server: MongoServer
):
    cluster.environment["EVERSTEP_SERVER__STOP_WITHIN_S"] = "3.5"
    node = await cluster.node()
    await until_says(f"{node.url}metrics", 'everstep_entities{region="4"}')
    mongo_server.pause()
    try:
        assert await node.end(signal.SIGTERM) == 3
    finally:
        mongo_server.resume()


async def test_what_nobody_can_name_is_refused_with_what_there_is(cluster: Cluster):
    ada = await cluster.node("--name", "ada")
    with pytest.raises(AssertionError, match=f"no node is called 'bob'; there are: {ada.name}"):
        await cluster.ask("drain", "bob")
    assert await ada.end(signal.SIGTERM) == 0
    with pytest.raises(AssertionError, match="there are: none"):
        await cluster.ask("drain", "ada")


async def test_each_process_tells_of_its_health_and_a_node_of_its_letters(cluster: Cluster):
    node, gateway = await cluster.node(), await cluster.gateway()
    async with (await Player.join(gateway, "eve")).client:
        for process in (node, gateway):
            assert json.loads(await fetched(f"{process.url}readyz"))["reasons"] == []
        assert "everstep_ticks_total " in await fetched(f"{node.url}metrics")
        await until_says(f"{gateway.url}metrics", 'everstep_sessions{state="joined"} 1.0')
        # No letter is dead, and who asks for one that is not there is told nothing else either.
        assert await cluster.ask("mail", "list", "--url", node.url) == ""
        cluster.redis.kill()
        for process in (node, gateway):
            await until_says(f"{process.url}readyz", "Redis does not answer")
        for process in (node, gateway):
            assert json.loads(await fetched(f"{process.url}healthz"))["alive"]
        cluster.redis.start()
        for process in (node, gateway):
            await until_says(f"{process.url}readyz", '"ready":true')


async def test_a_process_with_another_world_s_settings_is_refused_by_the_name_of_what_differs(cluster: Cluster):
    await cluster.node()
    config = cluster.config.read_text()
    cluster.config.write_text(config.replace("columns = 2", "columns = 1"))
    for words in (("gateway", "--port", "0"), ("node",)):
        with pytest.raises(AssertionError, match=r"world\.columns is 1 here and 2 in other processes"):
            await cluster.ask(*words, "--game", "tests.gateway.glade")
    cluster.config.write_text(config)
    # As if all had been away for long enough.
    cluster.redis.kill()
    cluster.redis.start()
    await cluster.gateway()
