"""What every journal store keeps to. To plug one in: subclass `JournalContract` and give it a `medium`.

    class TestMyJournal(JournalContract):
        @pytest.fixture
        async def medium(self, tmp_path):
            yield MyMedium(tmp_path)

A medium is what outlives a process: a directory, a database. See `Medium`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

import pytest

from server.shard.errors import JournalDamaged
from server.shard.journal import JournalRecord
from server.shard.ports import Claim, JournalStore, Span
from server.store.errors import Fenced, OutOfSequence, StoreClosed, StoreError, StoreFailed


class Medium(Protocol):
    """What outlives a process."""

    async def open(self) -> JournalStore:
        """A store on it, as a process that starts would open it; the one before was closed or has failed."""

    async def fail(self, journal: JournalStore) -> None:
        """Have the journal's next write fail: a full disk, a broken one, a server that is gone for good."""

    async def put(self, shard: int, tick: int, data: bytes) -> None:
        """Keep these bytes under (shard, tick) behind every store's back; nothing is open meanwhile."""


def record(tick, previous, *, shard=1, epoch=1, payload=None, digest=None):
    return JournalRecord(shard, tick, epoch, 1, b"%d" % tick * 40 if payload is None else payload, previous, digest)


def chain(ticks, *, previous=0, **fields):
    """Records of these ticks, each naming the one before."""
    return [record(tick, before, **fields) for before, tick in zip([previous, *ticks], ticks, strict=False)]


async def durable(journal, records):
    """Append them all, then wait until all are durable; returns the ticks in the order of the calls."""
    loop, told = asyncio.get_running_loop(), []
    last = loop.create_future()
    for at, r in enumerate(records):

        def on_durable(tick=r.tick, at=at):
            told.append(tick)
            if at == len(records) - 1:
                last.set_result(None)

        journal.append(r, on_durable)
    await last
    return told


async def read(journal, shard=1, after_tick=0):
    return [r async for r in journal.read(shard, after_tick)]


@contextlib.asynccontextmanager
async def opened(medium) -> AsyncIterator[JournalStore]:
    journal = await medium.open()
    try:
        yield journal
    finally:
        await journal.close()


