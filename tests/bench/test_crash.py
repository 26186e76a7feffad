"""Kills, a few: nothing is lost; and every planted fault is found."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.crash_faults import FAULTS, Plant
from bench.mongo_server import MongoUnavailable, executable

ROOT = Path(__file__).resolve().parents[2]
KEYS = {"kills", "acknowledged", "lost", "doubled", "digest_mismatches", "recovery_s_p50", "recovery_s_p99"}
SMALL = ("--tellers", "20", "--rate", "600")


def bench(*words, status, load=SMALL):
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words, *load], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(("store", "kills"), [("sqlite", 3), ("mongodb", 1)])
def test_nothing_acknowledged_is_lost_and_nothing_is_doubled(tmp_path, store, kills):
    if store == "mongodb":
        try:
            executable()
        except MongoUnavailable as error:
            pytest.skip(str(error))
    figures = bench("crash", "--kills", str(kills), "--store", store, "--seed", "4", "--data", str(tmp_path), status=0)
    assert figures.keys() >= KEYS
    assert figures["kills"] == kills
    assert figures["lost"] == figures["doubled"] == figures["digest_mismatches"] == 0
    # What was looked at, so that nothing wrong can't mean nothing looked at.
    assert figures["acknowledged"] > 100
    assert figures["digests_checked"] > 0
    assert figures["resumes"] > 0
    assert 0 < figures["recovery_s_p50"] <= figures["recovery_s_p99"]


def test_orders_above_the_rate_are_no_exception(tmp_path):
    # 80 orders per second and client, and 40 are allowed: none may be passed over and yet be confirmed after a kill.
    load = ("--tellers", "5", "--rate", "400")
    figures = bench("crash", "--kills", "2", "--seed", "5", "--data", str(tmp_path), status=0, load=load)
    assert figures["lost"] == figures["doubled"] == figures["refused"] == 0
    # They were closed for it, and came back.
    assert figures["resumes"] > 2 * 5


@pytest.mark.parametrize(
    ("plant", "finds"),
    [
        (Plant.EARLY, "lost"),
        (Plant.STRAY, "digest_mismatches"),
        (Plant.FORGET, "doubled"),
        (Plant.RENUMBER, "doubled"),
    ],
)
def test_a_planted_fault_is_found(tmp_path, plant, finds):
    figures = bench("crash", "--kills", "1", "--seed", "2", "--plant", plant, "--data", str(tmp_path), status=1)
    assert figures[finds] > 0
    assert figures["reasons"]


def test_every_fault_of_a_server_has_a_name():
    assert {*FAULTS, Plant.RENUMBER} == set(Plant)
