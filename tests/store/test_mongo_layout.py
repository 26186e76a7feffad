"""The layout, on a server alone and on a cluster behind a router that says no where a real one does."""

import pytest
from bson import MaxKey, MinKey
from pymongo.errors import DuplicateKeyError, OperationFailure

from bench.mongo_server import MongoServer, MongoUnavailable
from server.shard.ports import Claim
from server.store.errors import Fenced, LayoutWrong
from server.store.mongo import MongoJournal
from server.store.mongo_checkpoints import MongoCheckpoints
from server.store.mongo_client import connect
from server.store.mongo_layout import COLLECTIONS, Zone, check, init, is_mongos, shard_key
from tests.store.checkpoint_contract import capture_of, checkpoint, ticks
from tests.store.contract import chain, durable, read
from tests.support.fake_mongos import FakeMongos

SHARDS = range(1, 65)


@pytest.fixture
async def client(mongo_server, mongo_database):
    made = connect(mongo_server.uri)
    yield made
    await made.drop_database(mongo_database)
    await made.close()


@pytest.fixture(scope="module")
def second_server(tmp_path_factory):
    try:
        with MongoServer(tmp_path_factory.mktemp("mongo2")) as server:
            yield server
    except MongoUnavailable as why:
        pytest.skip(str(why))


@pytest.fixture
async def cluster(mongo_server, second_server, mongo_database):
    async with FakeMongos({"west": mongo_server.uri, "east": second_server.uri}) as mongos:
        yield mongos
        for name in ("west", "east"):
            await mongos.client_of(name).drop_database(mongo_database)


@pytest.fixture
async def routed(cluster):
    client = connect(cluster.uri)
    yield client
    await client.close()


# -- a server alone --------------------------------------------------------------


async def test_init_makes_what_is_missing_and_nothing_twice(client, mongo_database):
    with pytest.raises(LayoutWrong, match="everstep store init"):
        await check(client, mongo_database)
    assert not await is_mongos(client)
    assert len(await init(client, mongo_database)) == 4
    await check(client, mongo_database)
    assert await init(client, mongo_database) == []
    indexes = await client[mongo_database]["journal"].index_information()
    assert indexes["shard_slot"]["unique"]
    assert "unique" not in indexes["shard_tick_slot"]


async def test_how_long_audits_are_kept_can_be_changed(client, mongo_database):
    await init(client, mongo_database, audit_days=2)
    assert await init(client, mongo_database, audit_days=3) == [f"{mongo_database}.audit: forgotten after 3 days"]
    indexes = await client[mongo_database]["audit"].index_information()
    assert indexes["at_ttl"]["expireAfterSeconds"] == 3 * 86_400


async def test_an_index_that_is_not_unique_is_no_fence(client, mongo_database):
    await client[mongo_database]["journal"].create_index([("shard", 1), ("slot", 1)], name="shard_slot")
    with pytest.raises(LayoutWrong, match="no unique index"):
        await check(client, mongo_database)
    with pytest.raises(LayoutWrong, match="an index shard_slot that is another"):
        await init(client, mongo_database)


async def test_a_server_alone_has_no_zones(client, mongo_database):
    with pytest.raises(LayoutWrong, match="no mongos"):
        await init(client, mongo_database, zones=[Zone("eu", ("west",), (1,))])


def test_neighbours_lie_apart():
    keys = [shard_key(shard) for shard in SHARDS]
    assert len(set(keys)) == len(SHARDS)
    assert all(key.endswith(f"-{shard}") for key, shard in zip(keys, SHARDS, strict=True))
    assert sum(key < "8000" for key in keys) in range(20, 45)


# -- a cluster -------------------------------------------------------------------


async def test_init_shards_every_collection_by_its_key_and_nothing_twice(cluster, routed, mongo_database):
    assert await is_mongos(routed)
    await init(routed, mongo_database)
    done = {c["shardCollection"]: (c["key"], c["unique"]) for c in cluster.commands if "shardCollection" in c}
    assert done == {
        f"{mongo_database}.journal": ({"shard": 1, "slot": 1}, True),
        f"{mongo_database}.checkpoints": ({"shard": 1, "tick": 1, "chunk": 1}, True),
        f"{mongo_database}.players": ({"_id": "hashed"}, False),
        f"{mongo_database}.logins": ({"_id": "hashed"}, False),
        f"{mongo_database}.audit": ({"actor": "hashed"}, False),
    }
    assert len(done) == len(COLLECTIONS)
    await check(routed, mongo_database)
    before = dict(cluster.sharded)
    # An empty journal is spread once more, which changes nothing.
    assert all("spread over east, west" in line for line in await init(routed, mongo_database))
    assert cluster.sharded == before


