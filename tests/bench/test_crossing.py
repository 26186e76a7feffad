"""`bench crossing`, small: players cross, and see no seam."""

import json
import subprocess
import sys

from bench.crossing import CrossingRun
from bench.crossing_server import WORLD_UNITS, settings_for
from bench.crossing_walkers import TURN_UNITS
from bench.processes import ROOT

FAULTS = ("missing", "inputs_lost", "mismatches", "reconnects", "faults")


def test_a_small_run_is_right_and_one_that_is_wrong_says_so():
    # Of so many some are where they come to the border at once.
    options = ("--clients", "12", "--seconds", "4", "--warm-up", "4")
    command = [sys.executable, "-m", "bench", "crossing", *options]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    figures = json.loads(ended.stdout.splitlines()[-1])
    assert [figures[key] for key in FAULTS] == [0] * len(FAULTS)
    assert figures["crossings"] > 0
    assert figures["digests_checked"] > 0
    assert figures["crossing_pause_ticks_max"] >= figures["beyond_others_ticks_p99"]
    assert figures["durable_ms_max"] >= figures["durable_ms_p99"] >= figures["durable_ms_p50"] > 0
    done = CrossingRun(figures, [], [])
    assert not done.failed
    for key in (*FAULTS, "crossings", "digests_checked"):
        kept, figures[key] = figures[key], 0 if figures[key] else 1
        assert done.failed, key
        figures[key] = kept


def test_a_region_that_is_divided_and_united_has_no_seam_either():
    options = ("--clients", "12", "--seconds", "6", "--divide-every", "2", "--warm-up", "2")
    command = [sys.executable, "-m", "bench", "crossing", *options]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    figures = json.loads(ended.stdout.splitlines()[-1])
    assert [figures[key] for key in FAULTS] == [0] * len(FAULTS)
    assert figures["divisions"] > 1
    assert figures["crossings"] > 0


def test_the_world_has_a_border_in_every_view(tmp_path):
    settings = settings_for(20, str(tmp_path))
    assert (settings.world.columns, settings.world.rows) == (2, 2)
    divided = settings_for(20, str(tmp_path), divided=True)
    assert (divided.world.columns, divided.world.rows, divided.world.split_depth) == (1, 1, 1)
    reach = settings.view.cell_units * settings.view.far_cells
    assert reach >= WORLD_UNITS / 4
    # Or nobody ever came across.
    assert settings.world.border_hysteresis_units < TURN_UNITS
