"""Why a shard can't come back.

RecoveryError
├── NoWayBack           neither a checkpoint nor the journal reaches back far enough
├── RecoveryDiverged    the replay made another state than the one that was
└── UpgradeRefused      another version, or another machine, wrote what would have to be replayed
"""

from __future__ import annotations


class RecoveryError(Exception):
    """A shard that can't come back. Nothing was changed: what is kept is as it was."""


class NoWayBack(RecoveryError):
    """Neither a checkpoint nor the journal reaches back far enough."""


class RecoveryDiverged(RecoveryError):
    """The replay made another state than the one that was; `tick` is the first at which it shows."""

    def __init__(self, shard: int, tick: int, expected: int, found: int) -> None:
        super().__init__(
            f"shard {shard} diverged: after tick {tick} its digest was {expected:016x}, and the replay has {found:016x}"
        )
        self.shard = shard
        self.tick = tick


class UpgradeRefused(RecoveryError):
    """Another game version, or another kind of machine, wrote the journal that would have to be replayed."""
