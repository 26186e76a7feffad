"""A standby: as far as what is durable, and the owner at a word."""

import pytest

from server.host.errors import NoWayBack, RecoveryDiverged
from server.host.follower import Follower
from server.shard.errors import JournalDamaged
from server.store.errors import Fenced
from tests.support.life import SHARD, Life, live
from tests.support.pasture import pasture


async def follower_of(life):
    return await Follower.begin(pasture, life.journal.reopened(), life.store, life.clock)


async def test_it_follows_what_is_durable_and_checks_every_digest():
    async with Life() as life:
        await live(life, 30)
        follower = await follower_of(life)
        for _ in range(5):
            assert follower.tick == (await life.journal.spans())[SHARD].last_tick
            assert follower.machine.digest() == life.digests[follower.tick]
            await live(life, 20)
            await follower.catch_up()
        assert follower.tick > 100


async def test_it_takes_over_and_the_owner_writes_nothing_more():
    async with Life() as life:
        await live(life, 30)
        follower = await follower_of(life)
        await live(life, 30)
        recovered = await follower.take_over(life.recovered.claim.epoch + 1)
        assert recovered.machine is follower.machine
        assert recovered.claim.tick == recovered.machine.tick == (await life.journal.spans())[SHARD].last_tick
        assert recovered.machine.digest() == life.digests[recovered.machine.tick]
        with pytest.raises(Fenced):
            await live(life, 30)


async def test_an_epoch_too_old_is_refused_and_the_owner_goes_on():
    async with Life() as life:
        await live(life, 30)
        follower = await follower_of(life)
        with pytest.raises(Fenced) as refused:
            await follower.take_over(life.recovered.claim.epoch)
        assert refused.value.newest == life.recovered.claim.epoch
        await live(life, 30)


async def test_a_standby_that_differs_says_so():
    async with Life() as life:
        await live(life, 30)
        follower = await follower_of(life)
        follower.machine.world.generation[0] += 1
        await live(life, 60)
        with pytest.raises(RecoveryDiverged):
            await follower.catch_up()


async def begun_where_an_owner_stopped_that_had_lost_the_shard(first):
    """Its checkpoint is newer than what the next owner has journalled, which is nothing: so far it tells the truth."""
    for _ in range(6):
        first.tick()
    assert await first.checkpoints.take()
    follower = await follower_of(first)
    assert follower.tick == first.machine.tick
    return follower


async def test_a_state_that_the_journal_went_on_without_is_not_taken_over():
    async with Life() as first:
        await live(first, 61, checkpoint_at=(40,))
        async with first.next() as second:
            follower = await begun_where_an_owner_stopped_that_had_lost_the_shard(first)
            second.tick(("Move", 7, 10**6, 5.0, 5.0))
            await follower.catch_up()
            with pytest.raises(NoWayBack, match="tick 61 as its last here, and knows of 62"):
                await follower.take_over(second.recovered.claim.epoch + 1)


async def test_a_state_that_the_journal_went_on_without_is_not_followed():
    async with Life() as first:
        await live(first, 61, checkpoint_at=(40,))
        async with first.next() as second:
            follower = await begun_where_an_owner_stopped_that_had_lost_the_shard(first)
            for n in range(8):
                second.tick(("Move", 7, 10**6 + n, 5.0 + n, 5.0))
            with pytest.raises(JournalDamaged, match="made of records up to 61"):
                await follower.catch_up()
