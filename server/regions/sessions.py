"""Who plays here: sessions, their entities and how far their inputs are applied. Part of a region's state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from server.regions.frame import KNOWN
from server.shard.machine import NAME_BYTES, PLAYER_BYTES, Records
from server.sim.component import NO_ARCHETYPE, Bool, Rows
from server.sim.errors import SnapshotError
from server.sim.world import World

_RECORD: Final = np.dtype(
    [
        ("session", "<u8"),
        ("row", "<i8"),
        ("generation", "<u4"),
        ("seq", "<u4"),
        ("player", f"S{PLAYER_BYTES}"),
        ("name", f"S{NAME_BYTES}"),
    ]
)


class Sessions:
    """A table sorted by session id, so that equal sets have equal bytes."""

    def __init__(self) -> None:
        self._table = np.zeros(0, _RECORD)

    def __len__(self) -> int:
        return int(self._table.size)

    def find(self, sessions: NDArray[np.uint64]) -> NDArray[np.int64]:
        """(n,) int64 places in the table, -1 for strangers."""
        if not self._table.size:
            return np.full(sessions.size, -1, np.int64)
        ids = self._table["session"]
        at = np.minimum(np.searchsorted(ids, sessions), ids.size - 1)
        return np.where(ids[at] == sessions, at, -1)

    def rows(self, sessions: NDArray[np.uint64], world: World) -> Rows:
        """(n,) int64 rows of the sessions' living entities, -1 where there is none."""
        at = self.find(sessions)
        if not self._table.size:
            return at
        return np.where((at >= 0) & self._lives(world)[at], self._table["row"][at], -1)

    def whose_entity_ended(self, world: World) -> NDArray[np.uint64]:
        """Sessions whose entity lives no more."""
        ended: NDArray[np.uint64] = self._table["session"][~self._lives(world)]
        return ended

    def _lives(self, world: World) -> Bool:
        """(n,) bool by place in the table. The generation tells a reused row from the entity that was there."""
        rows = self._table["row"]
        lives: Bool = (world.archetype[rows] != NO_ARCHETYPE) & (world.generation[rows] == self._table["generation"])
        return lives

    def seqs(self, sessions: NDArray[np.uint64]) -> NDArray[np.int64]:
        """(n,) int64 last applied sequence number, -1 for strangers."""
        at = self.find(sessions)
        if not self._table.size:
            return at
        return np.where(at >= 0, self._table["seq"][at].astype(np.int64), -1)

    def add(self, session: int, row: int, generation: int, player: bytes, name: bytes, seq: int = 0) -> None:
        """Enter a session that is not here yet. `seq`: how far its inputs are applied."""
        at = int(np.searchsorted(self._table["session"], np.uint64(session)))
        self._table = np.insert(self._table, at, np.array((session, row, generation, seq, player, name), _RECORD))

    def playing(self, rows: Rows) -> Records:
        """(n,) records of KNOWN, by session: those whose entities these living rows are."""
        known = self.known()
        return known[np.isin(known["row"], rows)]

    @property
    def ids(self) -> frozenset[int]:
        """Who is here."""
        return frozenset(self._table["session"].tolist())

    def of(self, session: int, player: bytes) -> bytes | None:
        """A record of KNOWN, as bytes: of this session, or else of the one that this account plays; None: neither."""
        known = self.known()
        found = known[(known["session"] == session) | ((known["player"] == player) & (player != b""))]
        # Numbers first: an account may have a session elsewhere that is just leaving.
        found = found[np.argsort(found["session"] != session, kind="stable")]
        return found[0].tobytes() if found.size else None

    def known(self) -> Records:
        """(n,) records of KNOWN: everyone who is here."""
        known = np.zeros(self._table.size, KNOWN)
        for name in KNOWN.names or ():
            known[name] = self._table[name]
        return known

    def remove(self, sessions: NDArray[np.uint64]) -> None:
        """Forget these sessions."""
        at = self.find(sessions)
        self._table = np.delete(self._table, at[at >= 0])

    def applied(self, processed: Records) -> None:
        """Note how far each session's inputs are applied."""
        at = self.find(processed["session"])
        known = at >= 0
        self._table["seq"][at[known]] = processed["seq"][known]

    def to_bytes(self) -> bytes:
        """The table's bytes."""
        return self._table.tobytes()

    def capture(self) -> dict[str, NDArray[Any]]:
        """The table as named arrays, copied: one per field."""
        return {f"@sessions.{name}": self._table[name].copy() for name in _RECORD.names or ()}

    def adopt(self, arrays: Mapping[str, NDArray[Any]], rows_max: int) -> None:
        """Become the table that `capture` was called on, in a world of `rows_max` rows.

        Raises SnapshotError; nothing is then changed.
        """
        n = len(arrays.get("@sessions.session", ()))
        table = np.zeros(n, _RECORD)
        for name in _RECORD.names or ():
            array = arrays.get(f"@sessions.{name}")
            if array is None or array.shape != (n,) or array.dtype != _RECORD[name]:
                raise SnapshotError(f"@sessions.{name}: missing, or of another type or length")
            table[name] = array
        if (table["session"][1:] <= table["session"][:-1]).any():
            raise SnapshotError("a session table out of order")
        if ((table["row"] < 0) | (table["row"] >= rows_max)).any():
            raise SnapshotError("a session table of rows that this world does not have")
        self._table = table
