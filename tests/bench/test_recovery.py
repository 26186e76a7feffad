"""`bench recovery`, small: a killed world comes back at a tick that was durable, digests checked, and goes on."""

import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.processes import ROOT
from bench.recovery import RecoveryRun
from bench.recovery_game import MOVE, WORLD_UNITS, Position, Velocity, game
from server.regions.frame import RegionSpec
from server.regions.machine import RegionMachine
from server.shard.machine import JOIN, PROCESSED, TickInput

NONE_TAKEN = np.zeros(0, PROCESSED)


def test_a_killed_world_comes_back_and_goes_on_with_checkpoints():
    command = ["recovery", "--entities", 500, "--players", 3, "--seconds", 2, "--starts", 2, "--checkpoint-seconds", 3]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["ticks_lost"] == 0
    # From the one checkpoint that a new world begins with.
    assert figures["checkpoint_tick"] == 0
    assert figures["ticks_replayed"] == figures["tick"] > 20
    assert figures["records_replayed"] > 0
    assert figures["digests_checked"] > 0
    assert figures["recovery_s"] >= figures["import_s"] + figures["load_checkpoint_s"] + figures["replay_s"]
    assert figures["checkpoints"] > 0
    # On a machine that does much else a checkpoint is always under way.
    assert figures["beside_ticks"] > 0
    assert figures["capture_ms_max"] > 0


def test_a_run_that_lost_a_durable_tick_has_failed():
    assert RecoveryRun({"ticks_lost": 1}, [], []).failed
    assert not RecoveryRun({"ticks_lost": 0}, [], []).failed


def test_memory_is_no_store_to_recover_from():
    assert CliRunner().invoke(app, ["recovery", "--store", "memory"]).exit_code == 2


@pytest.fixture
def machine() -> RegionMachine:
    region = RegionSpec(1, 0.0, 0.0, WORLD_UNITS, WORLD_UNITS, 64)
    return RegionMachine(game(10), region, seed=1, tick_rate_hz=20)


def test_players_go_where_they_are_told_among_drifters(machine: RegionMachine):
    joins = np.zeros(1, machine.shapes[JOIN].dtype)
    joins["session"] = 7
    machine.step(TickInput({JOIN: joins}, NONE_TAKEN))
    row = int(np.flatnonzero(machine.world.owner[:11])[0])
    x, others = float(machine.world[Position].x[row]), machine.world[Position].x[:10].copy()
    moves = np.zeros(1, machine.shapes[MOVE].dtype)
    moves["session"], moves["dx"] = 7, 1.0
    machine.step(TickInput({MOVE: moves}, NONE_TAKEN))
    assert machine.world[Velocity].x[row] == np.float32(4.0)
    assert machine.world[Position].x[row] == pytest.approx(x + 4.0 / 20)
    assert (machine.world[Position].x[:10] != others).all()
