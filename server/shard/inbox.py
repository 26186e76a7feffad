"""The inbox: arrivals in, one tick's input out, in one total order.

Order of arrival is an accident of networks, so it counts for nothing: commands are
ordered by (session, sequence number). What a session already had applied, or sends
twice, is dropped; what exceeds a session's share of a tick waits for the next one.

A command is applied only after all that its session sent before it: a number stands for all below it. Where one is
missing (its batch was lost, or came while the session's entity was elsewhere) what follows is dropped as well, until
its gateway has sent it all again. Batches tell by CHAIN what came before them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from protocol.schema import CommandSchema
from server.shard.machine import CHAIN, JOIN, NOTHING, PROCESSED, SYSTEM_COMMANDS, Records, TickInput, decode_batches

_SYSTEM = frozenset(c.id for c in SYSTEM_COMMANDS)


class Inbox:
    """Bounded. Full policy: the game's commands of a batch that does not fit are refused, all of them, and counted.

    The engine's own are always taken; sessions bound their number. A LEAVE that is lost would leave its
    avatar in the world for good.

    `commands_max`: commands waiting at the most. `per_session_tick_max`: commands of one
    session in one tick; the rest waits, in order.
    """

    def __init__(self, shapes: Mapping[int, CommandSchema], commands_max: int, per_session_tick_max: int) -> None:
        self._shapes = shapes
        self._commands_max = commands_max
        self._share = per_session_tick_max
        self._waiting: dict[int, list[Records]] = {}
        # Sessions and accounts whose JOIN waits.
        self._joining: set[int | bytes] = set()
        self.depth = 0
        # Reason -> commands dropped since the start.
        self.dropped: Counter[str] = Counter()
        # Records of PROCESSED: reliable commands that the last `take` found applied before. Who sent them again has not
        # heard of it.
        self.repeated: Records = NOTHING.processed
        self._reliable = np.array([kind for kind, shape in shapes.items() if shape.reliable], np.int64)

    def offer(self, data: bytes) -> bool:
        """Take a command batch as `encode_batches` wrote it. False: the game's did not fit. Raises BatchError."""
        return self.admit(decode_batches(data, self._shapes))

    def admit(self, batches: Mapping[int, Records]) -> bool:
        """Take command batches. False: the game's did not fit."""
        fits = self.fits(batches)
        for kind, records in batches.items():
            if fits or kind in _SYSTEM:
                self._waiting.setdefault(kind, []).append(records)
                self.depth += len(records)
        if (joins := batches.get(JOIN)) is not None:
            self._joining.update(joins["session"].tolist(), joins["player"].tolist())
        if not fits:
            self.dropped["inbox_full"] += _commands(batches)
        return fits

    def fits(self, batches: Mapping[int, Records]) -> bool:
        """Whether all of them would be taken."""
        n = _commands(batches)
        return n == 0 or self.depth + n <= self._commands_max

    @property
    def room(self) -> int:
        """Commands of the game that would be taken now."""
        return max(0, self._commands_max - self.depth)

    def joins(self, session: int, player: bytes) -> bool:
        """Whether this session, or this account's (b"": nobody's), waits for the tick that lets it in."""
        return session in self._joining or (player != b"" and player in self._joining)

    def take(self, high_water: Callable[[NDArray[np.uint64]], NDArray[np.int64]]) -> TickInput:
        """This tick's input. `high_water`: Machine.high_water."""
        self.repeated = NOTHING.processed
        if not self._waiting:
            return NOTHING
        arrived = {kind: _join(parts) for kind, parts in sorted(self._waiting.items())}
        self._waiting.clear()
        self._joining.clear()
        self.depth = 0
        chains = arrived.pop(CHAIN, None)
        batches: dict[int, Records] = {}
        for kind in [k for k in arrived if k in _SYSTEM]:
            records = _ordered(arrived.pop(kind))
            batches[kind] = _newest(records) if self._shapes[kind].latest_wins else records
        processed = self._share_out(arrived, chains, batches, high_water) if arrived else NOTHING.processed
        return TickInput(batches, processed)

    def _share_out(
        self,
        arrived: dict[int, Records],
        chains: Records | None,
        batches: dict[int, Records],
        high_water: Callable[[NDArray[np.uint64]], NDArray[np.int64]],
    ) -> Records:
        """Fill `batches` from the game's commands; returns what each session had taken."""
        kinds = np.repeat(np.array(list(arrived), np.int64), [len(r) for r in arrived.values()])
        places = np.concatenate([np.arange(len(r)) for r in arrived.values()])
        session = np.concatenate([r["session"] for r in arrived.values()])
        seq = np.concatenate([r["seq"] for r in arrived.values()])
        order = np.lexsort((kinds, seq, session))
        session, seq, kinds, places = session[order], seq[order], kinds[order], places[order]

        applied = high_water(session)
        repeated = np.zeros(session.size, np.bool_)
        repeated[1:] = (session[1:] == session[:-1]) & (seq[1:] == seq[:-1])
        stranger = applied < 0
        old = (seq.astype(np.int64) <= applied) & ~stranger
        self.dropped["unknown_session"] += int(np.count_nonzero(stranger))
        self.dropped["duplicate"] += int(np.count_nonzero(old | (repeated & ~stranger)))
        again = np.flatnonzero(old & np.isin(kinds, self._reliable)) if old.any() else ()
        if len(again):
            self.repeated = np.zeros(len(again), PROCESSED)
            self.repeated["session"], self.repeated["seq"] = session[again], seq[again]
        fresh = ~(stranger | old | repeated)
        if chains is not None:
            fresh[fresh] = whole = _unbroken(session[fresh], seq[fresh], chains, high_water(chains["session"]))
            self.dropped["out_of_order"] += int(np.count_nonzero(~whole))
        session, seq, kinds, places = session[fresh], seq[fresh], kinds[fresh], places[fresh]
        if not session.size:
            return NOTHING.processed

        # Rank of each command within its session, to hold each session to its share.
        first = np.ones(session.size, np.bool_)
        first[1:] = session[1:] != session[:-1]
        starts = np.flatnonzero(first)
        rank = np.arange(session.size) - np.repeat(starts, np.diff(np.append(starts, session.size)))
        now = rank < self._share
        for kind, records in arrived.items():
            later = places[(kinds == kind) & ~now]
            if later.size:
                self._waiting[kind] = [records[later]]
                self.depth += later.size
            chosen = records[places[(kinds == kind) & now]]
            if chosen.size:
                batches[kind] = _newest(chosen) if self._shapes[kind].latest_wins else chosen
        session, seq = session[now], seq[now]
        last = np.ones(session.size, np.bool_)
        last[:-1] = session[1:] != session[:-1]
        processed = np.zeros(int(np.count_nonzero(last)), PROCESSED)
        processed["session"] = session[last]
        processed["seq"] = seq[last]
        return processed


