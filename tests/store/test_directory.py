"""A data directory has one owner, whoever it is and however it ends."""

import os
import subprocess
import sys

import pytest

from server.store.directory import LOCK_NAME, DirectoryLock, sync_directory
from server.store.errors import StoreFailed, StoreInUse

HOLDER = """
import sys
from pathlib import Path
from server.store.directory import DirectoryLock
lock = DirectoryLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_owner_is_refused_and_told_who_has_it(tmp_path):
    lock = DirectoryLock(tmp_path / "new" / "data")
    with pytest.raises(StoreInUse, match=f"data is in use by process {os.getpid()}: one process"):
        DirectoryLock(tmp_path / "new" / "data")
    lock.release()
    DirectoryLock(tmp_path / "new" / "data").release()


def test_what_is_in_the_lock_file_is_no_lock(tmp_path):
    (tmp_path / LOCK_NAME).write_text("1\nleft by a power cut\n")
    DirectoryLock(tmp_path).release()


def test_a_killed_process_holds_nothing(tmp_path, root):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(StoreInUse, match=f"process {holder.pid}:"):
            DirectoryLock(tmp_path)
    finally:
        holder.kill()
        holder.communicate()
    DirectoryLock(tmp_path).release()


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_directory_that_cannot_be_made_is_the_stores_failure(tmp_path, place):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreFailed, match="file"):
        DirectoryLock(tmp_path / place)


def test_a_directory_that_cannot_be_locked_is_the_stores_failure(tmp_path):
    (tmp_path / LOCK_NAME).mkdir()
    with pytest.raises(StoreFailed, match=str(tmp_path)):
        DirectoryLock(tmp_path)


def test_a_directory_that_is_not_there_cannot_be_synced(tmp_path):
    sync_directory(tmp_path)
    with pytest.raises(FileNotFoundError):
        sync_directory(tmp_path / "none")
