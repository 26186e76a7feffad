"""What a store can refuse.

StoreError
├── StoreClosed     it was closed
└── OutOfSequence   a record that does not follow the one before it
"""

from __future__ import annotations


class StoreError(Exception):
    """Root of what a store refuses."""


class StoreClosed(StoreError):
    """It was closed."""


class OutOfSequence(StoreError):
    """A record that does not follow the one before it."""
