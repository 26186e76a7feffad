"""What a node or a gateway can't do is said in a sentence, and nothing secret with it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bench.redis_server import RedisServer

CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("EVERSTEP_")}


def everstep(root: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "server", *words],
        cwd=root,
        env={**CLEAN, **{f"EVERSTEP_{name.upper()}": value for name, value in settings.items()}, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def nowhere() -> str:
    """An address where no Redis is, with a password in it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"redis://eve:hush@127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["sqlite", "memory"])
def test_a_store_that_is_one_process_own_is_none_for_nodes(root: Path, kind: str):
    done = everstep(root, "node", store__kind=kind)
    assert (done.returncode, "mongodb" in done.stderr, f'"{kind}"' in done.stderr) == (2, True, True), done.stderr


def test_leases_that_end_between_two_turns_are_refused(root: Path):
    done = everstep(root, "node", store__kind="mongodb", node__turn_s="2.0")
    assert done.returncode == 2
    assert "turn_s must be at most half of lease_ttl_s" in done.stderr


@pytest.mark.parametrize("words", [("node",), ("gateway", "--port", "0")])
def test_a_world_that_its_game_can_t_make_is_refused_at_once(root: Path, words: tuple[str, ...]):
    done = everstep(root, *words, store__kind="mongodb", world__width="4096.0")
    assert done.returncode == 2
    assert "games.frontier can't run with these settings" in done.stderr


@pytest.mark.parametrize("words", [("node",), ("gateway", "--port", "0"), ("nodes",), ("drain", "ada")])
def test_a_redis_that_does_not_answer_is_named_without_its_password(root: Path, nowhere: str, words: tuple[str, ...]):
    done = everstep(root, *words, store__kind="mongodb", redis__url=nowhere)
    assert done.returncode == 1, done.stderr
    assert f"Redis at {nowhere.replace('eve:hush@', '')} does not answer" in done.stderr
    assert "hush" not in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_is_none_is_refused_without_its_password(root: Path):
    done = everstep(root, "gateway", "--port", "0", redis__url="mongodb://eve:hush@127.0.0.1")
    assert done.returncode == 2, done.stderr
    assert "redis.url" in done.stderr
    assert "hush" not in done.stderr


def test_a_database_that_does_not_answer_ends_a_node_with_the_store_s_status(
    root: Path, redis_server: RedisServer, nowhere: str
):
    uri = nowhere.replace("redis://", "mongodb://") + "/?serverSelectionTimeoutMS=100"
    done = everstep(root, "node", store__kind="mongodb", redis__url=redis_server.url, store__mongodb_uri=uri)
    assert done.returncode == 3, done.stderr
    assert "the world's store can't be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_balance_acts_on_nothing_and_says_so(root: Path):
    done = everstep(root, "balance")
    assert done.returncode == 2
    assert "--plan" in done.stderr
