"""A data directory: one process at a time writes in it, and what it makes in it stays made."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from server.store.errors import StoreFailed, StoreInUse

LOCK_NAME: Final = "everstep.lock"


class DirectoryLock:
    """Held from its making to `release`, or to the end of the process, however it ends.

    Raises StoreInUse, naming the process that holds it, and StoreFailed where the disk does not let it be made. Makes
    the directory if there is none.
    """

    def __init__(self, directory: Path) -> None:
        make_directory(directory)
        with told_as_failure(directory):
            self._file = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(self._file)
        except OSError as error:
            holder = os.read(self._file, 32).decode("ascii", "replace").strip()
            os.close(self._file)
            raise StoreInUse(
                f"{directory} is in use by process {holder or 'unknown'}: one process at a time writes in it"
            ) from error
        try:
            with told_as_failure(directory):
                os.ftruncate(self._file, 0)
                os.write(self._file, f"{os.getpid()}\n".encode())
        except StoreFailed:
            os.close(self._file)
            raise

    def release(self) -> None:
        """Let others in. The file stays: who removes it could remove the next holder's."""
        os.close(self._file)


def make_directory(directory: Path) -> None:
    """Have it, and all above it. Raises StoreFailed."""
    with told_as_failure(directory):
        directory.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def told_as_failure(directory: Path) -> Iterator[None]:
    """What the system refuses inside is the store's failure, not some network's. Raises StoreFailed."""
    try:
        yield
    except OSError as error:
        raise StoreFailed(f"{directory} can't be used: {error}") from error


def sync_directory(directory: Path) -> None:
    """Return once the names in it would survive a power cut. Raises OSError."""
    if sys.platform == "win32":
        return  # A directory can be opened there by no one.
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


if sys.platform == "win32":
    import msvcrt

    def _lock(file: int) -> None:
        # A byte far behind the process number, which others have to be able to read.
        os.lseek(file, 1024, os.SEEK_SET)
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        finally:
            with contextlib.suppress(OSError):
                os.lseek(file, 0, os.SEEK_SET)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
