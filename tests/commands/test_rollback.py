"""Going back to a game's version before, where that has no step back."""

from dataclasses import replace

import pytest

from server.commands.backup import backup, restore
from server.host.recovery import recover
from server.shard.errors import CaptureRefused
from server.sim.migrate import Migration
from tests.commands.conftest import committed
from tests.support.clock import VirtualClock
from tests.support.life import SHARD, Life, live
from tests.support.pasture import GAME, pasture


async def test_an_older_version_without_a_step_back_goes_on_from_the_checkpoint_it_left(
    life, data, tmp_path, settings, target
):
    assert await life.checkpoints.take()
    at, digest = life.machine.tick, life.machine.digest()
    newer = replace(GAME, version=4, migrations=(Migration(3, 4, lambda _saved: None),))
    upgrading = Life(lambda: pasture(game=newer), journal=life.journal, checkpoints=life.store, clock=life.clock)
    async with upgrading as upgraded:
        assert await upgraded.checkpoints.take()
        await live(upgraded, 30)
        await committed(upgraded)
    listed = await backup(data, tmp_path / "copy", newer, settings)
    assert listed["shards"][str(SHARD)]["tick"] > at
    with pytest.raises(CaptureRefused, match="has to declare the step"):
        await restore(tmp_path / "copy", target.directory, GAME, target.settings, None)
    await restore(tmp_path / "copy", target.directory, GAME, target.settings, at)
    async with target.opened() as (journal, checkpoints):
        found = await recover(pasture, journal, checkpoints, VirtualClock())
        assert (found.report.tick, found.machine.digest()) == (at, digest)
