"""Between a database and a directory: how a backup is taken of a world in MongoDB, and how one comes back there.

A backup is a data directory whatever it was taken of: what MongoDB had comes out as an SQLite journal and files.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from server.commands.kept import Kept
from server.shard.checkpoint import Chunk, Manifest
from server.shard.errors import JournalDamaged
from server.shard.journal import JournalRecord
from server.shard.ports import Claim, Span
from server.store.checkpoint_files import FileCheckpoints
from server.store.errors import StoreError
from server.store.sqlite_file import FILE_NAME, ROWS_MAX, JournalFile

if TYPE_CHECKING:
    from server.store.mongo import MongoJournal
    from server.store.mongo_checkpoints import MongoCheckpoints

# How often the journal may be trimmed away under a reader before it is called damaged.
_TRIES: Final = 5


async def copy_out(kept: Kept, to: Path) -> None:
    """Make `to`, an empty directory, a data directory that has what is kept, while its server goes on.

    The checkpoints first, then the journal, so that it holds all that they were made of. Raises what reading raises.
    """
    for attempt in range(_TRIES):
        copied = await _copy_checkpoints(kept, to)
        spans = await kept.journal.spans()
        newest = {m.shard: m.tick for m in sorted(copied, key=lambda m: m.tick)}
        # Trimmed beyond the copied ones meanwhile: there are newer ones.
        if any(newest.get(shard, 0) < span.after_tick for shard, span in spans.items()):
            continue
        try:
            last = await _copy_journal(kept, spans, to)
        except JournalDamaged:
            # The same, while it was read; or it is true.
            if attempt == _TRIES - 1:
                raise
            continue
        _note_claims(copied, last, to)
        return
    raise StoreError("the journal is trimmed faster than it can be copied: set store.retention_s meanwhile")


async def check_free(kept: Kept, journal: MongoJournal, checkpoints: MongoCheckpoints) -> None:
    """Raise StoreError where a database has any of the shards that a directory keeps."""
    there = {*await journal.spans(), *await checkpoints.shards()}
    if taken := sorted(there.intersection(await kept.shards())):
        raise StoreError(f"the database has shard {', '.join(map(str, taken))} already: restore into another")


async def copy_in(kept: Kept, journal: MongoJournal, checkpoints: MongoCheckpoints) -> None:
    """Put what a directory keeps into a database that has none of its shards."""
    spans = await kept.journal.spans()
    for shard in await kept.shards():
        manifests = await kept.checkpoints.manifests(shard)
        claim = _last_claim(manifests, None)
        after_tick = spans[shard].after_tick if shard in spans else claim.tick
        await journal.fill(shard, kept.journal.read(shard, after_tick), claim)
        for manifest in reversed(manifests):
            found = await kept.chunks(manifest)
            await checkpoints.write(manifest, [Chunk(name, data) for name, data in found.items()])


async def _copy_checkpoints(kept: Kept, to: Path) -> list[Manifest]:
    """Those that are there from beginning to end."""
    files = FileCheckpoints(to)
    copied = []
    try:
        for manifest in await kept.manifests():
            chunks = await kept.chunks(manifest)
            if len(chunks) == len(manifest.chunks):
                await files.write(manifest, [Chunk(name, data) for name, data in chunks.items()])
                copied.append(manifest)
    finally:
        await files.close()
    return copied


async def _copy_journal(kept: Kept, spans: dict[int, Span], to: Path) -> dict[int, JournalRecord]:
    """Returns the last record of each shard."""
    file = _new_file(to)
    last: dict[int, JournalRecord] = {}
    try:
        rows: list[tuple[int, int, bytes]] = []
        for shard, span in spans.items():
            async for record in kept.journal.read(shard, span.after_tick):
                last[shard] = record
                rows.append((shard, record.tick, record.encode()))
                if len(rows) == ROWS_MAX:
                    file.insert(rows)
                    rows = []
        if rows:
            file.insert(rows)
    finally:
        file.close()
    return last


def _new_file(to: Path) -> JournalFile:
    # What an earlier try left.
    for path in to.glob(f"{FILE_NAME}*"):
        path.unlink()
    return JournalFile.open(to)


def _note_claims(manifests: Sequence[Manifest], last: dict[int, JournalRecord], to: Path) -> None:
    """So that whoever claims a shard of the copy has a newer epoch than all that is in it."""
    with contextlib.closing(sqlite3.connect(to / FILE_NAME)) as copy, copy:
        for shard in sorted({*last, *(m.shard for m in manifests)}):
            claim = _last_claim([m for m in manifests if m.shard == shard], last.get(shard))
            copy.execute("INSERT INTO shards VALUES (?,?,?)", (shard, claim.epoch, claim.tick))


def _last_claim(manifests: Sequence[Manifest], last: JournalRecord | None) -> Claim:
    """The newest epoch of a shard that wrote anything, and the tick of its last record. `manifests`: newest first."""
    epoch = max((m.epoch for m in manifests), default=0)
    if last is not None:
        return Claim(max(epoch, last.epoch), last.tick)
    # Trimmed behind the checkpoint, which knows what it was made of.
    return Claim(epoch, manifests[0].previous if manifests else 0)
