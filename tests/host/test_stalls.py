"""Shards whose store keeps nothing: known as such after a while, and no longer than it lasts."""

import asyncio

from server.host.stalls import Stalls
from server.host.tenure import ShardParts
from server.store.errors import StoreFailed
from server.store.memory import MemoryJournal
from server.store.memory_checkpoints import MemoryCheckpoints


def look(stalls, *seen):
    stalls.look(*seen)
    return stalls.stalled


def test_who_waits_for_long_is_stalled_and_who_gets_on_is_not():
    stalls = Stalls(10.0, 5.0)
    for n in range(10):
        # The first waits at every look, and gets on; the second does not; the third is being brought back.
        assert look(stalls, {1: n, 2: 7}, [1, 2, 3], float(n)) == []
        assert stalls.keeps == (n > 0)
    assert look(stalls, {1: 10, 2: 7}, [1, 2, 3], 10.0) == [2, 3]


def test_who_waits_no_more_begins_anew():
    stalls = Stalls(10.0, 5.0)
    assert look(stalls, {2: 7}, [2], 0.0) == []
    assert look(stalls, {2: 7}, [], 9.0) == []
    assert look(stalls, {2: 7}, [2], 11.0) == []
    assert not stalls.keeps
    assert look(stalls, {2: 8}, [2], 20.0) == []
    assert stalls.keeps
    assert look(stalls, {2: 8}, [2], 21.0) == []
    assert look(stalls, {2: 8}, [2], 31.0) == [2]


def test_a_shard_that_came_shows_nothing_yet():
    stalls = Stalls(10.0, 5.0)
    stalls.look({}, [], 0.0)
    stalls.look({4: 100}, [4], 1.0)
    assert not stalls.keeps
    stalls.look({4: 120}, [4], 2.0)
    assert stalls.keeps
    stalls.look({}, [], 3.0)
    assert not stalls.keeps


def test_what_is_stalled_is_left_to_others_some_time_after_they_have_shown_that_it_could_go_on():
    stalls = Stalls(10.0, 5.0)
    stalls.look({2: 7, 3: 7}, [2, 3], 0.0)
    assert stalls.lost(1.0) == []
    stalls.look({2: 7, 3: 7}, [2, 3], 30.0)
    assert stalls.waits
    assert stalls.lost(30.0) == []
    # It is one of those who hear later that the store is back; in part, first of all.
    stalls.look({2: 7, 3: 8}, [2, 3], 34.0)
    assert stalls.lost(34.0) == []
    stalls.look({2: 7, 3: 8}, [2], 35.0)
    assert stalls.lost(35.0) == [2]
    stalls.look({2: 8, 3: 8}, [], 36.0)
    assert stalls.lost(36.0) == []
    stalls.look({2: 8, 3: 8}, [2], 40.0)
    stalls.look({2: 8, 3: 8}, [2], 50.0)
    assert stalls.lost(50.0) == []
    stalls.look({2: 8, 3: 8}, [2], 55.0)
    assert stalls.lost(55.0) == [2]


def test_a_store_that_answers_keeps_what_it_is_given_and_one_that_does_not_shows_nothing():
    stalls, opened = Stalls(10.0, 5.0), []

    async def open_shard(shard):
        journal = MemoryJournal(keep_max=10)
        if not opened:
            journal.fail("the disk is gone")
        opened.append(journal)
        return ShardParts(lambda: None, journal, MemoryCheckpoints(), journal.close)

    async def nowhere(shard):
        raise StoreFailed("nobody is there")

    def looked():
        stalls.look({}, [], 0.0)
        return stalls.keeps

    async def main():
        await stalls.ask(open_shard, 7)
        assert not looked()
        await stalls.ask(nowhere, 7)
        assert not looked()
        await stalls.ask(open_shard, 7)
        assert [looked(), looked()] == [True, False]
        assert all(journal._closed for journal in opened)

    asyncio.run(main())
