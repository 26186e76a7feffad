"""`bench durability`, small: every row is measured, and what was measured was right."""

import json
import subprocess
import sys

from bench.durability import Row
from bench.processes import ROOT

SMALL = {
    "--runs": 1,
    "--seconds": 2,
    "--clients": 8,
    "--receipt-clients": 8,
    "--entities": 300,
    "--players": 2,
    "--play-seconds": 1,
    "--edge": 128,
}
ROWS = {
    "journal_cpu_more_percent",
    "crowd_tick_lateness_ms_p99",
    "receipt_ms_p99_sqlite",
    "recovery_s_sqlite",
    "capture_ms_max_sqlite",
    "beside_tick_ms_more_sqlite",
    "times_real_time",
}


def test_every_row_is_measured_and_nothing_was_lost():
    command = [sys.executable, "-m", "bench", "durability", "--no-mongodb"]
    command += [str(word) for option in SMALL.items() for word in option]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *table, empty, last = done.stdout.splitlines()
    figures = json.loads(last)
    assert figures.keys() >= ROWS
    assert not empty
    assert len(table) == 2 + len(ROWS)
    assert set(figures["missed"]) <= ROWS
    assert figures["failures"] == []
    assert [figures[f"crowd_{store}"]["store"] for store in ("memory", "sqlite")] == ["memory", "sqlite"]
    assert figures["receipts_sqlite"]["sent"] > 20
    assert figures["recovery_sqlite"]["ticks_lost"] == 0
    assert figures["replay"]["digests_checked"] > 0


def test_a_row_knows_whether_its_target_is_met():
    most, least = Row("a", "A", 10.0, " ms", 10.0), Row("b", "B", 20.0, "", 19.9, least=True)
    assert most.met
    assert not least.met
    assert most.markdown() == "| A | ≤ 10 ms | 10 ms |"
    assert least.markdown() == "| B | ≥ 20 | 19.9 (missed) |"
