"""The MongoDB store on a server or cluster of yours: EVERSTEP_TEST_MONGODB_URI names it.

    EVERSTEP_TEST_MONGODB_URI=mongodb://127.0.0.1:27017 pytest tests/store/test_mongo_yours.py

In databases of its own (everstep_test_...), each dropped in the end. Give it a mongos, and the collections are sharded.
"""

import asyncio
import os

import pytest

from server.shard.ports import Claim
from server.store.errors import Fenced
from server.store.mongo_layout import COLLECTIONS, check, init, is_mongos, shard_key
from tests.store.checkpoint_contract import CheckpointContract
from tests.store.contract import chain, durable, read, record
from tests.store.test_mongo import TestContract as MongoJournalContract
from tests.support.mongo_database import Database

URI = os.environ.get("EVERSTEP_TEST_MONGODB_URI", "")
SHARD = shard_key(1)

if not URI:
    pytest.skip(
        "EVERSTEP_TEST_MONGODB_URI is not set: the MongoDB store was not tried on a server of yours",
        allow_module_level=True,
    )


class Yours(Database):
    """A database on it. No failpoints: a rule of the collection refuses what is to fail."""

    async def open(self):
        await self._rule({})
        return await super().open()

    async def fail(self, _journal):
        await self._rule({"never": {"$exists": True}})

    async def _rule(self, validator):
        await self.client[self.name].command("collMod", "journal", validator=validator)


@pytest.fixture
async def yours(mongo_database):
    async with Yours(URI, mongo_database, answer_timeout_s=10) as made:
        yield made


class TestJournal(MongoJournalContract):
    @pytest.fixture
    async def medium(self, yours):
        return yours


class TestCheckpoints(CheckpointContract):
    @pytest.fixture
    async def checkpoints(self, yours):
        async def opened():
            return yours.checkpoints_through(yours.uri)

        return opened


async def test_the_layout_is_made_once(yours):
    await check(yours.client, yours.name)
    again = await init(yours.client, yours.name)
    # An empty collection is spread once more, which changes nothing.
    assert all("spread over" in line for line in again), again
    indexes = await yours.journal.index_information()
    assert indexes["shard_slot"]["unique"]
    audit = await yours.client[yours.name]["audit"].index_information()
    assert audit["at_ttl"]["expireAfterSeconds"] == 180 * 86_400


async def test_on_a_cluster_every_collection_is_sharded_by_its_key(yours):
    if not await is_mongos(yours.client):
        pytest.skip("EVERSTEP_TEST_MONGODB_URI names no mongos: sharding was not tried")
    for collection in COLLECTIONS:
        found = await yours.client["config"]["collections"].find_one({"_id": f"{yours.name}.{collection.name}"})
        assert found is not None, collection.name
        assert list(found["key"].items()) == list(collection.key)
        assert bool(found.get("unique")) == collection.unique


async def test_an_owner_that_lost_the_shard_is_stopped(yours):
    old, new = await yours.open(), await yours.open()
    await old.claim(1)
    await durable(old, chain([1, 2]))
    assert await new.claim(1) == Claim(2, 2)
    old.append(record(70, 2), pytest.fail)
    await old.close()
    assert isinstance(old.failure, Fenced)
    await durable(new, chain([5], previous=2, epoch=2))
    assert [(r.tick, r.epoch) for r in await read(new)] == [(1, 1), (2, 1), (5, 2)]
    await new.close()


async def test_of_owners_that_claim_at_once_each_has_an_epoch_of_its_own(yours):
    journals = [await yours.open() for _ in range(4)]
    claims = await asyncio.gather(*(j.claim(1) for j in journals))
    assert sorted(c.epoch for c in claims) == [1, 2, 3, 4]
    for journal in journals:
        await journal.close()


async def test_its_reads_by_key_are_linearizable(yours):
    """What an unknown outcome is decided by. A server alone knows no such reads, and says so."""
    journal = await yours.open()
    await journal.claim(1)
    seal = await yours.journal.find_one({"shard": SHARD, "slot": 1})
    assert (await journal._at(seal))["nonce"] == seal["nonce"]
    hello = await yours.client.admin.command("hello")
    replicated = "setName" in hello or await is_mongos(yours.client)
    assert journal._sure is not journal._slots or not replicated
    await journal.close()
