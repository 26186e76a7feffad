"""Searches: which region has a session, or an account's session? All of them are asked, for a bounded time.

A session outlives the gateway that its player came through, and may be anywhere, on its way between two regions too:
then the one that sends it says nothing. An answer counts for its own round alone: what one region said before a session
came to it, and another after it had gone from there, is no proof. Within one round that may be so, too, where some hear
of it later than others, and an owner that lost its region a moment ago may answer. So there is a second round, which
begins when the first is over.

Two gateways may look for the same account at once, and each would let it in. So one region of the world, the same for
all who look for that account, says to one of them alone that it has none, and nothing to the others.

That a region has it counts as of the tick it was said after: of a region that was heard to come further since, the
session may have been heard to leave, and nobody would say so again.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

import msgpack
import numpy as np
import structlog

from server.regions.frame import KNOWN
from server.shard.ports import SEEK_TOPIC, Bus, Clock, sessions_topic

_log = structlog.get_logger(__name__)

# Seconds between two rounds, and for which one goes on where somebody does not answer.
_ROUND_S: Final = 0.25
_SEARCH_S: Final = 2.0
# Seconds after the last question for which an answer is one. Of a gateway that stood still for longer another one may
# have been told since that it may let the account in.
_HEARD_S: Final = 1.0


class Found(NamedTuple):
    """A session in the world."""

    region: int
    session: int
    handle: int
    # How far its inputs are applied; not all of that need be durable.
    seq: int
    player: bytes
    name: bytes


class Done(Protocol):
    """What is made of a search's end. Called once."""

    def __call__(self, found: Found | None, *, sure: bool) -> None:
        """`sure`: every region said that it has none; otherwise somebody did not answer."""


@dataclass(slots=True)
class _Search:
    until_s: float
    again_s: float
    # Its last round; 0 before the first. They are numbered through all of a gateway's searches.
    round: int = 0
    # By round: regions that have not answered it. The bus may be slower than the rounds are.
    silent: dict[int, set[int]] = field(default_factory=dict)
    # The last round when for the first time all had answered one; 0 before. Only a later one can end it.
    begun: int = 0
    done: list[Done] = field(default_factory=list)


class Searches:
    """A gateway's. `number`: the gateway's; `taken`: told that another gateway speaks for a session now.

    `taken` is given the region that says so, the session, and the number of this gateway's word that the region heard
    last. `joining`: whether an account is on its way into the world through this gateway, so that no region can have it
    yet. `outdated`: given a session, the region that has it, its owner's epoch and a tick, whether the region was heard
    to come further, or the session is about to leave.
    """

    def __init__(
        self,
        number: int,
        regions: Collection[int],
        bus: Bus,
        clock: Clock,
        taken: Callable[[int, int, int], None],
        joining: Callable[[str], bool],
        outdated: Callable[[int, int, int, int], bool],
    ) -> None:
        self.number = number
        self._regions = frozenset(regions)
        self._sorted = sorted(regions)
        self._bus = bus
        self._clock = clock
        self._taken = taken
        self._joining = joining
        self._outdated = outdated
        # Rounds of all searches: what was said in one for the same session before is no word on this one.
        self._rounds = 0
        # (session, account) -> search.
        self._running: dict[tuple[int, bytes], _Search] = {}
        self._unsubscribe = [
            bus.subscribe(sessions_topic(number), self._on_word),
            bus.subscribe(SEEK_TOPIC, self._on_seek),
        ]

    def close(self) -> None:
        """Listen no more."""
        for unsubscribe in self._unsubscribe:
            unsubscribe()

    def begin(self, session: int, player: str, done: Done) -> None:
        """Look for a session, or for the one that this account plays (`player`; "": nobody's). May be done at once."""
        what = (session, player.encode())
        search = self._running.get(what)
        if search is None:
            now_s = self._clock.now_s()
            search = self._running[what] = _Search(now_s + _SEARCH_S, now_s)
        search.done.append(done)
        if search.round == 0:
            self._ask(what, search)

    def turn(self) -> None:
        """Now and then: ask again, and give up."""
        now_s = self._clock.now_s()
        for what, search in tuple(self._running.items()):
            if now_s >= search.until_s:
                self._end(what, None, sure=False)
            elif now_s >= search.again_s:
                self._ask(what, search)

    def _ask(self, what: tuple[int, bytes], search: _Search) -> None:
        self._rounds += 1
        search.round = self._rounds
        search.again_s = self._clock.now_s() + _ROUND_S
        search.silent[search.round] = set(self._regions)
        session, player = what
        arbiter = self._sorted[zlib.crc32(player) % len(self._sorted)]
        self._bus.publish(SEEK_TOPIC, msgpack.packb([self.number, session, player, search.round, arbiter]))

    def _end(self, what: tuple[int, bytes], found: Found | None, *, sure: bool) -> None:
        search = self._running.pop(what, None)
        for done in search.done if search is not None else ():
            done(found, sure=sure)

    def _on_seek(self, data: bytes) -> None:
        """Another gateway looks for somebody."""
        try:
            match msgpack.unpackb(data):
                case [int(gateway), int(), bytes(player), int(), int()]:
                    pass
                case other:
                    raise ValueError(str(other)[:100])
            if gateway != self.number and player and self._joining(player.decode()):
                self._bus.publish(sessions_topic(gateway), msgpack.packb(["wait", player]))
        except (ValueError, TypeError) as error:
            _log.warning("search of another gateway refused", reason=str(error))

    def _on_word(self, data: bytes) -> None:
        try:
            match msgpack.unpackb(data):
                case ["found", int(region), bytes(record), int(epoch), int(tick)] if region in self._regions:
                    session, handle, seq, player, name = np.frombuffer(record, KNOWN)[0].tolist()
                    # It is asked again in the next round.
                    if not self._outdated(session, region, epoch, tick):
                        self._found(Found(region, session, handle, seq, player, name))
                case ["none", int(region), int(session), bytes(player), int(turn)]:
                    self._none(region, (session, player), turn)
                case ["wait", bytes(player)]:
                    self._end((0, player), None, sure=False)
                case ["taken", int(region), int(session), int(word)] if region in self._regions:
                    # They are said back: a batch has no room for more, nor for anything that goes along.
                    if not (0 <= session < 2**64 and 0 <= word < 2**32):
                        raise ValueError(f"no word of ours: {session}, {word}")
                    self._taken(region, session, word)
                case other:
                    raise ValueError(str(other)[:100])
        except (ValueError, TypeError, IndexError) as error:
            _log.warning("word of a session refused", reason=str(error))

    def _found(self, found: Found) -> None:
        for what in [w for w in self._running if w[0] == found.session or (w[1] and w[1] == found.player)]:
            self._end(what, found, sure=True)

    def _none(self, region: int, what: tuple[int, bytes], turn: int) -> None:
        search = self._running.get(what)
        if search is None or turn not in search.silent or self._clock.now_s() > search.again_s - _ROUND_S + _HEARD_S:
            return
        search.silent[turn].discard(region)
        if search.silent[turn]:
            return
        if search.begun:
            if turn > search.begun:
                self._end(what, None, sure=True)
        elif len(self._regions) == 1 and not what[1]:
            # Entities are on their way only where there is somewhere to go. A gateway through which an account is about
            # to come in has until the second round to say so.
            self._end(what, None, sure=True)
        else:
            search.begun = search.round
            search.until_s = self._clock.now_s() + _SEARCH_S
