"""Bots that were started by a server end with it, also where it has no time for a farewell."""

import os
import subprocess
import sys

import psutil
import pytest

from server.commands import bots

PATIENCE_S = 60
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("EVERSTEP_")}


@pytest.fixture
def running(root, tmp_path):
    """A world with bots: its process, and theirs."""
    command = [sys.executable, "-m", "server", "run", "--port", "0", "--bots", "2", "--data", tmp_path]
    environment = ENVIRONMENT | {"EVERSTEP_WORLD__WIDTH": "256", "EVERSTEP_WORLD__HEIGHT": "256"}
    log = (tmp_path / "log").open("w")
    with log, subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=log) as process:
        process.stdout.readline()
        crowd = []
        while not crowd:
            assert process.poll() is None, (tmp_path / "log").read_text()
            crowd = [child for child in psutil.Process(process.pid).children() if "bots" in child.cmdline()]
        try:
            yield process, crowd[0]
        finally:
            process.kill()
            if crowd[0].is_running():
                crowd[0].kill()


def test_bots_end_when_their_server_is_killed(running):
    server, crowd = running
    server.kill()
    server.wait()
    # Raises where they live on.
    crowd.wait(timeout=PATIENCE_S)


def test_bots_that_are_stopped_are_gone():
    crowd = bots.start("ws://127.0.0.1:9", "games.frontier", 1)
    bots.stop(crowd)
    assert crowd.returncode is not None


def test_bots_end_with_their_input(root):
    command = [sys.executable, "-m", "server", "bots", "--url", "ws://127.0.0.1:9", "--until-eof"]
    done = subprocess.run(command, cwd=root, input=b"go on\n", env=ENVIRONMENT, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0
