"""The journal in memory keeps the contract; and what it alone can do: hold, forget, fail when told."""

import pytest

from server.shard.errors import JournalDamaged
from server.shard.ports import Claim
from server.store.errors import StoreFailed
from server.store.memory import MemoryJournal
from tests.store.contract import JournalContract, chain


class MemoryMedium:
    def __init__(self):
        self.journal = MemoryJournal(keep_max=10_000)

    async def open(self):
        self.journal = self.journal.reopened()
        return self.journal

    async def fail(self, journal):
        journal.fail("told to")

    async def put(self, shard, tick, data):
        self.journal.keep(shard, tick, data)


class TestMemoryJournal(JournalContract):
    @pytest.fixture
    async def medium(self):
        return MemoryMedium()


def appended(journal, records):
    durable = []
    for r in records:
        journal.append(r, lambda tick=r.tick: durable.append(tick))
    return durable


def test_a_record_is_durable_at_once_unless_held():
    journal = MemoryJournal(keep_max=10)
    journal.claim_now(1)
    assert appended(journal, chain([3])) == [3]
    assert journal.backlog == 0
    assert journal.records(1) == chain([3])


def test_held_records_become_durable_in_order_when_synced():
    journal = MemoryJournal(hold=True, keep_max=10)
    journal.claim_now(1)
    durable = appended(journal, chain([1, 4, 5]))
    assert (durable, journal.backlog, journal.records(1)) == ([], 3, [])
    journal.sync(2)
    assert (durable, journal.backlog, journal.records(1)) == ([1, 4], 1, chain([1, 4]))
    journal.sync()
    journal.sync()
    assert (durable, journal.backlog, journal.records(1)) == ([1, 4, 5], 0, chain([1, 4, 5]))


def test_the_oldest_records_are_dropped_past_the_bound_and_missed():
    journal = MemoryJournal(keep_max=3)
    journal.claim_now(1)
    appended(journal, chain(range(1, 11)))
    assert [r.tick for r in journal.records(1, 7)] == [8, 9, 10]
    with pytest.raises(JournalDamaged, match="a gap"):
        journal.records(1)


def test_a_world_without_memory_keeps_none():
    journal = MemoryJournal()
    journal.claim_now(1)
    appended(journal, chain([1]))
    assert journal.records(1) == []
    assert journal.claim_now(1) == Claim(2, 1)


def test_what_waits_when_it_fails_is_lost():
    journal = MemoryJournal(hold=True, keep_max=10)
    journal.claim_now(1)
    durable = appended(journal, chain([1, 2]))
    journal.sync(1)
    journal.fail("told to")
    journal.sync()
    assert (durable, journal.records(1)) == ([1], chain([1]))
    assert isinstance(journal.failure, StoreFailed)
