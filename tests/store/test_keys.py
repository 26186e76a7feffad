"""Keys are made once, kept, and readable by nobody else."""

from __future__ import annotations

import resource
import stat

import pytest

from server.store.errors import StoreError
from server.store.keys import kept_key


def test_a_key_is_made_once_and_then_kept(data_dir):
    key = kept_key(data_dir / "new", "resume")
    assert kept_key(data_dir / "new", "resume") == key
    assert kept_key(data_dir / "new", "other") != key
    assert len(key) == 64


def test_nobody_else_can_read_it(data_dir):
    kept_key(data_dir, "resume")
    assert stat.S_IMODE((data_dir / "resume.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 64])
def test_a_file_without_a_key_is_refused(data_dir, content):
    (data_dir / "resume.key").write_bytes(content)
    with pytest.raises(StoreError, match=r"resume\.key"):
        kept_key(data_dir, "resume")


def test_a_place_that_takes_no_file_is_named(data_dir):
    (data_dir / "file").write_text("")
    with pytest.raises(StoreError, match="can't be kept"):
        kept_key(data_dir / "file", "resume")


def test_a_key_that_finds_no_room_leaves_nothing_and_can_be_made_later(data_dir):
    data_dir.mkdir(parents=True, exist_ok=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(StoreError, match="can't be kept"):
            kept_key(data_dir, "resume")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(kept_key(data_dir, "resume")) == 64
