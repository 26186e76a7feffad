"""The journal in MongoDB, against a real server: the contract, the fence, and what networks and servers do to it."""

import asyncio
import contextlib

import pytest

from bench.mongo_proxy import Fault
from bench.mongo_server import MongoServer, MongoUnavailable
from server.shard.errors import JournalDamaged
from server.shard.ports import Claim
from server.store.errors import Fenced, StoreFailed
from server.store.mongo_layout import shard_key
from tests.store.contract import JournalContract, chain, durable, opened, read, record
from tests.support.mongo_database import Database

SHARD = shard_key(1)


@pytest.fixture
async def medium(mongo):
    return mongo


class TestContract(JournalContract):
    """A document is written whole or not at all: there is no torn end to pass over."""

    async def test_the_tail_is_judged(self, medium):
        await medium.put(1, 1, record(1, 0).encode())
        await medium.put(1, 2, record(2, 1).encode()[:-3])
        async with opened(medium) as journal:
            with pytest.raises(JournalDamaged, match=r"shard 1 damaged at tick 2: .*torn"):
                await read(journal)
            assert [r.tick async for r in aiter_until_damage(journal)] == [1]

    async def test_the_writer_after_a_torn_record_takes_its_place(self, medium):
        """No: it goes on behind it, and reading names the damage, for somebody may have been told of that record."""
        await medium.put(1, 1, record(1, 0).encode())
        await medium.put(1, 2, record(2, 1).encode()[:-3])
        async with opened(medium) as journal:
            assert await journal.claim(1) == Claim(2, 2)
            with pytest.raises(JournalDamaged, match="torn"):
                await read(journal)


async def aiter_until_damage(journal):
    with contextlib.suppress(JournalDamaged):
        async for r in journal.read(1, 0):
            yield r


# -- the fence -----------------------------------------------------------------


async def test_an_owner_that_lost_the_shard_is_stopped_by_the_seal_of_the_next(medium):
    old, new = await medium.open(), await medium.open()
    await old.claim(1)
    await durable(old, chain([1, 2]))
    assert await new.claim(1) == Claim(2, 2)
    told = []
    # Ticks have passed without input: it is the slot that collides, not the tick.
    for r in chain([70, 71, 72], previous=2):
        old.append(r, lambda: told.append("old"))
    await durable(new, chain([5, 70], previous=2, epoch=2))
    await old.close()
    assert isinstance(old.failure, Fenced)
    assert told == []
    with pytest.raises(Fenced):
        old.append(record(73, 72), pytest.fail)
    assert [(r.tick, r.epoch) for r in await read(new)] == [(1, 1), (2, 1), (5, 2), (70, 2)]
    await new.close()


async def test_the_fence_holds_after_everything_it_stood_on_was_trimmed(medium):
    old, new = await medium.open(), await medium.open()
    await old.claim(1)
    await durable(old, chain([1, 2]))
    await new.claim(1)
    await durable(new, chain([3, 4], previous=2, epoch=2))
    await new.trim(1, 4)
    assert await medium.slots() == [(1, 0, 1), (4, -2, 2), (6, 4, 2)]
    old.append(record(50, 2), pytest.fail)
    await old.close()
    assert isinstance(old.failure, Fenced)
    await new.close()


async def test_of_owners_that_claim_at_once_the_newest_epoch_writes(medium):
    journals = [await medium.open() for _ in range(5)]
    claims = await asyncio.gather(*(j.claim(1) for j in journals))
    assert sorted(c.epoch for c in claims) == [1, 2, 3, 4, 5]
    for journal, claim in zip(journals, claims, strict=True):
        if claim.epoch < 5:
            journal.append(record(1, 0, epoch=claim.epoch), pytest.fail)
            await journal.close()
            assert isinstance(journal.failure, Fenced)
    newest = journals[[c.epoch for c in claims].index(5)]
    await durable(newest, chain([1], epoch=5))
    await newest.close()


async def test_a_missing_end_is_missed(medium):
    """Records between the last that is there and the seal of who read them all: no silent step back in time."""
    async with opened(medium) as journal:
        await journal.claim(1)
        await durable(journal, chain([1, 2, 3]))
    async with opened(medium) as journal:
        await journal.claim(1)
        await medium.journal.delete_one({"shard": SHARD, "tick": 3, "seal": None})
        with pytest.raises(JournalDamaged, match="a gap: a writer began after tick 3"):
            await read(journal)


