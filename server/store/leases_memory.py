"""Leases in memory: for tests, simulations, and worlds of one process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from server.shard.lease import Lease, NodeInfo


class MemoryLeases:
    """A LeaseStore. `ttl_s`: time to live; `now_s`: any monotonic clock in seconds."""

    def __init__(self, ttl_s: float, now_s: Callable[[], float]) -> None:
        self._ttl_s = ttl_s
        self._now_s = now_s
        # Shard -> (lease, when it ends).
        self._held: dict[int, tuple[Lease, float]] = {}
        # Shard -> the last epoch given out.
        self._epochs: dict[int, int] = {}
        self._nodes: dict[str, tuple[NodeInfo, float]] = {}

    def forget(self) -> None:
        """Lose everything, as a Redis does that is started again."""
        self._held.clear()
        self._epochs.clear()
        self._nodes.clear()

    async def acquire(self, shard: int, owner: str, floor: int) -> Lease | None:
        """See LeaseStore."""
        holder = self._holder(shard)
        if holder is not None:
            return holder if holder.owner == owner else None
        return self._give(shard, owner, floor)

    async def renew(self, leases: Sequence[Lease]) -> list[bool]:
        """See LeaseStore."""
        return [self._renew(lease) for lease in leases]

    async def release(self, lease: Lease) -> None:
        """See LeaseStore."""
        if self._holder(lease.shard) == lease:
            del self._held[lease.shard]

    async def hand_over(self, lease: Lease, owner: str) -> Lease | None:
        """See LeaseStore."""
        return self._give(lease.shard, owner, lease.epoch) if self._renew(lease) else None

    async def holders(self, shards: Iterable[int]) -> Mapping[int, Lease]:
        """See LeaseStore."""
        found = {shard: self._holder(shard) for shard in shards}
        return {shard: lease for shard, lease in found.items() if lease is not None}

    async def announce(self, node: NodeInfo) -> bool:
        """See LeaseStore."""
        now_s = self._now_s()
        _, end_s = self._nodes.get(node.name, (None, now_s))
        self._nodes[node.name] = (node, now_s + self._ttl_s)
        return now_s < end_s

    async def withdraw(self, name: str) -> None:
        """See LeaseStore."""
        self._nodes.pop(name, None)

    async def nodes(self) -> list[NodeInfo]:
        """See LeaseStore."""
        now_s = self._now_s()
        return [node for _, (node, end_s) in sorted(self._nodes.items()) if now_s < end_s]

    def _holder(self, shard: int) -> Lease | None:
        lease, end_s = self._held.get(shard, (None, 0.0))
        return lease if self._now_s() < end_s else None

    def _give(self, shard: int, owner: str, floor: int) -> Lease:
        epoch = self._epochs[shard] = max(self._epochs.get(shard, 0), floor) + 1
        lease = Lease(shard, owner, epoch)
        self._held[shard] = (lease, self._now_s() + self._ttl_s)
        return lease

    def _renew(self, lease: Lease) -> bool:
        holder = self._holder(lease.shard)
        if holder != lease and (holder is not None or self._epochs.get(lease.shard, 0) > lease.epoch):
            return False
        self._epochs[lease.shard] = lease.epoch
        self._held[lease.shard] = (lease, self._now_s() + self._ttl_s)
        return True
