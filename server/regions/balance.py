"""Who should run what: decisions from what is known, the same wherever they are made. Nothing here acts.

Every node makes them for itself from the same announcements. Where two see different ones and both decide for
themselves, the lease decides between them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import xxhash


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """What a node tells of itself."""

    name: str
    # It gives its shards away and takes none.
    draining: bool = False
    # Part of its ticks' time that its shards use: 1 is all there is.
    load: float = 0.0


@dataclass(frozen=True, slots=True)
class Move:
    """A shard that should run elsewhere."""

    shard: int
    source: str
    target: str


def preference(shard: int, names: Iterable[str]) -> list[str]:
    """Nodes in the order in which this shard would have them (rendezvous hashing, Thaler and Ravishankar 1998).

    A node that comes or goes changes the order of the others in no shard's list.
    """
    return sorted(names, key=lambda name: (xxhash.xxh3_64_intdigest(f"{shard}/{name}".encode()), name), reverse=True)


def fair_share(shards: int, nodes: int) -> int:
    """Shards that a node runs at the most while all are run."""
    return -(-shards // max(1, nodes))


def claims(me: str, shards: Collection[int], holders: Mapping[int, str], nodes: Collection[NodeLoad]) -> list[int]:
    """Shards that nobody holds and that I should take: each goes to the first of its preference that has room.

    `holders`: who holds what. A shard whose owner announces itself no more, but whose lease stands, is not free yet.
    """
    able = sorted(node.name for node in nodes if not node.draining)
    if me not in able:
        return []
    held = Counter(holders.values())
    count = {name: held[name] for name in able}
    share = fair_share(len(shards), len(able))
    mine = []
    for shard in sorted(shards):
        if shard in holders:
            continue
        taker = next((name for name in preference(shard, able) if count[name] < share), None)
        if taker is not None:
            count[taker] += 1
            if taker == me:
                mine.append(shard)
    return mine


def standby(shard: int, owner: str, nodes: Collection[NodeLoad]) -> str | None:
    """Who follows this shard to take it over at once: the first of its preference that is not its owner."""
    able = [node.name for node in nodes if not node.draining and node.name != owner]
    return next(iter(preference(shard, able)), None)


def moves(
    shards: Collection[int], holders: Mapping[int, str], nodes: Collection[NodeLoad], *, moves_max: int = 1
) -> list[Move]:
    """Up to `moves_max` shards that should run elsewhere.

    First those of nodes that drain, then those of nodes that have at least two more than another: a difference of one
    moves nothing, or there and back it would go for ever.
    """
    able = sorted(node.name for node in nodes if not node.draining)
    if not able:
        return []
    held = {name: sorted(s for s, holder in holders.items() if holder == name) for name in able}
    drained = sorted((s, holder) for s, holder in holders.items() if _draining(holder, nodes))
    planned: list[Move] = []
    for shard, source in drained:
        target = min(able, key=lambda name: (len(held[name]), preference(shard, able).index(name)))
        held[target].append(shard)
        planned.append(Move(shard, source, target))
    while len(planned) < moves_max:
        most = max(able, key=lambda name: (len(held[name]), name))
        least = min(able, key=lambda name: (len(held[name]), name))
        if len(held[most]) - len(held[least]) < 2:
            break
        # The one that likes the target best of all that could go.
        shard = min(held[most], key=lambda s: (preference(s, able).index(least), s))
        held[most].remove(shard)
        held[least].append(shard)
        planned.append(Move(shard, most, least))
    return planned[:moves_max]


def _draining(name: str, nodes: Collection[NodeLoad]) -> bool:
    return any(node.name == name and node.draining for node in nodes)
