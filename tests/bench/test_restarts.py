"""`bench restarts`, small: Redis goes and comes, and everyone is somewhere once."""

import json
import subprocess
import sys

import pytest

from bench.processes import ROOT
from bench.restarts import failed
from bench.wander_game import REGIONS, Wander, atlas
from server.regions.frame import Frame
from server.shard.machine import NOTHING


@pytest.mark.usefixtures("redis")
def test_nobody_is_lost_and_the_command_ends_with_a_line_of_json():
    command = [sys.executable, "-m", "bench", "restarts", "--redis-restarts", "2", "--handoffs", "200", "--seed", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["handoffs"] >= 200
    assert figures["redis_restarts"] == 2
    assert figures["letters_resent"] > 0
    assert figures["reconnects"] >= 2 * len(REGIONS)
    assert [figures[key] for key in ("lost", "doubled", "changed", "diverged", "undelivered")] == [0] * 5


def test_a_run_that_is_wrong_says_so():
    wrong = ("lost", "doubled", "changed", "diverged", "undelivered")
    figures = {"handoffs": 10, "handoffs_asked": 10} | dict.fromkeys(wrong, 0)
    assert not failed(figures)
    assert all(failed(figures | {key: 1}) for key in wrong)
    assert failed(figures | {"handoffs": 9})


def test_wanderers_go_over_borders_until_they_are_told_to_stand():
    assert [r.id for r in atlas(40).regions] == list(REGIONS)
    wander = Wander(1, 400, 7)
    machine = wander.machine

    def leaving(ticks):
        return sum(Frame.decode(machine.step(NOTHING).frame, machine.game.schema).departed.size for _ in range(ticks))

    assert leaving(10) > 0
    wander.until_tick = machine.tick
    assert leaving(5) == 0
    again = wander.again()
    while again.tick < machine.tick:
        again.step(NOTHING)
    assert again.digest() == machine.digest()
