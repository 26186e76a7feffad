"""`bench handoffs`, small: everyone is somewhere once with what they carried, and the journals say the same."""

import json
import subprocess
import sys

from bench.handoffs import HandoffsOptions, run
from bench.processes import ROOT

FAULTS = ("lost", "doubled", "changed", "diverged")


def test_a_small_run_is_right():
    done = run(HandoffsOptions(entities=40, ticks=24, hz=60.0))
    figures = done.figures
    assert not done.failed
    assert [figures[key] for key in FAULTS] == [0, 0, 0, 0]
    assert figures["handoffs"] > 2 * 40
    assert 1 <= figures["crossing_pause_ticks_p50"] <= figures["crossing_pause_ticks_p99"]
    assert figures["handoffs_per_s"] > 0
    assert done.pause_ticks
    again = run(HandoffsOptions(entities=40, ticks=24, hz=60.0))
    assert again.figures["digests"] == figures["digests"]


def test_a_run_that_is_wrong_says_so():
    done = run(HandoffsOptions(entities=2, ticks=2, hz=60.0))
    for key in FAULTS:
        done.figures[key] = 1
        assert done.failed
        done.figures[key] = 0
    assert not done.failed


def test_the_command_ends_with_a_line_of_json():
    command = [sys.executable, "-m", "bench", "handoffs", "--entities", "20", "--ticks", "12", "--hz", "60"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["handoffs"] > 20
