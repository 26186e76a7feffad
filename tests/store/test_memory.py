"""The journal in memory: taken, durable, read, closed; and what it refuses."""

import pytest

from server.shard.journal import JournalRecord
from server.store.errors import OutOfSequence, StoreClosed
from server.store.memory import MemoryJournal


def record(tick, shard=1):
    return JournalRecord(shard, tick, epoch=1, simulation=1, payload=b"%d" % tick)


def ticks(journal, shard=1, after=-1):
    return [r.tick for r in journal.read(shard, after)]


def test_a_record_is_durable_at_once_unless_held():
    journal, durable = MemoryJournal(keep_max=10), []
    journal.append(record(3), lambda: durable.append(3))
    assert durable == [3]
    assert journal.backlog == 0
    assert list(journal.read(1, 0)) == [record(3)]


def test_held_records_become_durable_in_order_when_synced():
    journal, durable = MemoryJournal(hold=True, keep_max=10), []
    for tick in (1, 4, 5):
        journal.append(record(tick), lambda tick=tick: durable.append(tick))
    assert (durable, journal.backlog, ticks(journal)) == ([], 3, [])
    journal.sync(2)
    assert (durable, journal.backlog, ticks(journal)) == ([1, 4], 1, [1, 4])
    journal.sync()
    journal.sync()
    assert (durable, journal.backlog, ticks(journal)) == ([1, 4, 5], 0, [1, 4, 5])


def test_shards_are_apart_and_reading_begins_after_a_tick():
    journal = MemoryJournal(keep_max=10)
    for tick in (1, 2, 7):
        journal.append(record(tick), lambda: None)
    journal.append(record(2, shard=5), lambda: None)
    assert ticks(journal, after=1) == [2, 7]
    assert ticks(journal, after=7) == []
    assert ticks(journal, shard=5) == [2]
    assert ticks(journal, shard=6) == []


@pytest.mark.parametrize("hold", [False, True])
@pytest.mark.parametrize("tick", [5, 4, 0])
def test_a_tick_not_above_the_last_is_fenced_off(hold, tick):
    journal, durable = MemoryJournal(hold=hold, keep_max=10), []
    journal.append(record(5), lambda: durable.append(5))
    with pytest.raises(OutOfSequence, match=f"tick {tick} after tick 5"):
        journal.append(record(tick), lambda: durable.append(tick))
    journal.sync()
    assert durable == [5]
    assert ticks(journal) == [5]
    journal.append(record(0, shard=2), lambda: durable.append(0))


def test_the_oldest_records_are_dropped_past_the_bound():
    journal = MemoryJournal(keep_max=3)
    for tick in range(10):
        journal.append(record(tick), lambda: None)
    assert ticks(journal) == [7, 8, 9]


def test_a_world_without_memory_keeps_none():
    journal = MemoryJournal()
    journal.append(record(1), lambda: None)
    assert ticks(journal) == []


def test_what_waits_when_it_closes_is_lost_and_nothing_more_is_taken():
    journal, durable = MemoryJournal(hold=True, keep_max=10), []
    journal.append(record(1), lambda: durable.append(1))
    journal.sync()
    journal.append(record(2), lambda: durable.append(2))
    journal.close()
    journal.sync()
    with pytest.raises(StoreClosed):
        journal.append(record(3), lambda: durable.append(3))
    assert durable == [1]
    assert ticks(journal) == [1]
