"""The borders of a region: who goes over them, who comes in, and where those who left went.

An entity goes over when it is farther outside its region than the atlas' hysteresis; it ends here and begins there,
and between is a letter of this region's mail, so it is always in exactly one place. A region that has no room for it
sends the letter back: it is put at the border it had crossed, or waits here until there is room.

The region of an entity's birth, which its number names, is its home, and knows for as long as it lives where to send
what is for it. Other regions that it left know for a while, and tell home before they forget; the one in which it ends
tells home so. Each word counts the borders that the entity had gone over: one that a later one overtook is void. So the
region that home knows has the entity, or knows where it went, or has sent home a later word, and sends mail behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from server.regions.division import Division
from server.regions.frame import ARRIVED, DEPARTED
from server.regions.sessions import Sessions
from server.regions.travellers import PASSENGER, Travellers
from server.shard.errors import MailError
from server.shard.machine import Records
from server.shard.mail import (
    HANDOFF,
    LETTER_BYTES_MAX,
    REFUSAL,
    WHEREABOUTS,
    Lane,
    Letter,
    Post,
    unwrap_refusal,
)
from server.sim.component import I64, U32, U64, Rows
from server.sim.errors import SnapshotError
from server.sim.game import Game
from server.sim.world import World, birth_region

# Whereabouts: an entity that is not here, who plays it (0 for nobody), where it went, over how many borders it had gone
# then, and at which of our ticks. One that waits here for room went to this very region.
_MOVED: Final = np.dtype([("id", "<u8"), ("session", "<u8"), ("region", "<u4"), ("crossings", "<u4"), ("tick", "<u8")])
# What the region of its birth is told of an entity.
_WORD: Final = np.dtype([("id", "<u8"), ("region", "<u4"), ("crossings", "<u4")])
# Where one went that is no more: there is no such region.
_NO_MORE: Final = 0
_WORDS_MAX: Final = LETTER_BYTES_MAX // _WORD.itemsize
# Of what becomes of regions that have others beside them: borders, their mail, and their division. To be raised when a
# journal of such a region would replay to another state; the golden vale tells.
RULES: Final = 2

_NOBODY: Final = np.zeros(0, DEPARTED)


@dataclass(slots=True)
class Arrivals:
    """Who came in this tick, in order."""

    rows: list[Rows] = field(default_factory=list)
    # By how much this region's clock is ahead of the one they left at.
    ticks: list[I64] = field(default_factory=list)
    # Records of ARRIVED and BOUND.
    arrived: list[Records] = field(default_factory=list)
    bound: list[tuple[int, int]] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    # Rows whose session is here already, and plays another.
    orphans: list[int] = field(default_factory=list)


class Borders:
    """Part of a region's state, empty while nobody ever crossed.

    `division`: what the world looks like from this region. `region`: its number. Every method is called between
    `Post.take` and the end of the tick.
    """

    def __init__(self, game: Game, division: Division, region: int) -> None:
        self._game = game
        self._division = division
        self._region = region
        # By id, one each.
        self._moved = np.zeros(0, _MOVED)
        # (where from, payload) of those who came back and found no room, in order.
        self._waiting: list[tuple[int, bytes]] = []
        # So that a letter of them is never too long, with half of it to spare for what is beside the columns.
        entity_bytes = sum(  # exact: integers
            spec.dtype.itemsize * int(np.prod(spec.shape, dtype=np.int64))
            for component in game.components
            for spec in component.columns.values()
        )
        self._letter_max = max(1, LETTER_BYTES_MAX // 2 // (entity_bytes + PASSENGER.itemsize + 17))

    @property
    def open(self) -> bool:
        """Whether there is anything beyond."""
        return self._division.atlas.open

    @property
    def waiting(self) -> int:
        """Letters of those who came back and found no room yet."""
        return len(self._waiting)

    # -- going -----------------------------------------------------------------

    def depart(self, world: World, sessions: Sessions, post: Post, tick: int) -> Records:
        """Send off who is too far outside: records of DEPARTED, by row. They end with this tick."""
        rows = self._outside(world)
        if rows.size:
            # Whoever came or was born this tick was not seen here yet.
            rows = rows[~np.isin(rows, world.new)]
        if not rows.size:
            return _NOBODY
        position: Any = world[self._game.position]  # Any: its x and y are the game's declaration
        bound_for = self._division.atlas.region_at(position.x[rows], position.y[rows])
        bound_for[~world.has(self._game.position)[world.archetype[rows]]] = self._division.whole
        gone: list[Records] = []
        for destination in np.unique(bound_for).tolist():
            going = rows[bound_for == destination] if destination != self._region else rows[:0]
            for at in range(0, going.size, self._letter_max):
                part = going[at : at + self._letter_max]
                travellers, left = self._pack(world, sessions, part, tick)
                left["destination"] = destination
                # While the way there is blocked they go on here.
                if post.send(destination, Lane.URGENT, HANDOFF, travellers.encode(self._game)):
                    gone.append(left)
        if not gone:
            return _NOBODY
        departed = np.concatenate(gone)
        departed = departed[np.argsort(departed["row"], kind="stable")]
        rows = departed["row"].astype(np.int64)
        seen = world.has(self._game.position)[world.archetype[departed["row"]]]
        crossings = world.crossings(rows) + np.uint32(1)
        world.despawn(rows)
        sessions.remove(departed["session"][departed["session"] > 0])
        self._note(departed["id"], departed["session"], departed["destination"], crossings, tick)
        visible: Records = departed[seen]
        return visible

    def _outside(self, world: World) -> Rows:
        """Living entities farther outside than the hysteresis, ascending; without ground all, those of no place too."""
        ground = self._division.ground
        if ground is None:
            return np.flatnonzero(world.alive)
        x0, y0, x1, y1 = ground
        reach = self._division.atlas.hysteresis_units
        hw = world.high_water
        position: Any = world[self._game.position]  # Any: its x and y are the game's declaration
        x, y = position.x[:hw], position.y[:hw]
        out = np.flatnonzero((x < x0 - reach) | (x > x1 + reach) | (y < y0 - reach) | (y > y1 + reach))
        # Rows without an entity, or without a place, are at (0, 0).
        return out[world.has(self._game.position)[world.archetype[out]]]

    def _pack(self, world: World, sessions: Sessions, rows: Rows, tick: int) -> tuple[Travellers, Records]:
        """These entities with all they have, and records of DEPARTED without their destination."""
        arrays = world.extract(rows)
        arrays["@crossings"] += np.uint32(1)
        departed = np.zeros(rows.size, DEPARTED)
        departed["row"], departed["id"] = rows, arrays["@id"]
        playing = sessions.playing(rows)
        passengers = np.zeros(playing.size, PASSENGER)
        for name in ("session", "seq", "player", "name"):
            passengers[name] = playing[name]
        places = np.searchsorted(rows, playing["row"])
        passengers["id"] = departed["id"][places]
        departed["session"][places] = playing["session"]
        return Travellers(tick, arrays, passengers), departed

    def sending(self, post: Post, session: int, player: bytes) -> bool:
        """Whether this session, or this account's (b"": nobody's), is on its way from here.

        So it is until whoever it goes to has said that it came, durably, or while it waits here for room.
        """
        payloads = [payload for _, payload in self._waiting]
        for letter in post.unacked():
            kind, payload = letter.kind, letter.payload
            if kind == REFUSAL:
                refused, _ = unwrap_refusal(letter)
                kind, payload = refused.kind, refused.payload
            if kind == HANDOFF:
                payloads.append(payload)
        # Few letters have what looks like it, and only those are read.
        number = session.to_bytes(8, "little")
        return any(
            self._carries(payload, session, player)
            for payload in payloads
            if number in payload or (player and player in payload)
        )

    def _carries(self, payload: bytes, session: int, player: bytes) -> bool:
        try:
            passengers = Travellers.decode(payload, self._game).passengers
        except MailError:
            # Another version of the game's: it may be.
            return True
        return bool(((passengers["session"] == session) | ((passengers["player"] == player) & (player != b""))).any())

    # -- coming ----------------------------------------------------------------

    def settle_waiting(self, into: Arrivals, world: World, sessions: Sessions, tick: int) -> None:
        """Those who came back and found no room, if there is some now."""
        waiting, self._waiting = self._waiting, []
        for source, payload in waiting:
            try:
                travellers = Travellers.decode(payload, self._game)
                self._settle_or_wait(into, world, sessions, tick, source, travellers)
            except (MailError, SnapshotError):
                # They came back to another version of the game than this one, which may come back too.
                self._waiting.append((source, payload))

    def admit(self, into: Arrivals, world: World, sessions: Sessions, post: Post, letter: Letter, tick: int) -> None:
        """Let in the travellers of a HANDOFF; what does not fit, or is of no version we know, goes back."""
        try:
            travellers = Travellers.decode(letter.payload, self._game)
            rest = self._settle(into, world, sessions, tick, letter.source, travellers)
        except (MailError, SnapshotError) as error:
            post.refuse(letter, str(error))
            return
        if len(rest):
            # To be sent back is to cross again.
            self._note_of(rest.onward(), letter.source, tick)
            part = letter._replace(payload=Travellers.payload_of(letter.payload, rest.arrays["@id"]))
            post.refuse(part, f"{len(rest)} of {len(travellers)} do not fit: region {self._region} is full")

    def take_back(
        self, into: Arrivals, world: World, sessions: Sessions, post: Post, letter: Letter, reason: str, tick: int
    ) -> None:
        """Let in those whom another region sent back; `letter`: our own HANDOFF. They wait where there is no room."""
        try:
            travellers = Travellers.decode(letter.payload, self._game).onward()
            self._settle_or_wait(into, world, sessions, tick, letter.destination, travellers)
        except (MailError, SnapshotError) as error:
            # Nobody can read them, not even who wrote them: an operator has them.
            post.bury(letter, f"{reason}; and then: {error}")

    def _settle_or_wait(
        self, into: Arrivals, world: World, sessions: Sessions, tick: int, source: int, travellers: Travellers
    ) -> None:
        travellers = self._turned_back(travellers)
        rest = self._settle(into, world, sessions, tick, source, travellers)
        if len(rest):
            self._note_of(rest, self._region, tick)
            self._waiting.append((source, rest.encode(self._game)))

    def _turned_back(self, travellers: Travellers) -> Travellers:
        """The same just inside the border that they had crossed; without ground they stay where they are."""
        ground = self._division.ground
        if ground is None:
            return travellers
        x0, y0, x1, y1 = ground
        arrays = dict(travellers.arrays)
        position = self._game.position.__name__
        for name, low, high in ((f"{position}.x", x0, x1), (f"{position}.y", y0, y1)):
            inside = min(self._division.atlas.hysteresis_units, (high - low) / 2)
            arrays[name] = np.clip(arrays[name], low + inside, high - inside)
        return replace(travellers, arrays=arrays)

    def _settle(
        self, into: Arrivals, world: World, sessions: Sessions, tick: int, source: int, travellers: Travellers
    ) -> Travellers:
        """Make entities of as many as fit; returns the others. Raises SnapshotError."""
        ended = travellers.ended
        travellers, rest = travellers.split(world.room) if len(travellers) > world.room else (travellers, _NONE)
        rows = world.insert(travellers.arrays)
        ids = travellers.arrays["@id"]
        self._forget(ids)
        arrived = np.zeros(rows.size, ARRIVED)
        arrived["row"], arrived["id"], arrived["source"] = rows, ids, source
        into.rows.append(rows)
        into.ticks.append(np.full(rows.size, tick - travellers.tick, np.int64))
        into.arrived.append(arrived)
        self._seat(into, world, sessions, travellers.passengers)
        self.end(ended, tick)
        return rest

    def _seat(self, into: Arrivals, world: World, sessions: Sessions, passengers: Records) -> None:
        """Have the sessions play what they played."""
        rows = world.rows_by_id(passengers["id"])
        known = sessions.find(passengers["session"]) >= 0
        for passenger, row, here in zip(passengers.tolist(), rows.tolist(), known.tolist(), strict=True):
            session, _, seq, player, name = passenger
            if row < 0:
                into.refused.append((session, "removed by the game"))
            elif here:
                into.orphans.append(row)
            else:
                sessions.add(session, row, int(world.generation[row]), player, name, seq)
                into.bound.append((session, row))

    # -- whereabouts -------------------------------------------------------------

    def whereabouts(self, ids: U64) -> NDArray[np.int64]:
        """(n,) int64 regions that these entities went to from here; -1 where that is not known (any more)."""
        at = self._find(ids)
        if not self._moved.size:
            return at
        return np.where(at >= 0, self._moved["region"][at].astype(np.int64), -1)

    def followed(self, sessions: U64) -> NDArray[np.int64]:
        """(n,) int64 regions that these sessions' entities went to from here; -1 where that is not known."""
        regions = np.full(sessions.size, -1, np.int64)
        for moved in self._moved[np.isin(self._moved["session"], sessions)]:
            regions[sessions == moved["session"]] = moved["region"]
        return regions

    def end(self, ids: U64, tick: int) -> None:
        """These are no more. Those who were not born here went nowhere, until their homes are told so."""
        if not ids.size:
            return
        self._forget(ids)
        ids = ids[birth_region(ids) != self._region]
        if ids.size:
            nobody, nowhere = np.zeros(ids.size, np.uint64), np.full(ids.size, _NO_MORE, np.uint32)
            self._note(ids, nobody, nowhere, np.zeros(ids.size, np.uint32), tick)

    def hear(self, letter: Letter) -> None:
        """Take words of those who were born here. Raises MailError."""
        if len(letter.payload) % _WORD.itemsize:
            raise MailError(f"whereabouts of {len(letter.payload)} bytes")
        words = np.frombuffer(letter.payload, _WORD)
        at = self._find(words["id"])
        # Of one who is here, or is no more, nothing is known, and nothing to be learnt.
        words, at = words[at >= 0], at[at >= 0]
        # Two of one count name the same region, but for those of worlds in which it was not counted yet.
        later = words["crossings"] >= self._moved["crossings"][at]
        for name in ("region", "crossings"):
            self._moved[name][at[later]] = words[name][later]
        if (ended := words["region"] == _NO_MORE).any():
            self._moved = np.delete(self._moved, at[ended])

    def expire(self, post: Post, tick: int) -> None:
        """Forget where others' natives went who left too long ago, or that they are no more; their homes are told.

        Who has not come there yet has left just now, and who waits here for room is not forgotten. Once in the time for
        which they are remembered: so a home hears of many in one letter, which wakes it if it sleeps.
        """
        moved, forward_ticks = self._moved, self._division.atlas.forward_ticks
        if not moved.size or tick % max(1, forward_ticks):
            return
        old = moved["tick"] + np.uint64(forward_ticks) < np.uint64(tick)
        old |= moved["region"] == _NO_MORE
        old &= (birth_region(moved["id"]) != self._region) & (moved["region"] != self._region)
        if not old.any():
            return
        for region in np.unique(moved["region"][old]).tolist():
            if (since := post.unacked_since(region, Lane.URGENT)) is not None:
                under_way = old & (moved["region"] == region) & (moved["tick"] >= since)
                moved["tick"][under_way] = tick
                old &= ~under_way
        words = np.zeros(np.count_nonzero(old), _WORD)
        for name in _WORD.names or ():
            words[name] = moved[name][old]
        kept = self._tell(words, post)
        old[old] = ~kept
        self._moved = moved[~old]

    def _tell(self, words: Records, post: Post) -> NDArray[np.bool_]:
        """Send words to the homes of those they are of: (n,) those which could not go, as the way is blocked."""
        homes = birth_region(words["id"])
        blocked = np.zeros(words.size, np.bool_)
        for home in np.unique(homes).tolist():
            # A number of no region of this world's is a game's own doing.
            if home == self._region or home not in self._division.atlas:
                continue
            of_home = np.flatnonzero(homes == home)
            for at in range(0, of_home.size, _WORDS_MAX):
                part = of_home[at : at + _WORDS_MAX]
                blocked[part] = not post.send(home, Lane.URGENT, WHEREABOUTS, words[part].tobytes())
        return blocked

    def _note_of(self, travellers: Travellers, region: int, tick: int) -> None:
        ids = travellers.arrays["@id"]
        played = np.zeros(ids.size, np.uint64)
        for passenger in travellers.passengers:
            played[ids == passenger["id"]] = passenger["session"]
        self._note(ids, played, np.full(ids.size, region, np.uint32), travellers.arrays["@crossings"], tick)

    def _note(self, ids: U64, sessions: U64, regions: U32, crossings: U32, tick: int) -> None:
        self._forget(ids)
        new = np.zeros(ids.size, _MOVED)
        new["id"], new["session"], new["region"], new["crossings"] = ids, sessions, regions, crossings
        new["tick"] = tick
        new = new[np.argsort(ids, kind="stable")]
        self._moved = np.insert(self._moved, np.searchsorted(self._moved["id"], new["id"]), new)

    def _forget(self, ids: U64) -> None:
        at = self._find(ids)
        if (at >= 0).any():
            self._moved = np.delete(self._moved, at[at >= 0])

    def _find(self, ids: U64) -> NDArray[np.int64]:
        """(n,) int64 places among those who went from here, -1 for others."""
        if not self._moved.size:
            return np.full(ids.size, -1, np.int64)
        at = np.minimum(np.searchsorted(self._moved["id"], ids), self._moved.size - 1)
        return np.where(self._moved["id"][at] == ids, at, -1)

    # -- state -------------------------------------------------------------------

    def digest(self, seed: int) -> int:
        """64 bits that differ with any of it, and with `seed`; `seed` itself where there is nothing."""
        arrays = self.capture()
        if not arrays:
            return seed
        h = xxhash.xxh3_64(seed=seed)
        for array in arrays.values():
            h.update(len(array).to_bytes(8, "little"))
            h.update(array.tobytes())
        return h.intdigest()

    def capture(self) -> dict[str, NDArray[Any]]:
        """All of it as named arrays that nobody else has; none where there is nothing."""
        if not (self._moved.size or self._waiting):
            return {}
        payloads = [payload for _, payload in self._waiting]
        return {
            **{f"@borders.{name}": self._moved[name].copy() for name in _MOVED.names or ()},
            "@borders.waiting": np.array([[s, len(p)] for s, p in self._waiting], np.uint64).reshape(-1, 2),
            "@borders.payloads": np.frombuffer(b"".join(payloads), np.uint8).copy(),
        }

    def adopt(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Become the borders that `capture` was called on; others' arrays are passed over.

        Raises SnapshotError; nothing is then changed.
        """
        if "@borders.id" in arrays and "@borders.crossings" not in arrays:
            # Captures of before crossings were counted have none.
            uncounted = np.zeros(arrays["@borders.id"].shape, np.uint32)
            arrays = {**arrays, "@borders.crossings": uncounted}
        names = [*(f"@borders.{name}" for name in _MOVED.names or ()), "@borders.waiting", "@borders.payloads"]
        moved, waiting = np.zeros(0, _MOVED), np.zeros((0, 2), np.uint64)
        data = b""
        if any(name in arrays for name in names):
            if missing := [name for name in names if name not in arrays]:
                raise SnapshotError(f"{', '.join(missing)} missing")
            moved = np.zeros(len(arrays["@borders.id"]), _MOVED)
            for name in _MOVED.names or ():
                array = arrays[f"@borders.{name}"]
                if array.shape != moved.shape or array.dtype != _MOVED[name]:
                    raise SnapshotError(f"@borders.{name}: of another type or length")
                moved[name] = array
            if (moved["id"][1:] <= moved["id"][:-1]).any():
                raise SnapshotError("@borders.id: out of order")
            waiting, payloads = arrays["@borders.waiting"], arrays["@borders.payloads"]
            data = payloads.tobytes()
            if waiting.shape != (len(waiting), 2) or waiting.dtype != np.uint64 or payloads.dtype != np.uint8:
                raise SnapshotError("@borders.waiting: of another type or shape")
            if int(waiting[:, 1].sum(dtype=np.uint64)) != len(data):
                raise SnapshotError("@borders.payloads: not as long as those who wait")
        self._moved = moved
        self._waiting = list(_cut(data, waiting.tolist()))


def _cut(data: bytes, sizes: Iterable[list[int]]) -> Iterable[tuple[int, bytes]]:
    at = 0
    for source, size in sizes:
        yield source, data[at : at + size]
        at += size


_NONE: Final = Travellers(0, {"@archetype": np.zeros(0, np.uint8)}, np.zeros(0, PASSENGER))
