"""`bench far`, small: the two worlds are of the same game, and the one sends less and says what share of it is far."""

import json
import subprocess
import sys

from bench.far import run
from bench.processes import ROOT


def test_a_small_run_is_right():
    done = run(players=1, ticks=40)
    figures = done.figures
    assert len(done.far.step_ms) == len(done.near.step_ms) == 40
    assert figures["entities"] > 5_000
    assert 0.5 < figures["far"] < 1
    assert figures["digest"] != figures["digest_all_near"]
    # What nobody sees travels a quarter as often.
    assert figures["frame_bytes_ratio"] < 0.7
    again = run(players=1, ticks=40).figures
    for key in ("far", "frame_bytes", "frame_bytes_all_near", "digest", "digest_all_near"):
        assert again[key] == figures[key]


def test_the_command_ends_with_a_line_of_json():
    command = [sys.executable, "-m", "bench", "far", "--players", "3", "--ticks", "10"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["players"] == 3
