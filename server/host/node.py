"""A node: runs the shards it has leases for, follows some of others', and gives and takes them as the balance has it.

Every turn (some times per time to live of a lease):

    renew      leases that another took meanwhile: those shards end here, at once
    announce   name, whether it drains, and of each shard its load and who is there
    claim      shards that nobody holds and that are this node's to take (server/regions/balance.py): recovered, or
               taken over by the standby that this node is for them. What nobody took in time is anybody's
    follow     with `standby`: the shards whose standby this node is
    move       shards that should run elsewhere, one at a time, without a stop that players would notice. A node that
               drains has several followed at once, and hands over one after the other:

        source                               target
        "follow" ──────────────────────────▶ follows the journal
        a last tick, durable  ◀─── "ready"   is at its end
        lease handed over
        "yours" ───────────────────────────▶ claims the journal, replays the last tick, goes on

    leave      shards that this node's store keeps nothing of, where other nodes' stores do (server/host/stalls.py)
    divide     regions of this node that are too much for one shard, or have little to do in four: by an order to them

Messages between nodes only hurry things: whoever misses one finds in the lease what is so. A store of leases that is
away stops nothing: nobody else can take a shard then either, and the journal's fence holds whatever is believed here.
When it is back, or has forgotten everything, all renew before any claims.

A long module: whatever is done with a shard has to know what else is being done with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack
import structlog

from server.host.announcement import announced, keeps, node_load, waits
from server.host.follower import Follower
from server.host.stalls import Stalls
from server.host.tenure import ShardParts, Surroundings, Tenure
from server.regions.balance import NodeLoad, Patience, Policy, claims, divisions, moves, standby
from server.regions.division import division_order
from server.shard.lease import Lease, LeaseStore, NodeInfo
from server.shard.machine import Machine
from server.shard.ports import Bus, Clock, commands_topic
from server.store.errors import Fenced, LeaseStoreAway

_log = structlog.get_logger(__name__)

# Turns that a shard which failed here is left to others.
_SHUN_TURNS: Final = 20
# Seconds for which a store may keep nothing of a shard before its node leaves it to others: longer than a replica set
# takes to elect a primary.
_STORE_PATIENCE_S: Final = 20.0
# And when another node has shown that it keeps something again: longer than drivers pause before they ask again.
_STORE_GRACE_S: Final = 5.0


def node_topic(name: str) -> str:
    """Where a node hears from others."""
    return f"nodes/{name}"


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """See config/settings.py for meaning and units."""

    # Time to live of leases, and how often they are renewed.
    lease_ttl_s: float = 3.0
    turn_s: float = 1.0
    # Seconds that a node may wait for the answer of leases that are away.
    answer_s: float = 2.0
    # How often a follower looks for new records.
    follow_s: float = 0.1
    # Whether this node follows others' shards.
    standby: bool = False
    # Seconds until a move that does not come about is given up.
    move_timeout_s: float = 10.0
    # Shards that are on their way at once from a node that drains.
    drain_regions_max: int = 4
    # Whether shards are moved, divided and united as their loads are, and by which measure.
    balance: bool = True
    policy: Policy = field(default_factory=Policy)
    # Seconds of ticks after which a shard's load counts as measured: until then its node neither gives nor takes.
    rest_s: float = 5.0
    # By region, those it may be divided into; and for how long that has to be wanted.
    parts: Mapping[int, Sequence[int]] = field(default_factory=dict)
    divide_after_s: float = 30.0


@dataclass(slots=True)
class _Following:
    """A standby of one shard, here."""

    parts: ShardParts
    # None until it has caught up for the first time.
    follower: Follower[Machine] | None = None
    task: asyncio.Task[None] | None = None
    # The node that wants to move the shard here, and until when that counts if it is not said again.
    mover: str | None = None
    mover_until_s: float = 0.0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class _Taking:
    """A shard that is being brought back here: that may take longer than a lease lasts, and the lease is renewed."""

    lease: Lease
    follower: Follower[Machine] | None
    # How often it came on since the store made the shard ours; and how often it had at the last look.
    steps: int = 0
    seen: int = 0

    def step(self) -> None:
        self.steps += 1

    def goes_on(self) -> bool:
        """Whether it came on since the last look: it takes as long as there is to replay."""
        before, self.seen = self.seen, self.steps
        return self.steps > before


@dataclass(slots=True)
class _Moving:
    """A shard on its way to another node."""

    target: str
    until_s: float
    # Whether it is being handed over.
    going: bool = False


@dataclass(slots=True)
class Standing:
    """What a turn found out."""

    holders: Mapping[int, Lease] = field(default_factory=dict)
    nodes: Sequence[NodeLoad] = ()


class Node:
    """`name`: another one after each start. `open_shard`: what a shard is run on here.

    Call `run`. In the end cancel it, and call `close` when it has ended: each of the two ends shards.
    """

    def __init__(
        self,
        name: str,
        shards: Sequence[int],
        leases: LeaseStore,
        open_shard: Callable[[int], Awaitable[ShardParts]],
        around: Surroundings,
        options: NodeOptions,
    ) -> None:
        self.name = name
        self.shards = tuple(shards)
        self.tenures: dict[int, Tenure] = {}
        self.draining = False
        # Shard -> what is not known to be kept of it, of those that ended here since the node began to leave.
        self.unkept: dict[int, str] = {}
        self._leaving = False
        # What the last turn found out that could: not while others are yet to announce themselves again.
        self.standing = Standing()
        self._leases = leases
        self._open = open_shard
        self._around = around
        self._bus: Bus = around.bus
        self._clock: Clock = around.clock
        self._options = options
        self._following: dict[int, _Following] = {}
        self._moving: dict[int, _Moving] = {}
        # Shards whose tenure is on its way to begin or to end: nothing else is done with them meanwhile.
        self._busy: dict[int, asyncio.Task[None]] = {}
        # Shards that are being brought back here.
        self._taking: dict[int, _Taking] = {}
        # Shard -> turns for which nobody has held it, and since when.
        self._free_turns: dict[int, int] = {}
        self._free_since_s: dict[int, float] = {}
        # Shard -> turns for which it is not to be claimed.
        self._shunned: dict[int, int] = {}
        self._patience = Patience(options.divide_after_s)
        self._stalls = Stalls(_STORE_PATIENCE_S, _STORE_GRACE_S)
        # A question to the store, which may never answer it.
        self._asking: asyncio.Task[None] | None = None
        # From when on it claims shards, gives and follows any: not while leases are away, and not just after that.
        self._sees_from_s = -math.inf
        self._awake = asyncio.Event()
        self._unsubscribe = self._bus.subscribe(node_topic(name), self._on_message)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._awake.clear()
            await self.turn()
            await self._pause(self._options.turn_s, self._awake)

    async def turn(self) -> None:
        """One look at the world, and what follows from it."""
        self._forget_failed()
        self._look_at_store()
        try:
            await self._renew()
            known = await self._leases.announce(NodeInfo(self.name, self._info()))
            holders = await self._leases.holders(self.shards)
            told = await self._leases.nodes()
            # Or they were forgotten since: nobody holds what everybody runs.
            known = known and any(node.name == self.name for node in told)
        except LeaseStoreAway as error:
            _log.warning("leases can't be asked", node=self.name, reason=str(error))
            self._sees_from_s = math.inf
            return
        now_s, nodes = self._clock.now_s(), [node_load(node) for node in told]
        if self._sees_from_s == math.inf or (self.standing.nodes and not known):
            # Leases ran out, or are forgotten, by which others run what they run: they renew them in their next turns.
            self._sees_from_s = now_s + max(self._options.lease_ttl_s, self._options.turn_s + self._options.answer_s)
        for node in nodes:
            self._around.world_time.hear(node.world_tick)
        for shard, lease in holders.items():
            # Handed over to us; or of an earlier tenure that ended before its lease could be given back.
            if lease.owner == self.name and shard not in {*self.tenures, *self._busy}:
                if self.draining or shard in self._shunned:
                    await self._give_back(lease)
                else:
                    self._begin(lease)
        others = [node for node in told if node.name != self.name]
        if any(map(keeps, others)):
            self._leave(self._stalls.lost(now_s))
        elif any(map(waits, others)):
            self._show()
        if now_s < self._sees_from_s:
            return
        self.standing = Standing(holders, nodes)
        await self._claim(holders, nodes)
        self._follow(holders, nodes)
        self._move(holders, nodes)
        self._divide(holders, nodes)

    async def drain(self) -> None:
        """Give every shard to other nodes, if there are any; return when none is left here or nobody takes them."""
        self.draining = self._leaving = True
        while self.tenures or self._busy:
            self._awake.set()
            await self._clock.sleep_until(self._clock.now_s() + self._options.turn_s / 4)
            if not any(not node.draining for node in self.standing.nodes if node.name != self.name):
                return

    async def close(self) -> None:
        """End what runs here in order, and give its leases back. `unkept` is then complete."""
        self._leaving = True
        self._unsubscribe()
        # What is being brought back ends with its task, and has no tenure that gives its lease back.
        unborn = [taking.lease for taking in self._taking.values()]
        under_way = [*self._busy.values(), *filter(None, [self._asking])]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await asyncio.gather(*(self._end(shard, orderly=True) for shard in tuple(self.tenures)))
        await asyncio.gather(*map(self._give_back, unborn))
        for shard in tuple(self._following):
            await self._unfollow(shard)
        try:
            await self._leases.withdraw(self.name)
        except LeaseStoreAway as error:
            _log.warning("leases can't be asked", node=self.name, reason=str(error))

    # -- leases ------------------------------------------------------------------------

    def _forget_failed(self) -> None:
        self._shunned = {shard: turns - 1 for shard, turns in self._shunned.items() if turns > 1}
        for shard, tenure in tuple(self.tenures.items()):
            if tenure.failure is not None and shard not in self._busy:
                fenced = isinstance(tenure.failure, Fenced)
                _log.error("shard failed", node=self.name, shard=shard, reason=repr(tenure.failure), fenced=fenced)
                if not fenced:
                    self._shunned[shard] = _SHUN_TURNS
                self._spawn(shard, self._end(shard, orderly=False))

    def _look_at_store(self) -> None:
        """Which shards it has kept nothing of for long, though something waits, or has not let us have."""
        durable = {shard: tenure.host.durable_tick for shard, tenure in self.tenures.items()}
        waits = {shard for shard, tick in durable.items() if tick < self.tenures[shard].host.journalled_tick}
        for shard, taking in self._taking.items():
            if not taking.goes_on():
                waits.add(shard)
            if taking.follower is not None:
                # A standby that catches up reaches its store.
                durable[shard] = taking.follower.tick
        self._stalls.look(durable, waits, self._clock.now_s())

    def _leave(self, stalled: Sequence[int]) -> None:
        """Have others run these: they reach the store."""
        for shard in stalled:
            taking = self._taking.pop(shard, None)
            if taking is None and (shard not in self.tenures or shard in self._busy):
                # It is on its way out.
                continue
            _log.error("the store can't be reached from here, and others reach it", node=self.name, shard=shard)
            self._shunned[shard] = _SHUN_TURNS
            if taking is not None:
                # Its lease is renewed no more, and ends.
                self._busy[shard].cancel()
            else:
                self._spawn(shard, self._end(shard, orderly=False))

    def _show(self) -> None:
        """Others wait to be shown that the store is there: have it keep something, if nothing here does."""
        if not self.tenures:
            if self._asking is None or self._asking.done():
                asking = self._stalls.ask(self._open, self.shards[0])
                self._asking = asyncio.create_task(asking, name="ask-store")
        elif all(tenure.host.slumber.asleep for tenure in self.tenures.values()):
            # Of a large world one is enough.
            next(iter(self.tenures.values())).host.slumber.wake()

    async def _renew(self) -> None:
        held = [taking.lease for taking in self._taking.values()]
        # What ends may take longer than its lease to be let go of by its store, and is to be another's by then.
        held += [tenure.lease for tenure in self.tenures.values() if not tenure.ending]
        for lease, kept in zip(held, await self._leases.renew(held), strict=True):
            tenure = self.tenures.get(lease.shard)
            if not kept and tenure is not None and tenure.lease == lease and lease.shard not in self._busy:
                _log.warning("lease lost", node=self.name, shard=lease.shard, epoch=lease.epoch)
                self._spawn(lease.shard, self._end(lease.shard, orderly=False))

    async def _claim(self, holders: Mapping[int, Lease], nodes: Sequence[NodeLoad]) -> None:
        held = {shard: lease.owner for shard, lease in holders.items()}
        wanted = claims(self.name, self.shards, held, nodes)
        now_s = self._clock.now_s()
        self._free_turns = {s: self._free_turns.get(s, 0) + 1 for s in self.shards if s not in held}
        self._free_since_s = {s: self._free_since_s.get(s, now_s) for s in self._free_turns}
        if any(node.follows and not node.draining for node in nodes):
            # A standby has its shard in no time, so it has the first turn; whoever else takes it has to recover it.
            wanted = [s for s in wanted if self._free_turns[s] > 1]
        if self._options.standby and not self.draining:
            wanted += [s for s in self._following if s not in held and s not in wanted]
        if not self.draining:
            # Whose turn it is may be unable to run it, and leave it to others.
            late_s = now_s - self._options.lease_ttl_s
            wanted += [s for s, since_s in self._free_since_s.items() if since_s < late_s and s not in wanted]
        for shard in wanted:
            if shard in self._busy or shard in self.tenures or shard in self._shunned:
                continue
            with contextlib.suppress(LeaseStoreAway):
                if (lease := await self._leases.acquire(shard, self.name, 0)) is not None:
                    self._begin(lease)

    def _begin(self, lease: Lease) -> None:
        if lease.shard not in self._busy:
            self._spawn(lease.shard, self._take(lease))

    async def _take(self, lease: Lease) -> None:
        """Run the shard of this lease. If it can't be, the lease is given back."""
        shard = lease.shard
        following = self._following.pop(shard, None)
        try:
            self.tenures[shard] = await self._bring_back(lease, following)
        except Fenced as error:
            # Redis forgot, and counts from the beginning: the journal knows better.
            _log.warning("lease behind the journal", node=self.name, shard=shard, reason=str(error))
            await self._give_back(lease)
            with contextlib.suppress(LeaseStoreAway):
                await self._leases.acquire(shard, self.name, error.newest)
            self._awake.set()
        except Exception:  # noqa: BLE001  # whatever is wrong with this shard here, the others go on
            if following is not None and following.follower is not None:
                # It was no good: the journal may have been trimmed in front of it. Whoever comes next, we perhaps,
                # has the shard back from the store.
                _log.exception("shard can't be taken over", node=self.name, shard=shard)
            else:
                _log.exception("shard can't be run", node=self.name, shard=shard)
                self._shunned[shard] = _SHUN_TURNS
            await self._give_back(lease)
        else:
            tick = self.tenures[shard].report.tick
            stood_by = following is not None and following.follower is not None
            _log.info("shard taken", node=self.name, shard=shard, epoch=lease.epoch, tick=tick, stood_by=stood_by)

    async def _bring_back(self, lease: Lease, following: _Following | None) -> Tenure:
        """As `Tenure.begin`. The lease is renewed meanwhile: a long replay must not be another's to begin as well."""
        follower = None if following is None else following.follower
        taking = self._taking[lease.shard] = _Taking(lease, follower)
        try:
            if following is None:
                parts = await self._open(lease.shard)
            else:
                await self._still(following)
                parts, follower = following.parts, following.follower
            return await Tenure.begin(lease, parts, self._around, follower, taking.step)
        finally:
            # Before it may be given back: renewed after that it would be held again.
            self._taking.pop(lease.shard, None)

    async def _end(self, shard: int, *, orderly: bool) -> None:
        """Run it no more, and give its lease back."""
        tenure = self.tenures[shard]
        try:
            await tenure.end(orderly=orderly)
        except Exception as error:  # noqa: BLE001  # whatever its store says: another has to be able to take it
            _log.warning("shard did not end in order", node=self.name, shard=shard, reason=repr(error))
        if self._leaving and (unkept := tenure.unkept) is not None:
            _log.error("shard not known to be kept", node=self.name, shard=shard, reason=unkept)
            self.unkept[shard] = unkept
        del self.tenures[shard]
        self._moving.pop(shard, None)
        await self._give_back(tenure.lease)

    async def _give_back(self, lease: Lease) -> None:
        try:
            await self._leases.release(lease)
        except LeaseStoreAway as error:
            # It runs out by itself.
            _log.warning("lease not given back", node=self.name, shard=lease.shard, reason=str(error))

    # -- standing by -------------------------------------------------------------------

    def _follow(self, holders: Mapping[int, Lease], nodes: Sequence[NodeLoad]) -> None:
        """Follow what is ours to follow, and nothing else."""
        now_s = self._clock.now_s()
        for following in self._following.values():
            if now_s > following.mover_until_s:
                following.mover = None
        wanted = set[int]()
        if not self.draining:
            wanted |= {shard for shard, following in self._following.items() if following.mover is not None}
        if self._options.standby and not self.draining:
            wanted |= {s for s, lease in holders.items() if standby(s, lease.owner, nodes) == self.name}
        for shard in sorted(wanted - self._following.keys() - self.tenures.keys() - self._busy.keys()):
            self._spawn(shard, self._open_following(shard, None))
        for shard in sorted(self._following.keys() - wanted - self._busy.keys()):
            # While nobody holds it, it may be about to be ours.
            if shard in holders:
                self._spawn(shard, self._unfollow(shard))

    async def _open_following(self, shard: int, mover: str | None) -> None:
        following = self._following[shard] = _Following(await self._open(shard))
        if mover is not None:
            self._moved_by(following, mover)
        following.task = asyncio.create_task(self._run_following(shard, following), name=f"follow-{shard}")

    async def _run_following(self, shard: int, following: _Following) -> None:
        while not following.stopping.is_set():
            try:
                await self._keep_up(shard, following)
            except Exception:  # noqa: BLE001  # the same
                # Should it become ours now, it is recovered. The journal may have been trimmed in front of one who was
                # slow, or stopped: then it begins again, with a newer checkpoint.
                _log.exception("shard can't be followed", node=self.name, shard=shard)
                following.follower = None
                await self._pause(self._options.turn_s, following.stopping)

    async def _keep_up(self, shard: int, following: _Following) -> None:
        parts = following.parts

        def on_progress() -> None:
            # Its owner may die before it has caught up for the first time.
            if shard in self._taking:
                self._taking[shard].step()

        following.follower = await Follower.begin(
            parts.make, parts.journal, parts.checkpoints, self._clock, on_progress
        )
        while not following.stopping.is_set():
            await following.follower.catch_up()
            if following.mover is not None and not self.draining:
                self._say(following.mover, "ready", shard)
            await self._pause(self._options.follow_s, following.stopping)

    async def _still(self, following: _Following) -> None:
        """Wait until it stands between two records. It is let go of where the waiting is cancelled."""
        following.stopping.set()
        if following.task is not None:
            async with contextlib.AsyncExitStack() as cancelled:
                cancelled.push_async_callback(self._let_go, following)
                await asyncio.wait([following.task])
                cancelled.pop_all()

    async def _unfollow(self, shard: int) -> None:
        following = self._following.pop(shard, None)
        if following is not None:
            await self._let_go(following)

    async def _let_go(self, following: _Following) -> None:
        """End it at once: it writes nothing, and a store that is away may never answer it."""
        following.stopping.set()
        if (task := following.task) is not None:
            task.cancel()
        try:
            await following.parts.close()
        finally:
            if task is not None:
                await asyncio.wait([task])

    # -- moving ------------------------------------------------------------------------

    def move(self, shard: int, target: str) -> None:
        """Have another node run a shard of ours. Nothing where it isn't ours, or is on its way already."""
        if shard in self.tenures and shard not in self._busy and shard not in self._moving and target != self.name:
            self._moving[shard] = _Moving(target, self._clock.now_s() + self._options.move_timeout_s)
            self._say(target, "follow", shard)

    def _move(self, holders: Mapping[int, Lease], nodes: Sequence[NodeLoad]) -> None:
        now_s = self._clock.now_s()
        able = {node.name for node in nodes if not node.draining}
        for shard, moving in tuple(self._moving.items()):
            if now_s > moving.until_s or (moving.target not in able and not moving.going):
                _log.warning("move given up", node=self.name, shard=shard, target=moving.target)
                del self._moving[shard]
            else:
                self._say(moving.target, "follow", shard)
        at_once = self._options.drain_regions_max if self.draining else 1
        if len(self._moving) >= at_once or not (self._options.balance or self.draining):
            return
        # Only when all is at rest: a shard that is free is about to be somebody's, and its load with it. One that stays
        # free, when everybody has had a turn, is what nobody can run, and keeps the others from nothing.
        turns_over_s = now_s - 2 * self._options.lease_ttl_s
        if not self.draining and any(since_s > turns_over_s for since_s in self._free_since_s.values()):
            return
        held = {shard: lease.owner for shard, lease in holders.items()}
        for planned in moves(self.shards, held, nodes, self._options.policy, moves_max=len(self.shards)):
            if planned.source == self.name and planned.shard not in self._moving:
                reason = planned.reason
                _log.info("shard is to move", node=self.name, shard=planned.shard, target=planned.target, reason=reason)
                self.move(planned.shard, planned.target)
                if len(self._moving) >= at_once:
                    return

    async def _hand_over(self, shard: int, target: str) -> None:
        """The last tick, and then the lease."""
        tenure = self.tenures[shard]
        try:
            # What is stopped can't go on without its keeper of leases: asked before, it tells that it is there.
            (held,) = await self._leases.renew([tenure.lease])
        except LeaseStoreAway as error:
            _log.warning("leases can't be asked", node=self.name, reason=str(error))
            held = False
        if not held:
            self._moving.pop(shard, None)
            return
        try:
            tick = await tenure.stop()
            lease = await self._leases.hand_over(tenure.lease, target)
        except Exception as error:  # noqa: BLE001  # whatever the store or the lease's keeper say: the next owner recovers
            _log.warning("move failed", node=self.name, shard=shard, target=target, reason=repr(error))
            lease = None
        else:
            if lease is not None:
                self._say(target, "yours", shard, lease.epoch)
                _log.info("shard handed over", node=self.name, shard=shard, target=target, tick=tick)
        # Whether it was handed over or not, its last tick is made: nothing goes on from there but a recovery.
        await self._end(shard, orderly=False)

    def _divide(self, holders: Mapping[int, Lease], nodes: Sequence[NodeLoad]) -> None:
        """Order what was wanted of regions here for long enough: each turn, until their state says that it is so."""
        if not self._options.balance:
            return
        held = {shard: lease.owner for shard, lease in holders.items()}
        wanted = divisions(held, nodes, self._options.policy, self._options.parts)
        for one in self._patience.ripe(wanted, self._clock.now_s()):
            if one.shard in self.tenures and one.shard not in self._busy:
                _log.info("region is to be divided", region=one.shard, divide=one.divide, reason=one.reason)
                self._bus.publish(commands_topic(one.shard), division_order(divide=one.divide))

    # -- messages ----------------------------------------------------------------------

    def _say(self, target: str, word: str, shard: int, *more: int) -> None:
        self._bus.publish(node_topic(target), msgpack.packb([word, shard, self.name, *more]))

    def _on_message(self, data: bytes) -> None:
        try:
            word, shard, sender, *more = msgpack.unpackb(data)
            if shard not in self.shards or type(sender) is not str or {*map(type, more)} - {int}:
                raise ValueError(str((word, shard, sender, more))[:100])
        except (ValueError, TypeError) as error:
            _log.warning("not a message between nodes", node=self.name, reason=str(error))
            return
        match word:
            case "follow" if not self.draining and shard not in self.tenures and shard not in self._busy:
                following = self._following.get(shard)
                if following is not None:
                    self._moved_by(following, sender)
                else:
                    self._spawn(shard, self._open_following(shard, sender))
            case "ready":
                moving = self._moving.get(shard)
                if (
                    moving is not None
                    and moving.target == sender
                    and shard in self.tenures
                    and shard not in self._busy
                    # One by one: each of two would wait for the other's last words, and so would its players.
                    and not any(other.going for other in self._moving.values())
                ):
                    moving.going = True
                    self._spawn(shard, self._hand_over(shard, sender))
            case "yours" if more and not self.draining and shard in self._following:
                # At once, and not at the next turn: players wait. The journal would say if it were not so.
                self._begin(Lease(shard, self.name, more[0]))
            case "yours":
                self._awake.set()

    async def _pause(self, seconds: float, until: asyncio.Event) -> None:
        """For so long, or until the event."""
        sleep = asyncio.ensure_future(self._clock.sleep_until(self._clock.now_s() + seconds))
        event = asyncio.ensure_future(until.wait())
        try:
            await asyncio.wait([sleep, event], return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            event.cancel()

    def _moved_by(self, following: _Following, mover: str) -> None:
        following.mover = mover
        following.mover_until_s = self._clock.now_s() + self._options.move_timeout_s

    def _spawn(self, shard: int, coroutine: Coroutine[Any, Any, None]) -> None:
        """Do this with the shard, and nothing else until it is done."""
        assert shard not in self._busy, f"shard {shard} is busy"

        def done(task: asyncio.Task[None]) -> None:
            del self._busy[shard]
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.error("shard in trouble", node=self.name, shard=shard, exc_info=error)
            self._awake.set()

        task = asyncio.create_task(coroutine, name=f"shard-{shard}")
        self._busy[shard] = task
        task.add_done_callback(done)

    def _info(self) -> bytes:
        return announced(
            self.tenures,
            self._stalls,
            rest_s=self._options.rest_s,
            draining=self.draining,
            world_tick=self._around.world_time.latest_tick,
            follows=self._options.standby,
        )
