"""`everstep backup` and `everstep restore`: a copy of what is kept, taken beside the server, proven by a replay.

A backup is a directory like a data directory, whatever the world is kept in, and `backup.json` that names the tick and
the digest of every shard in it: what a replay of the copy came to. The checkpoints are copied first, then the journal
as it is just after, so that it holds all that they were made of; and again, should it have been trimmed beyond them
meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any, Final

import orjson

from config.settings import Settings
from server.commands.cut import Mailed, Torn, check_cut, cut, whole
from server.commands.kept import Kept, database, opened, opened_directory, unfinished
from server.commands.transfer import check_free, copy_in, copy_out
from server.host.errors import NoWayBack
from server.sim.game import Game
from server.store.checkpoint_files import DIRECTORY_NAME
from server.store.directory import DirectoryLock, sync_directory
from server.store.errors import StoreDamaged, StoreError
from server.store.sqlite_file import FILE_NAME, JournalFile
from server.store.sqlite_reader import SqliteReader

LIST_NAME: Final = "backup.json"
# Pages copied at a time, and the pause between: the disk is the server's first.
_PAGES: Final = 256
_PAUSE_S: Final = 0.001
# How often the journal may be trimmed away under a copy before it is given up.
_TRIES: Final = 5

# "shards": by number, the tick and the digest that each replays to. Any: JSON.
Listed = dict[str, dict[str, Any]]


async def backup(data: Path, to: Path, game: Game, settings: Settings) -> Listed:
    """Copy what is kept to the new directory `to` while its server runs, replay the copy, and list what it came to.

    `data`: the game's own directory; of a world in MongoDB it has the keys alone.
    Raises StoreError where `to` has something in it, and whatever the replay of the copy does.
    """
    _make_empty(to)
    if settings.store.kind == "mongodb":
        shards = await _copy_database(data, to, game, settings)
    else:
        await _copy(data, to)
        shards = await replayed(to, game, settings)
    listed = {"shards": shards}
    _write_synced(to / LIST_NAME, orjson.dumps(listed, option=orjson.OPT_INDENT_2))
    sync_directory(to)
    return listed


async def _copy_database(data: Path, to: Path, game: Game, settings: Settings) -> dict[str, Any]:  # Any: JSON
    """Returns what the copy replays to."""
    _copy_keys(data, to)
    for _ in range(_TRIES - 1):
        # One shard is read after the other, while letters go to and fro.
        with contextlib.suppress(Torn):
            return await _copied_database(data, to, game, settings)
    return await _copied_database(data, to, game, settings)


async def _copied_database(data: Path, to: Path, game: Game, settings: Settings) -> dict[str, Any]:  # Any: JSON
    async with opened(data, game, settings) as kept:
        await copy_out(kept, to)
    _sync(to / FILE_NAME)
    return await replayed(to, game, settings)


async def restore(source: Path, data: Path, game: Game, settings: Settings, to_tick: int | None) -> Listed:
    """Make `data`, which must be new, of a backup: as of its last tick, or of an earlier one that it reaches.

    A shard whose end comes before that is restored to its end.

    Of a world in MongoDB the directory gets the keys, and the database, which must have none of its shards, the rest.
    Replayed to its digest before it is called good. Raises StoreError, StoreDamaged where it comes to another
    digest than the backup did, Torn and NoWayBack where `to_tick` is none to restore to.
    """
    if settings.store.kind == "mongodb":
        return await _restore_database(source, data, game, settings, to_tick)
    return await _restore_directory(source, data, game, settings, to_tick)


async def _restore_database(source: Path, data: Path, game: Game, settings: Settings, to_tick: int | None) -> Listed:
    # First as a directory, so that nothing reaches the database that does not replay.
    with tempfile.TemporaryDirectory(dir=source.parent) as made:
        listed = await _restore_directory(source, Path(made), game, settings, to_tick)
        async with opened_directory(Path(made), game, settings) as kept, database(settings) as stores:
            await check_free(kept, *stores)
            # Half a world would start, with its other half as if nothing had ever happened there.
            async with unfinished(settings):
                await copy_in(kept, *stores)
                found = {"shards": await _replayed(Kept(*stores, game, settings))}
                if found != listed:
                    raise StoreDamaged(f"{source} replays to {listed}, and to {found} in the database")
                _copy_keys(source, data)
    return listed


async def _restore_directory(source: Path, data: Path, game: Game, settings: Settings, to_tick: int | None) -> Listed:
    _make_empty(data)
    if not (source / LIST_NAME).is_file():
        raise StoreError(f"{source} is no backup: there is no {LIST_NAME}")
    listed = orjson.loads((source / LIST_NAME).read_bytes())["shards"]
    lock = DirectoryLock(data)
    try:
        await _copy(source, data)
        if to_tick is not None:
            await cut(data, to_tick, game, settings)
        found = await replayed(data, game, settings)
        if missing := sorted(set(listed) - set(found)):
            raise NoWayBack(f"{source} does not reach back to tick {to_tick} of shard {', '.join(missing)}")
        if to_tick is None and found != listed:
            raise StoreDamaged(f"{source} was backed up as {listed}, and its copy replays to {found}")
        sync_directory(data)
    except BaseException:
        # Nobody is to start a server on it.
        shutil.rmtree(data)
        raise
    finally:
        lock.release()
    return {"shards": found}


async def replayed(data: Path, game: Game, settings: Settings) -> dict[str, Any]:  # Any: JSON
    """What every shard in a data directory replays to, by number."""
    async with opened_directory(data, game, settings) as kept:
        return await _replayed(kept)


async def _replayed(kept: Kept) -> dict[str, Any]:  # Any: JSON
    found, mailed = {}, {}
    for shard in await kept.shards():
        machine, _ = await whole(kept, shard, None)
        mailed[shard] = Mailed.of(machine)
        found[str(shard)] = {"tick": machine.tick, "digest": f"{machine.digest():016x}"}
    check_cut(mailed)
    return found


async def _copy(source: Path, to: Path) -> None:
    reader = SqliteReader(source)
    try:
        for _ in range(_TRIES):
            _copy_files(source, to)
            # What is read from here on is the journal as it is now, whatever the server adds to it or takes away.
            reader.database.execute("BEGIN")
            spans = await reader.spans()
            short = [
                f"{n} (after tick {span.after_tick})" for n, span in spans.items() if _newest(to, n) < span.after_tick
            ]
            if not short:
                break
            reader.database.execute("ROLLBACK")
        else:
            raise NoWayBack(
                f"no checkpoint reaches the beginning of the journal of shard {', '.join(short)}: they are missing, or "
                "it is trimmed faster than it can be copied: set store.retention_s meanwhile"
            )
        with contextlib.closing(sqlite3.connect(to / FILE_NAME)) as copy:
            reader.database.backup(copy, pages=_PAGES, sleep=_PAUSE_S)
    except sqlite3.Error as error:
        raise StoreDamaged(f"{source / FILE_NAME} can't be copied: {error}") from error
    finally:
        reader.close()
    # All that a server checks when it starts.
    JournalFile.open(to).close()
    _sync(to / FILE_NAME)


def _newest(directory: Path, shard: int) -> int:
    """Tick of the newest checkpoint there; 0, which needs the whole journal, where there is none."""
    names = (directory / DIRECTORY_NAME).glob(f"{shard}-*.checkpoint")
    return max((int(path.stem.partition("-")[2]) for path in names), default=0)


def _copy_files(source: Path, to: Path) -> None:
    (to / DIRECTORY_NAME).mkdir(exist_ok=True)
    for path in sorted((source / DIRECTORY_NAME).glob("*.checkpoint")):
        # The server may remove an old checkpoint under our hands; the newer ones are what counts.
        with contextlib.suppress(FileNotFoundError):
            _copy_file(path, to / DIRECTORY_NAME)
    sync_directory(to / DIRECTORY_NAME)
    _copy_keys(source, to)


def _copy_keys(source: Path, to: Path) -> None:
    """Without them, what they signed would be void in the copy."""
    to.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.key")):
        _copy_file(path, to)


def _copy_file(path: Path, to: Path) -> None:
    shutil.copy2(path, to / path.name)
    _sync(to / path.name)


def _make_empty(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise StoreError(f"{directory} is not empty")


def _write_synced(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    _sync(path)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
