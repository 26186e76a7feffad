"""Checkpoints beside the ticks: when they are taken, when they are written, what goes after them."""

import asyncio
import os
import sys
import threading
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from server.host.errors import NoWayBack
from server.host.recovery import rebuild
from server.store.memory import MemoryJournal
from server.store.memory_checkpoints import MemoryCheckpoints
from tests.support.life import SHARD, Life, live, orders


def metric(life, name, **labels):
    return life.metrics.registry.get_sample_value(name, labels)


async def ticks_of(life):
    return [manifest.tick for manifest in await life.store.manifests(SHARD)]


async def test_one_is_taken_every_so_often_and_the_newest_two_stay():
    async with Life(every_s=2.0) as life:
        seen = []
        for _ in range(20):
            await live(life, 10)
            await life.checkpoints.settle()
            seen.append(await ticks_of(life))
        assert seen[3] == [40 - 1]
        assert all(len(ticks) <= 2 for ticks in seen)
        # 2 s apart, at 20 ticks per second; but the second comes earlier, as early as this shard's number has it.
        newest = sorted({t for ticks in seen for t in ticks})
        assert newest == [39, 61, 102, 143, 183]
        assert metric(life, "everstep_checkpoint_seconds_count") == 5
        assert metric(life, "everstep_checkpoint_capture_seconds_count") == 5
        assert metric(life, "everstep_checkpoint_bytes", region=str(SHARD)) > 100
        assert metric(life, "everstep_checkpoint_failures_total") == 0


async def test_a_world_that_is_killed_before_each_is_due_does_not_replay_ever_more():
    life, replayed = Life(every_s=2.0), []
    for _ in range(12):
        async with life:
            replayed.append(life.report.ticks_replayed)
            # One second of play, and the end.
            await live(life, 20)
            await life.checkpoints.settle()
        life = life.next()
    assert replayed[:2] == [0, 20]
    # What makes one due, and a life; not twelve of them.
    assert max(replayed) <= 40 + 20


async def test_the_journal_goes_behind_the_second_newest():
    async with Life() as life:
        await live(life, 30)
        assert await life.checkpoints.take()
        # The way back past the only one is the whole journal.
        assert (await life.journal.spans())[SHARD].after_tick == 0
        await live(life, 30)
        assert await life.checkpoints.take()
        assert life.journal.records(SHARD, 30)[0].tick > 30
        assert (await life.journal.spans())[SHARD].after_tick <= 30
        assert not [t for t, _ in life.journal._kept[SHARD] if t <= 30]


async def test_a_retained_past_keeps_a_thin_row_of_checkpoints_and_every_tick_in_it_can_be_replayed():
    async with Life(every_s=1.0, retain_ticks=600, retained=6) as life:
        for _ in range(200):
            await live(life, 10)
            await life.checkpoints.settle()
        ticks = await ticks_of(life)
        oldest = ticks[-1]
        assert oldest <= life.host.durable_tick - 600
        assert (await life.journal.spans())[SHARD].after_tick <= oldest
        # The newest two, one for each hundred ticks, and the base.
        assert 6 <= len(ticks) <= 9
        assert max(late - early for late, early in pairwise(ticks)) <= 100 + 2 * 21
        for to_tick in (oldest, oldest + 1, oldest + 77, ticks[2] - 1, ticks[0]):
            machine, report = await rebuild(life.make, life.journal, life.store, life.clock, to_tick=to_tick)
            assert machine.digest() == life.digests[to_tick]
            assert report.ticks_replayed <= 142
        with pytest.raises(NoWayBack):
            await rebuild(life.make, life.journal, life.store, life.clock, to_tick=oldest - 1)


async def test_an_owner_that_was_followed_lets_nothing_go_that_the_next_one_needs():
    async with Life() as first:
        await live(first, 41, checkpoint_at=(20, 30))
        async with first.next() as second:
            second.tick(("Move", 7, 10**6, 5.0, 5.0))
            second.tick(("Move", 7, 10**6 + 1, 7.0, 5.0))
            # Twice it is stopped while idle, knowing of nothing.
            first.tick()
            assert await first.checkpoints.take()
            first.tick()
            assert await first.checkpoints.take()
            # Two stay that the next one can begin with, so it can do with one of them damaged.
            assert await ticks_of(second) == [43, 42, 30, 20]
            second.store.damage(SHARD, 30, "manifest")
        async with second.next() as third:
            assert third.machine.tick == second.machine.tick
            assert third.machine.digest() == second.digests[third.machine.tick]
            for _ in range(3):
                await live(third, 10)
                assert await third.checkpoints.take()
            # The next owner's count, and the one before's is gone.
            assert {m.epoch for m in await third.store.manifests(SHARD)} == {third.recovered.claim.epoch}


async def test_more_can_be_kept():
    async with Life(kept=4) as life:
        for _ in range(6):
            await live(life, 10)
            assert await life.checkpoints.take()
        assert await ticks_of(life) == [60, 50, 40, 30]
        assert [r.tick for r in life.journal.records(SHARD, 30)]
        assert not [t for t, _ in life.journal._kept[SHARD] if t <= 30]