async def test_an_end_that_a_new_primary_does_not_show_yet_is_waited_for(medium):
    async with opened(medium) as journal:
        await journal.claim(1)
        await durable(journal, chain([1, 2, 3]))
    async with opened(medium) as journal:
        await journal.claim(1)
        after = {"shard": SHARD, "slot": {"$gt": 3}}
        late = await medium.journal.find(after).to_list()
        assert [d["tick"] for d in late] == [3, 3]
        await medium.journal.delete_many(after)
        records = journal.read(1, 0)
        # All that it shows has been read with the first: what it lacks comes after.
        ticks = [(await anext(records)).tick]
        await medium.journal.insert_many(late)
        ticks += [r.tick async for r in records]
        assert ticks == [1, 2, 3]


async def test_an_end_that_never_comes_is_missed(medium):
    async with opened(medium) as journal:
        await journal.claim(1)
        await durable(journal, chain([1, 2, 3]))
    async with opened(medium) as journal:
        await journal.claim(1)
        await medium.journal.delete_many({"shard": SHARD, "slot": {"$gt": 3}})
        with pytest.raises(JournalDamaged, match="a gap: a writer began after tick 3"):
            await read(journal)


# -- unknown outcomes ----------------------------------------------------------


@pytest.mark.parametrize("fault", Fault)
async def test_a_fault_under_an_append_loses_and_doubles_nothing(medium, proxy, fault):
    journal = medium.through(proxy.uri)
    await journal.claim(1)
    await durable(journal, chain([1]))
    for first in (2, 20):
        proxy.fail("insert", fault)
        ticks = range(first, 2 * first)
        assert await durable(journal, chain(ticks, previous=first - 1)) == list(ticks)
        await durable(journal, chain(range(2 * first, 10 * first), previous=2 * first - 1))
    await proxy.deliver()
    assert proxy.met == [fault, fault]
    assert [r.tick for r in await read(journal)] == list(range(1, 200))
    await journal.close()
    assert journal.failure is None
    assert [slot for slot, _, _ in await medium.slots()] == list(range(1, 201))


@pytest.mark.parametrize("fault", Fault)
async def test_a_fault_under_a_claim_leaves_one_seal(medium, proxy, fault):
    journal = medium.through(proxy.uri)
    proxy.fail("insert", fault)
    assert await journal.claim(1) == Claim(1, 0)
    await proxy.deliver()
    await durable(journal, chain([1]))
    assert await medium.slots() == [(1, 0, 1), (2, 1, 1)]
    await journal.close()


async def test_what_arrives_late_from_an_owner_that_ended_finds_its_slot_taken(medium, proxy):
    old = medium.through(proxy.uri, close_timeout_s=0.2)
    await old.claim(1)
    proxy.fail("insert", Fault.REQUEST_LATE)
    old.append(record(1, 0), pytest.fail)
    await proxy.parted.wait()
    await proxy.cut()
    await old.close()
    assert isinstance(old.failure, StoreFailed)
    new = await medium.open()
    assert await new.claim(1) == Claim(2, 0)
    await proxy.deliver()
    await durable(new, chain([1], epoch=2))
    assert [(r.tick, r.epoch) for r in await read(new)] == [(1, 2)]
    await new.close()


async def test_a_majority_that_takes_too_long_is_asked_again_before_anybody_is_told(medium):
    journal = await medium.open()
    await journal.claim(1)
    wanting = {"code": 64, "errmsg": "waiting for replication timed out", "errInfo": {"wtimeout": True}}
    await medium.fail_point("insert", {"writeConcernError": wanting})
    assert await durable(journal, chain([1, 2, 3])) == [1, 2, 3]
    await journal.close()
    assert journal.failure is None
    assert await medium.slots() == [(1, 0, 1), (2, 1, 1), (3, 2, 1), (4, 3, 1)]


@pytest.mark.parametrize("code", [10107, 11600, 189, 91])
async def test_a_primary_that_steps_down_is_waited_for(medium, code):
    journal = await medium.open()
    await journal.claim(1)
    await medium.fail_point("insert", {"errorCode": code}, times=3)
    assert await durable(journal, chain([1, 2, 3])) == [1, 2, 3]
    await journal.close()
    assert journal.failure is None


async def test_a_server_alone_that_knows_no_linearizable_reads_is_read_otherwise(medium, proxy):
    journal = medium.through(proxy.uri)
    await journal.claim(1)
    proxy.fail("insert", Fault.REPLY_LOST)
    await medium.fail_point("find", {"errorCode": 123})
    assert await durable(journal, chain([1, 2])) == [1, 2]
    await journal.close()


