"""The writer's thread: what waits in one commit, jobs in their place between commits, the first failure kept."""

import sqlite3
import threading

import pytest

from server.store.errors import StoreFailed
from server.store.sqlite_file import JournalFile
from server.store.sqlite_writer import GROUP_MAX, Writer
from tests.store.contract import chain


class Thread:
    """A started writer, and the ticks of each group it told of."""

    def __init__(self, directory):
        self.groups = []
        self.failures = []
        self.writer = Writer(
            lambda group: self.groups.append([record.tick for record, _ in group]), self.failures.append
        )
        self.writer.start(directory).result()

    def hold(self):
        """Keep the thread busy until the event that is returned is set."""
        go = threading.Event()
        self.writer.submit(lambda file: go.wait())
        return go

    def put(self, ticks, previous=0):
        for record in chain(ticks, previous=previous):
            self.writer.put((record, pytest.fail))


@pytest.fixture
def thread(tmp_path):
    thread = Thread(tmp_path)
    yield thread
    thread.writer.stop(lambda: None).result()


def test_what_gathers_while_the_disk_is_busy_is_one_commit(thread):
    go = thread.hold()
    thread.put(range(1, 11))
    rows = thread.writer.submit(lambda file: len(file.read(1, 0, 1000)))
    thread.put([11, 12], previous=10)
    go.set()
    assert rows.result() == 10, "a job sees what was put before it, and nothing else"
    thread.writer.submit(lambda file: None).result()
    assert thread.groups == [list(range(1, 11)), [11, 12]]
    assert thread.writer.commits == 2


def test_a_group_has_its_bound(thread):
    go = thread.hold()
    thread.put(range(1, GROUP_MAX + 2))
    go.set()
    thread.writer.submit(lambda file: None).result()
    assert [len(group) for group in thread.groups] == [GROUP_MAX, 1]


def test_after_the_first_failure_nothing_is_written_and_the_failure_stays(thread):
    thread.put([1])
    thread.writer.submit(lambda file: file._db.execute("PRAGMA query_only = ON")).result()
    thread.put([2], previous=1)
    thread.writer.submit(lambda file: file._db.execute("PRAGMA query_only = OFF")).result()
    first = thread.writer.failure
    assert str(first) == "the journal's commit failed: attempt to write a readonly database (SQLITE_READONLY)"
    thread.put([3], previous=2)
    with pytest.raises(StoreFailed) as refusal:
        thread.writer.submit(lambda file: thread.writer.written("trim", lambda: file.trim(1, 1))).result()
    assert refusal.value is first
    assert thread.groups == [[1]]
    assert thread.failures == [first]
    assert thread.writer.submit(lambda file: len(file.read(1, 0, 10))).result() == 1, "what there is can be read"


def test_a_job_that_writes_in_vain_is_a_failure_and_one_that_is_refused_is_not(thread):
    def refuse():
        raise ValueError("no such thing")

    def full():
        raise sqlite3.OperationalError("database or disk is full")

    with pytest.raises(ValueError, match="no such thing"):
        thread.writer.submit(lambda file: thread.writer.written("claim", refuse)).result()
    assert thread.writer.failure is None
    with pytest.raises(StoreFailed, match=r"claim failed: .*full"):
        thread.writer.submit(lambda file: thread.writer.written("claim", full)).result()
    assert thread.writer.failure is not None


def test_what_is_put_before_the_end_is_written_before_the_end(tmp_path):
    thread = Thread(tmp_path)
    thread.put(range(1, 1000))
    thread.writer.stop(lambda: None).result()
    assert [tick for group in thread.groups for tick in group] == list(range(1, 1000))
    file = JournalFile.open(tmp_path)
    assert len(file.read(1, 0, 2000)) == 999
    file.close()
