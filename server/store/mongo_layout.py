"""The MongoDB layout: which collections there are, how each is indexed, sharded and zoned.

    journal      {shard, slot} unique, ranged      one document per record or seal; see server/store/mongo.py
    checkpoints  {shard, tick, chunk} unique, ranged
    players      {_id} hashed
    logins       {_id} hashed                      _id: the normalised name, so that it is unique in the whole cluster
    audit        {actor} hashed                    forgotten after a time (TTL)
    unfinished   {_id}                             one document for as long as a restore is not at its end

`init` makes it and may be run again at any time; `check` is what a server asks at its start, for without the
unique index of the journal there is no fence. Shards of the game are ranges of a hash-prefixed key: neighbours
in number, which a game tends to make busy together, lie on different shards of the database.

A unique index of a sharded collection must begin with its shard key, and `_id` is unique only within each of the
database's shards: hence the explicit indexes. See docs/decisions/0014-journal-slots.md for `slot`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import xxhash
from bson import MaxKey, MinKey
from pymongo.asynchronous.database import AsyncDatabase

from server.store.errors import LayoutWrong
from server.store.mongo_client import Client, Document

AUDIT_DAYS: Final = 180
# Not sharded: it has one document, or none.
UNFINISHED: Final = "unfinished"
_DAY_S: Final = 86_400
_TTL_INDEX: Final = "at_ttl"
# Values of the key's prefix: four hexadecimal digits.
_PREFIXES: Final = 65_536


def shard_key(shard: int) -> str:
    """The key of a shard of the game: four hexadecimal digits of a hash, then its number."""
    return f"{xxhash.xxh3_64_intdigest(shard.to_bytes(8, 'little')) % _PREFIXES:04x}-{shard}"


def shard_of(key: str) -> int:
    """The number of the shard whose key this is."""
    return int(key.rpartition("-")[2])


@dataclass(frozen=True, slots=True)
class Collection:
    """One collection: its shard key (field to 1 or "hashed") and whether that key is unique."""

    name: str
    key: tuple[tuple[str, int | str], ...]
    unique: bool
    # Further index, not unique: it helps reading.
    reading: tuple[str, ...] = ()

    @property
    def hashed(self) -> bool:
        """Whether the database spreads it by itself."""
        return any(kind == "hashed" for _, kind in self.key)

    @property
    def index_name(self) -> str:
        """Name of the index that supports the shard key."""
        return "_".join(field for field, _ in self.key) + ("_hashed" if self.hashed else "")


JOURNAL: Final = Collection("journal", (("shard", 1), ("slot", 1)), unique=True, reading=("shard", "tick", "slot"))
CHECKPOINTS: Final = Collection("checkpoints", (("shard", 1), ("tick", 1), ("chunk", 1)), unique=True)
COLLECTIONS: Final = (
    JOURNAL,
    CHECKPOINTS,
    Collection("players", (("_id", "hashed"),), unique=False),
    Collection("logins", (("_id", "hashed"),), unique=False),
    Collection("audit", (("actor", "hashed"),), unique=False),
)
# The ones whose documents belong to a shard of the game: what a zone holds.
ZONED: Final = (JOURNAL, CHECKPOINTS)


@dataclass(frozen=True, slots=True)
class Zone:
    """Shards of the game that are to stay on some of the database's shards, as a continent's on its machines."""

    name: str
    database_shards: tuple[str, ...]
    shards: tuple[int, ...]


async def is_mongos(client: Client) -> bool:
    """Whether the other side is a sharded cluster's router, by what it says of itself."""
    return (await client.admin.command("hello")).get("msg") == "isdbgrid"


async def init(client: Client, database: str, *, zones: Sequence[Zone] = (), audit_days: int = AUDIT_DAYS) -> list[str]:
    """Make the layout, or what of it is missing; returns a line for each thing done.

    On a server that is no mongos there are only the indexes to make. Raises LayoutWrong where something
    stands there already that contradicts the layout, and pymongo's errors where the server fails.
    """
    db = client[database]
    sharded = await is_mongos(client)
    done: list[str] = []
    if zones and not sharded:
        raise LayoutWrong("zones need a sharded cluster: this server is no mongos")
    if sharded:
        # Needed by servers before 6.0, a nod in later ones.
        await client.admin.command("enableSharding", database)
    for collection in COLLECTIONS:
        done += await _index(db, collection, sharded=sharded)
        if sharded:
            done += await _shard(client, database, collection)
            done += [] if collection.hashed else await _spread(client, database, collection)
    done += await _expire(db, audit_days * _DAY_S)
    for zone in zones:
        done += await _zone(client, database, zone)
    return done


async def check(client: Client, database: str) -> None:
    """Raise LayoutWrong unless the indexes that the store stands on are there, and no restore is half done."""
    for collection in ZONED:
        indexes = await client[database][collection.name].index_information()
        wanted = list(collection.key)
        if not any(i["key"] == wanted and i.get("unique") for i in indexes.values()):
            raise LayoutWrong(
                f"{database}.{collection.name} has no unique index on {_names(collection)}: run `everstep store init`"
            )
    if await client[database][UNFINISHED].find_one() is not None:
        raise LayoutWrong(
            f"{database} is what a restore left that did not come to its end, or has not yet: drop it once none is "
            "under way, and restore again"
        )


