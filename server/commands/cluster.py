"""What an operator asks of a cluster: which nodes there are, what should run where, that one should go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

from config.settings import Settings
from server.host.announcement import node_load
from server.regions.balance import NodeLoad, Plan, ShardLoad, plan
from server.roles.node import DRAIN, orders_topic
from server.roles.redis import Connected, connected
from server.roles.world import balance_policy, region_parts, world_atlas
from server.shard.lease import Lease

# Seconds between two looks at a node that drains.
_LOOK_S: Final = 0.25


class NoSuchNode(Exception):
    """No node of that name, or several; the text says which there are."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Who is there, and who holds what."""

    # Every region of the world.
    regions: tuple[int, ...]
    nodes: tuple[NodeLoad, ...]
    holders: dict[int, Lease]

    def held_by(self, name: str) -> list[int]:
        """Regions that a node holds, ascending."""
        return sorted(region for region, lease in self.holders.items() if lease.owner == name)

    def find(self, name: str) -> str:
        """The full name of a node: what it was called, or that with the letters of its start. Raises NoSuchNode."""
        found = [node.name for node in self.nodes if name in (node.name, node.name.rpartition("-")[0])]
        if len(found) != 1:
            there = ", ".join(node.name for node in self.nodes) or "none"
            raise NoSuchNode(f"{'several nodes are' if found else 'no node is'} called {name!r}; there are: {there}")
        return found[0]


async def look(settings: Settings) -> Cluster:
    """The cluster as its nodes announce it. Raises RoleError, LeaseStoreAway."""
    async with connected(settings) as redis:
        return await _seen(settings, redis)


async def drain(settings: Settings, name: str) -> AsyncIterator[str]:
    """Have a node give its regions away and end; tells how far it is, until it is gone.

    Raises NoSuchNode, RoleError, LeaseStoreAway; TimeoutError where it takes longer than it may.
    """
    async with connected(settings) as redis, asyncio.timeout(None) as limit:
        cluster = await _seen(settings, redis)
        name = cluster.find(name)
        within_s = settings.node.drain_within_s + settings.server.stop_within_s
        limit.reschedule(asyncio.get_running_loop().time() + within_s)
        told = None
        while any(node.name == name for node in cluster.nodes) or cluster.held_by(name):
            if not any(node.name == name and node.draining for node in cluster.nodes):
                # Said again until it is seen to be heard: Redis keeps nothing for whoever listens a moment later.
                redis.bus.publish(orders_topic(name), DRAIN)
            elif told != (told := cluster.held_by(name)):
                yield f"{name} drains: {_regions(told)} left"
            await asyncio.sleep(_LOOK_S)
            cluster = await _seen(settings, redis)
        yield f"{name} is gone"


async def _seen(settings: Settings, redis: Connected) -> Cluster:
    regions = tuple(site.id for site in world_atlas(settings).sites)
    nodes = tuple(node_load(node) for node in await redis.leases.nodes())
    return Cluster(regions, nodes, dict(await redis.leases.holders(regions)))


def described(cluster: Cluster) -> list[str]:
    """A line for each node, and one for what nobody runs."""
    lines = [
        f"{node.name}  load {node.load:.2f}  {_regions(cluster.held_by(node.name))}"
        + ("  drains" if node.draining else "")
        for node in cluster.nodes
    ]
    return lines + _unannounced(cluster)


def _unannounced(cluster: Cluster) -> list[str]:
    announced = {node.name for node in cluster.nodes}
    lost = sorted(region for region, lease in cluster.holders.items() if lease.owner not in announced)
    free = sorted(set(cluster.regions) - cluster.holders.keys())
    lines = [f"held by nodes that are silent: {_regions(lost)}"] if lost else []
    lines += [f"run by nobody: {_regions(free)}"] if free else []
    return lines


def planned(settings: Settings, cluster: Cluster) -> Plan:
    """What the nodes would do by themselves, as things are just now; nothing is done."""
    owners = {region: lease.owner for region, lease in cluster.holders.items()}
    return plan(cluster.regions, owners, cluster.nodes, balance_policy(settings), region_parts(settings))


def told(cluster: Cluster, what: Plan, *, balance: bool = True) -> list[str]:
    """Who runs what and how busy it is, a line for each region; then a line for each thing that would be done.

    `balance`: whether nodes do it by themselves.
    """
    lines = []
    for node in cluster.nodes:
        lines.append(f"{node.name}  load {node.load:.2f}" + ("  drains" if node.draining else ""))
        lines += [f"  {_shard(shard)}" for shard in sorted(node.shards, key=lambda shard: shard.shard)]
    lines += _unannounced(cluster)
    if not balance:
        lines.append("node.balance is false: nodes only move what drains")
    lines += [f"move region {move.shard} from {move.source} to {move.target}: {move.reason}" for move in what.moves]
    for one in what.divisions:
        lines.append(f"{'divide' if one.divide else 'unite'} region {one.shard}: {one.reason}")
    if not what.moves and not what.divisions:
        lines.append("nothing to do")
    return lines


def _shard(shard: ShardLoad) -> str:
    load = "not measured yet" if shard.load is None else f"load {shard.load:.2f}"
    marks = ("  asleep" if shard.asleep else "") + ("  divided" if shard.divided else "")
    return f"region {shard.shard}  {load}  {shard.players} players  {shard.entities} entities{marks}"


def _regions(numbers: list[int]) -> str:
    """Regions 1-4, 7."""
    if not numbers:
        return "no regions"
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return "regions " + ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
