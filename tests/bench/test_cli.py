"""Every command, small: its last line has its keys, and what it computed is right."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CROWD_KEYS = {
    "clients",
    "hz",
    "cpu_us_per_client_tick",
    "tick_lateness_ms_p50",
    "tick_lateness_ms_p99",
    "input_to_visible_ms_p50",
    "input_to_visible_ms_p99",
    "bytes_per_client_tick",
    "bytes_per_visible_entity",
    "visible_mean",
    "rss_kib_per_client",
    "inputs_per_s",
    "mismatches",
}


def bench(*arguments: object) -> dict:
    done = subprocess.run(
        [sys.executable, "-m", "bench", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_crowd(tmp_path):
    saved, page = tmp_path / "crowd.json", tmp_path / "deep" / "crowd.html"
    figures = bench("crowd", "--clients", 24, "--seconds", 2, "--json", saved, "--report", page)
    assert figures.keys() >= CROWD_KEYS
    assert json.loads(saved.read_text()) == figures
    assert page.read_text().count("<polyline") == 3
    assert figures["clients"] == 24
    assert figures["store"] == "memory"
    assert figures["mismatches"] == figures["lost"] == figures["refused"] == 0
    # What was checked, so that nothing wrong can't mean nothing looked at.
    assert figures["digests_checked"] > 0
    assert figures["views_compared"] > 0
    assert figures["inputs_timed"] > 0
    # 24 avatars in the smallest world, 5 by 5 cells: nobody sees more than all, everybody sees many.
    assert 6 < figures["visible_mean"] <= 24
    # Six bytes for each that moved, and the headers.
    assert figures["bytes_per_visible_entity"] > 6


def test_crowd_with_stalled_clients():
    figures = bench("crowd", "--clients", 20, "--seconds", 2, "--stalled", 5, "--sample", 4, "--warm-up", 1)
    assert figures["stalled"] == 5
    assert figures["mismatches"] == figures["lost"] == 0
    assert figures["held_kib_per_stalled_client"] >= 0
    assert figures["without_stalled_tick_lateness_ms_p99"] >= 0


def test_floor():
    figures = bench("floor", "--clients", 20, "--seconds", 2, "--bytes", 300)
    assert figures["clients"] == 20
    assert figures["lost"] == 0
    assert figures["cpu_us_per_client_tick"] >= 0
    # The window may cut a tick at either end.
    assert figures["bytes_per_client_tick"] == pytest.approx(300, rel=0.2)


def test_entities_are_the_same_every_time():
    first, second = (bench("entities", "--count", 2000, "--ticks", 20) for _ in range(2))
    assert first["digest"] == second["digest"]
    assert first["count"] == 2000
    assert 0 < first["step_frame_ms_p50"] <= first["step_frame_ms_p99"]
    # Two coordinates and a 4-byte row each; a frame that leaves out who moved would be smaller.
    assert first["frame_bytes_per_entity"] == pytest.approx(8, rel=0.02)