async def test_accounts_logins_and_audits_lie_where_their_keys_say(cluster, routed, mongo_database):
    await init(routed, mongo_database, zones=[Zone("eu", ("west",), (1,))], audit_days=3)
    db = routed[mongo_database]
    for name, key in (("players", "_id"), ("logins", "_id"), ("audit", "actor")):
        indexes = await db[name].index_information()
        assert indexes[f"{key}_hashed"]["key"] == [(key, "hashed")]
        assert not any(i.get("unique") for i in indexes.values()), "a hash is no fence"
        documents = [{"_id": f"{name} {i}", "actor": f"actor {i % 7}", "at": None} for i in range(70)]
        await db[name].insert_many(documents)
        behind = [cluster.client_of(server)[mongo_database][name] for server in ("west", "east")]
        there = [set(await collection.distinct(key)) for collection in behind]
        assert all(there), "spread"
        assert not there[0] & there[1], "and each key on one server alone"
    # A name is taken once in the whole cluster: it is the key.
    with pytest.raises(DuplicateKeyError):
        await db["logins"].insert_one({"_id": "logins 5", "player": "another"})
    # Each server forgets for itself.
    for server in ("west", "east"):
        expiring = (await cluster.client_of(server)[mongo_database]["audit"].index_information())["at_ttl"]
        assert (expiring["key"], expiring["expireAfterSeconds"]) == ([("at", 1)], 3 * 86_400)
    # Only what belongs to a shard of the game has a place.
    zoned = {name.rpartition(".")[2] for name, sharded in cluster.sharded.items() if sharded.zones}
    assert zoned == {"journal", "checkpoints"}


async def test_a_collection_sharded_by_another_key_is_left_alone(routed, mongo_database):
    await routed.admin.command("shardCollection", f"{mongo_database}.journal", key={"shard": 1, "slot": 1})
    with pytest.raises(LayoutWrong, match="is sharded by"):
        await init(routed, mongo_database)


async def test_zones_hold_their_shards_and_can_be_moved(cluster, routed, mongo_database):
    zones = [Zone("eu", ("west",), (1, 2)), Zone("us", ("east",), (3,))]
    assert len(await init(routed, mongo_database, zones=zones)) > 0
    assert cluster.tags == {"west": ["eu"], "east": ["us"]}
    journal = cluster.sharded[f"{mongo_database}.journal"]
    for shard, where in ((1, "west"), (2, "west"), (3, "east")):
        assert journal.shard_of({"shard": shard_key(shard), "slot": 5}) == where
    assert await init(routed, mongo_database, zones=zones) == []
    moved = await init(routed, mongo_database, zones=[Zone("us", ("east",), (2,))])
    assert moved == [f"{mongo_database}.{c}: shard 2 in zone us" for c in ("journal", "checkpoints")]
    assert journal.shard_of({"shard": shard_key(2), "slot": 5}) == "east"
    with pytest.raises(LayoutWrong, match="no shard north"):
        await init(routed, mongo_database, zones=[Zone("eu", ("north",), (1,))])


async def test_shards_of_the_game_are_spread_and_their_journals_work(cluster, routed, mongo_database):
    await init(routed, mongo_database)
    journal = MongoJournal(routed, mongo_database)
    for shard in range(1, 9):
        await journal.claim(shard)
    records = [r for shard in range(1, 9) for r in chain(range(1, 6), shard=shard)]
    await durable(journal, records)
    for shard in range(1, 9):
        assert await read(journal, shard) == [r for r in records if r.shard == shard]
    await journal.trim(1, 4)
    assert [r.tick for r in await read(journal, 1, 4)] == [5]
    for name in ("west", "east"):
        keys = await cluster.client_of(name)[mongo_database]["journal"].distinct("shard")
        assert keys
        assert all((key < "8000") == (name == "east") for key in keys)
    await journal.close()


