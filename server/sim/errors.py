"""What the simulation can refuse.

SimError
├── DeclarationError    a game declares something that cannot be
├── CapacityError       the region is full
├── SnapshotError       arrays that are not a state of this game
└── MigrationError      a state that no migration brings to this version
"""

from __future__ import annotations


class SimError(Exception):
    """Root of what the simulation refuses."""


class DeclarationError(SimError):
    """A game declares something that cannot be."""


class CapacityError(SimError):
    """The region has no free row: `entities_max` reached."""


class SnapshotError(SimError):
    """Arrays that are not a state of this game."""


class MigrationError(SimError):
    """A state that no migration brings to this version, or that a migration left unfit for it."""
