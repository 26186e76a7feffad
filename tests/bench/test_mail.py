"""`bench mail`, small: all letters arrive, in order, and the journals say the same."""

import json
import subprocess
import sys

from bench.mail import MailBenchOptions, run
from bench.mail_machine import Scribe, at_rest
from bench.processes import ROOT
from server.shard.machine import NOTHING


def test_a_small_run_is_right():
    done = run(MailBenchOptions(letters=20, size=40, ticks=15, hz=60.0))
    figures = done.figures
    assert not done.failed
    assert (figures["lost"], figures["doubled"], figures["diverged"]) == (0, 0, 0)
    assert figures["letters"] == 2 * 2 * 20 * 15
    assert len(done.latency_ticks) == 2 * 20 * 15
    assert 1 <= figures["latency_ticks_p50"] <= figures["latency_ticks_p99"]
    assert figures["letters_per_s"] > 0
    again = run(MailBenchOptions(letters=20, size=40, ticks=15, hz=60.0))
    assert again.figures["sums"] == figures["sums"]


def test_a_run_that_is_wrong_says_so():
    done = run(MailBenchOptions(letters=1, size=16, ticks=2, hz=60.0))
    for key in ("lost", "doubled", "diverged"):
        done.figures[key] = 1
        assert done.failed
        done.figures[key] = 0
    assert not done.failed


def test_the_command_ends_with_a_line_of_json():
    command = [sys.executable, "-m", "bench", "mail", "--letters", "5", "--ticks", "10", "--hz", "60"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["letters"] == 200


def test_a_scribe_is_at_rest_when_it_was_heard():
    scribe = Scribe(1, 2, 1, 16, 1)
    assert not at_rest([scribe])
    (letter,) = scribe.step(NOTHING).mail
    assert letter.payload == b"0001000000010000"
    scribe.step(NOTHING)
    assert not at_rest([scribe])