class JournalContract:
    """Tests of one store. A subclass gives the fixture `medium`."""

    async def test_what_is_durable_is_read_back_in_order_after_a_restart(self, medium):
        written = [*chain([1, 2, 7, 1000]), record(1001, 1000, payload=b"", digest=2**64 - 1)]
        async with opened(medium) as journal:
            assert await journal.claim(1) == Claim(1, 0)
            assert await durable(journal, written) == [1, 2, 7, 1000, 1001]
            assert journal.backlog == 0
            assert await read(journal) == written
        async with opened(medium) as journal:
            assert await read(journal) == written
            assert await read(journal, after_tick=2) == written[2:]
            assert await read(journal, after_tick=500) == written[3:]
            assert await read(journal, after_tick=1001) == []
            assert journal.failure is None

    async def test_nobody_is_told_before_append_returns_on_another_turn_or_it_is_durable(self, medium):
        """The loop's thread is never kept waiting, and what was told is there for whoever opens the medium next."""
        async with opened(medium) as journal:
            await journal.claim(1)
            told = []
            for r in chain(range(1, 101)):
                journal.append(r, lambda tick=r.tick: told.append(tick))
            assert journal.backlog == 100 - len(told)
        assert told == list(range(1, 101)), "close waits for what was appended"

    async def test_shards_are_apart(self, medium):
        async with opened(medium) as journal:
            for shard in (1, 2, 2**32 - 1):
                await journal.claim(shard)
            records = [record(tick, tick - 1, shard=shard) for tick in range(1, 9) for shard in (1, 2, 2**32 - 1)]
            assert await durable(journal, records) == [r.tick for r in records]
            assert await read(journal, 2) == [r for r in records if r.shard == 2]
            assert await read(journal, 3) == []
            assert await journal.spans() == {shard: Span(0, 8, 8) for shard in (1, 2, 2**32 - 1)}

    async def test_each_claim_has_a_newer_epoch_and_knows_the_last_tick(self, medium):
        async with opened(medium) as journal:
            assert await journal.claim(1) == Claim(1, 0)
            assert await journal.claim(1) == Claim(2, 0)
            await durable(journal, chain([3, 5], epoch=2))
            assert await journal.claim(1, 9) == Claim(9, 5)
            assert await journal.claim(2) == Claim(1, 0)
        async with opened(medium) as journal:
            assert await journal.claim(1) == Claim(10, 5)

    @pytest.mark.parametrize("epoch", [0, 3, 4])
    async def test_an_epoch_that_is_not_newer_claims_nothing(self, medium, epoch):
        async with opened(medium) as journal:
            await journal.claim(1, 4)
            with pytest.raises(Fenced):
                await journal.claim(1, epoch)
        async with opened(medium) as journal:
            assert await journal.claim(1) == Claim(5, 0)

    async def test_a_stale_writer_is_refused(self, medium):
        async with opened(medium) as journal:
            with pytest.raises(Fenced, match="nobody claimed"):
                journal.append(record(1, 0), pytest.fail)
            await journal.claim(1)
            await durable(journal, chain([1]))
            await journal.claim(1)
            for epoch in (1, 3):
                with pytest.raises(Fenced):
                    journal.append(record(2, 1, epoch=epoch), pytest.fail)
            await durable(journal, chain([2], previous=1, epoch=2))
            assert [(r.tick, r.epoch) for r in await read(journal)] == [(1, 1), (2, 2)]

    async def test_what_was_appended_before_a_claim_comes_before_it(self, medium):
        async with opened(medium) as journal:
            await journal.claim(1)
            told = []
            for r in chain([1, 2, 3]):
                journal.append(r, lambda tick=r.tick: told.append(tick))
            assert await journal.claim(1) == Claim(2, 3)
        assert told == [1, 2, 3]

    @pytest.mark.parametrize(("tick", "previous"), [(5, 5), (5, 4), (4, 0), (9, 0), (9, 6)])
    async def test_a_record_that_does_not_follow_the_last_is_refused(self, medium, tick, previous):
        async with opened(medium) as journal:
            await journal.claim(1)
            journal.append(record(5, 0), lambda: None)
            with pytest.raises(OutOfSequence, match="after tick 5"):
                journal.append(record(tick, previous), pytest.fail)
            await durable(journal, chain([6], previous=5))
            assert [r.tick for r in await read(journal)] == [5, 6]

    async def test_trimmed_records_are_gone_and_the_rest_reads_on(self, medium):
        async with opened(medium) as journal:
            await journal.claim(1)
            await journal.claim(2)
            await durable(journal, [*chain(range(10, 40)), *chain(range(10, 40), shard=2)])
            await journal.trim(1, 29)
            assert [r.tick for r in await read(journal, after_tick=29)] == list(range(30, 40))
            assert [r.tick for r in await read(journal, after_tick=35)] == list(range(36, 40))
            assert await journal.spans() == {1: Span(29, 39, 10), 2: Span(0, 39, 30)}
            with pytest.raises(JournalDamaged, match="a gap"):
                await read(journal, after_tick=20)
            await durable(journal, chain([50], previous=39))

    async def test_a_journal_trimmed_to_nothing_remembers_its_writer(self, medium):
        async with opened(medium) as journal:
            await journal.claim(1)
            await durable(journal, chain([10, 20]))
            await journal.trim(1, 20)
            assert await read(journal, after_tick=20) == []
        async with opened(medium) as journal:
            assert await journal.claim(1) == Claim(2, 20)
            await durable(journal, chain([25], previous=20, epoch=2))
            assert [r.tick for r in await read(journal, after_tick=20)] == [25]

    async def test_nothing_is_taken_after_it_is_closed(self, medium):
        journal = await medium.open()
        await journal.claim(1)
        await journal.close()
        with pytest.raises(StoreClosed):
            journal.append(record(1, 0), pytest.fail)
        with pytest.raises(StoreClosed):
            await journal.claim(1)

    async def test_after_a_failed_write_nothing_is_acknowledged_and_what_was_is_there(self, medium):
        journal = await medium.open()
        await journal.claim(1)
        await durable(journal, chain([1, 2, 3]))
        await medium.fail(journal)
        told = []
        with contextlib.suppress(StoreError):
            for r in chain([4, 5], previous=3):
                journal.append(r, lambda tick=r.tick: told.append(tick))
        await journal.close()
        assert told == []
        assert journal.failure is not None
        with pytest.raises(StoreFailed):
            journal.append(record(6, 5), pytest.fail)
        async with opened(medium) as journal:
            claim = await journal.claim(1)
            found = await read(journal)
            assert found[:3] == chain([1, 2, 3])
            assert claim.tick == found[-1].tick
            next_tick = claim.tick + 1
            await durable(journal, [record(next_tick, claim.tick, epoch=claim.epoch)])
            assert journal.failure is None

    async def test_the_tail_is_judged(self, medium):
        """That the judgement is used; tests/shard/test_tail.py has its table."""
        await medium.put(1, 1, record(1, 0).encode())
        await medium.put(1, 2, record(2, 1).encode()[:-3])
        await medium.put(2, 1, record(1, 0, shard=2).encode())
        flipped = bytearray(record(2, 1, shard=2).encode())
        flipped[70] ^= 4
        await medium.put(2, 2, bytes(flipped))
        async with opened(medium) as journal:
            assert await read(journal) == [record(1, 0)]
            with pytest.raises(JournalDamaged, match="shard 2 damaged at tick 2: checksum"):
                await read(journal, 2)

    async def test_the_writer_after_a_torn_record_takes_its_place(self, medium):
        await medium.put(1, 1, record(1, 0).encode())
        await medium.put(1, 2, record(2, 1).encode()[:-3])
        async with opened(medium) as journal:
            assert await journal.claim(1) == Claim(2, 1)
            await durable(journal, chain([2, 3], previous=1, epoch=2))
            assert [(r.tick, r.epoch) for r in await read(journal)] == [(1, 1), (2, 2), (3, 2)]
