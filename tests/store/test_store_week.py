"""Play that goes on and on leaves no more on the disk than at its beginning, and all that is retained can be replayed.

An hour and a half of game time at 1 Hz, with checkpoints each half minute and 15 minutes retained;
`python -m bench week` is a week with a day retained.
"""

import pytest

from bench.store_damage_run import scratch
from bench.store_week import PARTS, WeekOptions, _steady, play

OPTIONS = WeekOptions(ticks=5400, checkpoint_every_s=30.0, retain_ticks=900, retained=10)


@pytest.fixture
def data():
    with scratch() as directory:
        yield directory


async def test_disk_use_is_steady_and_the_retained_past_can_be_replayed(data):
    told = []
    figures = await play(data, OPTIONS, lambda done, total: told.append((done, total)))
    assert told[-1][0] > 0.9 * OPTIONS.ticks
    assert figures["steady"], figures
    assert all(len(figures[name]) == PARTS for name in ("file_bytes", "log_bytes", "checkpoint_files"))
    # Twice what is written between two copies of the log into the file, as it may be copied a commit late.
    assert max(figures["log_bytes"]) < 4 * 1024 * 1024
    # Two to recover with, one per stretch, the base, and one on its way.
    assert max(figures["checkpoint_files"]) <= OPTIONS.retained + 5
    oldest = figures["oldest_tick"]
    assert OPTIONS.ticks - OPTIONS.retain_ticks - 200 < oldest <= OPTIONS.ticks - OPTIONS.retain_ticks
    assert figures["records"] < 0.5 * (OPTIONS.retain_ticks + 200)
    assert figures["replayed"] >= 8
    assert figures["replayed_wrong"] == 0
    assert figures["replayed_ticks_max"] <= OPTIONS.retain_ticks / OPTIONS.retained + 2 * 50
    assert figures["came_back"]


async def test_without_retention_there_is_what_recovery_needs(data):
    figures = await play(data, WeekOptions(ticks=1500, checkpoint_every_s=20.0, retain_ticks=0), lambda *_: None)
    assert figures["checkpoints"] <= 3
    assert figures["oldest_tick"] > 1400
    assert figures["came_back"]


def test_growth_would_be_seen():
    mebibyte = 2**20
    assert _steady([{"file_bytes": mebibyte, "checkpoint_files": 9} for _ in range(PARTS)])
    assert not _steady([{"file_bytes": mebibyte + 30_000 * n} for n in range(PARTS)])
    assert not _steady([{"checkpoint_files": 9 + n} for n in range(PARTS)])