def _unbroken(
    session: NDArray[np.uint64], seq: NDArray[np.uint32], chains: Records, applied: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """(n,) bool: of commands sorted by (session, seq), none twice and none applied, those with nothing missing before.

    `chains`: records of CHAIN; `applied`: (m,) how far each one's session is applied.
    """
    whole = np.ones(session.size, np.bool_)
    # What was applied is there: most batches follow the tick before.
    doubtful = np.flatnonzero((applied >= 0) & (chains["before"].astype(np.int64) > applied))
    for i in doubtful.tolist():
        one, first, before = chains[i].tolist()
        begin, end = np.searchsorted(session, np.uint64(one), "left"), np.searchsorted(session, np.uint64(one), "right")
        at = begin + np.searchsorted(seq[begin:end], np.uint32(first))
        if at == begin or seq[at - 1] < before:
            whole[at:end] = False
    return whole


def _commands(batches: Mapping[int, Records]) -> int:
    """How many of the game's there are."""
    return sum(len(records) for kind, records in batches.items() if kind not in _SYSTEM)


def _join(parts: list[Records]) -> Records:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _ordered(records: Records) -> Records:
    return records[np.lexsort((records["seq"], records["session"]))]


def _newest(records: Records) -> Records:
    """Each session's last record, of records sorted by (session, seq)."""
    last = np.ones(records.size, np.bool_)
    last[:-1] = records["session"][1:] != records["session"][:-1]
    return records if last.all() else records[last]
