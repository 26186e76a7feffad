"""What the simulation can refuse.

SimError
├── DeclarationError    a game declares something that cannot be
├── CapacityError       the region is full
└── SnapshotError       bytes that are not a snapshot of this game
"""

from __future__ import annotations


class SimError(Exception):
    """Root of what the simulation refuses."""


class DeclarationError(SimError):
    """A game declares something that cannot be."""


class CapacityError(SimError):
    """The region has no free row: `entities_max` reached."""


class SnapshotError(SimError):
    """Bytes that are not a snapshot of this game."""
