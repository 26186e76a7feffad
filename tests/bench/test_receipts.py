"""`bench receipts`, small: every deed has its receipt, and the world, killed and started again, knows of each."""

import asyncio
import json
import subprocess
import sys

import numpy as np
import pytest

from bench.client import Counts
from bench.frames import InputFrame
from bench.kept_server import tally
from bench.processes import ROOT
from bench.receipts import ReceiptsRun
from bench.receipts_game import DO, GAME
from bench.receipts_swarm import Player
from bench.stores import Store
from protocol.codec import encode_receipt
from server.regions.frame import RegionSpec
from server.regions.machine import RegionMachine
from server.shard.machine import JOIN, PROCESSED, TickInput


@pytest.mark.parametrize("store", [Store.SQLITE, Store.MEMORY])
def test_every_deed_is_answered_and_known(store):
    command = ["receipts", "--clients", 5, "--per-s", 100, "--seconds", 1, "--store", store]
    done = subprocess.run(
        [sys.executable, "-m", "bench", *map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["sent"] > 50
    for key in ("unanswered", "forgotten", "doubled", "lost", "refused"):
        assert figures[key] == 0, key
    assert 0 < figures["receipt_ms_p50"] <= figures["receipt_ms_p99"] <= figures["receipt_ms_max"]


def test_a_run_with_a_promise_broken_has_failed():
    kept = dict.fromkeys(("unanswered", "forgotten", "doubled", "lost", "refused"), 0)
    assert not ReceiptsRun(kept, [], []).failed
    assert all(ReceiptsRun(kept | {key: 1}, [], []).failed for key in kept)


def test_several_deeds_of_one_avatar_in_a_tick_all_count():
    machine = RegionMachine(GAME, RegionSpec(1, 0.0, 0.0, 256.0, 256.0, 64), seed=1, tick_rate_hz=20)
    joins = np.zeros(2, machine.shapes[JOIN].dtype)
    joins["session"] = 1, 2
    machine.step(TickInput({JOIN: joins}, np.zeros(0, PROCESSED)))
    deeds = np.zeros(3, machine.shapes[DO].dtype)
    deeds["session"], deeds["seq"] = (1, 1, 2), (1, 2, 1)
    effects = machine.step(TickInput({DO: deeds}, np.array([(1, 2), (2, 1)], PROCESSED)))
    assert tally(machine.world, "Deeds.count") == 3
    assert effects.receipts.tolist() == [(1, 1), (1, 2), (2, 1)]


class Wire(asyncio.Transport):
    """Takes what is written."""

    def write(self, _data):
        pass


def test_a_receipt_counts_from_when_its_deed_was_due_and_a_second_one_is_found_out():
    counts, latency_ms = Counts(), []
    player = Player(0, counts, b"", latency_ms)
    player.transport = Wire()
    player.do(InputFrame(DO, ()), due_s=0.0)
    receipt = encode_receipt(player.seq)
    player.message(receipt, 0, len(receipt))
    assert len(latency_ms) == 1
    assert not player.open
    player.message(receipt, 0, len(receipt))
    assert counts.refused == 1
