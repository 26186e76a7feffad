"""What is retained for an audit, as an operator looks at it: any tick of it, older than what recovery needs by far."""

import json
import subprocess
import sys

import pytest

from server.store.checkpoint_files import FileCheckpoints
from server.store.sqlite import SqliteJournal
from tests.support.life import SESSIONS, SHARD, Life, live

RETAINED = 300


@pytest.fixture
async def life(tmp_path):
    """A life of 1,000 ticks with a checkpoint each second: 300 ticks of it are retained, with four checkpoints."""
    data = tmp_path / "pasture"
    journal, checkpoints = await SqliteJournal.open(data), FileCheckpoints(data)
    async with Life(journal=journal, checkpoints=checkpoints, every_s=1.0, retain_ticks=RETAINED, retained=4) as life:
        for _ in range(100):
            await live(life, 10)
            # What was appended is committed, and told; a checkpoint that waited for it is written.
            await life.journal.spans()
            await life.checkpoints.settle()
        yield life
    await checkpoints.close()
    await journal.close()


@pytest.fixture
def everstep(root, tmp_path):
    def everstep(*words, status=0):
        command = [sys.executable, "-m", "server", *words, "--game", "tests.support.pasture", "--data", str(tmp_path)]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
        return done.stdout if status == 0 else done.stderr

    return everstep


async def test_any_retained_tick_can_be_replayed_and_looked_at(life, everstep):
    ticks = [m.tick for m in await life.store.manifests(SHARD)]
    oldest = ticks[-1]
    assert life.host.durable_tick - RETAINED - 100 < oldest <= life.host.durable_tick - RETAINED
    assert 4 < len(ticks) <= 8
    for to_tick in (oldest, oldest + 150):
        told = json.loads(everstep("replay", "--to", str(to_tick)))
        assert (told["tick"], told["digest"]) == (to_tick, f"{life.digests[to_tick]:016x}")
        assert told["from_checkpoint"] <= to_tick < told["from_checkpoint"] + 140
    everstep("inspect", "entity", "0", "--to", str(oldest + 33))
    (journal,) = map(json.loads, everstep("inspect", "journal").splitlines())
    assert journal["after_tick"] <= oldest
    assert len(everstep("inspect", "checkpoints").splitlines()) == len(ticks)
    inputs = [json.loads(line) for line in everstep("inspect", "inputs", "--session", str(SESSIONS[0])).splitlines()]
    assert min(line["tick"] for line in inputs) < oldest + 100
    assert f"at or before tick {oldest - 1}" in everstep("replay", "--to", str(oldest - 1), status=1)