async def test_reading_goes_on_where_it_was_cut(medium, proxy):
    async with opened(medium) as journal:
        await journal.claim(1)
        # More than a first batch, so that the cursor has to come back for the rest.
        await durable(journal, chain(range(1, 400)))
    journal = medium.through(proxy.uri)
    # Reads have the driver's own retry before ours: two faults in a row get past it.
    proxy.fail("getMore", Fault.REPLY_LOST)
    proxy.fail("find", Fault.REPLY_LOST, Fault.REPLY_LOST)
    assert [r.tick for r in await read(journal)] == list(range(1, 400))
    assert len(proxy.met) == 3
    await journal.close()


@pytest.mark.parametrize("code", [43, 175, 237, 11601])
async def test_reading_goes_on_with_a_new_cursor_where_its_own_has_ended(medium, code):
    journal = await medium.open()
    await journal.claim(1)
    await durable(journal, chain(range(1, 400)))
    await medium.fail_point("getMore", {"errorCode": code})
    assert [r.tick for r in await read(journal)] == list(range(1, 400))
    await journal.close()


async def test_what_is_read_back_is_confirmed_by_a_write_before_anybody_is_told(medium, proxy):
    """It was seen; whether it is on a disk only a write's concern says."""
    journal = medium.through(proxy.uri)
    await journal.claim(1)
    proxy.fail("insert", Fault.REPLY_LOST)
    proxy.fail("update", Fault.REQUEST_LOST)
    told = []
    for r in chain([1, 2, 3]):
        journal.append(r, lambda tick=r.tick: told.append((tick, proxy.seen.count("update"))))
    await journal.close()
    assert journal.failure is None
    assert proxy.met == [Fault.REPLY_LOST, Fault.REQUEST_LOST]
    # The first and the last of them; the first had to be asked again.
    assert told[0] == (1, 3)
    assert [tick for tick, _ in told] == [1, 2, 3]
    assert await medium.slots() == [(1, 0, 1), (2, 1, 1), (3, 2, 1), (4, 3, 1)]


async def test_closing_does_not_wait_for_ever(medium, proxy):
    journal = medium.through(proxy.uri, close_timeout_s=0.1)
    await journal.claim(1)
    await proxy.cut()
    journal.append(record(1, 0), pytest.fail)
    await journal.close()
    assert "1 records undecided" in str(journal.failure)
    with pytest.raises(StoreFailed):
        journal.append(record(2, 1), pytest.fail)


async def test_a_host_that_fails_when_told_fails_the_journal(medium):
    journal = await medium.open()
    await journal.claim(1)

    def on_durable():
        raise ZeroDivisionError

    journal.append(record(1, 0), on_durable)
    journal.append(record(2, 1), pytest.fail)
    await journal.close()
    assert isinstance(journal.failure, ZeroDivisionError)


async def test_a_record_that_no_document_can_hold_is_refused_before_it_takes_a_slot(medium):
    journal = await medium.open()
    await journal.claim(1)
    with pytest.raises(StoreFailed, match="a record of"):
        journal.append(record(1, 0, payload=bytes(16 * 2**20)), pytest.fail)
    await durable(journal, chain([1]))
    await journal.close()


# -- a server that dies ----------------------------------------------------------


@pytest.fixture
async def mortal(tmp_path, mongo_database):
    """A server of the test's own, and a database on it."""
    try:
        with MongoServer(tmp_path) as server:
            async with Database(server, mongo_database) as medium:
                yield server, medium
    except MongoUnavailable as why:
        pytest.skip(str(why))


async def test_a_server_killed_and_started_again_under_load(mortal):
    """Acknowledged means on disk: a server that is killed comes back with it, and what was not is sent again."""
    server, medium = mortal
    journal = await medium.open()
    await journal.claim(1)
    told, tick = [], 0
    for _ in range(5):
        for _ in range(100):
            tick += 1
            journal.append(record(tick, tick - 1), lambda tick=tick: told.append(tick))
            await asyncio.sleep(0)
        await asyncio.to_thread(server.kill)
        before = list(told)
        await asyncio.to_thread(server.start)
        there = await medium.journal.find({"shard": SHARD, "seal": None}).to_list()
        assert set(before) <= {d["tick"] for d in there}
    await journal.close()
    assert journal.failure is None
    assert told == list(range(1, tick + 1))
    async with opened(medium) as again:
        assert [r.tick for r in await read(again)] == told


async def test_a_server_that_hangs_is_waited_for(mortal):
    server, medium = mortal
    journal = await medium.open()
    await journal.claim(1)
    told = []
    server.pause()
    journal.append(record(1, 0), lambda: told.append(1))
    closing = asyncio.create_task(journal.close())
    # Long enough for the first insert to be given up.
    await asyncio.wait([closing], timeout=1.5 * medium.answer_timeout_s)
    assert told == []
    server.resume()
    await closing
    assert told == [1]
    assert journal.failure is None
