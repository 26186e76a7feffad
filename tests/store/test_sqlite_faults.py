"""What happens to processes and disks: killed, full, failing. Nothing acknowledged is lost."""

import contextlib
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from server.store.sqlite import SqliteJournal
from server.store.sqlite_file import FILE_NAME
from tests.store.contract import opened, read, record
from tests.store.journal_process import payload_of

PROGRAM = Path(__file__).with_name("journal_process.py")


class Process:
    """A journal_process.py on a directory."""

    def __init__(self, directory, wanted, root, *, limit_bytes=None, **environment):
        def prepare():
            if limit_bytes is not None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

        self.popen = subprocess.Popen(
            [sys.executable, PROGRAM, directory, wanted],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(root), **environment},
            stderr=subprocess.DEVNULL,
            text=True,
            preexec_fn=prepare,  # noqa: PLW1509  # no thread of this process holds a lock that it would need
        )

    def hear(self):
        """The next line, as (word, rest)."""
        return tuple(self.popen.stdout.readline().rstrip("\n").split(" ", 1))

    def hear_durable(self, count):
        """The ticks of the next so many lines."""
        lines = [self.hear() for _ in range(count)]
        assert {word for word, _ in lines} == {"durable"}, lines
        return [int(tick) for _, tick in lines]

    def hear_the_rest(self):
        return [tuple(line.split(" ", 1)) for line in self.popen.communicate()[0].splitlines()]

    def hear_until(self, word):
        """(ticks that are durable, the rest of the line that begins with `word`)."""
        ticks = []
        while (line := self.hear())[0] == "durable":
            ticks.append(int(line[1]))
        assert line[0] == word, line
        return ticks, line[1]


@pytest.fixture
def start(tmp_path, root):
    """Start processes on one data directory; they end with the test."""
    with contextlib.ExitStack() as stack:

        def start(wanted, **options):
            process = Process(tmp_path / "data", wanted, root, **options)
            stack.callback(process.popen.communicate)
            stack.callback(process.popen.kill)
            return process

        yield start


async def kept(directory):
    """What is there: every record is what was appended, none is missing in between. Returns the ticks."""
    async with opened_on(directory) as journal:
        records = await read(journal)
    assert [(r.tick, r.previous) for r in records] == [(tick, tick - 1) for tick in range(1, len(records) + 1)]
    assert all(r.payload == payload_of(r.tick) for r in records)
    return [r.tick for r in records]


def opened_on(directory):
    class Directory:
        async def open(self):
            return await SqliteJournal.open(directory)

    return opened(Directory())


async def test_a_second_process_is_refused_and_told_why(tmp_path, start):
    first = start("stream")
    assert first.hear() == ("claimed", "1 0")
    first.hear_durable(3)
    second = start("stream")
    word, why = second.hear()
    assert word == "refused"
    assert f"data is in use by process {first.popen.pid}: " in why
    first.hear_durable(300)
    first.popen.kill()
    first.popen.wait()
    assert start("stream").hear()[0] == "claimed"


async def test_a_kill_in_mid_stream_loses_nothing_that_was_acknowledged(tmp_path, start):
    rng = random.Random(3)
    last = 0
    for epoch in range(1, 6):
        process = start("stream")
        word, claim = process.hear()
        assert word == "claimed"
        assert int(claim.split()[0]) == epoch
        assert int(claim.split()[1]) >= last
        process.hear_durable(rng.randrange(1, 400))
        process.popen.kill()
        rest = [int(tick) for word, tick in process.hear_the_rest() if word == "durable"]
        ticks = await kept(tmp_path / "data")
        # What was heard came in order; so the last is all.
        last = rest[-1] if rest else last
        assert ticks[-1] >= last


async def test_on_a_full_disk_nothing_is_acknowledged_that_is_not_there_and_with_room_it_goes_on(tmp_path, start):
    """The system's limit on the size of a file: a write beyond it fails as on a full disk."""
    process = start("until-it-fails", limit_bytes=600_000)
    assert process.hear() == ("claimed", "1 0")
    ticks, why = process.hear_until("failed")
    assert len(ticks) > 20
    assert "failed: " in why
    process.popen.stdin.write("\n")
    process.popen.stdin.flush()
    assert process.hear_the_rest() == [("closed",)], "after the failure nobody was told anything"
    found = await kept(tmp_path / "data")
    assert found[: len(ticks)] == ticks
    next_one = start("stream")
    assert next_one.hear() == ("claimed", f"2 {found[-1]}")
    assert next_one.hear_durable(5)[0] == found[-1] + 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (f"sync {FILE_NAME}-wal", "SQLITE_IOERR_FSYNC"),
        (f"eio {FILE_NAME}-wal", "SQLITE_IOERR_WRITE"),
        (f"full {FILE_NAME}-wal", "SQLITE_FULL"),
        # Met when the log is copied into the file, between commits.
        (f"sync {FILE_NAME}", "SQLITE_IOERR_FSYNC"),
        (f"eio {FILE_NAME}", "SQLITE_IOERR_WRITE"),
        (f"full {FILE_NAME}", "SQLITE_FULL"),
    ],
)
async def test_after_a_failure_nothing_is_acknowledged_even_if_later_writes_would_not_fail(
    tmp_path, start, failing_disk, fault, reason
):
    """A system that failed to write a page once may call it clean: to ask again proves nothing."""
    process = start("until-it-fails", **failing_disk.environment)
    assert process.hear() == ("claimed", "1 0")
    ticks = process.hear_durable(50)
    failing_disk.fail(fault)
    more, why = process.hear_until("failed")
    assert reason in why
    failing_disk.heal()
    process.popen.stdin.write("\n")
    process.popen.stdin.flush()
    assert process.hear_the_rest() == [("closed",)]
    found = await kept(tmp_path / "data")
    assert found[: len(ticks + more)] == ticks + more
    async with opened_on(tmp_path / "data") as journal:
        claim = await journal.claim(1)
        assert claim.tick == found[-1]
        journal.append(record(claim.tick + 1, claim.tick, epoch=claim.epoch, payload=b""), lambda: None)
    async with opened_on(tmp_path / "data") as journal:
        assert (await journal.spans())[1].last_tick == found[-1] + 1


@pytest.mark.parametrize("name", [f"{FILE_NAME}-wal", FILE_NAME])
async def test_a_write_that_takes_only_part_of_what_it_is_given_is_no_failure(tmp_path, start, failing_disk, name):
    process = start("stream", **failing_disk.environment)
    process.hear()
    ticks = process.hear_durable(20)
    failing_disk.fail(f"short {name}")
    # More than is written between two copies of the log into the file.
    ticks += process.hear_durable(1200)
    process.popen.kill()
    process.popen.wait()
    assert (await kept(tmp_path / "data"))[: len(ticks)] == ticks


@pytest.mark.parametrize("fault", ["sync", "eio", "full"])
async def test_a_store_that_cannot_write_does_not_start(tmp_path, start, failing_disk, fault):
    failing_disk.fail(f"{fault} {FILE_NAME}-wal")
    process = start("stream", **failing_disk.environment)
    word, why = process.hear()
    assert word == "refused"
    assert FILE_NAME in why
    assert "SQLITE_FULL" in why if fault == "full" else "SQLITE_IOERR" in why
    failing_disk.heal()
    assert start("stream").hear() == ("claimed", "1 0")
