"""The same inputs give the same bytes: in any process, at any SIMD level, in any order of arrival, after a restore.

Every run is a fresh process (tests/determinism/run.py). What is compared is the digest after every tick.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from numpy._core import _multiarray_umath as umath

TICKS = 1000
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
    "restored, arrivals shuffled another way": ({"PYTHONHASHSEED": "77"}, ["--arrivals", "8", "--restore", "617"]),
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


# A game is one test: tests that share its runs would each have them made anew where they are run by several processes.
@pytest.mark.parametrize("game", GAMES)
def test_every_tick_has_the_same_digest_and_every_frame_the_same_bytes(game):
    with ThreadPoolExecutor(2) as pool:
        futures = {name: pool.submit(run, game, *how) for name, how in RUNS.items()}
        results = {name: future.result() for name, future in futures.items()}
    plain = results.pop("plain")
    # It is worth comparing.
    assert len(plain["digests"]) == len(set(plain["digests"])) == TICKS
    assert plain["entities"] >= 200
    for name, other in results.items():
        assert len(other["digests"]) == TICKS
        different = [i + 1 for i, (a, b) in enumerate(zip(plain["digests"], other["digests"], strict=True)) if a != b]
        assert not different, f"{name}: diverges at tick {different[0]} and {len(different)} in all; {RUNS[name]}"
        if "--restore" not in RUNS[name][1]:
            assert other["frames"] == plain["frames"], name


def test_other_inputs_give_other_digests():
    plain, other = (
        run("tests.determinism.flock", {"PYTHONHASHSEED": "0"}, options, ticks=100)
        for options in ([], ["--script", "5"])
    )
    assert plain["digests"][-1] != other["digests"][-1]
