"""The thread that writes the journal's SQLite file, in groups: one commit for everything that waits.

While one group is written and synced, the next gathers; so the number of commits per second follows
the disk, and the latency is that of one or two commits, however many shards append.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

import structlog

from server.shard.journal import JournalRecord
from server.store.errors import StoreFailed
from server.store.sqlite_file import JournalFile, describe

_log = structlog.get_logger(__name__)
_T = TypeVar("_T")

# A record and whom to tell.
Entry = tuple[JournalRecord, Callable[[], None]]
# Records per commit at the most: what waits is bounded by the hosts' backlog, and this by what one commit should take.
GROUP_MAX: Final = 256
# Bytes committed between two copies of the log into the file.
CHECKPOINT_EVERY_BYTES: Final = 2 * 1024 * 1024
# A log so long was not used again: some process reads the file and does not let go of what it sees.
_LOG_BYTES_USUAL: Final = 4 * CHECKPOINT_EVERY_BYTES
# Pages that a commit writes beside its records' own, in bytes: a guess is enough to pace the copying.
_COMMIT_BYTES: Final = 8 * 1024


class _Job:
    """Something to do on the thread, between two commits."""

    def __init__(self, work: Callable[[JournalFile], Any]) -> None:
        self.work = work
        # Any: each job has its own result, and `submit` knows its type.
        self.done: Future[Any] = Future()


class Writer:
    """Runs until `stop`.

    Called on its thread: `tell` with the entries of a group once they are durable, in order; `tell_failure` once, with
    the first failure.

    The first write that fails sets `failure`. Nothing is written after it: the medium may have kept
    the group or not, and what came after would stand on it.
    """

    def __init__(self, tell: Callable[[Sequence[Entry]], None], tell_failure: Callable[[StoreFailed], None]) -> None:
        self._tell = tell
        self._tell_failure = tell_failure
        self._queue: SimpleQueue[Entry | _Job | None] = SimpleQueue()
        self._uncopied_bytes = 0
        # The longest log that nobody has to be told of.
        self._log_bytes = _LOG_BYTES_USUAL
        self.failure: StoreFailed | None = None
        # Commits of groups since the start.
        self.commits = 0

    def start(self, directory: Path) -> Future[None]:
        """Open the file on a new thread. The result says that it is open, or raises why it is not."""
        opened: Future[None] = Future()
        # Not waited for at exit: a process that dies without closing has told nobody of what is not durable.
        threading.Thread(target=self._run, args=(directory, opened), name="journal", daemon=True).start()
        return opened

    def put(self, entry: Entry) -> None:
        """Have it written. Never waits."""
        self._queue.put(entry)

    def submit(self, work: Callable[[JournalFile], _T]) -> Future[_T]:
        """Have `work` done after everything that was put before."""
        job = _Job(work)
        self._queue.put(job)
        return job.done

    def stop(self, then: Callable[[], None]) -> Future[None]:
        """Write what was put, copy the log, close the file, do `then`, and end the thread."""

        def close(file: JournalFile) -> None:
            try:
                file.close()
            finally:
                then()

        done = self.submit(close)
        self._queue.put(None)
        return done

    # -- on the thread -----------------------------------------------------------

    def _run(self, directory: Path, opened: Future[None]) -> None:
        try:
            file = JournalFile.open(directory)
        except BaseException as error:  # noqa: BLE001  # whoever waits for the thread gets it
            opened.set_exception(error)
            return
        opened.set_result(None)
        group: list[Entry] = []
        while (item := self._queue.get()) is not None:
            while item is not None:
                if isinstance(item, _Job):
                    self._commit(file, group)
                    group = []
                    self._do(file, item)
                else:
                    group.append(item)
                    if len(group) == GROUP_MAX:
                        self._commit(file, group)
                        group = []
                try:
                    item = self._queue.get_nowait()
                except Empty:
                    break
            self._commit(file, group)
            group = []
            if item is None:
                return
            self._copy(file)

    def _commit(self, file: JournalFile, group: Sequence[Entry]) -> None:
        if not group or self.failure is not None:
            return
        rows = [(record.shard, record.tick, record.encode()) for record, _ in group]
        try:
            file.insert(rows)
        except Exception as error:  # noqa: BLE001  # whatever it is, nobody may be told
            self._fail("commit", error)
            return
        self.commits += 1
        self._uncopied_bytes += _COMMIT_BYTES + sum(len(data) for _, _, data in rows)
        self._tell(group)

    def _copy(self, file: JournalFile) -> None:
        """Between two groups: whoever was to be told has been; what comes next waits for as long as the copy takes."""
        if self._uncopied_bytes >= CHECKPOINT_EVERY_BYTES and self.failure is None:
            self._uncopied_bytes = 0
            with contextlib.suppress(StoreFailed):
                length = self.written("checkpoint", file.checkpoint)
                if length > self._log_bytes:
                    _log.warning("journal's log grows while another process reads the journal", bytes=length)
                    self._log_bytes = 2 * length

    def _do(self, file: JournalFile, job: _Job) -> None:
        if not job.done.set_running_or_notify_cancel():
            return
        try:
            result = job.work(file)
        except BaseException as error:  # noqa: BLE001  # whoever waits for the job gets it
            job.done.set_exception(error)
        else:
            job.done.set_result(result)

    def written(self, what: str, write: Callable[[], _T]) -> _T:
        """For jobs that write: what it returns. Raises StoreFailed, as `failure`, where the medium fails."""
        if self.failure is not None:
            raise self.failure
        try:
            return write()
        except (sqlite3.Error, OSError) as error:
            raise self._fail(what, error) from error

    def _fail(self, what: str, error: BaseException) -> StoreFailed:
        failure = StoreFailed(f"the journal's {what} failed: {describe(error)}")
        failure.__cause__ = error
        if self.failure is None:
            self.failure = failure
            _log.error("journal failed", what=what, reason=describe(error))
            self._tell_failure(failure)
        return self.failure