async def test_it_is_not_written_before_the_journal_holds_its_digest():
    """Then it holds every tick up to it, too; and whoever lost the shard gets no record in, so writes no checkpoint."""
    journal = MemoryJournal(hold=True, keep_max=10_000)
    async with Life(journal=journal, every_s=1.0) as life:
        await live(life, 25)
        journal.sync(len(journal._waiting) - 12)
        await life.checkpoints.settle()
        assert await ticks_of(life) == []
        assert life.checkpoints._waiting is not None
        due = life.checkpoints._waiting
        assert due.previous < due.proof_tick == due.capture.tick + 1
        while life.host.durable_tick < due.proof_tick:
            assert life.checkpoints._task is None
            journal.sync(1)
        await life.checkpoints.settle()
        assert await ticks_of(life) == [due.capture.tick]
        manifest = (await life.store.manifests(SHARD))[0]
        assert manifest.digest == life.digests[manifest.tick]
        assert manifest.previous == due.previous


async def test_a_clean_end_waits_for_the_journal():
    journal = MemoryJournal(hold=True, keep_max=10_000)
    async with Life(journal=journal) as life:
        await live(life, 25)
        taking = asyncio.create_task(life.checkpoints.take())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not taking.done()
        journal.sync()
        assert await taking
        assert await ticks_of(life) == [25]


async def test_a_clean_end_does_not_wait_for_ever():
    async with Life(journal=MemoryJournal(hold=True, keep_max=10_000)) as life:
        await live(life, 25)
        with capture_logs() as logs:
            assert not await life.checkpoints.take(timeout_s=0)
        assert [line["event"] for line in logs] == ["no checkpoint: the store did not answer in time"]
        assert await ticks_of(life) == []
        # It listens no more for a journal that may yet come.
        assert life.host.after_durable == [life.checkpoints._write_if_durable]


async def test_a_clean_end_gives_up_a_checkpoint_that_its_store_never_takes():
    class Silent(MemoryCheckpoints):
        """A database that is away: it neither takes nor refuses."""

        async def write(self, *_):
            begun.set()
            await asyncio.Event().wait()

    begun = asyncio.Event()
    life = await Life(checkpoints=Silent(), every_s=1.0).__aenter__()
    await live(life, 25)
    await begun.wait()
    assert life.checkpoints.busy
    assert not await life.checkpoints.take(timeout_s=0)
    await life.checkpoints.close(timeout_s=0)
    assert not life.checkpoints.busy


async def test_a_store_that_fails_is_counted_and_the_world_goes_on():
    store = MemoryCheckpoints()
    store.fail("the disk is full")
    async with Life(checkpoints=store, every_s=1.0) as life:
        with capture_logs() as logs:
            for _ in range(9):
                await live(life, 10)
                await life.checkpoints.settle()
        failed = [line for line in logs if line["event"] == "checkpoint failed"]
        assert len(failed) == metric(life, "everstep_checkpoint_failures_total") >= 3
        assert life.checkpoints.tick is None
        assert (await life.journal.spans())[SHARD].after_tick == 0
        store._failure = None
        for _ in range(3):
            await live(life, 10)
            await life.checkpoints.settle()
        assert len(await ticks_of(life)) == 2


async def test_what_is_written_is_the_state_between_two_ticks_however_long_writing_takes():
    async with Life(every_s=1.0) as life:
        await live(life, 21)
        assert life.checkpoints._task is not None
        # Ticks go on while it is encoded.
        await live(life, 20)
        await life.checkpoints.settle()
        manifests = await life.store.manifests(SHARD)
        assert [m.digest for m in manifests] == [life.digests[m.tick] for m in manifests]
    async with life.next() as second:
        assert second.machine.digest() == life.digests[second.machine.tick]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a priority is the whole process's")
async def test_compressing_gives_way_to_ticks():
    async with Life() as life:
        await live(life, 10)
        assert await life.checkpoints.take()
        (thread,) = life.checkpoints._thread._threads
        ours = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, thread.native_id) == min(19, ours + 10)


async def test_closed_it_takes_no_more():
    async with Life(every_s=1.0) as life:
        await live(life, 25)
        await life.checkpoints.close()
        taken = await ticks_of(life)
        for n in range(60):
            life.tick(*orders(n + 100))
        await life.checkpoints.settle()
        assert await ticks_of(life) == taken
        life.host.on_digest.append(life.checkpoints._on_digest)
        life.host.after_durable.append(life.checkpoints._write_if_durable)


async def test_closing_does_not_hold_the_loop_while_one_is_compressed_that_was_given_up():
    compressed = threading.Event()
    life = await Life(every_s=1.0).__aenter__()
    # So long that a test which waits for it ends all the same.
    compressing = life.checkpoints._thread.submit(compressed.wait, 10)
    await live(life, 25)
    assert life.checkpoints.busy
    await life.checkpoints.close(timeout_s=0)
    assert not life.checkpoints.busy
    assert compressing.running(), "nobody waited for it"
    compressed.set()


async def test_one_alone_is_no_way_to_fall_back():
    async with Life() as life:
        pass
    with pytest.raises(AssertionError):
        type(life.checkpoints)(life.host, life.journal, life.store, life.clock, life.metrics, every_s=1.0, kept=1)


async def test_the_age_of_the_newest_is_told():
    async with Life() as life:
        await live(life, 20)
        assert await life.checkpoints.take()
        life.clock.work(7.0)
        assert metric(life, "everstep_checkpoint_age_seconds", region=str(SHARD)) == 7.0
