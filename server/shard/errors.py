"""What a shard can refuse.

ShardError
├── BatchError      bytes that are not a command batch of this game
└── RecordError     bytes that are not a journal record
"""

from __future__ import annotations


class ShardError(Exception):
    """Root of what a shard refuses."""


class BatchError(ShardError):
    """Bytes that are not a command batch of this game."""


class RecordError(ShardError):
    """Bytes that are not a journal record."""
