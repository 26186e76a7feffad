"""Who may run a shard: leases, as those who want one see them.

A lease says who should try; it is no proof. An owner that was paused beyond its lease believes what it believed
before, and no clock can tell it better in time. The proof is the journal: a new owner claims the shard there with its
lease's epoch, and whatever an older epoch appends is refused (JournalStore.claim). So a store of leases that forgets
everything costs a needless takeover at the worst, and never a tick.

See M. Kleppmann, "How to do distributed locking" (2016), for why the epoch has to reach the storage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Lease:
    """One shard, held."""

    shard: int
    # The node's name: what other nodes and operators call it, another one after each start.
    owner: str
    # The fencing token: greater than that of every holder before.
    epoch: int


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node as it announces itself."""

    name: str
    # What it says of itself: load, version, whether it drains. Its form is its writer's and reader's affair.
    info: bytes


class LeaseStore(Protocol):
    """Where nodes agree on who runs what. Every method raises LeaseStoreAway where the store can't be asked."""

    async def acquire(self, shard: int, owner: str, floor: int) -> Lease | None:
        """Take a shard that nobody holds; None where another holds it. Asked again by its holder: the same lease.

        The epoch is above `floor`: what the journal knows, should the leases' own count be lost.
        """

    async def renew(self, leases: Sequence[Lease]) -> list[bool]:
        """Hold them for another time to live. False: another has taken it since.

        One that ran out, or was forgotten, and that nobody took is held again.
        """

    async def release(self, lease: Lease) -> None:
        """Give it up, if it is held still."""

    async def hand_over(self, lease: Lease, owner: str) -> Lease | None:
        """Make it another node's, with a new epoch, without a moment in which it is nobody's. None: it was lost."""

    async def holders(self, shards: Iterable[int]) -> Mapping[int, Lease]:
        """Of these shards those that are held."""

    async def announce(self, node: NodeInfo) -> bool:
        """Be known for another time to live. False: it was not known before, or no more."""

    async def withdraw(self, name: str) -> None:
        """Be known no more."""

    async def nodes(self) -> list[NodeInfo]:
        """Who announced itself lately, by name."""
