"""`bench replay`, small: what was played is what is replayed."""

import asyncio
import json
import subprocess
import sys
from collections import defaultdict

from bench.processes import ROOT
from bench.replay import ReplayOptions, sample_game, settings_for, with_stopwatch
from server.app import opened
from server.roles.world import region_machine
from server.shard.machine import NOTHING


def bench(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_recording_is_replayed_and_kept(tmp_path):
    figures = []
    for _ in range(2):
        done = bench("replay", "--players", 3, "--seconds", 1, "--edge", 128, "--data", tmp_path)
        assert done.returncode == 0, done.stderr
        figures.append(json.loads(done.stdout.splitlines()[-1]))
    first, again = figures
    assert first["players"] == 3
    assert first["records"] > 0
    assert first["digests_checked"] > 0
    assert first["ticks"] > 0
    assert first["times_real_time"] > 0
    assert {"think_herds", "think_predators"} <= first["system_us_per_tick"].keys()
    for key in ("digest", "records", "ticks", "digests_checked", "entities"):
        assert first[key] == again[key], key


def test_a_recording_without_so_many_players_is_refused(tmp_path):
    settings = settings_for(ReplayOptions(players=1, seconds=1.0, edge_units=128.0), tmp_path)

    async def nobody_plays() -> None:
        async with opened(settings, sample_game()):
            pass

    asyncio.run(nobody_plays())
    done = bench("replay", "--players", 1, "--edge", 128, "--data", tmp_path)
    assert done.returncode == 1
    assert "never has 1 players" in " ".join(done.stderr.split())


def test_a_stopwatch_changes_nothing(tmp_path):
    settings, took_s = settings_for(ReplayOptions(0, 1.0, edge_units=256.0), tmp_path), defaultdict(float)
    plain, clocked = (
        region_machine(settings, sample_game()),
        region_machine(settings, with_stopwatch(sample_game(), took_s)),
    )
    for _ in range(5):
        plain.step(NOTHING)
        clocked.step(NOTHING)
    assert plain.digest() == clocked.digest()
    assert took_s.keys() == {system.__name__ for system in sample_game().systems}
