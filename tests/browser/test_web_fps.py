"""The bench of the page: it runs, and what it says it drew was drawn."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.browser.conftest import CHROMIUM


@pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="no Chromium")
def test_the_bench_draws_what_it_was_asked_for(root: Path) -> None:
    command = [sys.executable, "-m", "bench.web_fps", "--bodies", "500", "--crowd", "named", "--seconds", "1"]
    environment = {**os.environ, "CHROMIUM": CHROMIUM}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, check=True, timeout=60)
    figures = orjson.loads(done.stdout.splitlines()[-1])
    assert figures["drawn"] >= 500
    assert figures["bodies"] == 500
    assert figures["frame_ms_p95"] >= figures["script_ms_p50"] > 0
    assert figures["fps_mean"] > 0
