"""Who should run what: decisions from what is known, the same wherever they are made. Nothing here acts.

Every node makes them for itself from the same announcements. Where two see different ones and both decide for
themselves, the lease decides between them.

    claims       shards that nobody holds: each to the first of its preference that has room
    moves        off a node that drains; from a node with more load to one with less
    divisions    a region that is too much for one shard is divided, one whose parts have little to do is united

What keeps it from going there and back for ever: a move has to matter and to help, by parts of the load that are well
above what a measurement errs by; a node with a shard that is not measured yet neither gives nor takes, which is the
rest after a move; what unites a region is far below what divides it, and has to last (`Patience`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import xxhash

# Loads are counted in ten-thousandths of a node's time: whole numbers, so that every node adds up to the same.
_WHOLE: Final = 10_000
# What a shard counts though its ticks take nothing, for its lease, its memory, its checkpoints.
_EACH: Final = 50
# A node whose ticks take less than this has nothing to do: there it is the number of shards that is evened out.
_NOTHING: Final = 300


@dataclass(frozen=True, slots=True)
class ShardLoad:
    """What a node tells of a shard that it runs."""

    shard: int
    # Part of the time that its ticks take: 1 is all there is. None while too few were made to tell.
    load: float | None
    players: int = 0
    entities: int = 0
    # It makes no ticks, for nobody looks at it.
    asleep: bool = False
    # A region that is divided, or about to be.
    divided: bool = False


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """What a node tells of itself."""

    name: str
    # It gives its shards away and takes none.
    draining: bool = False
    shards: tuple[ShardLoad, ...] = ()
    # The latest of the world's clock that it knows of, in ticks; see server/host/worldtime.py.
    world_tick: int = 0
    # It follows shards of others.
    follows: bool = True

    @property
    def load(self) -> float:
        """Part of its ticks' time that its shards use, as far as it is measured."""
        return math.fsum(shard.load or 0.0 for shard in self.shards)


@dataclass(frozen=True, slots=True)
class Policy:
    """When something is worth doing; see config/settings.py."""

    # Loads of two nodes differ enough when they do so by this part of the larger.
    difference: float = 0.25
    # A move helps when it takes this part off the load of the more loaded of the two.
    gain: float = 0.1
    # Load from which a region is divided, and up to which its parts together are united.
    split_load: float = 0.6
    merge_load: float = 0.2
    # Entities that a region has room for, and the part of it from which it is divided.
    entities_max: int = 65_536
    split_fill: float = 0.8

    def __post_init__(self) -> None:
        assert self.merge_load <= self.split_load / 2, "what is united would be divided again"
        assert 0 < self.gain <= self.difference, "a move that helps needs a difference"


@dataclass(frozen=True, slots=True)
class Move:
    """A shard that should run elsewhere."""

    shard: int
    source: str
    target: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Divide:
    """A region that should be divided, or united."""

    shard: int
    divide: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that should change, as things are."""

    moves: tuple[Move, ...]
    divisions: tuple[Divide, ...]


def plan(
    shards: Collection[int],
    holders: Mapping[int, str],
    nodes: Collection[NodeLoad],
    policy: Policy,
    parts: Mapping[int, Sequence[int]],
) -> Plan:
    """What nodes would do one by one, until nothing is left to do. `parts`: by region, those it may be divided into."""
    return Plan(
        tuple(moves(shards, holders, nodes, policy, moves_max=len(shards))),
        tuple(divisions(holders, nodes, policy, parts)),
    )


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
    """Who follows this shard to take it over at once: the first of its preference that does so and isn't its owner."""
    able = [node.name for node in nodes if node.follows and not node.draining and node.name != owner]
    return next(iter(preference(shard, able)), None)


# -- moves ---------------------------------------------------------------------------------


def moves(
    shards: Collection[int],
    holders: Mapping[int, str],
    nodes: Collection[NodeLoad],
    policy: Policy | None = None,
    *,
    moves_max: int = 1,
) -> list[Move]:
    """Up to `moves_max` shards that should run elsewhere, each once: off nodes that drain, then to even out the load.

    One after the other: each counts on those before it. For the same loads this ends: every move makes the sum of the
    squares of all nodes' loads smaller.
    """
    scales = _Scales(shards, holders, nodes)
    if not scales.held:
        return []
    planned: list[Move] = []
    draining = {node.name for node in nodes if node.draining}
    for shard in sorted(shards):
        source = holders.get(shard)
        if source not in draining:
            continue
        target = min(scales.held, key=lambda name: (scales.weight[name], preference(shard, scales.held).index(name)))
        planned.append(Move(shard, source, target, f"{source} drains"))
        scales.put(shard, target)
    while len(planned) < moves_max:
        move = _even_out(scales, policy or Policy(), {move.shard for move in planned})
        if move is None:
            break
        scales.take(move.shard, move.source)
        scales.put(move.shard, move.target)
        planned.append(move)
    return planned[:moves_max]


class _Scales:
    """Who holds what, and what it weighs, while moves are planned."""

    def __init__(self, shards: Collection[int], holders: Mapping[int, str], nodes: Collection[NodeLoad]) -> None:
        told = _told(holders, nodes)
        self.shards = {shard: _weight(told.get(shard)) for shard in shards}
        self.players = {shard: told[shard].players if shard in told else 0 for shard in shards}
        able = [node.name for node in nodes if not node.draining]
        self.held = {name: [s for s in shards if holders.get(s) == name] for name in able}
        self.weight = {name: sum(self.shards[s] for s in held) for name, held in self.held.items()}  # exact: integers
        # Of whose shards all are measured.
        self.rested = [name for name, held in self.held.items() if all(_measured(told.get(s)) for s in held)]

    def take(self, shard: int, name: str) -> None:
        self.held[name].remove(shard)
        self.weight[name] -= self.shards[shard]

    def put(self, shard: int, name: str) -> None:
        self.held[name].append(shard)
        self.weight[name] += self.shards[shard]

    def ticks(self, name: str) -> int:
        """What its ticks alone weigh."""
        return self.weight[name] - _EACH * len(self.held[name])


