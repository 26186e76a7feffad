"""The commands over what lies on a disk, as a user calls them."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from bench.cli import app


def bench(root, *arguments):
    command = [sys.executable, "-m", "bench", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def test_damage(root):
    figures = json.loads(bench(root, "damage", "--cuts", "20", "--flips", "30", "--sectors", "10").stdout)
    assert (figures["attempts"], figures["cuts"], figures["flips"], figures["blanks"]) == (60, 20, 30, 10)
    assert figures["whole"] + figures["prefix"] + figures["refused"] == 60
    assert figures["diverged"] == figures["crashed"] == 0


@pytest.mark.parametrize("wanted", ["some", "-1", ""])
def test_damage_takes_a_number_or_all(wanted):
    done = CliRunner().invoke(app, ["damage", "--cuts", wanted])
    assert done.exit_code == 2
    assert "a number, or all" in done.stderr


def test_week(root):
    figures = json.loads(bench(root, "week", "--ticks", "6000", "--retained", "300").stdout)
    assert figures["came_back"]
    assert figures["steady"]
    assert figures["replayed"] > figures["replayed_wrong"] == 0
