"""Damaged files of a SQLite journal: an exact prefix, or a refusal that names the damage."""

import shutil

import pytest

from bench.store_damage import SHARDS, attempt, attempts, damage, judge, main, write
from server.store.sqlite_file import FILE_NAME

LOG = f"{FILE_NAME}-wal"


async def test_what_is_not_damaged_is_whole(tmp_path):
    written = await write(tmp_path)
    outcome = await judge(tmp_path, written)
    assert (outcome.kind, outcome.words) == ("whole", "60 of 60 and 60 of 60")


async def test_no_damage_makes_another_journal():
    counted = await attempts(range(100))
    assert "diverged" not in counted
    assert counted["refused"] > 50
    assert counted["prefix"] + counted["whole"] + counted["refused"] == 100


async def test_a_seed_repeats_its_damage_and_its_outcome(tmp_path):
    written = await write(tmp_path)
    for seed in range(2):
        assert await attempt(tmp_path, written, seed) == await attempt(tmp_path, written, seed)
    assert len({damage(shutil.copytree(tmp_path, tmp_path / str(seed)), seed) for seed in range(9)}) == 9


async def test_a_changed_record_would_be_called_divergence(tmp_path):
    """That the judge can say so."""
    written = await write(tmp_path)
    written[SHARDS[0]][7] = written[SHARDS[0]][8]
    assert (await judge(tmp_path, written)).kind == "diverged"


async def test_a_log_cut_short_is_a_prefix_and_a_file_cut_short_is_refused(tmp_path):
    written = await write(tmp_path)
    data = (tmp_path / LOG).read_bytes()
    (tmp_path / LOG).write_bytes(data[: len(data) * 2 // 3])
    assert (await judge(tmp_path, written)).kind == "prefix"
    data = (tmp_path / FILE_NAME).read_bytes()
    (tmp_path / FILE_NAME).write_bytes(data[: len(data) * 2 // 3])
    outcome = await judge(tmp_path, written)
    assert outcome.kind == "refused"
    assert FILE_NAME in outcome.words


def test_the_command_counts_and_ends_with_json(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["store_damage", "--seeds", "3"])
    main()
    assert capsys.readouterr().out.splitlines()[-1].startswith('{"damaged": 3, ')


@pytest.mark.parametrize("name", [FILE_NAME, LOG])
async def test_something_else_under_the_name_is_refused(tmp_path, name):
    written = await write(tmp_path)
    if name == FILE_NAME:
        (tmp_path / LOG).unlink()
    (tmp_path / name).write_bytes(b"Dear diary, " * 1000)
    outcome = await judge(tmp_path, written)
    assert outcome.kind == "refused" if name == FILE_NAME else outcome.kind != "diverged"
