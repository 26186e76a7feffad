"""The link: commands on their way to a region, gathered so that a tick's worth is encoded once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from protocol.schema import CommandSchema
from server.shard.machine import encode_batches
from server.shard.ports import Bus, commands_topic
from server.sim.game import FIRST_COMMAND


class Link:
    """To one shard. `commands_max`: commands held at the most; `full` says so, and the gateway then refuses inputs.

    A tick that waits for its store takes nothing: what players send meanwhile is refused to their face, not lost later.
    """

    def __init__(self, bus: Bus, shard: int, shapes: Mapping[int, CommandSchema], commands_max: int) -> None:
        self._bus = bus
        self._topic = commands_topic(shard)
        self._dtypes = {kind: shape.dtype for kind, shape in shapes.items()}
        self._commands_max = commands_max
        self._held = 0
        self._waiting: dict[int, list[tuple[Any, ...]]] = {kind: [] for kind in shapes}

    def add(self, kind: int, session: int, seq: int, values: tuple[Any, ...] = ()) -> None:
        """Take a command with validated arguments, as CommandReader returns them."""
        self._waiting[kind].append((session, seq, *values))
        self._held += 1

    @property
    def full(self) -> bool:
        """Whether no input should be added. The engine's own commands still may: sessions bound their number."""
        return self._held >= self._commands_max

    def flush(self, room: int | None = None) -> None:
        """Publish what waits. `room`: commands of the game that the region can take; if there are more, they all wait.

        A batch that the region refused would be lost after its numbers counted as seen.
        """
        game = sum(len(rows) for kind, rows in self._waiting.items() if kind >= FIRST_COMMAND)
        whole = room is None or game <= room
        batches = {
            kind: np.array(rows, self._dtypes[kind])
            for kind, rows in self._waiting.items()
            if rows and (whole or kind < FIRST_COMMAND)
        }
        if batches:
            for kind, records in batches.items():
                self._held -= records.size
                self._waiting[kind].clear()
            self._bus.publish(self._topic, encode_batches(batches))
