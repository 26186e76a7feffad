"""A cut through a world: its shards, each at a tick of its own, and whether they fit together.

A letter that was taken and not yet sent would be sent again, and what it brought be there twice; one that is
acknowledged and not yet taken would never come. Shards that are read at one moment always fit: a letter leaves once its
tick is durable, and so does an acknowledgement. At one number of a tick they need not: each counts its own.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from config.settings import Settings
from server.commands.kept import Kept, opened_directory
from server.host.errors import NoWayBack, RecoveryError
from server.host.recovery import Report
from server.regions.machine import RegionMachine
from server.shard.checkpoint import Chunk, Manifest, encode
from server.shard.mail import Stream
from server.sim.game import Game
from server.store.checkpoint_files import DIRECTORY_NAME, FileCheckpoints
from server.store.errors import StoreDamaged, StoreError
from server.store.sqlite_file import FILE_NAME

# How far before the tick that is asked for another is looked for.
_SEARCH_TICKS: Final = 600


class Torn(StoreError):
    """The shards are not of one world."""


@dataclass(frozen=True, slots=True)
class Mailed:
    """How far a shard's streams had come: numbers of letters, by (peer, lane)."""

    sent: Mapping[Stream, int]
    acknowledged: Mapping[Stream, int]
    received: Mapping[Stream, int]

    @classmethod
    def of(cls, machine: RegionMachine) -> Self:
        """As of the machine's tick."""
        post = machine.post
        return cls(post.sent(), post.acknowledged(), post.received())


def check_cut(mailed: Mapping[int, Mailed]) -> None:
    """Raise Torn where a shard took what another has not sent, or has forgotten what another has not taken."""
    for source, mine in sorted(mailed.items()):
        for destination, theirs in sorted(mailed.items()):
            for lane in sorted({lane for _, lane in (*mine.sent, *theirs.received)}):
                sent = mine.sent.get((destination, lane), 0)
                acknowledged = mine.acknowledged.get((destination, lane), 0)
                received = theirs.received.get((source, lane), 0)
                if received > sent:
                    raise Torn(
                        f"region {destination} has taken {received} letters of lane {lane} from region {source}, which "
                        f"has sent {sent} there: what they brought would be in the world twice"
                    )
                if acknowledged > received:
                    raise Torn(
                        f"region {source} knows {acknowledged} letters of lane {lane} to be with region {destination}, "
                        f"which has taken {received}: what the others bring would be lost"
                    )


async def cut(data: Path, to_tick: int, game: Game, settings: Settings) -> None:
    """Take away what came after a tick. A shard whose end comes before it stays as it is.

    Where a shard has no checkpoint of that very tick it gets one: of ticks without input nothing else tells.
    Raises NoWayBack where the tick is beyond the end or not reached, Torn where the shards do not fit together there.
    """
    mailed: dict[int, Mailed] = {}
    made: list[tuple[Manifest, list[Chunk]]] = []
    async with opened_directory(data, game, settings) as kept:
        ends = await _ends(kept)
        last_tick = max(ends.values(), default=0)
        if to_tick > last_tick:
            raise NoWayBack(f"the backup has tick {last_tick} as its last, and {to_tick} is asked for")
        epochs = _epochs(data)
        for shard, end in ends.items():
            machine, report = await whole(kept, shard, min(to_tick, end))
            mailed[shard] = Mailed.of(machine)
            if machine.tick != report.checkpoint_tick:
                made.append(_checkpoint(machine, report, epochs.get(shard, 0)))
        try:
            check_cut(mailed)
        except Torn as torn:
            nearest = await _nearest(kept, ends, to_tick)
            advice = "restore to the last" if nearest is None else f"tick {nearest} is the last before it that fits"
            raise Torn(f"tick {to_tick} is no tick to restore to: {torn}; {advice}") from torn
    await _take_away(data, to_tick, made)


async def whole(kept: Kept, shard: int, to_tick: int | None) -> tuple[RegionMachine, Report]:
    """A shard's machine at a tick; None: at the last. Raises StoreDamaged where a checkpoint on the way is damaged."""
    machine, report = await kept.at(shard, to_tick)
    if report.passed_over:
        raise StoreDamaged(f"a checkpoint of shard {shard} is damaged: {'; '.join(report.passed_over)}")
    return machine, report


def _checkpoint(machine: RegionMachine, report: Report, epoch: int) -> tuple[Manifest, list[Chunk]]:
    return encode(
        machine.capture(), shard=machine.shard, epoch=epoch, previous=report.last_record, digest=machine.digest()
    )


def _epochs(data: Path) -> dict[int, int]:
    """The last epoch that each shard was claimed with."""
    with contextlib.closing(sqlite3.connect(data / FILE_NAME)) as database:
        return dict(database.execute("SELECT shard, epoch FROM shards").fetchall())


async def _ends(kept: Kept) -> dict[int, int]:
    """The last tick of each shard."""
    spans = await kept.journal.spans()
    ends = {shard: span.last_tick for shard, span in spans.items()}
    for manifest in await kept.manifests():
        ends[manifest.shard] = max(ends.get(manifest.shard, 0), manifest.tick)
    return ends


async def _nearest(kept: Kept, ends: Mapping[int, int], to_tick: int) -> int | None:
    """The last tick before `to_tick` at which the shards fit together; None: none is near."""
    seen: dict[int, dict[int, Mailed]] = {}
    try:
        begin = max([to_tick - _SEARCH_TICKS, *[(await kept.reach(shard))[0] for shard in ends]])
        for shard, end in ends.items():
            ticks = seen[shard] = {}

            def look(machine: RegionMachine, ticks: dict[int, Mailed] = ticks) -> None:
                ticks[machine.tick] = Mailed.of(machine)

            make = await kept.make(shard, RegionMachine)
            await kept.rebuilt(make, min(to_tick, end), look, from_tick=min(begin, end))
    except (StoreError, RecoveryError):
        return None
    for tick in range(to_tick - 1, begin - 1, -1):
        with contextlib.suppress(Torn):
            check_cut({shard: ticks[min(tick, max(ticks))] for shard, ticks in seen.items()})
            return tick
    return None


async def _take_away(data: Path, to_tick: int, made: list[tuple[Manifest, list[Chunk]]]) -> None:
    for path in (data / DIRECTORY_NAME).glob("*.checkpoint"):
        if int(path.stem.partition("-")[2]) > to_tick:
            path.unlink()
    checkpoints = FileCheckpoints(data)
    try:
        for manifest, chunks in made:
            await checkpoints.write(manifest, chunks)
        with contextlib.closing(sqlite3.connect(data / FILE_NAME)) as database, database:
            database.execute("DELETE FROM journal WHERE tick > ?", (to_tick,))
            for (shard,) in database.execute("SELECT shard FROM shards").fetchall():
                (last,) = database.execute("SELECT MAX(tick) FROM journal WHERE shard = ?", (shard,)).fetchone()
                if last is None:
                    # Trimmed behind the checkpoint, which knows what it was made of.
                    manifests = await checkpoints.manifests(shard)
                    last = manifests[0].previous if manifests else 0
                database.execute("UPDATE shards SET tick = ? WHERE shard = ?", (last, shard))
    finally:
        await checkpoints.close()
