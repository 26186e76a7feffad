"""`bench failover`, small: a node ends, one is killed, and players keep their sockets, inputs and views."""

import json
import subprocess
import sys

import pytest

from bench.failover import failed
from bench.processes import ROOT


@pytest.mark.usefixtures("mongodb")
def test_players_keep_everything_and_one_that_did_not_is_said_so():
    command = [sys.executable, "-m", "bench", "failover", "--rounds", "1", "--clients", "4", "--settle-s", "3"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    figures = json.loads(ended.stdout.splitlines()[-1])
    assert not failed(figures)
    assert figures["rounds"] == 1
    assert figures["clients"] == 4
    # Nobody moves while nobody runs the region.
    assert figures["kill_gap_s_max"] > 2 / 20
    # A step that crossed no border is one of all steps.
    for gap, frames in (("kill_gap_s", "kill_frames_s"), ("move_gap_ms", "move_frames_ms")):
        assert 0 < figures[f"{frames}_max"] <= figures[f"{gap}_max"]
    for key in ("inputs_lost", "mismatches", "reconnects", "faults"):
        assert figures[key] == 0
        assert failed(figures | {key: 1}), key
    assert failed(figures | {"digests_checked": 0})
