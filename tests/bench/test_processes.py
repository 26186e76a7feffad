"""Workers and the command line: what fails says so, and nothing is left running."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.floor import FloorOptions, swarm_arguments
from bench.floor_server import Floor
from bench.peer import install
from bench.processes import ROOT, Worker, WorkerError
from bench.progress import show


def test_a_worker_answers_is_measured_and_ends():
    with Worker("bench.floor_server", {"bytes": 260, "hz": 20}, 0) as worker:
        assert worker.expect("listening")["port"] > 0
        assert worker.rss_kib() > 1000
        assert worker.cpu_s() >= 0
        worker.say("start")
        worker.say("stop")
        said = worker.expect("ticks")
        assert said["inputs"] == 0
        assert len(os.sched_getaffinity(worker.pid)) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


def test_the_parent_stays_where_it_was():
    allowed = os.sched_getaffinity(0)
    with Worker("bench.floor_server", {"bytes": 260, "hz": 20}, 0) as worker:
        worker.expect("listening")
    assert os.sched_getaffinity(0) == allowed


def test_a_worker_that_fails_says_why():
    told = swarm_arguments(FloorOptions(clients=1, seconds=1.0), port=1)
    with Worker("bench.swarm", told, 0) as worker, pytest.raises(WorkerError, match="ConnectionRefusedError"):
        worker.expect("joined")


def test_a_worker_that_ends_is_noticed():
    with Worker("bench.floor_server", {"bytes": 260, "hz": 20}, 0) as worker:
        worker.expect("listening")
        worker._process.stdin.close()
        with pytest.raises(WorkerError, match="before it said 'ticks'"):
            worker.expect("ticks")


def test_an_unknown_peer_is_refused_with_those_there_are():
    with pytest.raises(WorkerError, match="colyseus"):
        install("nobody")


def test_colyseus_names_its_versions_exactly():
    package = json.loads((ROOT / "bench" / "peers" / "colyseus" / "package.json").read_text())
    assert all(version[0].isdigit() for version in package["dependencies"].values())


def test_a_crowd_of_none_but_stalled_clients_is_refused():
    done = CliRunner().invoke(app, ["crowd", "--clients", "5", "--stalled", "5"])
    assert done.exit_code == 2


@pytest.mark.parametrize("size", [3, 127, 130, 260, 5000])
def test_a_floor_frame_has_the_size_that_was_asked_for(size):
    frame = Floor(size, 20).frame
    assert len(frame) == size


def test_nothing_but_json_is_said_on_standard_output(capsys):
    show("title", {"hz": 20.0, "n": 3, "reasons": []})
    said = capsys.readouterr()
    assert said.out == ""


def test_help_names_every_command():
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for command in ("crowd", "floor", "entities", "peer", "table"):
        assert command in done.stdout
