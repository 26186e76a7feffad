"""A pasture that is kept in a data directory or in a MongoDB database, and whose server may still be running."""

from __future__ import annotations

import asyncio
import os
import uuid
from contextlib import asynccontextmanager

import pytest

from config.settings import Settings, StoreSettings
from server.store.checkpoint_files import FileCheckpoints
from server.store.sqlite import SqliteJournal
from tests.support.life import SHARD, Life, live
from tests.support.mongo_database import Database


@pytest.fixture(params=["sqlite", "mongodb"])
def kind(request):
    """What the world is kept in."""
    return request.param


@pytest.fixture
async def mongo(kind, request, mongo_database):
    """A database, laid out, where one is wanted."""
    if kind == "sqlite":
        yield None
        return
    async with Database(request.getfixturevalue("mongo_server"), mongo_database) as made:
        yield made


@pytest.fixture
def settings(mongo):
    return Settings() if mongo is None else stored_in(mongo.uri, mongo.name)


class Target:
    """Where a backup is restored to: a new directory, and of a world in MongoDB a new database."""

    def __init__(self, mongo, directory):
        self.mongo = mongo
        self.directory = directory
        self.settings = Settings() if mongo is None else stored_in(mongo.uri, mongo.name)

    @asynccontextmanager
    async def opened(self):
        """Its stores, as a server opens them."""
        if self.mongo is None:
            journal, checkpoints = await SqliteJournal.open(self.directory), FileCheckpoints(self.directory)
        else:
            journal, checkpoints = await self.mongo.open(), self.mongo.checkpoints_through(self.mongo.uri)
        yield journal, checkpoints
        await checkpoints.close()
        await journal.close()

    async def empty(self):
        """Whether nothing was left."""
        if self.directory.exists():
            return False
        counted = () if self.mongo is None else (self.mongo.journal, self.mongo.checkpoints)
        return not any([await collection.count_documents({}) for collection in counted])


@pytest.fixture
async def target(kind, request, tmp_path):
    if kind == "sqlite":
        yield Target(None, tmp_path / "new")
        return
    name = f"everstep_test_{uuid.uuid4().hex}"
    async with Database(request.getfixturevalue("mongo_server"), name) as made:
        yield Target(made, tmp_path / "new")


@pytest.fixture
def data(tmp_path):
    """The game's own directory."""
    return tmp_path / "data" / "pasture"


@pytest.fixture
async def life(mongo, data):
    """A life of 120 ticks, with checkpoints at 40 and 90, that goes on."""
    if mongo is None:
        journal, checkpoints = await SqliteJournal.open(data), FileCheckpoints(data)
    else:
        journal, checkpoints = await mongo.open(), mongo.checkpoints_through(mongo.uri)
    async with Life(journal=journal, checkpoints=checkpoints) as life:
        await live(life, 120, checkpoint_at=(40, 90))
        await committed(life)
        yield life
    await checkpoints.close()
    await journal.close()


@pytest.fixture
def spoil(mongo, data):
    """Flips a bit in a checkpoint."""

    async def in_files(tick):
        path = data / "checkpoints" / f"{SHARD}-{tick}.checkpoint"
        content = bytearray(path.read_bytes())
        content[3] ^= 8
        path.write_bytes(content)

    async def in_database(tick):
        found = await mongo.checkpoints.find_one({"tick": tick, "chunk": {"$ne": ""}})
        spoilt = bytes([found["data"][0] ^ 8]) + found["data"][1:]
        await mongo.checkpoints.update_one({"_id": found["_id"]}, {"$set": {"data": spoilt}})

    return in_files if mongo is None else in_database


async def committed(life):
    """Returns once everything that was journalled is durable."""
    durable = asyncio.Event()
    life.host.after_durable.append(durable.set)
    while life.host.durable_tick < life.host.journalled_tick:
        durable.clear()
        await durable.wait()
    life.host.after_durable.remove(durable.set)


def stored_in(uri, name):
    """Settings of a world in this database."""
    store = StoreSettings(kind="mongodb", mongodb_uri=uri, mongodb_database=name)
    return Settings(store=store)


def environment(settings):
    """What tells a process of its own the same."""
    store = settings.store
    return {
        **os.environ,
        "EVERSTEP_STORE__KIND": store.kind,
        "EVERSTEP_STORE__MONGODB_URI": store.mongodb_uri.get_secret_value(),
        "EVERSTEP_STORE__MONGODB_DATABASE": store.mongodb_database,
    }
