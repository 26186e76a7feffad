"""SQLite's log: a bad frame is damage where a later commit stands behind it, and the end where none does."""

import contextlib
import shutil
import sqlite3
import struct
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.store.errors import StoreDamaged
from server.store.sqlite_log import _fold, check_log, check_log_of_others

HEAD, FRAME = 32, 24 + 4096


@pytest.fixture
def log(tmp_path):
    """The log of five commits, a frame or more each, after an older and longer generation of frames."""
    database = sqlite3.connect(tmp_path / "t.db", isolation_level=None)
    with contextlib.closing(database):
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, data BLOB)")
        for n in range(30):
            database.execute("INSERT INTO t VALUES (?, randomblob(2000))", (n,))
        shutil.copyfile(tmp_path / "t.db-wal", tmp_path / "older")
        assert database.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0] == 0
        for n in range(30, 35):
            database.execute("INSERT INTO t VALUES (?, randomblob(6000))", (n,))
        shutil.copyfile(tmp_path / "t.db-wal", tmp_path / "copy")
    return tmp_path / "copy"


def commits(data):
    """The frames of the newest generation that end a commit, counted from 0."""
    salts = data[16:24]
    frames = [data[at : at + FRAME] for at in range(HEAD, len(data), FRAME)]
    return [i for i, frame in enumerate(frames) if frame[8:16] == salts and struct.unpack(">I", frame[4:8])[0]]


def flipped(data, at):
    damaged = bytearray(data)
    damaged[at] ^= 1
    return bytes(damaged)


def test_a_whole_log_an_empty_one_and_none_are_no_damage(log, tmp_path):
    check_log(log)
    check_log(tmp_path / "none")
    for size in (0, 1, HEAD, HEAD + FRAME - 1):
        log.write_bytes(log.read_bytes()[:size])
        check_log(log)


def test_a_log_cut_anywhere_just_ends_there(log):
    data = log.read_bytes()
    for size in range(0, len(data), 2039):
        log.write_bytes(data[:size])
        check_log(log)


@pytest.mark.parametrize("place", [0, 5, 9, 17, 30, FRAME - 1])
def test_a_flip_in_a_frame_is_damage_until_the_last_commit(log, place):
    data = log.read_bytes()
    ends = commits(data)
    assert len(ends) == 5
    for frame in range(ends[-1] + 1):
        log.write_bytes(flipped(data, HEAD + frame * FRAME + place))
        if frame <= ends[-2]:
            with pytest.raises(StoreDamaged, match=f"frame {frame + 1} of .* is damaged"):
                check_log(log)
        elif place != 5:  # where it would say that a commit ends
            check_log(log)


@pytest.mark.parametrize("place", [0, 3, 8, 11, 16, 20, 24, 31])
def test_a_flip_in_its_head_is_damage(log, place):
    log.write_bytes(flipped(log.read_bytes(), place))
    with pytest.raises(StoreDamaged, match="its head is damaged"):
        check_log(log)


def test_what_an_older_generation_left_is_no_damage(log):
    data = log.read_bytes()
    old = HEAD + (commits(data)[-1] + 1) * FRAME
    assert old < len(data)
    for at in range(old, len(data), 4073):
        log.write_bytes(flipped(data, at))
        check_log(log)


def test_frames_of_the_last_commit_that_never_reached_the_disk_are_no_damage(log, tmp_path):
    """After a power cut any of them may be what the older generation left there; none of it was acknowledged."""
    data = log.read_bytes()
    ends = commits(data)
    last = range(ends[-2] + 1, ends[-1] + 1)
    assert len(last) > 2
    left = (tmp_path / "older").read_bytes()
    for missing in range(1, 2 ** len(last)):
        torn = bytearray(data)
        for bit, frame in enumerate(last):
            if missing >> bit & 1:
                at = HEAD + frame * FRAME
                torn[at : at + FRAME] = left[at : at + FRAME]
        log.write_bytes(torn)
        check_log(log)


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 4))
def test_the_checksum_is_the_one_that_is_described(seed, pairs, rows):
    rng = np.random.Generator(np.random.PCG64(seed))
    words = rng.integers(0, 2**32, (rows, 2 * pairs), np.uint32)
    before = rng.integers(0, 2**32, (rows, 2), np.uint32)
    for row, (one, two), folded in zip(words.tolist(), before.tolist(), _fold(words, before).tolist(), strict=True):
        s1, s2 = one, two
        for x, y in zip(row[0::2], row[1::2], strict=True):
            s1 = (s1 + x + s2) % 2**32
            s2 = (s2 + y + s1) % 2**32
        assert folded == [s1, s2]


def test_a_log_that_is_being_written_is_no_damage_and_a_damaged_one_stays_so(log, tmp_path):
    """It is looked at while commits are appended and while it begins anew."""
    ended = threading.Event()

    def write():
        with contextlib.closing(sqlite3.connect(tmp_path / "live.db", isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA wal_autocheckpoint = 40")
            database.execute("CREATE TABLE t (data BLOB)")
            while not ended.is_set():
                database.execute("INSERT INTO t VALUES (randomblob(6000))")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(200):
            check_log_of_others(tmp_path / "live.db-wal")
    finally:
        ended.set()
        writer.join()
    log.write_bytes(flipped(log.read_bytes(), HEAD + 9))
    with pytest.raises(StoreDamaged, match=r"frame 1 of .* is damaged"):
        check_log_of_others(log)
