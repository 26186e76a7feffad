"""The link: a gateway's commands on their way to one region.

What players say is gathered, and leaves as one numbered batch per flush (server/shard/uplink.py), in this process or to
another alike. The first command of a session in a batch says which one it follows (CHAIN), so that a region which
lacks that one takes none of what comes after it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from protocol.schema import CommandSchema
from server.shard.machine import AWAY, CHAIN, CLAIM, HERE, JOIN, LET_GO, PRESENCE, encode_batches
from server.shard.ports import Bus, Clock, uplink_topic
from server.shard.uplink import Answer, Outgoing
from server.sim.game import FIRST_COMMAND


class Link:
    """To one shard. `gateway`: this process's number. `commands_max`: commands held at the most, see `full`.

    A region that takes nothing (it waits for its store, its node is gone) leaves what players send here: they are
    refused to their face, not lost later.
    """

    def __init__(
        self, gateway: int, bus: Bus, clock: Clock, shard: int, shapes: Mapping[int, CommandSchema], commands_max: int
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._topic = uplink_topic(shard)
        self._dtypes = {kind: shape.dtype for kind, shape in shapes.items()}
        self._commands_max = commands_max
        self._out = Outgoing(gateway)
        self._held = 0
        # The game's commands and CHAIN. And the engine's own, by what is said of whom: the last word of each.
        self._waiting: dict[int, list[tuple[Any, ...]]] = {kind: [] for kind in shapes}
        self._engines: dict[int, dict[tuple[Any, ...], tuple[Any, ...]]] = {}
        # Session -> its newest input among those that wait.
        self._newest: dict[int, int] = {}

    def add(self, kind: int, session: int, seq: int, values: tuple[Any, ...] = ()) -> None:
        """Take one of the engine's commands. It takes the place of one that waits and says the same of the session.

        So however long a region has no owner, no more waits than there are sessions; see `withdraw` for those that end.
        """
        what = (session,) if kind == CLAIM else (session, *values)
        self._drop(kind, what)
        if kind == CLAIM:
            # What was given up before that waits no longer.
            self._drop(PRESENCE, (session, LET_GO))
        self._engines.setdefault(kind, {})[what] = (session, seq, *values)
        self._held += 1

    def withdraw(self, session: int, values: tuple[Any, ...]) -> bool:
        """Say nothing of a session whose JOIN, of these values, waits here. False: none waits; nothing is changed."""
        if not self._drop(JOIN, (session, *values)):
            return False
        self._drop(CLAIM, (session,))
        for here in (AWAY, HERE):
            self._drop(PRESENCE, (session, here))
        return True

    def _drop(self, kind: int, what: tuple[Any, ...]) -> bool:
        dropped = self._engines.get(kind, {}).pop(what, None) is not None
        self._held -= dropped
        return dropped

    def say(self, kind: int, session: int, seq: int, before: int, values: tuple[Any, ...]) -> None:
        """Take an input with validated arguments, as CommandReader returns them.

        `before`: the number of the one that was said before it, 0 where nothing before it is missing.
        """
        if self._newest.get(session) != before:
            self._waiting[CHAIN].append((session, seq, before))
        self._newest[session] = seq
        self._waiting[kind].append((session, seq, *values))
        self._held += 1

    @property
    def waiting(self) -> int:
        """Commands that wait here."""
        return self._held

    @property
    def full(self) -> bool:
        """Whether no input should be added. The engine's own commands still may; see `add`."""
        return self._held >= self._commands_max

    @property
    def stuck(self) -> bool:
        """Whether what was sent last has not been answered for so long that nothing can be sent."""
        return self._out.full

    @property
    def unheard_s(self) -> float:
        """Seconds for which the region has answered nothing, though something is under way."""
        return self._out.unheard_s(self._clock.now_s())

    def flush(self, *, watched: bool = True) -> None:
        """Send what waits, and again what was not answered.

        `watched`: whether the region is to know that we are there when there is nothing to say.
        """
        now_s = self._clock.now_s()
        for packet in self._out.due(now_s, silent=not watched):
            self._bus.publish(self._topic, packet)
        if self._held and not self._out.full:
            batches = self._batches()
            if batches:
                self._bus.publish(self._topic, self._out.send(encode_batches(batches), now_s))

    def hear(self, answer: Answer) -> bool:
        """Take the region's answer. True: it knows nothing of us, and nothing waits here any more."""
        if not self._out.hear(answer, self._clock.now_s()):
            return False
        self._clear()
        return True

    def begin_anew(self) -> None:
        """Say nothing of all this: neither what waits here nor what is under way, as far as it has not come."""
        self._out.begin_anew()
        self._clear()

    def _clear(self) -> None:
        for rows in self._waiting.values():
            rows.clear()
        self._engines.clear()
        self._newest.clear()
        self._held = 0

    def _batches(self) -> dict[int, np.ndarray[Any, Any]]:
        """What is to go now. Of the game's commands no more than the region has room for: it would refuse them all."""
        if not self._fits():
            # What it said last may be of before it made room.
            self._bus.publish(self._topic, self._out.here(self._clock.now_s()))
        going: dict[int, list[tuple[Any, ...]]]
        if self._fits():
            going, self._waiting = self._waiting, {kind: [] for kind in self._waiting}
            self._newest.clear()
        else:
            going = self._some(self._out.room or 0)
        going |= {kind: list(said.values()) for kind, said in self._engines.items()}
        self._engines.clear()
        self._held -= sum(len(rows) for kind, rows in going.items() if kind != CHAIN)
        return {kind: np.array(rows, self._dtypes[kind]) for kind, rows in going.items() if rows}

    def _fits(self) -> bool:
        room = self._out.room
        # No more waits than is held: most of the time nothing has to be counted.
        if room is None or self._held <= room:
            return True
        return sum(len(rows) for kind, rows in self._waiting.items() if kind >= FIRST_COMMAND) <= room

    def _some(self, room: int) -> dict[int, list[tuple[Any, ...]]]:
        """The game's commands of as many sessions as there is room for."""
        game = [kind for kind in self._waiting if kind >= FIRST_COMMAND]
        of_session = Counter(row[0] for kind in game for row in self._waiting[kind])
        chosen: set[int] = set()
        # In the order in which they began to wait.
        for session in self._newest:
            room -= of_session[session]
            if room < 0:
                break
            chosen.add(session)
        going: dict[int, list[tuple[Any, ...]]] = {}
        for kind, rows in self._waiting.items():
            going[kind] = [row for row in rows if row[0] in chosen]
            self._waiting[kind] = [row for row in rows if row[0] not in chosen]
        for session in chosen:
            del self._newest[session]
        return going
