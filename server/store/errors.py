"""What a store can refuse.

StoreError
├── StoreClosed     it was closed
├── StoreFailed     a write failed: nothing after it will be durable
├── StoreInUse      another process has the data directory
├── StoreDamaged    the store's own file is damaged
├── LayoutWrong     the database is not laid out as the store needs it
├── Fenced          a record of a writer that another has followed
├── OutOfSequence   a record that does not follow the one before it
└── LeaseStoreAway  the store of leases can't be asked
"""

from __future__ import annotations


class StoreError(Exception):
    """Root of what a store refuses."""


class StoreClosed(StoreError):
    """It was closed."""


class StoreFailed(StoreError):
    """A write failed: nothing that was not durable by then, and nothing after it, will be reported durable."""


class StoreInUse(StoreError):
    """Another process has the data directory."""


class StoreDamaged(StoreError):
    """The store's own file is damaged, whatever lies in it."""


class LayoutWrong(StoreError):
    """The database is not laid out as the store needs it, or in a way that contradicts it."""


class Fenced(StoreError):
    """A record of a writer that another has followed, or that never claimed the shard.

    `newest`: the epoch that a claim has to be above, where it was one that was refused; else 0.
    """

    def __init__(self, text: str, newest: int = 0) -> None:
        super().__init__(text)
        self.newest = newest


class OutOfSequence(StoreError):
    """A record that does not follow the one before it."""


class LeaseStoreAway(StoreError):
    """The store of leases can't be asked: who holds what is not known."""
