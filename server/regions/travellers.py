"""Travellers: entities on their way between regions, as the payload of a letter.

They carry all there is to them: every column, private ones too, their numbers, and the sessions that play them,
with how far each session's inputs are applied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgpack
import numpy as np
from numpy.typing import NDArray

from server.shard.errors import MailError
from server.shard.machine import NAME_BYTES, PLAYER_BYTES, Records
from server.sim.component import U64, Rows
from server.sim.errors import MigrationError
from server.sim.game import Game
from server.sim.migrate import migrate_entities, path

# A session that travels, and its entity's number.
PASSENGER: Final = np.dtype(
    [("session", "<u8"), ("id", "<u8"), ("seq", "<u4"), ("player", f"S{PLAYER_BYTES}"), ("name", f"S{NAME_BYTES}")]
)
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Travellers:
    """Entities of one departure."""

    # Of the region they left: what the tick numbers they carry are counted in.
    tick: int
    # As World.extract gives them.
    arrays: Mapping[str, NDArray[Any]]
    # Records of PASSENGER, by session.
    passengers: Records
    # Numbers of those whom the game's migrations ended on the way.
    ended: U64 = field(default_factory=lambda: np.zeros(0, np.uint64))

    def __len__(self) -> int:
        return len(self.arrays["@archetype"])

    def encode(self, game: Game) -> bytes:
        """The payload of a HANDOFF letter."""
        return self._encode(game.version, [a.name for a in game.archetypes])

    def _encode(self, version: int, names: Sequence[str]) -> bytes:
        encoded: bytes = msgpack.packb(
            [
                _FORMAT,
                version,
                self.tick,
                names,
                [[name, a.dtype.str, a.shape, a.tobytes()] for name, a in self.arrays.items()],
                self.passengers.tobytes(),
            ]
        )
        return encoded

    @classmethod
    def decode(cls, data: bytes, game: Game) -> Travellers:
        """Read what `encode` wrote, by whichever version of the game: its migrations lead to this one.

        Raises MailError where they don't, and for what is no payload.
        """
        try:
            version, names, travellers = cls._read(data)
            arrays, ended = travellers.arrays, travellers.ended
            if "@crossings" not in arrays:
                # Letters of before they were counted.
                arrays = {**arrays, "@crossings": np.zeros(len(arrays["@id"]), np.uint32)}
            if version != game.version:
                changes = path(game.migrations, version, game.version)
                arrays = migrate_entities(arrays, names, changes, game.components, game.archetypes)
                ended = np.setdiff1d(travellers.arrays["@id"], arrays["@id"])
            # `World.insert` checks the rest: these are read, and cut in two, before it is called.
            n = len(arrays["@archetype"])
            if len(arrays["@id"]) != n or any(len(array) not in (0, n) for array in arrays.values()):
                raise MailError("travellers without a number, or numbers without a traveller")
            for component in game.components:
                for field, spec in component.columns.items():
                    if arrays[f"{component.__name__}.{field}"].dtype != spec.dtype:
                        raise MailError(f"travellers whose {component.__name__}.{field} is of another type")
            return replace(travellers, arrays=arrays, ended=ended)
        except MigrationError as error:
            raise MailError(f"{game.name}: {error}") from error
        except (ValueError, TypeError, KeyError) as error:
            raise MailError(f"not travellers: {error!r}") from error

    @classmethod
    def _read(cls, data: bytes) -> tuple[int, Sequence[str], Travellers]:
        """The game's version and archetypes as the writer had them, and those who travel, not migrated."""
        form, *rest = msgpack.unpackb(data)
        if form != _FORMAT:
            raise MailError(f"travellers in format {form}; this program reads format {_FORMAT}")
        version, tick, names, columns, passengers = rest
        if type(tick) is not int or not 0 <= tick < 2**63:
            raise MailError(f"travellers of tick {tick!r}")
        arrays = {name: np.frombuffer(raw, dtype).reshape(shape) for name, dtype, shape, raw in columns}
        return version, names, cls(tick, arrays, np.frombuffer(passengers, PASSENGER))

    @classmethod
    def payload_of(cls, data: bytes, ids: U64) -> bytes:
        """A payload that `decode` has read, with these alone, and still of the version that wrote it.

        Sent back as a newer game's they could be read by nobody where they come from.
        """
        version, names, travellers = cls._read(data)
        those = np.flatnonzero(np.isin(travellers.arrays["@id"], ids))
        return travellers._those(those)._encode(version, names)  # noqa: SLF001  # travellers too

    def onward(self) -> Travellers:
        """The same after one more crossing."""
        return replace(self, arrays={**self.arrays, "@crossings": self.arrays["@crossings"] + np.uint32(1)})

    def split(self, room: int) -> tuple[Travellers, Travellers]:
        """The `room` that go first, those whom somebody plays, and the others."""
        played = np.isin(self.arrays["@id"], self.passengers["id"])
        order = np.argsort(~played, kind="stable")
        return self._those(np.sort(order[:room], kind="stable")), self._those(np.sort(order[room:], kind="stable"))

    def _those(self, places: Rows) -> Travellers:
        arrays = {name: a[places] if len(a) else a for name, a in self.arrays.items()}
        on_board = np.isin(self.passengers["id"], arrays["@id"])
        return replace(self, arrays=arrays, passengers=self.passengers[on_board])
