"""Checkpoints as files of their own: `checkpoints/<shard>-<tick>.checkpoint` in the data directory.

    chunks, one after the other | manifest | length of the manifest, magic

Not in the journal's file: a checkpoint is megabytes at once, which no commit should wait behind; deleting it gives its
space back; and one damaged file is one damaged checkpoint. A file is written under another
name, synced, and renamed: so the whole of it exists or nothing does.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import structlog

from server.shard.checkpoint import Chunk, Manifest
from server.shard.errors import CheckpointDamaged
from server.store.directory import make_directory, sync_directory
from server.store.errors import StoreClosed, StoreFailed
from server.store.sqlite_file import describe

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")

DIRECTORY_NAME: Final = "checkpoints"
_SUFFIX: Final = ".checkpoint"
_UNFINISHED: Final = ".unfinished"
_TRAILER: Final = struct.Struct("<I4s")
_MAGIC: Final = b"EVCF"
# Written and synced in such pieces: one sync of everything would hold up the journal's for as long.
_PIECE_BYTES: Final = 1024 * 1024


class FileCheckpoints:
    """A CheckpointStore in a data directory that this process holds (see DirectoryLock).

    Raises StoreFailed where its directory can't be made.
    """

    def __init__(self, data_dir: Path) -> None:
        self._directory = data_dir / DIRECTORY_NAME
        make_directory(self._directory)
        # One thread: a write and the deletes after it happen in that order.
        self._thread: ThreadPoolExecutor | None = ThreadPoolExecutor(1, thread_name_prefix="checkpoints")
        # By file: where its chunks lie, name -> (offset, bytes).
        self._places: dict[Path, dict[str, tuple[int, int]]] = {}

    async def write(self, manifest: Manifest, chunks: Sequence[Chunk]) -> None:
        """See CheckpointStore. What an interrupted write left is removed first."""
        await self._do("write", lambda: self._write(manifest, {chunk.name: chunk.data for chunk in chunks}))

    async def shards(self) -> list[int]:
        """See CheckpointStore."""
        return await self._do("read", self._shards)

    async def manifests(self, shard: int) -> list[Manifest]:
        """See CheckpointStore. What is left out is logged."""
        return await self._do("read", lambda: self._manifests(shard))

    async def chunk(self, shard: int, tick: int, name: str) -> bytes | None:
        """See CheckpointStore."""
        return await self._do("read", lambda: self._chunk(self._path(shard, tick), name))

    async def delete(self, shard: int, tick: int) -> None:
        """See CheckpointStore. Damaged ones before it go, too: nobody else would ever remove them."""
        await self._do("delete", lambda: self._delete(shard, tick))

    async def close(self) -> None:
        """Finish what was begun and take no more. Once closed it can be closed again, which does nothing."""
        thread, self._thread = self._thread, None
        if thread is not None:
            await asyncio.to_thread(thread.shutdown)

    # -- on the thread -----------------------------------------------------------

    def _write(self, manifest: Manifest, chunks: dict[str, bytes]) -> None:
        for left in self._directory.glob(f"*{_UNFINISHED}"):
            left.unlink()
        path = self._path(manifest.shard, manifest.tick)
        unfinished = path.with_suffix(_UNFINISHED)
        encoded = manifest.encode()
        try:
            with unfinished.open("wb", buffering=0) as file:
                # As one: many chunks are small, and a sync of each would cost more than the bytes.
                whole = b"".join([*(chunks[info.name] for info in manifest.chunks), encoded])
                _write_synced(file.fileno(), whole + _TRAILER.pack(len(encoded), _MAGIC))
            unfinished.rename(path)
            sync_directory(self._directory)
        except OSError:
            # Its space may be what the journal needs next.
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise
        self._places.pop(path, None)

    def _shards(self) -> list[int]:
        names = {path.stem.partition("-")[0] for path in self._directory.glob(f"*-*{_SUFFIX}")}
        return sorted(int(name) for name in names if name.isdecimal())

    def _ticks(self, shard: int) -> list[int]:
        """Of all files, damaged ones too, newest first."""
        names = self._directory.glob(f"{shard}-*{_SUFFIX}")
        return sorted((int(path.stem.partition("-")[2]) for path in names), reverse=True)

    def _manifests(self, shard: int) -> list[Manifest]:
        found = []
        for tick in self._ticks(shard):
            try:
                found.append(self._open(self._path(shard, tick)))
            except CheckpointDamaged as error:
                _log.warning("checkpoint left out", shard=shard, tick=tick, reason=str(error))
        return found

    def _open(self, path: Path) -> Manifest:
        """The file's manifest. Raises CheckpointDamaged."""
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TRAILER.size))
            trailer = file.read()
            length, magic = _TRAILER.unpack(trailer) if len(trailer) == _TRAILER.size else (0, b"")
            begin = size - _TRAILER.size - length
            if magic != _MAGIC or begin < 0:
                raise CheckpointDamaged("manifest", f"the file of {size} bytes does not end as one should")
            file.seek(begin)
            manifest = Manifest.decode(file.read(length))
        if path != self._path(manifest.shard, manifest.tick):
            raise CheckpointDamaged("manifest", f"it is of shard {manifest.shard}, tick {manifest.tick}")
        if manifest.stored_bytes != begin:
            raise CheckpointDamaged("manifest", f"{begin} bytes of chunks; it says {manifest.stored_bytes}")
        places, offset = {}, 0
        for info in manifest.chunks:
            places[info.name] = (offset, info.stored_bytes)
            offset += info.stored_bytes
        self._places[path] = places
        return manifest

    def _chunk(self, path: Path, name: str) -> bytes | None:
        try:
            if path not in self._places:
                self._open(path)
            if name not in self._places[path]:
                return None
            offset, size = self._places[path][name]
            with path.open("rb") as file:
                file.seek(offset)
                return file.read(size)
        except (FileNotFoundError, CheckpointDamaged):
            return None

    def _delete(self, shard: int, tick: int) -> None:
        self._remove(self._path(shard, tick))
        for path in [self._path(shard, older) for older in self._ticks(shard) if older < tick]:
            try:
                self._open(path)
            except CheckpointDamaged as error:
                _log.warning("damaged checkpoint removed", path=str(path), reason=str(error))
                self._remove(path)
        sync_directory(self._directory)

    def _remove(self, path: Path) -> None:
        self._places.pop(path, None)
        path.unlink(missing_ok=True)

    def _path(self, shard: int, tick: int) -> Path:
        return self._directory / f"{shard}-{tick}{_SUFFIX}"

    async def _do(self, what: str, work: Callable[[], _T]) -> _T:
        if self._thread is None:
            raise StoreClosed("the checkpoints are closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except OSError as error:
            raise StoreFailed(f"the checkpoints' {what} failed: {describe(error)}") from error


def _write_synced(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view[:_PIECE_BYTES]) :]
        os.fsync(file)
