"""Kills, a few: nothing is lost; and every planted fault is found."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.crash import CrashOptions, run
from bench.crash_faults import FAULTS
from bench.crash_load import clean
from bench.plants import Plant, program
from bench.stores import Store

ROOT = Path(__file__).resolve().parents[2]
KEYS = {"kills", "acknowledged", "lost", "doubled", "digest_mismatches", "recovery_s_p50", "recovery_s_p99"}
SMALL = ("--tellers", "20", "--rate", "600")


def tried(*words):
    """A bench's status, its figures, and what it said meanwhile."""
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stderr


def bench(*words, status, load=SMALL):
    found, figures, said = tried(*words, *load)
    assert found == status, said
    return figures


@pytest.mark.parametrize(("store", "kills"), [("sqlite", 3), ("mongodb", 1)])
def test_nothing_acknowledged_is_lost_and_nothing_is_doubled(tmp_path, request, store, kills):
    if store == "mongodb":
        request.getfixturevalue("mongodb")
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
    # Ten times what a client may send: none may be passed over and yet be confirmed after a kill.
    load = ("--tellers", "5", "--rate", "2000")
    figures = bench("crash", "--kills", "2", "--seed", "5", "--data", str(tmp_path), status=0, load=load)
    assert figures["lost"] == figures["doubled"] == figures["refused"] == 0
    # They were closed for it, and came back.
    assert figures["resumes"] > 2 * 5


FOUND_AS = {
    Plant.EARLY: "lost",
    Plant.STRAY: "digest_mismatches",
    Plant.FORGET: "doubled",
    Plant.RENUMBER: "doubled",
}


async def test_every_planted_fault_is_found(tmp_path):
    def planted(plant):
        return run(CrashOptions(2, Store.SQLITE, 10, 300.0, seed=2, plant=plant, data=tmp_path / plant))

    # Side by side: each waits most of its time.
    runs = await asyncio.gather(*[planted(plant) for plant in FOUND_AS])
    for (plant, key), figures in zip(FOUND_AS.items(), runs, strict=True):
        assert figures[key] > 0, plant
        assert not clean(figures), plant


def test_every_fault_is_planted_somewhere_and_looked_for():
    assert {*FAULTS, Plant.RENUMBER} == set(Plant) == set(FOUND_AS)
    assert {plant for plant in Plant if program(plant) != program(None)} == set(FAULTS)
