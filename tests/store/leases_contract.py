"""What every store of leases does. A medium makes stores that see the same leases, and lets time pass."""

from server.shard.lease import Lease, NodeInfo


class LeasesContract:
    """Subclasses give a fixture `medium`: `.leases`, `await .expire()` (no lease outlives it), `await .forget()`."""

    async def test_one_holds_a_shard_and_asked_again_has_the_same_lease(self, medium):
        lease = await medium.leases.acquire(7, "a", 0)
        assert lease == Lease(7, "a", 1)
        assert await medium.leases.acquire(7, "b", 0) is None
        assert await medium.leases.acquire(7, "a", 0) == lease
        assert await medium.leases.acquire(8, "b", 0) == Lease(8, "b", 1)
        assert await medium.leases.holders([7, 8, 9]) == {7: lease, 8: Lease(8, "b", 1)}

    async def test_epochs_rise_whoever_holds_and_whatever_the_journal_knows(self, medium):
        first = await medium.leases.acquire(7, "a", 0)
        await medium.leases.release(first)
        second = await medium.leases.acquire(7, "b", 0)
        await medium.leases.release(second)
        third = await medium.leases.acquire(7, "a", 40)
        assert [first.epoch, second.epoch, third.epoch] == [1, 2, 41]

    async def test_a_lease_that_ran_out_is_anyones(self, medium):
        old = await medium.leases.acquire(7, "a", 0)
        await medium.expire()
        assert await medium.leases.holders([7]) == {}
        new = await medium.leases.acquire(7, "b", 0)
        assert new == Lease(7, "b", 2)
        assert await medium.leases.renew([old]) == [False]
        await medium.leases.release(old)
        assert await medium.leases.hand_over(old, "c") is None
        assert await medium.leases.holders([7]) == {7: new}

    async def test_a_lease_that_ran_out_and_nobody_took_is_held_again(self, medium):
        lease = await medium.leases.acquire(7, "a", 0)
        await medium.expire()
        assert await medium.leases.renew([lease]) == [True]
        assert await medium.leases.acquire(7, "b", 0) is None

    async def test_a_lease_that_another_had_meanwhile_is_lost_for_good(self, medium):
        lease = await medium.leases.acquire(7, "a", 0)
        await medium.expire()
        await medium.leases.release(await medium.leases.acquire(7, "b", 0))
        assert await medium.leases.renew([lease]) == [False]

    async def test_renewing_some_tells_of_each(self, medium):
        mine = [await medium.leases.acquire(shard, "a", 0) for shard in (1, 2)]
        lost = Lease(3, "a", 1)
        await medium.leases.acquire(3, "b", 5)
        assert await medium.leases.renew([mine[0], lost, mine[1]]) == [True, False, True]
        assert await medium.leases.renew([]) == []

    async def test_handing_over_leaves_no_gap_and_the_old_holder_is_out(self, medium):
        mine = await medium.leases.acquire(7, "a", 0)
        theirs = await medium.leases.hand_over(mine, "b")
        assert theirs == Lease(7, "b", 2)
        assert await medium.leases.renew([mine, theirs]) == [False, True]
        assert await medium.leases.hand_over(mine, "c") is None
        assert await medium.leases.acquire(7, "b", 0) == theirs

    async def test_after_all_is_forgotten_a_holder_goes_on_and_a_stranger_is_above_the_journals_epoch(self, medium):
        kept, taken = [await medium.leases.acquire(shard, "a", 9) for shard in (1, 2)]
        await medium.forget()
        assert await medium.leases.renew([kept]) == [True]
        assert await medium.leases.acquire(1, "b", 10) is None
        assert await medium.leases.acquire(2, "b", taken.epoch) == Lease(2, "b", 11)
        assert await medium.leases.renew([taken]) == [False]

    async def test_nodes_are_known_until_they_fall_silent_or_say_goodbye(self, medium):
        assert not await medium.leases.announce(NodeInfo("b", b"\x00 load 2"))
        assert not await medium.leases.announce(NodeInfo("a", b"load 1"))
        assert await medium.leases.nodes() == [NodeInfo("a", b"load 1"), NodeInfo("b", b"\x00 load 2")]
        assert await medium.leases.announce(NodeInfo("a", b"load 3"))
        await medium.leases.withdraw("b")
        assert await medium.leases.nodes() == [NodeInfo("a", b"load 3")]
        await medium.expire()
        assert not await medium.leases.announce(NodeInfo("a", b"load 4"))
        await medium.expire()
        assert await medium.leases.nodes() == []
        assert not await medium.leases.announce(NodeInfo("a", b"load 5"))
        await medium.forget()
        assert not await medium.leases.announce(NodeInfo("a", b"load 6"))