async def test_an_append_whose_slots_lie_on_two_servers_is_fenced_at_its_first(cluster, routed, mongo_database):
    await init(routed, mongo_database)
    ranges = cluster.sharded[f"{mongo_database}.journal"]
    # From slot 4 on, the shard's journal lies on the other server.
    home = ranges.shard_of({"shard": shard_key(1), "slot": 1})
    other = "east" if home == "west" else "west"
    await routed.admin.command(
        "moveRange",
        f"{mongo_database}.journal",
        min={"shard": shard_key(1), "slot": 4},
        max={"shard": shard_key(1), "slot": MaxKey()},
        toShard=other,
    )
    old, new = MongoJournal(routed, mongo_database), MongoJournal(routed, mongo_database)
    await old.claim(1)
    await durable(old, chain([1]))
    assert await new.claim(1) == Claim(2, 1)
    for r in chain(range(2, 9), previous=1):
        old.append(r, pytest.fail)
    await old.close()
    assert isinstance(old.failure, Fenced)
    await durable(new, chain(range(2, 9), previous=1, epoch=2))
    assert [r.epoch for r in await read(new)] == [1] + 7 * [2]
    counts = [await cluster.client_of(n)[mongo_database]["journal"].count_documents({}) for n in (home, other)]
    assert counts == [3, 7]
    await new.close()


async def test_checkpoints_work_through_the_router(cluster, routed, mongo_database):
    await init(routed, mongo_database)
    store = MongoCheckpoints(routed, mongo_database)
    for shard in (1, 2, 3):
        await store.write(*checkpoint(5, shard=shard))
        await store.write(*checkpoint(9, shard=shard))
    await store.delete(2, 5)
    assert ticks(await store.manifests(2)) == [9]
    (newest, _) = await store.manifests(1)
    assert (await capture_of(store, newest)).tick == 9


# -- the fake's own refusals: a test that leans on it must know that it can say no ---


async def test_the_router_refuses_what_a_real_one_refuses(routed, mongo_database):
    await init(routed, mongo_database)
    journal = routed[mongo_database]["journal"]
    with pytest.raises(OperationFailure, match="must begin with the shard key"):
        await journal.create_index([("tick", 1)], unique=True)
    with pytest.raises(OperationFailure, match="no shard key field"):
        await journal.insert_one({"shard": "x"})
    with pytest.raises(OperationFailure, match="no shard key field"):
        await journal.replace_one({"shard": "x"}, {"shard": "x", "slot": 1}, upsert=True)
    with pytest.raises(OperationFailure, match="no shard key field"):
        await journal.delete_one({"shard": "x"})
    with pytest.raises(OperationFailure, match="with other options"):
        await routed.admin.command("shardCollection", journal.full_name, key={"shard": "hashed"})
    with pytest.raises(OperationFailure, match="cannot be declared unique"):
        await routed.admin.command("shardCollection", f"{mongo_database}.new", key={"a": "hashed"}, unique=True)
    plain = routed[mongo_database]["plain"]
    await plain.create_index([("b", 1)], unique=True)
    with pytest.raises(OperationFailure, match="does not begin with the shard key"):
        await routed.admin.command("shardCollection", plain.full_name, key={"a": 1})
    low, high = {"shard": MinKey(), "slot": MinKey()}, {"shard": "8", "slot": MinKey()}
    with pytest.raises(OperationFailure, match="does not exist"):
        await routed.admin.command("updateZoneKeyRange", journal.full_name, min=low, max=high, zone="nowhere")
    with pytest.raises(OperationFailure, match="no point of the shard key"):
        await routed.admin.command("moveRange", journal.full_name, min={"shard": "a"}, max=high, toShard="east")
    await routed.admin.command("addShardToZone", "east", zone="us")
    await routed.admin.command("addShardToZone", "west", zone="eu")
    await routed.admin.command("updateZoneKeyRange", journal.full_name, min=low, max=high, zone="us")
    wider = {"shard": "9", "slot": MinKey()}
    with pytest.raises(OperationFailure, match="overlaps"):
        await routed.admin.command("updateZoneKeyRange", journal.full_name, min=low, max=wider, zone="eu")
