"""What is copied out of a store while its server trims it is whole all the same."""

import pytest

from config.settings import Settings
from server.commands.backup import replayed
from server.commands.kept import Kept
from server.commands.transfer import copy_out
from server.shard.errors import JournalDamaged
from server.store.errors import StoreError
from server.store.memory import MemoryJournal
from tests.support.life import SHARD, Life, live
from tests.support.pasture import GAME


class Busy(MemoryJournal):
    """A journal whose server goes on, with a checkpoint and a trim, whenever it is asked `at`, so many `times`."""

    def __init__(self, at, times):
        super().__init__(keep_max=100_000)
        self.at, self.times, self.life = at, times, None

    async def goes_on(self, at):
        if at == self.at and self.life is not None and self.times:
            self.times -= 1
            life, self.life = self.life, None
            # As many as that none of those copied so far is left.
            for _ in range(4):
                await live(life, 20)
                assert await life.checkpoints.take()
            self.life = life

    async def spans(self):
        await self.goes_on("spans")
        return await super().spans()

    async def read(self, shard, after_tick):
        await self.goes_on("read")
        async for record in super().read(shard, after_tick):
            yield record


async def copied(tmp_path, at, times):
    journal = Busy(at, times)
    async with Life(journal=journal) as life:
        await live(life, 120, checkpoint_at=(40, 90))
        journal.life = life
        await copy_out(Kept(journal, life.store, GAME, Settings()), tmp_path)
        journal.life = None
        return life, await replayed(tmp_path, GAME, Settings())


@pytest.mark.parametrize("at", ["spans", "read"])
@pytest.mark.parametrize("times", [0, 1, 3])
async def test_it_begins_again_when_the_journal_is_trimmed_meanwhile(tmp_path, at, times):
    life, found = await copied(tmp_path, at, times)
    (shard,) = found.values()
    assert found.keys() == {str(SHARD)}
    assert shard["digest"] == f"{life.digests[shard['tick']]:016x}"
    assert shard["tick"] > (150 if times else 100)


@pytest.mark.parametrize(("at", "error"), [("spans", StoreError), ("read", JournalDamaged)])
async def test_it_does_not_begin_again_for_ever(tmp_path, at, error):
    with pytest.raises(error):
        await copied(tmp_path, at, 100)