def _even_out(scales: _Scales, policy: Policy, done: Collection[int]) -> Move | None:
    """The move that helps most, from as loaded a node as can be; None: nothing matters."""
    order = sorted(scales.rested, key=lambda name: (-scales.weight[name], name))
    for source in order:
        more = scales.weight[source]
        idle = scales.ticks(source) < _NOTHING
        difference = 2 * _EACH if idle else policy.difference * more
        gain = _EACH if idle else policy.gain * more
        for target in reversed(order):
            less = scales.weight[target]
            if more - less < difference:
                break
            choice = _best(scales, source, target, done)
            if choice is not None and more - _after(scales, choice, source, target) >= gain:
                return Move(choice, source, target, _why(scales, choice, source, target, idle=idle))
    return None


def _best(scales: _Scales, source: str, target: str, done: Collection[int]) -> int | None:
    """The shard that leaves the larger of the two smallest; of equals one with few players that likes the target."""
    movable = [shard for shard in scales.held[source] if shard not in done]
    return min(
        movable,
        key=lambda s: (
            _after(scales, s, source, target),
            scales.players[s],
            preference(s, scales.held).index(target),
            s,
        ),
        default=None,
    )


def _after(scales: _Scales, shard: int, source: str, target: str) -> int:
    """The larger of the two weights once the shard has moved."""
    weight = scales.shards[shard]
    return max(scales.weight[source] - weight, scales.weight[target] + weight)


def _why(scales: _Scales, shard: int, source: str, target: str, *, idle: bool) -> str:
    if idle:
        return f"{source} runs {len(scales.held[source])} and {target} {len(scales.held[target])}, with little to do"
    gives, takes, moved = scales.ticks(source), scales.ticks(target), scales.shards[shard] - _EACH
    return (
        f"{_share(gives)} of {source}'s time is in use and {_share(takes)} of {target}'s: "
        f"{_share(gives - moved)} and {_share(takes + moved)} then"
    )


def _share(weight: int) -> str:
    return f"{weight / _WHOLE:.0%}"


def _weight(told: ShardLoad | None) -> int:
    return _EACH + (0 if told is None or told.load is None else round(told.load * _WHOLE))


def _measured(told: ShardLoad | None) -> bool:
    return told is not None and told.load is not None


def _told(holders: Mapping[int, str], nodes: Collection[NodeLoad]) -> dict[int, ShardLoad]:
    """What each shard's holder tells of it."""
    return {one.shard: one for node in nodes for one in node.shards if holders.get(one.shard) == node.name}


# -- divisions -----------------------------------------------------------------------------


def divisions(
    holders: Mapping[int, str], nodes: Collection[NodeLoad], policy: Policy, parts: Mapping[int, Sequence[int]]
) -> list[Divide]:
    """Regions that should be divided or united as they are just now. `parts`: see `plan`.

    Who acts on it waits until that has lasted (`Patience`).
    """
    told = _told(holders, nodes)
    others = len([node for node in nodes if not node.draining]) > 1
    wanted = []
    for region, its_parts in sorted(parts.items()):
        if not its_parts or not _measured(told.get(region)):
            continue
        own, theirs = told[region], [told.get(part) for part in its_parts]
        reason = _unite(own, theirs, policy) if own.divided else _divide(own, theirs, policy, others=others)
        if reason:
            wanted.append(Divide(region, not own.divided, reason))
    return wanted


def _divide(own: ShardLoad, parts: Sequence[ShardLoad | None], policy: Policy, *, others: bool) -> str | None:
    if None in parts:
        # Who goes to one that nobody runs is nowhere until somebody does.
        return None
    if others and own.load is not None and own.load >= policy.split_load:
        return f"its ticks take {own.load:.0%} of a node's time, of {policy.split_load:.0%} at the most"
    if own.entities >= policy.split_fill * policy.entities_max:
        return f"it has {own.entities} entities, of {policy.entities_max} that find room"
    return None


def _unite(own: ShardLoad, parts: Sequence[ShardLoad | None], policy: Policy) -> str | None:
    loads, entities = own.load or 0.0, own.entities
    for part in parts:
        if part is None or part.load is None:
            # Whoever runs it knows no more than we do.
            return None
        loads += part.load
        entities += part.entities
    # Half: what is united is not to be divided at once.
    if loads > policy.merge_load or entities > policy.split_fill * policy.entities_max / 2:
        return None
    return f"its ticks and its parts' take {loads:.0%} of a node's time together"


class Patience:
    """Lets through what was wanted for `for_s` seconds, at every look in between."""

    def __init__(self, for_s: float) -> None:
        self._for_s = for_s
        # What is wanted -> since when.
        self._since_s: dict[tuple[int, bool], float] = {}

    def ripe(self, wanted: Iterable[Divide], now_s: float) -> list[Divide]:
        """Those of them that were wanted for long enough."""
        wanted = list(wanted)
        keys = {(one.shard, one.divide) for one in wanted}
        self._since_s = {key: self._since_s.get(key, now_s) for key in sorted(keys)}
        return [one for one in wanted if now_s - self._since_s[one.shard, one.divide] >= self._for_s]
