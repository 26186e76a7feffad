"""The link: commands on their way to a region, gathered so that a tick's worth is encoded once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from protocol.schema import CommandSchema
from server.shard.machine import encode_batches
from server.shard.ports import Bus, commands_topic


class Link:
    """To one shard. Bounded by what the sessions' token buckets let through between two flushes."""

    def __init__(self, bus: Bus, shard: int, shapes: Mapping[int, CommandSchema]) -> None:
        self._bus = bus
        self._topic = commands_topic(shard)
        self._dtypes = {kind: shape.dtype for kind, shape in shapes.items()}
        self._waiting: dict[int, list[tuple[Any, ...]]] = {kind: [] for kind in shapes}

    def add(self, kind: int, session: int, seq: int, values: tuple[Any, ...] = ()) -> None:
        """Take a command with validated arguments, as CommandReader returns them."""
        self._waiting[kind].append((session, seq, *values))

    def flush(self) -> None:
        """Publish what waits."""
        batches = {kind: np.array(rows, self._dtypes[kind]) for kind, rows in self._waiting.items() if rows}
        if batches:
            for kind in batches:
                self._waiting[kind].clear()
            self._bus.publish(self._topic, encode_batches(batches))
