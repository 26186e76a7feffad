"""The same inputs give the same bytes: in any process, at any SIMD level, in any order of arrival, after a restore.

Every run is a fresh process (tests/determinism/run.py). What is compared is the digest after every tick.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from numpy._core import _multiarray_umath as umath

TICKS = 2000
# What this numpy can switch at run time on this CPU, lowest first; empty on a CPU that has the baseline only.
FEATURES = [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__.get(name)]

# Name of the run -> (environment, options).
RUNS: dict[str, tuple[dict[str, str], list[str]]] = {
    "plain": ({"PYTHONHASHSEED": "0"}, []),
    "no SIMD beyond the baseline": ({"PYTHONHASHSEED": "1", "NPY_DISABLE_CPU_FEATURES": " ".join(FEATURES)}, []),
    "the lowest SIMD level only, arrivals shuffled": (
        {"PYTHONHASHSEED": "4294967295", "NPY_ENABLE_CPU_FEATURES": " ".join(FEATURES[:1])},
        ["--arrivals", "3"],
    ),
    "restored, arrivals shuffled another way": ({"PYTHONHASHSEED": "77"}, ["--arrivals", "8", "--restore", "1234"]),
}
GAMES = ["tests.determinism.flock", "games.frontier"]


def run(game: str, environment: dict[str, str], options: list[str], ticks: int = TICKS) -> dict[str, Any]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NPY_", "PYTHONHASHSEED"))}
    # An empty list of features means none is enabled to one variable and nothing to the other: leave it out.
    chosen = {k: v for k, v in environment.items() if v}
    command = [sys.executable, "-m", "tests.determinism.run", game, "--ticks", str(ticks), *options]
    done = subprocess.run(command, env=kept | chosen, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.fixture(scope="module")
def results() -> dict[str, dict[str, dict[str, Any]]]:
    """Game -> run -> what it printed; two processes at a time."""
    games = [g for g in GAMES if importlib.util.find_spec(g)]
    with ThreadPoolExecutor(2) as pool:
        futures = {g: {name: pool.submit(run, g, *how) for name, how in RUNS.items()} for g in games}
        return {g: {name: f.result() for name, f in runs.items()} for g, runs in futures.items()}


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("name", list(RUNS)[1:])
def test_every_tick_has_the_same_digest(results, game, name):
    plain, other = results[game]["plain"]["digests"], results[game][name]["digests"]
    assert len(plain) == len(other) == TICKS
    different = [i + 1 for i, (a, b) in enumerate(zip(plain, other, strict=True)) if a != b]
    assert not different, f"diverges at tick {different[0]} and {len(different)} in all; {RUNS[name]}"


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("name", [n for n, (_, options) in RUNS.items() if "--restore" not in options][1:])
def test_every_frame_has_the_same_bytes(results, game, name):
    assert results[game][name]["frames"] == results[game]["plain"]["frames"]


@pytest.mark.parametrize("game", GAMES)
def test_the_run_is_worth_comparing(results, game):
    digests = results[game]["plain"]["digests"]
    assert len(set(digests)) == TICKS
    assert results[game]["plain"]["entities"] >= 200


def test_other_inputs_give_other_digests(results):
    fresh = run("tests.determinism.flock", {"PYTHONHASHSEED": "0"}, ["--script", "5"], ticks=100)
    assert fresh["digests"][-1] != results["tests.determinism.flock"]["plain"]["digests"][99]
