"""Stalls: shards for which the store has kept nothing for long, though something waits to be kept.

A node may be cut off from its store alone. It still renews its leases, and what it runs would stand still for as long
as that lasts, though other nodes reach the store. So it leaves such shards to others; but only where another node shows
that the store keeps what it is given, for while the store is away altogether a shard is best off where it is; and some
seconds after that, for when the store is back it may be so for one node before it is for another. A node whose shards
all sleep gives its store nothing, and wakes one of them where another node waits to be shown; one that runs none asks
its store (`ask`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping

import structlog

from server.host.tenure import ShardParts

_log = structlog.get_logger(__name__)


class Stalls:
    """One node's. Times are handed in.

    `patience_s`: after which a shard that waits counts as stalled; `grace_s`: for which it may be so still, once
    another node has shown that the store keeps what it is given.
    """

    def __init__(self, patience_s: float, grace_s: float) -> None:
        self._patience_s, self._grace_s = patience_s, grace_s
        # Shard -> its last durable tick at the last look, and since when it has waited.
        self._durable: dict[int, int] = {}
        self._since_s: dict[int, float] = {}
        # Whether anything became durable between the last two looks, or the store said that it would.
        self.keeps = False
        self._answered = False
        # The stalled ones at the last look, ascending; and since when others have shown what they wait for.
        self.stalled: list[int] = []
        self._shown_s: float | None = None

    @property
    def waits(self) -> bool:
        """Whether any is stalled."""
        return bool(self.stalled)

    def look(self, durable: Mapping[int, int], waits: Collection[int], now_s: float) -> None:
        """`durable`: last durable ticks; `waits`: shards that wait for their store."""
        moved = {shard for shard, tick in durable.items() if tick != self._durable.get(shard, tick)}
        self.keeps = bool(moved) or self._answered
        self._answered = False
        self._durable = dict(durable)
        self._since_s = {shard: self._since_s.get(shard, now_s) for shard in waits if shard not in moved}
        due_s = now_s - self._patience_s
        self.stalled = sorted(shard for shard, since_s in self._since_s.items() if since_s <= due_s)
        if not self.stalled:
            self._shown_s = None

    def lost(self, now_s: float) -> list[int]:
        """Another node shows that the store keeps what it is given: the shards that are to be left to others."""
        if self._shown_s is None and self.stalled:
            self._shown_s = now_s
        return self.stalled if self._shown_s is not None and now_s - self._shown_s >= self._grace_s else []

    async def ask(self, open_shard: Callable[[int], Awaitable[ShardParts]], shard: int) -> None:
        """Have the store of a shard that runs elsewhere show that it is there."""
        try:
            parts = await open_shard(shard)
            try:
                # No record is that old. But that it is gone is kept, where anything is: to be read is not enough.
                await parts.journal.trim(shard, 0)
            finally:
                await parts.close()
        except Exception as error:  # noqa: BLE001  # whatever it says, it has not shown it
            _log.warning("the store can't be asked", shard=shard, reason=repr(error))
        else:
            self._answered = True