async def _index(db: AsyncDatabase[Document], collection: Collection, *, sharded: bool) -> list[str]:
    target = db[collection.name]
    had = await target.index_information()
    done = []
    name = collection.index_name
    if name in had:
        if had[name]["key"] != list(collection.key) or bool(had[name].get("unique")) != collection.unique:
            raise LayoutWrong(f"{target.full_name} has an index {name} that is another: {had[name]}")
    # A server alone has no use for a hashed index, and not every server knows one.
    elif not collection.hashed or sharded:
        await target.create_index(list(collection.key), name=name, unique=collection.unique)
        done.append(f"{target.full_name}: index {name}")
    if collection.reading and "_".join(collection.reading) not in had:
        name = "_".join(collection.reading)
        await target.create_index([(field, 1) for field in collection.reading], name=name)
        done.append(f"{target.full_name}: index {name}")
    return done


async def _expire(db: AsyncDatabase[Document], after_s: int) -> list[str]:
    audit = db["audit"]
    had = (await audit.index_information()).get(_TTL_INDEX)
    if had is None:
        await audit.create_index([("at", 1)], name=_TTL_INDEX, expireAfterSeconds=after_s)
    elif had.get("expireAfterSeconds") != after_s:
        await db.command("collMod", "audit", index={"name": _TTL_INDEX, "expireAfterSeconds": after_s})
    else:
        return []
    return [f"{audit.full_name}: forgotten after {after_s // _DAY_S} days"]


async def _shard(client: Client, database: str, collection: Collection) -> list[str]:
    name = f"{database}.{collection.name}"
    wanted = dict(collection.key)
    had = await client["config"]["collections"].find_one({"_id": name, "dropped": {"$ne": True}})
    if had is not None and had.get("key") is not None:
        if list(had["key"].items()) != list(collection.key) or bool(had.get("unique")) != collection.unique:
            raise LayoutWrong(f"{name} is sharded by {dict(had['key'])}, not by {wanted}")
        return []
    await client.admin.command("shardCollection", name, key=wanted, unique=collection.unique)
    return [f"{name}: sharded by {_names(collection)}"]


async def _spread(client: Client, database: str, collection: Collection) -> list[str]:
    """Give each of the database's shards an equal part of an empty collection's prefixes.

    The balancer moves by size, and a journal that is trimmed never grows to the size at which it would.
    """
    name = f"{database}.{collection.name}"
    zoned = await client["config"]["tags"].find_one({"ns": name})
    if zoned is not None or await client[database][collection.name].find_one() is not None:
        return []
    hosts = sorted(s["_id"] for s in (await client.admin.command("listShards"))["shards"])
    bounds = [_bound(collection, f"{i * _PREFIXES // len(hosts):04x}") for i in range(1, len(hosts))]
    bounds = [_bound(collection, MinKey()), *bounds, _bound(collection, MaxKey(), MaxKey())]
    for host, low, high in zip(hosts, bounds[:-1], bounds[1:], strict=True):
        # Where the range is there already, this does nothing.
        await client.admin.command("moveRange", name, min=low, max=high, toShard=host)
    return [f"{name}: spread over {', '.join(hosts)}"]


async def _zone(client: Client, database: str, zone: Zone) -> list[str]:
    done = []
    known = {s["_id"]: s.get("tags", []) for s in (await client.admin.command("listShards"))["shards"]}
    for host in zone.database_shards:
        if host not in known:
            raise LayoutWrong(f"zone {zone.name}: the cluster has no shard {host}, only {', '.join(sorted(known))}")
        if zone.name not in known[host]:
            await client.admin.command("addShardToZone", host, zone=zone.name)
            done.append(f"{host}: in zone {zone.name}")
    for collection in ZONED:
        name = f"{database}.{collection.name}"
        for shard in zone.shards:
            key = shard_key(shard)
            low, high = _bound(collection, key), _bound(collection, key, MaxKey())
            had = await client["config"]["tags"].find_one({"ns": name, "min": low})
            if had is not None and had["tag"] == zone.name and had["max"] == high:
                continue
            if had is not None:
                # A range changes its zone by losing the old one first.
                await client.admin.command("updateZoneKeyRange", name, min=had["min"], max=had["max"], zone=None)
            await client.admin.command("updateZoneKeyRange", name, min=low, max=high, zone=zone.name)
            done.append(f"{name}: shard {shard} in zone {zone.name}")
    return done


def _bound(collection: Collection, first: object, rest: object | None = None) -> Document:
    """A point of the key's order: `first`, then the least there is, or `rest`."""
    rest = MinKey() if rest is None else rest
    return {field: first if i == 0 else rest for i, (field, _) in enumerate(collection.key)}


def _names(collection: Collection) -> str:
    return "{" + ", ".join(field for field, _ in collection.key) + "}"
